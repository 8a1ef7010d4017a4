"""A circuit breaker around what is not a handler further in: any block of code, or an attempt.

See `CircuitBreaker.guard` and `CircuitBreaker.enter`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from types import TracebackType
from typing import Self

from gatekit._core.breaker import Breaker
from gatekit._core.classify import Verdict
from gatekit._core.messages import Request, Response
from gatekit.errors import Rejected


class CircuitOpen(Rejected):
    """The circuit refuses calls; raised to a client it is a 503.

    `retry_after` are the seconds until a call has a chance, None where nobody can tell.
    """

    def __init__(self, name: str, retry_after: float | None) -> None:
        super().__init__(
            503,
            "This service is not available for now.",
            type="urn:gatekit:circuit-open",
            headers=retry_fields(retry_after),
        )
        self.name = name
        self.retry_after = retry_after


class Guard:
    """One call. What the block raises is its outcome; cancellation counts neither way."""

    __slots__ = ("_breaker", "_judge", "_now", "_over", "_refused", "_slow", "_started", "_ticket")

    def __init__(
        self,
        breaker: Breaker,
        now: Callable[[], float],
        slow: float | None,
        judge: Callable[[Exception], Verdict],
        refused: Callable[[Breaker, float], CircuitOpen | None],
        over: Callable[[], None],
    ) -> None:
        self._breaker = breaker
        self._now = now
        self._slow = slow
        self._judge = judge
        self._refused = refused
        self._over = over
        self._started = 0.0
        self._ticket = 0

    def __enter__(self) -> Self:
        self._started = self._now()
        self._ticket = self._breaker.standing or self._breaker.admit(self._started)
        if not self._ticket:
            refusal = self._refused(self._breaker, self._started)
            if refusal is not None:
                self._over()
                raise refusal
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        verdict: Verdict = False
        if error is not None:
            verdict = self._judge(error) if isinstance(error, Exception) else None
        now = self._now()
        if self._ticket and verdict is None:
            self._breaker.release(self._ticket, now)
        elif self._ticket:
            slow = self._slow is not None and now - self._started >= self._slow
            self._breaker.record(self._ticket, now, bool(verdict), slow)
        self._over()


class Call:
    """One call that is under way. Exactly one of `settle` and `release` ends it.

    `over` is called with the request where a verdict was recorded.
    """

    __slots__ = (
        "_breaker", "_judge", "_over", "_place", "_request", "_slow", "_started", "_ticket",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        breaker: Breaker,
        ticket: int,
        started: float,
        slow: float | None,
        judge: Callable[[Response | Exception], Verdict],
        over: Callable[[Request], None],
    ) -> None:
        self._request = request
        self._breaker = breaker
        self._ticket = ticket
        self._started = started
        self._slow = slow
        self._judge = judge
        self._over = over
        self._place = -1

    def settle(self, result: Response | Exception, now: float) -> None:
        """By the head, or by what came in place of it."""
        verdict = self._judge(result)
        if verdict is None:
            self.release(now)
            return
        slow = self._slow is not None and now - self._started >= self._slow
        place = self._breaker.record(self._ticket, now, verdict, slow)
        self._place = -1 if verdict else place
        self._over(self._request)

    def amend(self, error: Exception, now: float) -> None:
        """What was a success by its head has broken off."""
        if self._place >= 0 and self._judge(error):
            self._breaker.amend(self._ticket, self._place, now)
            self._over(self._request)

    def release(self, now: float) -> None:
        """It tells nothing either way: it was cancelled."""
        self._breaker.release(self._ticket, now)


def enter(
    request: Request,
    breaker: Breaker,
    slow: float | None,
    judge: Callable[[Response | Exception], Verdict],
    over: Callable[[Request], None],
    shadow: bool,
) -> Call | None:
    """A call, unless it is refused; in shadow one that counts for nothing."""
    now = request.io.now()
    ticket = breaker.standing or breaker.admit(now)
    return Call(request, breaker, ticket, now, slow, judge, over) if ticket or shadow else None


def retry_fields(seconds: float | None) -> dict[str, str]:
    """`Retry-After` in whole seconds, never too early and never zero (RFC 9110 §10.2.3)."""
    return {} if seconds is None else {"retry-after": str(max(ceil(seconds), 1))}
