"""The half-open time of a circuit breaker: a few probes, and then a ramp.

probation = Probation(thresholds)
if probation.lets_in(now):
    probation.lease(ticket, now)
    ...
    probation.returned(ticket)
"""

from __future__ import annotations

from collections.abc import Iterator

from gatekit._core.thresholds import Thresholds


class Probation:
    """Who is out as a probe, how the probes went, and since when the ramp runs."""

    __slots__ = ("_credit", "_thresholds", "done", "failed", "out", "ramp_from", "slow")

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self.out: dict[int, float] = {}
        """Tickets, oldest first, and when each lease ends."""
        self.done = self.failed = self.slow = 0
        self.ramp_from: float | None = None
        """None while probing."""
        self._credit = 0.0

    def has_place(self) -> bool:
        """Whether one more is let in without a look at the ramp."""
        taken = len(self.out) + (self.done if self.ramp_from is None else 0)
        return taken < self._thresholds.probes

    def would_let_in(self, now: float) -> bool:
        """What `lets_in` would say, which is not asked by this."""
        if self.has_place():
            return True
        return self.ramp_from is not None and self._credit + self._share(now) >= 1.0

    def lets_in(self, now: float) -> bool:
        """Of those for whom there is no place, the ramp's share is let in, evenly spread."""
        if self.has_place():
            return True
        if self.ramp_from is None:
            return False
        self._credit += self._share(now)
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True

    def lease(self, ticket: int, now: float) -> None:
        self.out[ticket] = now + self._thresholds.probe_timeout

    def returned(self, ticket: int) -> bool:
        """Whether it was out, and is no longer."""
        return self.out.pop(ticket, None) is not None

    def give_up(self, ticket: int, moment: float) -> None:
        """It tells nothing, unless its lease was over by then: that is a failure."""
        if self.out.get(ticket, moment) > moment:
            del self.out[ticket]

    def overdue(self, now: float) -> Iterator[int]:
        """Tickets whose lease is over; who iterates takes each back."""
        while self.out:
            ticket, ends = next(iter(self.out.items()))
            if ends > now:
                return
            yield ticket

    def note(self, failed: bool, slow: bool) -> str | None:
        """How a probe went; gives the reason to open again, if that is one."""
        self.done += 1
        self.failed += failed
        self.slow += slow
        return self._thresholds.reason_of_probes(self.done, self.failed, self.slow)

    @property
    def is_passed(self) -> bool:
        """All probes are back, and there was no reason to open again."""
        return self.done >= self._thresholds.probes

    def is_over(self, now: float) -> bool:
        """Whether the ramp has come to its end."""
        return self.ramp_from is not None and now - self.ramp_from >= self._thresholds.ramp

    def _share(self, now: float) -> float:
        assert self.ramp_from is not None
        return self._thresholds.share(now - self.ramp_from)
