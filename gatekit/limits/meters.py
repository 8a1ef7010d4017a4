"""How much of a limit is used, as arithmetic: a state and a moment in, a state and a standing out.

    meter = TokenBucket("100-per-minute", 100, 60)
    state, standing = meter.take(None, now=0.0, cost=1)
    standing.remaining                                   # 99

A meter is a frozen value and keeps nothing; a store keeps the state, at most three numbers, and
None is that of a key never seen. No meter looks at a clock but `CalendarWindow`, so that each can
be proved against its definition. The script that Redis runs says the same in Lua.

**All or nothing.** `take` gives the state as it would be. A store keeps it only if every meter of
the call admits; `forced` admits whatever it costs, which is how a debt is booked, and a negative
cost is a refund.
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor, inf
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

State: TypeAlias = "float | tuple[float, ...]"

# A millionth of one unit: what adding up floating-point intervals may be off by.
_SLACK = 1e-6


class Standing(NamedTuple):
    """Where one limit stands after a request.

    `remaining` is what is left, in whole units. `reset` is how many seconds it is until there is
    more than that, 0 if nothing is used. `retry_after` is how many seconds it is until the same
    request would be admitted: 0 if it was, infinite if it costs more than there ever is.
    """

    remaining: int
    reset: float
    retry_after: float
    over: int = 0
    """What was admitted beyond the limit, where the limit allows that."""
    carried: int = 0
    """What was added to the limit from the window before."""


# What `Standing(...)` does, at half the time: this is asked on every request.
_new = cast("Callable[[type[Standing], tuple[float, ...]], Standing]", cast("Any", tuple).__new__)


class Meter(Protocol):
    """One limit of one policy. `id` names it in a store, `name` to clients."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def quota(self) -> int: ...

    @property
    def window(self) -> int:
        """Seconds, as clients are told."""
        ...

    def take(
        self, state: State | None, now: float, cost: int, forced: bool = False
    ) -> tuple[State, Standing]: ...

    def expires(self, state: State, now: float) -> float:
        """The moment from which the state says no more than None does."""
        ...

    def script(self) -> tuple[str | int | float, ...]:
        """What the script in Redis is told: a letter, and six numbers."""
        ...


class _Base:
    """What the meters have in common."""

    __slots__ = ("id", "name", "quota", "seconds", "window")
    letter = ""

    def __init__(self, name: str, quota: int, seconds: float, *, scope: str = "") -> None:
        self.name = name
        self.quota = quota
        self.seconds = float(seconds)
        self.window = max(1, round(seconds))
        # Two limits of the same numbers in one scope are one limit: whoever shares a store agrees.
        self.id = f"{scope}/{self.letter}/{quota}/{self.seconds:g}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


class TokenBucket(_Base):
    """GCRA: `burst` at once, and one more every `seconds / quota` (ITU-T I.371, leaky bucket).

    The state is the theoretical arrival time: the moment at which the bucket is full again. A debt
    is at most one bucket more.
    """

    __slots__ = ("bound", "burst", "interval", "lost", "most", "tolerance")
    letter = "g"

    def __init__(
        self, name: str, quota: int, seconds: float, *, burst: int | None = None, scope: str = ""
    ) -> None:
        super().__init__(name, quota, seconds, scope=scope)
        self.burst = quota if burst is None else burst
        self.interval = self.seconds / quota
        self.tolerance = self.interval * self.burst
        self.bound = self.tolerance + self.interval * _SLACK
        self.most = 2 * self.tolerance
        # No debt is as high, even where another thread took the time a moment before this one.
        self.lost = 3 * self.tolerance
        if self.burst != quota:
            self.id += f"/{self.burst}"

    def take(
        self, state: State | None, now: float, cost: int, forced: bool = False
    ) -> tuple[State, Standing]:
        interval, full = self.interval, now
        if isinstance(state, float):
            full = state
            # What lies so far ahead was written before the clock was set back.
            if full < now or full - now > self.lost:
                full = now
        retry = 0.0
        later = full + cost * interval
        if later - now <= self.bound:
            full = later
        elif forced:
            full = min(later, now + self.most)
        else:
            retry = later - now - self.tolerance if cost <= self.burst else inf
        used = full - now
        if used <= 0:
            return float(now), Standing(self.burst, 0.0, retry)
        room = self.tolerance - used
        remaining = int(room / interval + _SLACK) if room > 0 else 0
        standing = _new(Standing, (remaining, (remaining + 1) * interval - room, retry, 0, 0))
        return full, standing

    def expires(self, state: State, now: float) -> float:
        return state if isinstance(state, float) else now

    def script(self) -> tuple[str | int | float, ...]:
        return (self.letter, self.burst, repr(self.interval), repr(self.tolerance), 0, 0, 0)


