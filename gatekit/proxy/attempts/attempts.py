"""A request's way to an answer: one attempt, and others where that one did not do.

    leg = await attempts.run(request, outgoing)      # raises UpstreamError where nobody answered
    leg.member, leg.answer

          pick a member ──▶ attempt ──▶ good ─────────────────────────────▶ given on
                              │   ▲
              late: a hedge   │   └── pick another ◀── pause ◀──┐
              beside it       ▼                                 │ may it go out again? is there
                            bad: a failure, or a status ────────┘ time, and budget? if not:
                            such as 503                           the last result is given on

Retries stay in here: what is further out, a rate limit or a log, sees one request. The breaker of a
destination is told of each attempt, and asked before each; so is the passive health of the member.
An answer that is thrown away is closed only when the next attempt is about to begin: where there is
none after all, the client gets that answer and not one of ours.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gatekit._core.attempt import Attempt, note_attempt
from gatekit._core.messages import Request, Response
from gatekit.errors import UpstreamError
from gatekit.proxy.attempts.budget import note_request
from gatekit.proxy.attempts.hedging import hedged
from gatekit.proxy.attempts.latencies import Latencies
from gatekit.proxy.attempts.leg import Leg
from gatekit.proxy.attempts.replay import Replay
from gatekit.proxy.attempts.retrying import Retrying, has_key
from gatekit.proxy.transport.exchange import Timeouts, UpstreamRequest, UpstreamResponse

if TYPE_CHECKING:
    from gatekit.middleware._circuit_guard import Call
    from gatekit.middleware.circuit_breaker import CircuitBreaker
    from gatekit.proxy.attempts.address import Address
    from gatekit.proxy.attempts.hedge import Hedge
    from gatekit.proxy.attempts.retry import Retry
    from gatekit.proxy.clusters.members import ClusterState, Member


class Attempts:
    """How one proxy asks one cluster. Shared by all requests, and holds nothing of any."""

    __slots__ = (
        "_per_try", "address", "breaker", "hedge", "latencies", "retry", "state", "timeouts",
    )  # fmt: skip

    def __init__(
        self,
        state: ClusterState,
        address: Address,
        *,
        timeouts: Timeouts,
        retry: Retry | None = None,
        hedge: Hedge | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self.state = state
        self.address = address
        self.timeouts = timeouts
        self.retry = retry
        self.hedge = hedge
        self.breaker = breaker
        self.latencies = Latencies() if hedge is not None and hedge.needs_latencies else None
        self._per_try = None if retry is None else retry.per_try_timeout

    async def run(self, request: Request, outgoing: UpstreamRequest) -> Leg:
        """The answer for the client. `outgoing` has neither a base path nor a `Host` yet."""
        # 1. Somebody to ask.
        began = request.io.now()
        state, retry = self.state, self.retry
        if self.breaker is None:
            if state.jobs:
                state.begin(request.io)
            found = state.pick(request, began)
            chosen: tuple[Member, Call | None] | None = None if found is None else (found, None)
        else:
            chosen = self.choose(request)
        if chosen is None:
            chosen = await self._arrival(request)
            began = request.io.now()
        if state.lately is not None:
            note_request(state, began)
        member, call = chosen
        replay: Replay | None = None
        if retry is not None and isinstance(outgoing.body, tuple):
            replay = self._replay(retry, request, outgoing)
        self.address.put_on(request, outgoing, member)

        # 2. The first attempt, with others beside it if it is late.
        tried: list[Member] = []
        hedge = self.hedge
        after = None if hedge is None else self._hedge_after(hedge, request, outgoing)
        result: Leg | UpstreamError
        try:
            if hedge is None or after is None:
                leg = result = await self.attempt(request, outgoing, member, call, began)
            else:
                tried.append(member)
                leg = result = await hedged(
                    self, hedge, request, outgoing, tried, call, after, began
                )
        except UpstreamError as error:
            if retry is None:
                raise
            result = error
        else:
            answer = leg.answer
            if retry is None or not retry.wants_answer(answer.status, answer.headers):
                leg.give_on(request)
                return leg

        # 3. Further ones, where it was in vain.
        tried = tried or [member]
        leg = await Retrying(self, retry, request, outgoing, tried, replay, began).run(result)
        leg.give_on(request)
        return leg

    def choose(
        self, request: Request, tried: Sequence[Member] = ()
    ) -> tuple[Member, Call | None] | None:
        """A member, and the breaker's leave to ask it; None where there is nobody."""
        state, breaker, now = self.state, self.breaker, request.io.now
        if not tried:
            state.begin(request.io)
        while True:
            member = state.pick(request, now(), tried)
            if member is None:
                return None
            if breaker is None:
                return member, None
            call = breaker.enter(request, member.name)
            if call is not None:
                return member, call
            # All places of a breaker that probes were taken in between.
            if member in tried:
                return None
            tried = [*tried, member]

    def limit(self, began: float) -> float | None:
        """When all attempts of a request that began then must have ended, bodies included."""
        total = self.timeouts.total
        return None if total is None else began + total

    def timeouts_at(self, now: float, limit: float | None) -> Timeouts:
        """Of an attempt after the first: what is left of the whole time is for it."""
        if limit is None:
            return self.timeouts
        # Nothing left: the transport says so, in its own words.
        return replace(self.timeouts, total=max(limit - now, 1e-9))

    def attempt(
        self,
        request: Request,
        outgoing: UpstreamRequest,
        member: Member,
        call: Call | None,
        started: float,
        timeouts: Timeouts | None = None,
    ) -> Coroutine[Any, Any, Leg]:
        """One exchange with one member, up to the head; everybody is told how it went."""
        going = self._attempt(request, outgoing, member, call, started, timeouts)
        trace = request.trace
        return going if trace is None else trace.attempt(going, request, outgoing, member)

    async def _attempt(
        self,
        request: Request,
        outgoing: UpstreamRequest,
        member: Member,
        call: Call | None,
        started: float,
        timeouts: Timeouts | None,
    ) -> Leg:
        io = request.io
        limit = deadline = request.deadline
        per_try = self._per_try
        if per_try is not None and (limit is None or started + per_try < limit):
            deadline = started + per_try
        transport = member.transport
        answer: UpstreamResponse[Any]
        member.start()
        try:
            if io.is_async:
                # As `io.call`, less its frame.
                answer = await transport.asend(
                    member.origin, outgoing, timeouts or self.timeouts, deadline
                )
            else:
                answer = await io.call(
                    transport.send,
                    transport.asend,
                    member.origin,
                    outgoing,
                    timeouts or self.timeouts,
                    deadline,
                )
        except UpstreamError as error:
            member.finish()
            if outgoing.interrupt is not None and outgoing.interrupt.has_fired:
                self._given_up(call, io.now(), started)
                raise
            if error.stage == "total_timeout" and deadline is not limit:
                late = UpstreamError("attempt_timeout", f"no head within {per_try} s")
                self._failed(request, member, call, late, started)
                raise late from error
            self._failed(request, member, call, error, started)
            raise
        except BaseException:
            member.finish()
            self._given_up(call, io.now(), started)
            raise
        now = io.now()
        seconds = now - started
        status = answer.status
        self.state.report(member, status, seconds, now)
        note_attempt(request, Attempt(member.name, status, seconds))
        if self.latencies is not None:
            self.latencies.add(seconds, now)
        if call is not None:
            call.settle(Response.from_head(status, answer.headers, b""), now)
        if isinstance(answer.body, bytes):
            member.finish()
        return Leg(self.state, io, member, answer, seconds, call)

    def _failed(
        self,
        request: Request,
        member: Member,
        call: Call | None,
        error: UpstreamError,
        started: float,
    ) -> None:
        now = request.io.now()
        self.state.report(member, error, now - started, now)
        note_attempt(request, Attempt(member.name, error.stage, now - started))
        if self.latencies is not None:
            self.latencies.add(now - started, now)
        if call is not None:
            call.settle(error, now)

    def _given_up(self, call: Call | None, now: float, started: float) -> None:
        """It tells nothing of the member; but that it took as long as this is known."""
        if call is not None:
            call.release(now)
        if self.latencies is not None:
            self.latencies.add(now - started, now)

    def _replay(self, retry: Retry, request: Request, outgoing: UpstreamRequest) -> Replay:
        assert isinstance(outgoing.body, tuple)
        stream, length = outgoing.body
        replay = Replay(stream, retry.keeps(request.method, has_key=has_key(request)))
        outgoing.body = replay.from_start(), length
        return replay

    def _hedge_after(
        self, hedge: Hedge, request: Request, outgoing: UpstreamRequest
    ) -> float | None:
        if request.method not in hedge.methods or isinstance(outgoing.body, tuple):
            return None
        if outgoing.upgrade:
            # A connection that is opened to be closed again is no question asked twice.
            return None
        return hedge.after(self.latencies, request.io.now())

    async def _arrival(self, request: Request) -> tuple[Member, Call | None]:
        """Whom a resolver finds that has not answered yet: the one wait of a request for it."""
        state = self.state
        if state.discovery is not None and not state.members:
            await state.discovery.arrive(state, request.io, request.deadline)
            chosen = self.choose(request)
            if chosen is not None:
                return chosen
        raise UpstreamError("no_destination", f"cluster {state.name} has nobody who may be asked")
