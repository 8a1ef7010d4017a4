"""So much a day or a month by plan, kept where a restart does not lose it: 429 beyond it.

    quota = Quota(
        {"free": "1000/day", "pro": Plan("100000/month", overage=True)},
        plan=keys.claim("plan"),
        default="free",
        store="redis://localhost",
        timezone="Europe/Berlin",
    )
    gateway = Gateway(auth, quota, routes=[Route("/usage", quota.usage), ...])

A quota is a bargain, a rate limit is a defence: they have names, problem types and stores of their
own, and a request that one of them refuses need not have been counted by the other.

**Windows** begin with the day or the month in `timezone`, for everybody at once.

**A store that is away** lets requests through unless told otherwise: what is sold is not withheld
because of a fault that is not the customer's.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import TypeAlias
from zoneinfo import ZoneInfo

from gatekit._core.decisions import Decision, note
from gatekit._core.io import resolve
from gatekit._core.messages import Request, Response
from gatekit._core.options import (
    each_problem,
    flag_problem,
    function_problem,
    known_keywords,
    string_problem,
)
from gatekit._core.problems import problem
from gatekit.errors import check
from gatekit.limits import keys
from gatekit.limits.answers import (
    Answers,
    is_preflight,
    jitter_problem,
    name_problem,
    type_problem,
)
from gatekit.limits.calendar import Calendar, day_problem, zone_problem
from gatekit.limits.calendar_window import CalendarWindow
from gatekit.limits.enforcer import Charge, Cost, Enforcer, cost_problem
from gatekit.limits.fields import Style, style_problem
from gatekit.limits.keys import Key, Keyring, Missing, async_in, join, key_problem, missing_problem
from gatekit.limits.limit_set import LimitSet
from gatekit.limits.limiter import Fallback, Limiter, fallback_problem
from gatekit.limits.meters import Meter, Standing, TokenBucket
from gatekit.limits.plans import MERGES, Merge, Plan, PlanLike, as_plan, merged, plans_problem
from gatekit.limits.store import Store, store_problem
from gatekit.limits.tiers import Keys
from gatekit.typing import Handler

__all__ = ["Plan", "Quota"]

Names: TypeAlias = "str | Sequence[str] | None"
PlanOf: TypeAlias = "Callable[[Request], Names | Awaitable[Names]]"

# What is not asked for too often is remembered for any mixture of plans that callers have.
_REMEMBERED = 1024


@known_keywords
class Quota:
    """`plans` maps names to plans; `plan` says which a request has, or which several.

    `default` is for those that have none of them; without it they are refused by 403. `store` is a
    URL or a store; the day of a month on which `month` begins is `day`. The other options are those
    of `RateLimit`. The plan that holds is `request.plan`.
    """

    __slots__ = (
        "_charge", "_clock", "_cost", "_day", "_default", "_enforcer", "_key", "_keyring", "_known",
        "_limiter", "_merge", "_paths", "_plan", "_plans", "_shadow", "_skips", "_zone", "name",
    )  # fmt: skip

    def __init__(
        self,
        plans: Mapping[str, PlanLike],
        *,
        plan: PlanOf,
        store: str | Store,
        default: str | None = None,
        key: Key = keys.identity,
        missing: Missing = "deny",
        timezone: str = "UTC",
        day: int = 1,
        merge: Merge = "max",
        on_store_error: Fallback = "allow",
        cost: Cost = 1,
        charge: Charge | None = None,
        exempt_paths: Collection[str] = (),
        shadow: bool = False,
        headers: Style | None = "draft",
        problem_type: str | None = None,
        retry_jitter: float = 0.0,
        random: Random | None = None,
        name: str = "quota",
        clock: Callable[[], float] = time.time,
    ) -> None:
        wrong = plans_problem(plans)
        check(
            "Quota",
            plans=wrong,
            plan=function_problem(plan, takes_async=True),
            store=store_problem(store),
            default=None if wrong or default is None else _default_problem(default, plans),
            key=key_problem(key),
            missing=missing_problem(missing),
            timezone=zone_problem(timezone),
            day=day_problem("month", day),
            merge=None if merge in MERGES else f"must be one of {MERGES}, not {merge!r}",
            on_store_error=fallback_problem(on_store_error),
            cost=cost_problem(cost),
            charge=function_problem(charge),
            exempt_paths=each_problem(exempt_paths, string_problem),
            shadow=flag_problem(shadow),
            headers=style_problem(headers),
            problem_type=type_problem(problem_type),
            retry_jitter=jitter_problem(retry_jitter),
            name=name_problem(name),
            clock=function_problem(clock),
        )
        self._plans = {each: as_plan(value) for each, value in plans.items()}
        self._plan = plan
        self._default = default
        self._merge: Merge = merge
        self._zone = timezone
        self._day = day
        self._clock = clock
        self._known: dict[tuple[str, ...], tuple[Plan, LimitSet | None]] = {}
        self._keyring = Keyring(key, missing)
        self._skips = missing == "skip"
        self._paths = frozenset(exempt_paths)
        self._shadow = shadow
        self._limiter = Limiter(store, on_store_error)
        answers = Answers(
            name,
            "quota-exceeded",
            "The quota is used up",
            headers,
            retry_jitter,
            random,
            clock,
            problem_type,
        )
        self._enforcer = Enforcer(
            name, self._limiter, answers, cost=cost, charge=charge, shadow=shadow
        )
        # Kept by their names for the WSGI door to look at.
        self._cost, self._charge, self._key = cost, charge, async_in(key)
        self.name = name

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if request.path in self._paths or (request.method == "OPTIONS" and is_preflight(request)):
            return await call_next(request)
        names = await self._names(request)
        if not names:
            return await self._refused(request, call_next, "no plan")
        plan, limits = self._of(names)
        request.plan = plan
        if not plan.grants(request):
            return await self._refused(request, call_next, f"not in {' or '.join(names)}")
        if limits is None:
            return await self._enforcer.unlimited(request, call_next, "no quota")
        key = await self._keyring.find(request)
        if key is None:
            return await self._enforcer.keyless(request, call_next, skips=self._skips)
        return await self._enforcer.run(request, call_next, limits, [key])

    async def usage(self, request: Request) -> Response:
        """A handler that tells a caller, in JSON, what is used and what is left; it costs nothing.

        `resets_at` is the end of the window in the time zone of the quota (RFC 3339).
        """
        names = await self._names(request)
        key = await self._keyring.find(request)
        if not names or key is None:
            return self._enforcer.answers.keyless(request)
        _, limits = self._of(names)
        rows: list[dict[str, object]] = []
        if limits is not None:
            verdict = await self._limiter.take(
                request.io, limits, [key], 0, deadline=request.deadline
            )
            if not verdict.standings or verdict.degraded:
                return self._enforcer.answers.unavailable(request)
            rows = [
                self._row(meter, standing)
                for meter, standing in zip(limits.meters, verdict.standings, strict=True)
                if isinstance(meter, CalendarWindow)
            ]
        shown = names[0] if len(names) == 1 else list(names)
        response = Response.json({"plan": shown, "quotas": rows})
        response.headers["cache-control"] = "no-store"
        return response

    def _row(self, meter: CalendarWindow, standing: Standing) -> dict[str, object]:
        end = datetime.fromtimestamp(meter.bounds()[1], UTC)
        zone = UTC if self._zone == "UTC" else ZoneInfo(self._zone)
        limit = meter.quota + standing.carried
        return {
            "policy": meter.name,
            "period": meter.calendar.period,
            "limit": limit,
            "used": limit - standing.remaining + standing.over,
            "remaining": standing.remaining,
            "over": standing.over,
            "resets_at": end.astimezone(zone).isoformat(),
        }

    async def _names(self, request: Request) -> tuple[str, ...]:
        """Of the plans that are known; the default where there is none."""
        found = await resolve(self._plan(request))
        listed = (found,) if isinstance(found, str) else found or ()
        names = tuple(name for name in listed if name in self._plans)
        return names or (() if self._default is None else (self._default,))

    def _of(self, names: tuple[str, ...]) -> tuple[Plan, LimitSet | None]:
        known = self._known.get(names)
        if known is None:
            plan = merged([self._plans[name] for name in names], self._merge)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[names] = (plan, self._limits(plan))
        return known

    def _limits(self, plan: Plan) -> LimitSet | None:
        meters: list[Meter] = [
            CalendarWindow(
                f"{self.name}-{period}",
                count,
                Calendar(period, self._zone, day=self._day if period == "month" else 1),
                grace=plan.grace,
                overage=plan.overage,
                rollover=plan.rollover,
                scope=self.name,
                clock=self._clock,
            )
            for period, count in plan.quotas.items()
        ]
        meters += [
            TokenBucket(f"{self.name}-{count}-per-{seconds:g}s", count, seconds, scope=self.name)
            for seconds, count in plan.rates.items()
        ]
        return LimitSet(self.name, meters, meters, [None] * len(meters)) if meters else None

    async def _refused(self, request: Request, call_next: Handler, why: str) -> Response:
        note(request, Decision(self.name, "shadow_deny" if self._shadow else "deny", why))
        if self._shadow:
            return await call_next(request)
        return problem(
            403,
            "This is not part of the plan.",
            type="urn:gatekit:plan",
            instance=request.correlation_id,
        )

    def reset(self, key: Keys | None = None) -> None:
        """Forgets what a caller has used under any plan of his that is known here; or all."""
        known = [limits for _, limits in self._known.values() if limits is not None]
        text = None if key is None else join((key,) if isinstance(key, str) else key)
        self._limiter.reset(self.name, known, text)

    async def areset(self, key: Keys | None = None) -> None:
        """`reset` in an event loop."""
        known = [limits for _, limits in self._known.values() if limits is not None]
        text = None if key is None else join((key,) if isinstance(key, str) else key)
        await self._limiter.areset(self.name, known, text)

    def close(self) -> None:
        self._limiter.close()

    async def aclose(self) -> None:
        await self._limiter.aclose()

    def __repr__(self) -> str:
        return f"Quota({', '.join(self._plans)})"


def _default_problem(default: object, plans: Mapping[str, PlanLike]) -> str | None:
    return None if default in plans else f"{default!r} is none of the plans"