class FixedWindow(_Base):
    """`quota` in a window of `seconds`, which begins with the first request in it.

    Twice the quota can come in a short time, around the end of a window. The state is the window's
    beginning and the count.
    """

    __slots__ = ()
    letter = "f"

    def take(
        self, state: State | None, now: float, cost: int, forced: bool = False
    ) -> tuple[State, Standing]:
        start, count = now, 0.0
        # A beginning that lies ahead was written before the clock was set back.
        if isinstance(state, tuple) and state[1] and state[0] <= now < state[0] + self.seconds:
            start, count = state
        left = start + self.seconds - now
        retry = 0.0
        if forced or count + cost <= self.quota:
            count = max(0.0, count + cost)
        else:
            retry = left if cost <= self.quota else inf
        remaining = max(0, int(self.quota - count))
        return (start, count), Standing(remaining, left if count else 0.0, retry)

    def expires(self, state: State, now: float) -> float:
        return state[0] + self.seconds if isinstance(state, tuple) else now

    def script(self) -> tuple[str | int | float, ...]:
        return (self.letter, self.quota, repr(self.seconds), 0, 0, 0, 0)


class SlidingWindow(_Base):
    """`quota` in any `seconds`, estimated: the last window counts by the share still in view.

    Windows are counted from the clock's zero. The state is the number of the window, its count and
    that of the window before it.
    """

    __slots__ = ()
    letter = "s"

    def take(
        self, state: State | None, now: float, cost: int, forced: bool = False
    ) -> tuple[State, Standing]:
        seconds, quota = self.seconds, self.quota
        index = floor(now / seconds)
        before = count = 0.0
        if isinstance(state, tuple):
            if state[0] == index:
                _, count, before = state
            elif state[0] == index - 1:
                before = state[1]
        # The share of the window before that still is in view, in seconds.
        view = (1 - now / seconds % 1) * seconds
        used = floor(before * view / seconds + count)
        retry = 0.0
        if forced or used + cost <= quota:
            count = max(0.0, count + cost)
            used = floor(before * view / seconds + count)
        else:
            retry = self._wait(before, count, view, quota - cost) if cost <= quota else inf
        remaining = max(0, quota - used)
        reset = (
            0.0 if remaining == quota else self._wait(before, count, view, quota - remaining - 1)
        )
        return (float(index), count, before), Standing(remaining, reset, retry)

    def _wait(self, before: float, count: float, view: float, most: int) -> float:
        """Seconds until no more than `most` are in view, rounded down."""
        seconds = self.seconds
        room = most + 1 - count
        if room > 0:
            # before × view / seconds < room
            return max(0.0, view - room * seconds / before) + seconds * 1e-9 if before else 0.0
        left = max(0.0, seconds - (most + 1) * seconds / count)
        return view + left + seconds * 1e-9

    def expires(self, state: State, now: float) -> float:
        if not isinstance(state, tuple):
            return now
        return (state[0] + (2 if state[1] else 1)) * self.seconds

    def script(self) -> tuple[str | int | float, ...]:
        return (self.letter, self.quota, repr(self.seconds), 0, 0, 0, 0)
