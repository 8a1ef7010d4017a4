"""A circuit breaker around any block of code, in either colour: see `CircuitBreaker.guard`."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from types import TracebackType
from typing import Self

from gatekit._core.breaker import Breaker
from gatekit._core.classify import Verdict
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


def retry_fields(seconds: float | None) -> dict[str, str]:
    """`Retry-After` in whole seconds, never too early and never zero (RFC 9110 §10.2.3)."""
    return {} if seconds is None else {"retry-after": str(max(ceil(seconds), 1))}
