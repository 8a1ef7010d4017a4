"""The last calls, counted in constant memory: those of the last seconds, or the last so many.

    window = TimeWindow(60.0)
    place = window.add(now, failed=False, slow=False)
    window.amend(place)                 # it failed after all
    window.calls, window.failures       # (1, 1)

A `TimeWindow` moves on in tenths: what it counts are the tenth that is running and the nine before
it. Neither is safe for threads; who uses one holds a lock.
"""

from __future__ import annotations

from typing import Protocol

TENTHS = 10

# Of each tenth, three numbers lie side by side in one list.
_WIDTH = 3


class Window(Protocol):
    """Three running totals, and a place for each call by which it can be amended."""

    calls: int
    failures: int
    slow: int

    def add(self, now: float, failed: bool, slow: bool) -> int: ...

    def amend(self, place: int) -> None: ...

    def expire(self, now: float) -> None: ...

    def clear(self) -> None: ...


class TimeWindow:
    """The calls of the last `seconds`, to within a tenth."""

    __slots__ = ("_at", "_ends", "_per_second", "_ring", "_tenth", "calls", "failures", "slow")

    def __init__(self, seconds: float) -> None:
        self._per_second = TENTHS / seconds
        self._tenth = 0
        self._ends = 0.0
        self.clear()

    def add(self, now: float, failed: bool, slow: bool) -> int:
        # Threads take the time before they get here: one may come with an earlier one.
        if now >= self._ends:
            self._turn(now)
        at, ring = self._at, self._ring
        ring[at] += 1
        self.calls += 1
        if failed:
            ring[at + 1] += 1
            self.failures += 1
        if slow:
            ring[at + 2] += 1
            self.slow += 1
        return self._tenth

    def amend(self, place: int) -> None:
        """The call that was added there, and had not failed, has. An old one is forgotten."""
        if place > self._tenth - TENTHS:
            self._ring[place % TENTHS * _WIDTH + 1] += 1
            self.failures += 1

    def expire(self, now: float) -> None:
        """Forgets what is too old; `add` does so by itself."""
        if now >= self._ends:
            self._turn(now)

    def clear(self) -> None:
        self._ring = [0] * (TENTHS * _WIDTH)
        self._at = self._tenth % TENTHS * _WIDTH
        self.calls = self.failures = self.slow = 0

    def _turn(self, now: float) -> None:
        ring, tenth = self._ring, int(now * self._per_second)
        for passed in range(max(self._tenth, tenth - TENTHS) + 1, tenth + 1):
            at = passed % TENTHS * _WIDTH
            self.calls -= ring[at]
            self.failures -= ring[at + 1]
            self.slow -= ring[at + 2]
            ring[at : at + _WIDTH] = (0, 0, 0)
        self._tenth = tenth
        self._ends = (tenth + 1) / self._per_second
        self._at = tenth % TENTHS * _WIDTH


class CountWindow:
    """The last `size` calls, whenever they were."""

    __slots__ = ("_next", "_ring", "calls", "failures", "slow")

    def __init__(self, size: int) -> None:
        self._ring = bytearray(size)
        self._next = 0
        self.clear()

    def add(self, now: float, failed: bool, slow: bool) -> int:
        ring, place = self._ring, self._next
        at = place % len(ring)
        if self.calls == len(ring):
            self.failures -= ring[at] & 1
            self.slow -= ring[at] >> 1
        else:
            self.calls += 1
        ring[at] = failed | slow << 1
        self.failures += failed
        self.slow += slow
        self._next = place + 1
        return place

    def amend(self, place: int) -> None:
        """The call that was added there, and had not failed, has. An old one is forgotten."""
        if self._next - place <= self.calls:
            self._ring[place % len(self._ring)] |= 1
            self.failures += 1

    def expire(self, now: float) -> None:
        """Calls do not grow old here."""

    def clear(self) -> None:
        # The places go on, so that one of before is never taken for one of after.
        self.calls = self.failures = self.slow = 0
