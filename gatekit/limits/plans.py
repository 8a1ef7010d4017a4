"""What a plan grants: quotas, rates, and what may be asked for at all. Plans are data.

    PLANS = {
        "free": Plan("1000/day", rate="10/second", paths=["/v1/*"]),
        "pro": Plan("100000/month", grace=1000, features=["export"]),
        "internal": Plan(None),
    }

A quota is `[count]/[hour|day|week|month|year]`, several with `;` between, in windows of the
calendar. None is none at all.

Of a caller with several plans, `merge` says what he has: of each number the `max`, the `min` or the
`sum`, or all of the `first` plan. What may be asked for is what one of them grants, but with `min`
what all of them do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias, TypeVar, cast, get_args

from gatekit._core.messages import Request
from gatekit._core.options import (
    each_problem,
    integer_problem,
    known_keywords,
    string_problem,
    token_problem,
)
from gatekit.errors import check
from gatekit.limits.calendar import Period
from gatekit.limits.limit import parse

Merge: TypeAlias = Literal["max", "min", "sum", "first"]
PlanLike: TypeAlias = "Plan | str | None"

MERGES: tuple[Merge, ...] = get_args(Merge)

_QUOTA = re.compile(
    r"\s*([1-9][0-9]{0,14})\s*(?:/|per)\s*(hour|day|week|month|year)s?\s*", re.IGNORECASE
)

T = TypeVar("T")


@known_keywords
class Plan:
    """`quota` is what may be used in each window, None for no end of it.

    `rate` is in the grammar of `RateLimit`, consumed in the same step. `methods` and `paths`
    (`/reports`, `/v1/*`) are what may be asked for, None for everything. `scopes`, `features` and
    `concurrency` are for those that ask `request.plan`. `grace` is how much beyond the quota is let
    through, `overage` lets through everything and counts it, `rollover` adds what the window before
    left unused.
    """

    __slots__ = (
        "concurrency", "features", "grace", "methods", "overage", "paths", "quotas", "rates",
        "rollover", "scopes",
    )  # fmt: skip

    def __init__(
        self,
        quota: str | None,
        *,
        rate: str | None = None,
        methods: Collection[str] | None = None,
        paths: Collection[str] | None = None,
        scopes: Collection[str] | None = None,
        features: Collection[str] = (),
        concurrency: int | None = None,
        grace: int = 0,
        overage: bool = False,
        rollover: bool = False,
    ) -> None:
        quotas, wrong = _parse_quota(quota)
        rates, wrong_rate = ((), None) if rate is None else parse(rate)
        check(
            "Plan",
            quota=wrong,
            rate=wrong_rate,
            methods=None if methods is None else each_problem(methods, token_problem),
            paths=None if paths is None else each_problem(paths, _path_problem),
            scopes=None if scopes is None else each_problem(scopes, string_problem),
            features=each_problem(features, string_problem),
            concurrency=None if concurrency is None else integer_problem(concurrency, 1),
            grace=integer_problem(grace),
        )
        self.quotas: Mapping[Period, int] = quotas
        self.rates: Mapping[float, int] = {one.period: one.amount for one in rates}
        self.methods = None if methods is None else frozenset(map(str.upper, methods))
        self.paths = None if paths is None else frozenset(paths)
        self.scopes = None if scopes is None else frozenset(scopes)
        self.features = frozenset(features)
        self.concurrency = concurrency
        self.grace = grace
        self.overage = overage
        self.rollover = rollover

    def grants(self, request: Request) -> bool:
        """Whether its method and path are part of the plan."""
        if self.methods is not None:
            method = "GET" if request.method == "HEAD" else request.method
            if method not in self.methods and request.method not in self.methods:
                return False
        return self.paths is None or any(_covers(path, request.path) for path in self.paths)

    def __repr__(self) -> str:
        shown = ";".join(f"{count}/{period}" for period, count in self.quotas.items())
        return f"Plan({shown or None!r})"


def merged(plans: Sequence[Plan], how: Merge) -> Plan:
    """One plan that grants what several do."""
    if how == "first" or len(plans) == 1:
        return plans[0]
    one = Plan(None)
    least = how == "min"
    one.quotas = _numbers([plan.quotas for plan in plans], how)
    one.rates = _numbers([plan.rates for plan in plans], how)
    one.methods = _sets([plan.methods for plan in plans], least=least)
    one.paths = _sets([plan.paths for plan in plans], least=least)
    one.scopes = _sets([plan.scopes for plan in plans], least=least)
    one.features = _sets([plan.features for plan in plans], least=least) or frozenset()
    allowed = [plan.concurrency for plan in plans if plan.concurrency is not None]
    if allowed and (least or len(allowed) == len(plans)):
        one.concurrency = _number(allowed, how)
    one.grace = _number([plan.grace for plan in plans], how)
    pick = all if least else any
    one.overage = pick(plan.overage for plan in plans)
    one.rollover = pick(plan.rollover for plan in plans)
    return one


def _number(numbers: Sequence[int], how: Merge) -> int:
    return sum(numbers) if how == "sum" else min(numbers) if how == "min" else max(numbers)


def _numbers(tables: Sequence[Mapping[T, int]], how: Merge) -> dict[T, int]:
    """A plan without a number for a window has no end there: only the least of them counts it."""
    windows = dict.fromkeys(window for table in tables for window in table)
    found: dict[T, int] = {}
    for window in windows:
        numbers = [table[window] for table in tables if window in table]
        if how == "min" or len(numbers) == len(tables):
            found[window] = _number(numbers, how)
    return found


def _sets(sets: Sequence[frozenset[str] | None], *, least: bool) -> frozenset[str] | None:
    """None is everything there is."""
    known = [one for one in sets if one is not None]
    if not known or not (least or len(known) == len(sets)):
        return None
    found = known[0]
    for one in known[1:]:
        found = found & one if least else found | one
    return found


def as_plan(value: PlanLike) -> Plan:
    return value if isinstance(value, Plan) else Plan(value)


def plans_problem(plans: object) -> str | None:
    """Of a mapping of names to plans or their quotas."""
    if not isinstance(plans, Mapping) or not plans:
        return f"must map the names of plans to them, not be {plans!r}"
    table = cast("Mapping[object, object]", plans)
    return "; ".join(_wrong(table.items())) or None


def _wrong(rows: Iterable[tuple[object, object]]) -> Iterable[str]:
    for name, plan in rows:
        if not isinstance(name, str):
            yield f"{name!r} is not the name of a plan"
        elif isinstance(plan, str):
            _, wrong = _parse_quota(plan)
            if wrong:
                yield f"{name!r}: {wrong}"
        elif plan is not None and not isinstance(plan, Plan):
            yield f"{name!r}: must be a Plan, a quota or None, not {plan!r}"


def _parse_quota(text: object) -> tuple[dict[Period, int], str | None]:
    if text is None:
        return {}, None
    if not isinstance(text, str):
        return {}, f"must be a quota such as '10000/month', not {text!r}"
    quotas: dict[Period, int] = {}
    for part in re.split("[;,|]", text):
        match = _QUOTA.fullmatch(part)
        if match is None:
            return {}, f"{part!r} is not a quota such as '10000/month'"
        period = cast("Period", match[2].lower())
        if period in quotas:
            return {}, f"{text!r} has two quotas a {period}"
        quotas[period] = int(match[1])
    return quotas, None


def _path_problem(path: object) -> str | None:
    if isinstance(path, str) and path.startswith("/") and "*" not in path.removesuffix("/*"):
        return None
    return f"{path!r} is not a path such as /reports or /v1/*"


def _covers(pattern: str, path: str) -> bool:
    if pattern.endswith("/*"):
        return path.startswith(pattern[:-1]) or path == pattern[:-2]
    return path == pattern
