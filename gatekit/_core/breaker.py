"""A circuit breaker as a state machine: no I/O, no clock of its own, safe for threads.

                    too many failures, or too slow
          ┌───────────┐ ──────────────────────────▶ ┌────────┐ ◀──────────────────────┐
     ───▶ │  closed   │                             │  open  │                        │
          └───────────┘                             └────────┘                        │
                ▲                                        │ its time is over           │
                │                                        ▼                            │
                │                      half_open: ┌────────────┐ probes failed        │
                │                                 │  probing   │ ───────────────────▶─┤
                │                                 └────────────┘                      │
                │                                        │ probes succeeded           │
                │ the ramp is over                       ▼                            │
                │                                 ┌────────────┐ too many failures    │
                └──────────────────────────────── │    ramp    │ ───────────────────▶─┘
                                                  └────────────┘
          forced_open, forced_closed: by hand, until `reset`

A call asks first and reports afterwards, and in between nothing is held:

    ticket = breaker.standing or breaker.admit(now)     # 0: refused
    place = breaker.record(ticket, now, failed=False)   # or .release(ticket, now): neither

**Tickets.** One counter numbers the eras, which begin with each change of state, and the probes.
While the breaker is closed, the number of the era is the ticket of all its calls; each probe has
one of its own. A ticket of an era that is over is worth nothing: a call that was let in before the
breaker opened, and ends after it has closed again, changes nothing.

**Probes are leased.** At most `probes` are out at a time. One that is released gives its place
back; one that is still out after `probe_timeout` seconds has failed.

**The ramp.** After its probes a service has yet to warm up, and everybody is waiting to come back.
As many calls as there were probes may be under way at any time; of those beyond, a share that
grows from none to all.

**Open ever longer.** Each opening lasts longer than the one before, unless the breaker has been
closed in between for at least as long as it was open. Chance lengthens it a little, so that many
processes do not knock at the same moment.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from gatekit._core.latch import Latch
from gatekit._core.probation import Probation
from gatekit._core.thresholds import CircuitStats, Thresholds

State: TypeAlias = Literal["closed", "open", "half_open", "forced_open", "forced_closed"]

ADOPTED = "it opened in another process"


class Change(NamedTuple):
    """One transition. `seconds` is how long it will be open, None where that is not known."""

    key: str | None
    previous: State
    state: State
    reason: str
    stats: CircuitStats
    seconds: float | None = None


class Breaker:
    """One circuit. `changed` is called with every `Change`, while a lock is held: only note it."""

    __slots__ = (
        "_asks", "_changed", "_latch", "_level", "_next", "_probation", "_released", "_streak",
        "_thresholds", "_until", "_waited", "_window", "era", "key", "reason", "rejected", "since",
        "standing", "state", "trips",
    )  # fmt: skip

    def __init__(
        self, thresholds: Thresholds, key: str | None, changed: Callable[[Change], object]
    ) -> None:
        self.key = key
        self.state: State = "closed"
        self.reason = ""
        """Of the last change."""
        self.since = -math.inf
        self.trips = 0
        self.rejected = 0
        self.era = 1
        self.standing = 1
        """The ticket of every call while all are let in, else 0."""
        self._next = 2
        self._thresholds = thresholds
        self._asks = thresholds.trip is not None
        self._changed = changed
        self._latch = Latch()
        self._window = thresholds.window()
        self._streak = 0
        self._probation: Probation | None = None
        self._released: deque[tuple[int, float]] = deque()
        self._level = 0
        self._waited = 0.0
        self._until = 0.0

    def admit(self, now: float) -> int:
        """A ticket, or 0 where the call is refused."""
        lock = self._latch.take()
        try:
            self._advance(now)
            ticket = self.standing
            probation = self._probation
            if probation is not None and probation.lets_in(now):
                ticket = self._number()
                probation.lease(ticket, now)
            if not ticket:
                self.rejected += 1
            return ticket
        finally:
            lock.release()

    def record(self, ticket: int, now: float, failed: bool, slow: bool = False) -> int:
        """How a call went: when its head, or an error in place of it, was there.

        Gives its place in the window, for `amend`, or -1 where it has none.
        """
        lock = self._latch.take()
        try:
            if ticket != self.standing:
                self._advance(now)
            era = self.era
            if ticket != self.standing:
                place = self._take_back(ticket, now, failed, slow)
            else:
                place = self._window.add(now, failed, slow)
                if failed:
                    self._streak += 1
                    self._judge(now)
                else:
                    self._streak = 0
                    # A success may be the call that makes them enough to tell.
                    if self._window.failures or self._window.slow:
                        self._judge(now)
        finally:
            lock.release()
        if self._asks and place >= 0:
            self._ask(era, now)
        return place

    def amend(self, ticket: int, place: int, now: float) -> None:
        """A call that was recorded as a success has failed after all, half-way."""
        lock = self._latch.take()
        try:
            self._advance(now)
            era = self.era
            if place < 0 or ticket < era:
                return
            self._window.expire(now)
            self._window.amend(place)
            self._judge(now)
        finally:
            lock.release()
        if self._asks:
            self._ask(era, now)

    def release(self, ticket: int, now: float) -> None:
        """The call tells nothing; a probe gives its place back.

        It waits for no lock (see `Latch`), and leaves word for who comes after the one that has it.
        """
        if ticket != self.standing:
            self._released.append((ticket, now))
            lock = self._latch.lock
            if lock.acquire(False):
                try:
                    self._advance(now)
                finally:
                    lock.release()

    def look(self, now: float) -> State:
        """The state as it is now, which time alone may have changed."""
        lock = self._latch.take()
        try:
            self._advance(now)
            self._window.expire(now)
            return self.state
        finally:
            lock.release()

    def is_refusing(self, now: float) -> bool:
        """Whether a call would be refused. Takes no ticket, so that a balancer may ask."""
        if self.standing:
            return False
        lock = self._latch.take()
        try:
            self._advance(now)
            probation = self._probation
            if probation is not None:
                return not probation.would_let_in(now)
            return not self.standing
        finally:
            lock.release()

    def wait(self, now: float) -> float | None:
        """Seconds until a call has a chance, at least; None where nobody can tell."""
        if self.state == "open":
            return max(self._until - now, 0.0)
        return None if self.state == "forced_open" else 0.0

    def set(self, state: Literal["closed", "forced_open", "forced_closed"], now: float) -> None:
        """By hand. What is forced stays so until it is set to closed, with nothing remembered."""
        lock = self._latch.take()
        try:
            if state != self.state:
                self._begin(state, now, "by hand")
            if state == "closed":
                self._level = 0
                self._forget()
                # What was under way belongs to before.
                self.era = self.standing = self._number()
        finally:
            lock.release()

    def adopt(self, seconds: float, now: float) -> None:
        """Opens a closed breaker because another process had reason to."""
        lock = self._latch.take()
        try:
            self._advance(now)
            if self.state == "closed":
                self._open(seconds, now, ADOPTED)
        finally:
            lock.release()

    @property
    def stats(self) -> CircuitStats:
        """Of the window, or of the probes while there are any."""
        probation, window = self._probation, self._window
        if probation is not None and probation.ramp_from is None:
            return CircuitStats(probation.done, probation.failed, probation.slow, 0)
        return CircuitStats(window.calls, window.failures, window.slow, self._streak)

    @property
    def out(self) -> int:
        """Probes, and calls of the ramp, that are under way."""
        return 0 if self._probation is None else len(self._probation.out)

    # All below is called with the lock held, but for `_ask`.

    def _advance(self, now: float) -> None:
        """What time alone changes, and calls that told nothing."""
        while self._released:
            ticket, moment = self._released.popleft()
            if self._probation is not None:
                self._probation.give_up(ticket, moment)
        if self.state == "open" and now >= self._until:
            self._begin("half_open", now, "its time is over")
        probation = self._probation
        if probation is None:
            return
        for ticket in probation.overdue(now):
            self._take_back(ticket, now, failed=True, slow=False)
            if self._probation is not probation:
                return
        if probation.is_over(now):
            self._begin("closed", now, "the ramp is over")

    def _take_back(self, ticket: int, now: float, failed: bool, slow: bool) -> int:
        """A probe, or a call of the ramp, comes back; or one of an era that is over."""
        probation = self._probation
        if probation is None or not probation.returned(ticket):
            return -1
        if probation.ramp_from is not None:
            place = self._window.add(now, failed, slow)
            self._streak = self._streak + 1 if failed else 0
            self._judge(now)
            return place
        reason = probation.note(failed, slow)
        if reason is not None:
            self._trip(now, reason)
        elif probation.is_passed and self._thresholds.ramp:
            probation.ramp_from = now
        elif probation.is_passed:
            self._begin("closed", now, f"{probation.done} probes succeeded")
        return -1

    def _judge(self, now: float) -> None:
        if self.state != "forced_closed":
            reason = self._thresholds.reason(self.stats, self._min_calls)
            if reason is not None:
                self._trip(now, reason)

    @property
    def _min_calls(self) -> int:
        """In the ramp as many calls as there were probes are enough to tell."""
        return self._thresholds.min_calls if self.standing else self._thresholds.probes

    def _ask(self, era: int, now: float) -> None:
        """The user's own predicate, between two locks; what changed meanwhile stands."""
        stats = self.stats
        if stats.calls < self._min_calls or self.state == "forced_closed":
            return
        if self._thresholds.predicate_holds(stats):
            lock = self._latch.take()
            try:
                if self.era == era:
                    self._trip(now, "the predicate holds")
            finally:
                lock.release()

    def _trip(self, now: float, reason: str) -> None:
        if self.state == "closed" and now - self.since >= self._waited:
            self._level = 0
        self._level += 1
        self._open(self._thresholds.wait(self._level), now, reason)

    def _open(self, seconds: float, now: float, reason: str) -> None:
        self.trips += 1
        self._waited = seconds
        self._until = now + seconds
        self._begin("open", now, reason, seconds)

    def _begin(self, state: State, now: float, reason: str, seconds: float | None = None) -> None:
        change = Change(self.key, self.state, state, reason, self.stats, seconds)
        # What the ramp has counted goes on to count.
        if not (state == "closed" and self.state == "half_open"):
            self._forget()
        self.state, self.since, self.reason = state, now, reason
        self.era = self._number()
        self.standing = self.era if state in ("closed", "forced_closed") else 0
        self._probation = Probation(self._thresholds) if state == "half_open" else None
        self._changed(change)

    def _forget(self) -> None:
        self._window.clear()
        self._streak = 0

    def _number(self) -> int:
        number = self._next
        self._next = number + 1
        return number
