"""Which requests are logged: all that went wrong or took long, and a part of the others.

    sampling = Sampling({"/health": 0.0, "*": 0.1}, slow=1.0, errors=400, chance=Random())
    sampling.rate(request, outcome)          # None: this one is left out

The rate stands in the record, so that what is counted can be scaled: one of 0.1 stands for ten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, TypeAlias, cast

from gatekit._core.options import function_problem

if TYPE_CHECKING:
    from gatekit._core.messages import Request
    from gatekit._core.outcome import Outcome

Rates: TypeAlias = "float | Mapping[str, float] | Callable[[Request], float]"
Rule: TypeAlias = "Callable[[Request, str], float]"


class Sampling:
    """`rates` is a part from 0 to 1, such parts by route template, or a function of the request."""

    __slots__ = ("_chance", "_errors", "_expected", "_slow", "is_whole")

    def __init__(self, rates: Rates, *, slow: float | None, errors: int, chance: Random) -> None:
        self._expected = _rule(rates)
        self._slow = float("inf") if slow is None else slow
        self._errors = errors
        self._chance = chance
        self.is_whole = isinstance(rates, int | float) and rates >= 1
        """Every request is logged."""

    def draw(self) -> float:
        return self._chance.random()

    def expected(self, request: Request, route: str) -> float:
        return self._expected(request, route)

    def must_keep(self, request: Request, outcome: Outcome) -> bool:
        """An error, or slow."""
        status = outcome.status
        return (
            status is None
            or status >= self._errors
            or outcome.ended != "complete"
            or outcome.error is not None
            or request.upstream_error is not None
            or outcome.duration >= self._slow
        )


def _rule(rates: Rates) -> Rule:
    if isinstance(rates, int | float):
        return lambda _request, _route: rates
    if callable(rates):
        return lambda request, _: rates(request)
    by_route = dict(rates)
    others = by_route.get("*", 1.0)
    return lambda _, route: by_route.get(route, others)


def rates_problem(value: object) -> str | None:
    if isinstance(value, Mapping):
        wrong = [
            f"{name!r}: {what}"
            for name, rate in cast("Mapping[object, object]", value).items()
            if (what := _rate_problem(rate) if isinstance(name, str) else "is no route")
        ]
        return "; ".join(wrong) or None
    return function_problem(value) if callable(value) else _rate_problem(value)


def _rate_problem(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return None
    return f"must be a part from 0 to 1, not {value!r}"
