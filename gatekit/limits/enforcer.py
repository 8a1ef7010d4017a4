"""What every policy of limits does with a request once it knows whose it is and what holds for it.

1. It consumes the cost, all limits or none.
2. It notes what was decided, and why.
3. It refuses, or lets pass and tells the client where it stands.
4. It corrects the cost when the exchange is over, if something says what it really was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from gatekit._core.compose import answered
from gatekit._core.decisions import Decision, note
from gatekit._core.io import resolve
from gatekit._core.messages import Outcome, Request, Response
from gatekit._core.options import function_problem
from gatekit.limits.answers import Answers
from gatekit.limits.limit_set import LimitSet
from gatekit.limits.limiter import Limiter, Verdict
from gatekit.typing import Handler

Cost: TypeAlias = "int | Callable[[Request], int | Awaitable[int]]"
Charge: TypeAlias = Callable[[Request, Response, Outcome], int]

# More than any limit holds, and a float still knows it exactly.
_DEAREST = 2**52


class Enforcer:
    """One for each policy; it holds nothing of a request."""

    __slots__ = ("_charge", "_cost", "_shadow", "answers", "limiter", "name", "silent")

    def __init__(
        self,
        name: str,
        limiter: Limiter,
        answers: Answers,
        *,
        cost: Cost,
        charge: Charge | None,
        shadow: bool,
    ) -> None:
        self.name = name
        self.limiter = limiter
        self.answers = answers
        self._cost = cost
        self._charge = charge
        self._shadow = shadow
        self.silent = shadow or answers.style is None

    async def run(
        self, request: Request, call_next: Handler, limits: LimitSet, keys: Sequence[str]
    ) -> Response:
        cost = self._cost
        if not isinstance(cost, int):
            # A negative cost would be a refund that a client may have a say in.
            cost = min(max(0, await resolve(cost(request))), _DEAREST)
        limiter = self.limiter
        memory = limiter.memory
        if memory is not None and not keys[1:]:
            verdict = Verdict(memory.take(limits.claims(keys), cost, request.io.now()))
        else:
            verdict = await limiter.take(request.io, limits, keys, cost, deadline=request.deadline)
        standings = verdict.standings
        if verdict.degraded is not None:
            note(request, self.answers.degraded(verdict))
            if verdict.degraded == "deny" and not self._shadow:
                return self.answers.unavailable(request)
        for standing in standings:
            if standing.retry_after:
                return await self.refused(request, call_next, limits, verdict)
        if standings:
            note(request, limits.admission(standings))
            if self._charge is not None:
                return await self._charged(request, call_next, limits, keys, cost, verdict)
        return await self._passed(request, call_next, limits, verdict)

    async def refused(
        self, request: Request, call_next: Handler, limits: LimitSet, verdict: Verdict
    ) -> Response:
        violated = limits.violated(verdict.standings)
        note(request, self.answers.denial(violated, shadow=self._shadow))
        if self._shadow:
            return await call_next(request)
        return self.answers.refusal(request, limits, verdict, violated)

    async def _passed(
        self, request: Request, call_next: Handler, limits: LimitSet, verdict: Verdict
    ) -> Response:
        if self.silent:
            return await call_next(request)
        response = await answered(request, call_next)
        self.answers.add_fields(response, limits, verdict)
        return response

    async def _charged(
        self,
        request: Request,
        call_next: Handler,
        limits: LimitSet,
        keys: Sequence[str],
        cost: int,
        verdict: Verdict,
    ) -> Response:
        """Corrects in the request's own task, after the last byte or where the exchange broke."""
        charge = self._charge
        assert charge is not None
        response: Response | None = None

        async def settle(outcome: Outcome) -> None:
            # Without an answer there is nothing to ask: what was consumed stays consumed.
            if response is None:
                return
            difference = charge(request, response, outcome) - cost
            if difference:
                difference = min(difference, _DEAREST)
                await self.limiter.settle(request.io, limits, keys, difference, verdict)

        request.on_finish(settle)
        response = await self._passed(request, call_next, limits, verdict)
        return response

    async def keyless(self, request: Request, call_next: Handler, *, skips: bool) -> Response:
        """For a request that lacks what it is to be counted by."""
        if skips:
            return await self.unlimited(request, call_next, "no key")
        outcome = Decision(self.name, "shadow_deny" if self._shadow else "deny", "no key")
        note(request, outcome)
        return await call_next(request) if self._shadow else self.answers.keyless(request)

    async def unlimited(self, request: Request, call_next: Handler, why: str) -> Response:
        note(request, Decision(self.name, "skip", why))
        return await call_next(request)


def cost_problem(cost: object) -> str | None:
    """Of what a request consumes."""
    if callable(cost):
        return function_problem(cost, takes_async=True)
    if not isinstance(cost, int) or isinstance(cost, bool) or cost < 0:
        return f"must be a whole number of at least 0 or a function, not {cost!r}"
    return None
