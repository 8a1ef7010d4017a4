"""Stops asking a service that fails, and lets it come back gently.

    Route("/orders/*", Proxy("http://orders:8002"), CircuitBreaker("orders"))
    CircuitBreaker("search", slow_threshold=2.0, fallback=Response.json({"hits": []}))
    CircuitBreaker("tenants", key=lambda request: request.host)

Once half of at least 20 calls of a minute have failed, calls are refused for some seconds with a
503 that says when to come back. Then a few are let through as probes, and if they succeed the rest
follow within a ramp. `gatekit._core.breaker` draws the states.

**What a call is.** It succeeded or failed by its head, or by the error in place of it; an answer
that breaks off half-way is a failure after all. A call that the client gave up, or that never
reached the app because something further in answered it, counts neither way.

**Nothing is held while a call runs.** It takes a ticket and brings it back, in whatever thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from random import Random, random
from typing import TypeAlias

from gatekit._core.body import aclose_body
from gatekit._core.breaker import Breaker, State
from gatekit._core.circuits import CircuitChange, Circuits, CircuitStatus, Forced
from gatekit._core.classify import Classifier, Failures, Verdict, classifier_problem, reached
from gatekit._core.decisions import Decision, note
from gatekit._core.messages import FinishCallback, Outcome, Request, Response
from gatekit._core.options import (
    function_problem,
    integer_problem,
    known_keywords,
    seconds_problem,
    string_problem,
    token_problem,
)
from gatekit._core.problems import problem
from gatekit._core.thresholds import CircuitStats, Shape, Thresholds
from gatekit.errors import Rejected, check
from gatekit.middleware._circuit_changes import OnChange, Teller
from gatekit.middleware._circuit_ending import is_parting, may_break_off
from gatekit.middleware._circuit_guard import Call, CircuitOpen, Guard, enter, retry_fields
from gatekit.middleware._circuit_options import (
    Wait,
    consecutive_problem,
    failure_rate_problem,
    max_open_problem,
    min_calls_problem,
    number_problem,
    rate_problem,
    shape_problem,
    wait_problem,
    waits,
)
from gatekit.middleware._circuit_sharing import Sharing, Trips, trips_problem
from gatekit.middleware._fallback import Fallback, Keeper, as_fallback, fallback_problem
from gatekit.typing import Handler

__all__ = ["CircuitBreaker", "CircuitChange", "CircuitOpen", "CircuitStats", "CircuitStatus"]

Key: TypeAlias = Callable[[Request], str | None]

logger = logging.getLogger("gatekit")

POLICY = "circuit-breaker"
_CLOSED = Decision(POLICY, "allow", "closed")
_PROBE = Decision(POLICY, "allow", "half-open: let through to see how it goes")
_NO_KEY = Decision(POLICY, "skip", "there is no key")


@known_keywords
class CircuitBreaker:
    """One circuit, or with `key` one for each key; a key of None goes without.

    It opens when of at least `min_calls` a part of `failure_rate` failed, or of `slow_rate` took
    `slow_threshold` seconds or more to their head, or when `consecutive_failures` failed in a row,
    or when `trip` says so of the `CircuitStats`. What counts are the last `window` seconds, or the
    last `window_calls`. `failures` says what a failure is: a `Failures`, or a function.

    It stays open for `open_for` seconds, each time in a row `growth` times longer up to `max_open`,
    and at random up to a part of `jitter` more; `open_for` may be a function of the number of
    trips. Then `probes` calls have `probe_timeout` seconds each, and over `ramp` seconds a growing
    share of the calls is let in. `ramp=0` closes at once.

    `fallback` answers instead: a `Response`, a handler such as another `Proxy`, or a `LastGood`;
    with `fallback_on_failure` it answers for the calls that failed, too. `shadow` refuses nothing
    and only tells. `on_change` is told of each `CircuitChange` once the request is over. `trips`
    tells other processes. `via` is the name in `Proxy-Status`. `clock` is for what is done outside
    of requests.
    """

    __slots__ = (
        "_changes", "_circuits", "_classify", "_clock", "_fallback", "_fallback_on_failure",
        "_keeper", "_key", "_on_change", "_only", "_proxy_status", "_shadow", "_sharing", "_slow",
        "_teller", "_trips", "_verdicts", "name",
    )  # fmt: skip

    def __init__(
        self,
        name: str = "circuit",
        *,
        failure_rate: float | None = 0.5,
        slow_threshold: float | None = None,
        slow_rate: float = 1.0,
        min_calls: int = 20,
        consecutive_failures: int | None = None,
        trip: Callable[[CircuitStats], bool] | None = None,
        window: float = 60.0,
        window_calls: int | None = None,
        failures: Failures | Classifier | None = None,
        open_for: Wait = 10.0,
        growth: float = 2.0,
        max_open: float = 300.0,
        jitter: float = 0.2,
        probes: int = 3,
        probe_timeout: float = 30.0,
        ramp: float = 10.0,
        ramp_shape: Shape = "linear",
        key: Key | None = None,
        max_keys: int = 10_000,
        fallback: Response | Fallback | None = None,
        fallback_on_failure: bool = False,
        shadow: bool = False,
        on_change: OnChange | None = None,
        trips: Trips | None = None,
        via: str = "gatekit",
        chance: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check(
            "CircuitBreaker",
            name=string_problem(name),
            failure_rate=failure_rate_problem(
                failure_rate, consecutive_failures, slow_threshold, trip
            ),
            slow_threshold=None if slow_threshold is None else seconds_problem(slow_threshold),
            slow_rate=rate_problem(slow_rate),
            min_calls=min_calls_problem(min_calls, window_calls),
            consecutive_failures=consecutive_problem(consecutive_failures),
            trip=function_problem(trip),
            window=seconds_problem(window),
            window_calls=None if window_calls is None else integer_problem(window_calls, 1),
            failures=None if failures is None else classifier_problem(failures),
            open_for=wait_problem(open_for),
            growth=number_problem(growth, 1),
            max_open=max_open_problem(max_open, open_for),
            jitter=number_problem(jitter, 0),
            probes=integer_problem(probes, 1),
            probe_timeout=seconds_problem(probe_timeout),
            ramp=number_problem(ramp, 0),
            ramp_shape=shape_problem(ramp_shape),
            key=function_problem(key),
            max_keys=integer_problem(max_keys, 1),
            fallback=fallback_problem(fallback, on_failure=fallback_on_failure),
            on_change=function_problem(on_change, takes_async=True),
            trips=trips_problem(trips),
            via=token_problem(via),
            clock=function_problem(clock),
        )
        thresholds = Thresholds(
            waits=waits(open_for, growth, max_open),
            # The module's own generator is seeded anew in every process that is forked.
            chance=random if chance is None else chance.random,
            failure_rate=failure_rate,
            slow_rate=None if slow_threshold is None else slow_rate,
            min_calls=min_calls,
            consecutive=consecutive_failures,
            trip=trip,
            window_seconds=window if window_calls is None else None,
            window_calls=window_calls or 0,
            jitter=jitter,
            probes=probes,
            probe_timeout=probe_timeout,
            ramp=ramp,
            shape=ramp_shape,
        )
        self.name = name
        self._circuits = Circuits(name, thresholds, max_keys)
        self._changes = self._circuits.changes
        self._only = self._circuits.of(None, 0.0) if key is None else None
        self._classify: Classifier = Failures() if failures is None else failures
        # Most often the status alone tells, and a look into a dict is all it takes.
        self._verdicts = (
            self._classify.verdicts
            if isinstance(self._classify, Failures) and not self._classify.needs_fields
            else None
        )
        self._slow = slow_threshold
        self._key = key
        self._fallback = as_fallback(fallback)
        self._keeper = fallback if isinstance(fallback, Keeper) else None
        self._fallback_on_failure = fallback_on_failure
        self._shadow = shadow
        self._trips = trips
        self._sharing = None if trips is None else Sharing(self._circuits, trips)
        self._teller = Teller(self._circuits, on_change, self._sharing)
        self._on_change = on_change
        self._proxy_status = f"{via}; error=destination_unavailable"
        self._clock = clock

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        now = request.io.now
        breaker = self._only or self._find(request)
        if breaker is None:
            note(request, _NO_KEY)
            return await call_next(request)
        standing = breaker.standing
        ticket = standing or breaker.admit(now())
        if not ticket:
            return await self._refuse(request, call_next, breaker)
        note(request, _CLOSED if standing else _PROBE)
        started = now() if self._slow is not None else 0.0
        ended: float | None = None
        try:
            response = await call_next(request)
            ended = now()
            verdict = self._verdict(request, response) if request._answering else None
            if verdict is False and self._keeper is not None:
                await self._keeper.remember(request, response)
            place = self._record(breaker, ticket, verdict, started, ended)
        except Exception as error:
            verdict = self._judge(error)
            self._record(breaker, ticket, verdict, started, ended or now())
            instead = await self._instead_of(error, request) if verdict else None
            if instead is None:
                raise
            return instead
        except BaseException:
            # Cancelled, or the onion was thrown away: this says nothing of the service.
            breaker.release(ticket, now())
            raise
        finally:
            if self._changes or self._sharing is not None:
                self._afterwards(request)
        if place >= 0 and not verdict and may_break_off(request, response):
            request.on_finish(self._when_over(breaker, ticket, place, now))
        instead = await self._instead_of(response, request) if verdict else None
        if instead is None:
            return response
        await aclose_body(response.body)
        return instead

    def guard(self, key: str | None = None) -> Guard:
        """Any block of code, as one call: `with breaker.guard("mail"): send(message)`.

        It works in sync and async code alike, and raises `CircuitOpen` where the call is refused.
        A call is over at the end of the block, and fails by what it raises.
        """
        breaker = self._circuits.of(key, self._clock())
        return Guard(
            breaker, self._clock, self._slow, self._judge, self._refusal, self._teller.flush
        )

    def enter(self, request: Request, key: str | None = None) -> Call | None:
        """A call of a handler's own, such as one attempt, which settles it; None: refused."""
        breaker = self._circuits.of(key, request.io.now())
        return enter(request, breaker, self._slow, self._judge, self._afterwards, self._shadow)

    def allows(self, key: str | None = None) -> bool:
        """Whether a call would be let in now. Nothing is counted: for whoever has a choice."""
        breaker = self._circuits.known(key)
        return self._shadow or breaker is None or not breaker.is_refusing(self._clock())

    def state(self, key: str | None = None) -> State:
        """As it is now; a key that was never seen is closed."""
        breaker = self._circuits.known(key)
        return "closed" if breaker is None else breaker.look(self._clock())

    def status(self) -> list[CircuitStatus]:
        """Every circuit that is known, for metrics and for people."""
        return self._circuits.status(self._clock())

    def force_open(self, key: str | None = None) -> None:
        """Refuse everything until `reset`: one key, or all of them and those to come."""
        self._set("forced_open", key)

    def force_close(self, key: str | None = None) -> None:
        """Let everything through until `reset`, and go on counting."""
        self._set("forced_closed", key)

    def reset(self, key: str | None = None) -> None:
        """Closed, with nothing remembered of before."""
        self._set("closed", key)

    def metrics_only(self, on: bool = True) -> None:
        """From now on as with `shadow=True`, or no longer."""
        self._shadow = on

    def gatekit_parts(self) -> Iterable[object]:
        """What a door closes and inspects."""
        return [part for part in (self._fallback, self._trips) if part is not None]

    def _find(self, request: Request) -> Breaker | None:
        assert self._key is not None
        key = self._key(request)
        return None if key is None else self._circuits.of(key, request.io.now())

    def _verdict(self, request: Request, response: Response) -> Verdict:
        verdicts = self._verdicts
        verdict = (
            self._judge(response) if verdicts is None else verdicts.get(response.status, False)
        )
        return None if verdict and not reached(request) else verdict

    def _judge(self, result: Response | Exception) -> Verdict:
        try:
            return self._classify(result)
        except Exception as error:
            logger.error("the failures of circuit %s raised", self.name, exc_info=error)
            return None

    def _record(
        self, breaker: Breaker, ticket: int, verdict: Verdict, started: float, ended: float
    ) -> int:
        if verdict is None:
            breaker.release(ticket, ended)
            return -1
        slow = self._slow is not None and ended - started >= self._slow
        return breaker.record(ticket, ended, verdict, slow)

    async def _refuse(self, request: Request, call_next: Handler, breaker: Breaker) -> Response:
        wait = breaker.wait(request.io.now())
        reason = f"{breaker.state}: {breaker.reason}"
        note(request, Decision(POLICY, "shadow_deny" if self._shadow else "deny", reason))
        self._afterwards(request)
        if self._shadow:
            return await call_next(request)
        instead = await self._instead(request)
        if instead is not None:
            return instead
        return problem(
            503,
            "This service is not available for now.",
            type="urn:gatekit:circuit-open",
            headers={**retry_fields(wait), "proxy-status": self._proxy_status},
            instance=request.correlation_id,
        )

    def _refusal(self, breaker: Breaker, now: float) -> CircuitOpen | None:
        return None if self._shadow else CircuitOpen(self.name, breaker.wait(now))

    async def _instead_of(self, result: Response | Exception, request: Request) -> Response | None:
        if not self._fallback_on_failure:
            return None
        instead = await self._instead(request)
        if instead is not None and isinstance(result, Exception):
            # Nobody further out sees it any more.
            logger.warning("circuit %s: the fallback answers for %r", self.name, result)
        return instead

    async def _instead(self, request: Request) -> Response | None:
        """The fallback's answer. What it raises is logged, and then it has none."""
        if self._fallback is None or request.is_websocket:
            return None
        deadline = request.deadline
        try:
            if deadline is None:
                return await self._fallback(request)
            async with request.io.timeout(deadline - request.io.now()):
                return await self._fallback(request)
        except Rejected:
            raise
        except Exception as error:
            logger.error("the fallback of circuit %s raised", self.name, exc_info=error)
            return None

    def _when_over(
        self, breaker: Breaker, ticket: int, place: int, now: Callable[[], float]
    ) -> FinishCallback:
        def over(outcome: Outcome) -> Awaitable[None] | None:
            error = outcome.error
            if outcome.ended != "failed" or not isinstance(error, Exception) or is_parting(error):
                return None
            if self._judge(error):
                breaker.amend(ticket, place, now())
            return self._teller.finish(outcome) if self._changes else None

        return over

    def _afterwards(self, request: Request) -> None:
        """What nobody should wait for. The last that is registered runs first: it tells."""
        sharing = self._sharing
        if sharing is not None and (self._changes or sharing.is_due(request.io.now())):
            request.on_finish(lambda _: sharing.exchange(request.io))
        if self._changes:
            request.on_finish(self._teller.finish)

    def _set(self, state: Forced, key: str | None) -> None:
        now = self._clock()
        if key is None:
            self._circuits.set(state, now)
        else:
            self._circuits.of(key, now).set(state, now)
        self._teller.flush()

    def __repr__(self) -> str:
        return f"CircuitBreaker({self.name!r})"
