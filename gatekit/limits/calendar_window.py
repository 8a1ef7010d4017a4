"""A quota in a window of the calendar: so many a day or a month, wherever the day begins.

    meter = CalendarWindow("monthly", 10_000, Calendar("month", "Europe/Berlin"))

The window is that of the app's own wall clock; the count is the store's. `grace` admits a few more
than clients are told of. With `overage` nothing is refused, and `Standing.over` says how much is
over. With `rollover` what the window before left unused is added, at most one quota.

A key that was never seen has nothing to carry over: an unused month counts from the first request
on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf

from gatekit.limits.calendar import Calendar
from gatekit.limits.meters import Standing, State


class CalendarWindow:
    """The state is the window's beginning, the count, and what was carried over into it."""

    __slots__ = (
        "_clock", "_known", "calendar", "grace", "id", "name", "overage", "quota", "rollover",
        "window",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        quota: int,
        calendar: Calendar,
        *,
        grace: int = 0,
        overage: bool = False,
        rollover: bool = False,
        scope: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.quota = quota
        self.calendar = calendar
        self.grace = grace
        self.overage = overage
        self.rollover = rollover
        self.window = _LENGTHS[calendar.period]
        # Without the quota: who changes to another plan takes along what he has used.
        self.id = f"{scope}/c/{calendar.period}/{calendar.timezone}/{calendar.day}"
        self._clock = clock
        # The window that was asked for last; a race over it costs a second look, nothing else.
        self._known = (inf, -inf, -inf)

    def take(
        self, state: State | None, now: float, cost: int, forced: bool = False
    ) -> tuple[State, Standing]:
        wall = self._clock()
        start, end, previous = self._bounds(wall)
        count = carried = 0.0
        if isinstance(state, tuple):
            if state[0] == start:
                _, count, carried = state
            elif self.rollover and state[0] == previous:
                carried = max(0.0, min(self.quota, self.quota + state[2] - state[1]))
            elif self.rollover and state[0] < previous:
                carried = float(self.quota)
        quota = self.quota + carried
        retry = 0.0
        if forced or self.overage or count + cost <= quota + self.grace:
            count = max(0.0, count + cost)
        else:
            retry = end - wall if cost <= quota + self.grace else inf
        standing = Standing(
            max(0, int(quota - count)),
            end - wall if count else 0.0,
            retry,
            max(0, int(count - quota)),
            int(carried),
        )
        return (start, count, carried), standing

    def expires(self, state: State, now: float) -> float:
        wall = self._clock()
        start, end, previous = self._bounds(wall)
        if not isinstance(state, tuple):
            return now
        if state[0] >= start:
            return now + (end - wall) + (end - start if self.rollover else 0)
        return now + (end - wall) if self.rollover and state[0] >= previous else now

    def script(self) -> tuple[str | int | float, ...]:
        start, end, previous = self._bounds(wall := self._clock())
        keep = end - wall + (end - start if self.rollover else 0)
        return (
            "c",
            self.quota,
            repr(start),
            repr(end - wall),
            repr(previous if self.rollover else -1.0),
            repr(keep),
            -1 if self.overage else self.grace,
        )

    def bounds(self) -> tuple[float, float]:
        """The beginning and the end of the present window, in seconds since 1970."""
        start, end, _ = self._bounds(self._clock())
        return start, end

    def _bounds(self, wall: float) -> tuple[float, float, float]:
        known = self._known
        if not known[0] <= wall < known[1]:
            start, end = self.calendar.bounds(wall)
            known = self._known = (start, end, self.calendar.bounds(start - 1)[0])
        return known

    def __repr__(self) -> str:
        return f"<CalendarWindow {self.id}>"


# For `w` in RateLimit-Policy, where only a number can stand; a month is told as one of 30 days.
_LENGTHS = {"hour": 3600, "day": 86400, "week": 604800, "month": 2592000, "year": 31536000}
