"""When a circuit breaker opens and for how long: the numbers, and the questions asked of them.

thresholds = Thresholds(waits=(10.0, 20.0), chance=random.random)
thresholds.reason(CircuitStats(calls=20, failures=12, slow=0, streak=1), min_calls=20)
# "12 of 20 calls failed"
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from gatekit._core.windows import CountWindow, TimeWindow, Window

Shape: TypeAlias = Literal["linear", "exponential"]

logger = logging.getLogger("gatekit")


class CircuitStats(NamedTuple):
    """What a window holds; `streak` counts the failures since the last success."""

    calls: int
    failures: int
    slow: int
    streak: int

    @property
    def failure_rate(self) -> float:
        """From 0 to 1."""
        return self.failures / self.calls if self.calls else 0.0

    @property
    def slow_rate(self) -> float:
        """From 0 to 1."""
        return self.slow / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Shared by the breakers of one policy; who makes one has checked the values.

    `waits` are the seconds that it stays open the first time, the second time in a row, …, before
    `chance`, from 0 to 1, adds up to `jitter` of them. `window_seconds=None` counts calls instead.
    """

    waits: tuple[float, ...]
    chance: Callable[[], float]
    failure_rate: float | None = 0.5
    slow_rate: float | None = None
    min_calls: int = 20
    consecutive: int | None = None
    trip: Callable[[CircuitStats], bool] | None = None
    window_seconds: float | None = 60.0
    window_calls: int = 100
    jitter: float = 0.2
    probes: int = 3
    probe_timeout: float = 30.0
    ramp: float = 10.0
    shape: Shape = "linear"

    def window(self) -> Window:
        seconds = self.window_seconds
        return CountWindow(self.window_calls) if seconds is None else TimeWindow(seconds)

    def reason(self, stats: CircuitStats, min_calls: int) -> str | None:
        """Why to open, if there is a reason."""
        calls, failures, slow, streak = stats
        if self.consecutive is not None and streak >= self.consecutive:
            return f"failures in a row: {streak}"
        if calls < min_calls:
            return None
        if self.failure_rate is not None and failures >= part(self.failure_rate, calls):
            return f"{failures} of {calls} calls failed"
        if self.slow_rate is not None and slow >= part(self.slow_rate, calls):
            return f"{slow} of {calls} calls were slow"
        return None

    def reason_of_probes(self, done: int, failed: int, slow: int) -> str | None:
        """Why to open again, as soon as no outcome of the other probes could change it."""
        if failed >= part(self.failure_rate or 0.0, self.probes):
            return f"{failed} of {done} probes failed"
        if self.slow_rate is not None and slow >= part(self.slow_rate, self.probes):
            return f"{slow} of {done} probes were slow"
        return None

    def predicate_holds(self, stats: CircuitStats) -> bool:
        """The user's own word. It is asked without a lock, and an error in it opens nothing."""
        assert self.trip is not None
        try:
            return bool(self.trip(stats))
        except Exception as error:
            logger.error("the trip predicate of a circuit breaker raised", exc_info=error)
            return False

    def wait(self, level: int) -> float:
        """Seconds to stay open, the trips in a row counted from 1."""
        seconds = self.waits[min(level, len(self.waits)) - 1]
        return seconds * (1.0 + self.jitter * self.chance())

    def share(self, elapsed: float) -> float:
        """The part of the calls let in so many seconds into the ramp, from 0 to 1."""
        part = min(elapsed / self.ramp, 1.0)
        # Ten doublings: it begins with a thousandth.
        return part if self.shape == "linear" else float(2.0 ** (10.0 * (part - 1.0)))


def part(rate: float, of: int) -> int:
    """How many of so many reach the rate; at least one."""
    # Seven tenths of ten are seven, and 0.7 * 10 is a little more.
    return max(math.ceil(rate * of - 1e-9), 1)
