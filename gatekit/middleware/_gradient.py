"""A limit that finds itself: it follows how the latency of now compares with that of long ago.

    ConcurrencyLimit(AdaptiveLimit())
    ConcurrencyLimit(AdaptiveLimit(8, least=4, most=64))

This is the Gradient2 algorithm of Netflix's concurrency-limits. The mean latency of each window is
set against a long moving average. As long as it is within `tolerance` times that, the limit grows
by `headroom`; beyond it, the limit shrinks in proportion, by half at most. Every step is taken only
by a part of `smoothing`. With less than half of the limit in use there is nothing to be learnt, and
it stays. When the average is more than twice the latency of now, it is left over from worse times,
and comes down faster.

Latency is the time to the head. A failure says nothing, for it is often quicker than an answer; a
timeout does.
"""

from __future__ import annotations

from math import inf

from gatekit._core.options import integer_problem, known_keywords, seconds_problem
from gatekit.errors import check

# Windows whose plain mean is where the long average starts.
_WARM_UP = 10


@known_keywords
class AdaptiveLimit:
    """Starts at `initial` and stays from `least` to `most`.

    `tolerance` is how many times the usual latency is still usual. `headroom` is the queue that may
    form behind, in requests. `window` is the seconds of a sample, which needs `min_samples` calls;
    `long_window` is how many samples the average remembers.
    """

    __slots__ = (
        "headroom", "initial", "least", "long_window", "min_samples", "most", "smoothing",
        "tolerance", "window",
    )  # fmt: skip

    def __init__(
        self,
        initial: int = 20,
        *,
        least: int = 20,
        most: int = 200,
        tolerance: float = 1.5,
        headroom: int = 4,
        smoothing: float = 0.2,
        window: float = 1.0,
        min_samples: int = 10,
        long_window: int = 600,
    ) -> None:
        problems = {
            "initial": integer_problem(initial, 1),
            "least": integer_problem(least, 1),
            "most": integer_problem(most, 1),
        }
        if not any(problems.values()):
            if least > most:
                problems["least"] = f"must be at most `most`, which is {most}, not {least}"
            elif not least <= initial <= most:
                problems["initial"] = f"must be from {least} to {most}, not {initial}"
        check(
            "AdaptiveLimit",
            **problems,
            tolerance=_number_problem(tolerance, 1.0, inf),
            headroom=integer_problem(headroom, 1),
            smoothing=_number_problem(smoothing, 0.0, 1.0),
            window=seconds_problem(window),
            min_samples=integer_problem(min_samples, 1),
            long_window=integer_problem(long_window, 1),
        )
        self.initial = initial
        self.least = least
        self.most = most
        self.tolerance = tolerance
        self.headroom = headroom
        self.smoothing = smoothing
        self.window = window
        self.min_samples = min_samples
        self.long_window = long_window

    def __repr__(self) -> str:
        return f"AdaptiveLimit({self.initial}, least={self.least}, most={self.most})"


class Gradient:
    """What one bulkhead has learnt."""

    __slots__ = ("_count", "_ends", "_exact", "_long", "_options", "_peak", "_sum", "_windows")

    def __init__(self, options: AdaptiveLimit) -> None:
        self._options = options
        self._exact = float(options.initial)
        self._long = 0.0
        self._windows = 0
        self._ends: float | None = None
        self._count = 0
        self._sum = 0.0
        self._peak = 0

    @property
    def limit(self) -> int:
        return int(self._exact)

    def add(self, seconds: float, in_flight: int, now: float) -> bool:
        """A call of now; True if the limit is another."""
        options = self._options
        if self._ends is None:
            self._ends = now + options.window
        self._count += 1
        self._sum += seconds
        self._peak = max(self._peak, in_flight)
        if now < self._ends or self._count < options.min_samples:
            return False
        before = self.limit
        self._learn(self._sum / self._count, self._peak)
        self._ends, self._count, self._sum, self._peak = now + options.window, 0, 0.0, 0
        return self.limit != before

    def _learn(self, latency: float, in_flight: int) -> None:
        # A clock that stood still has measured nothing.
        if latency <= 0:
            return
        options = self._options
        self._windows += 1
        if self._windows <= _WARM_UP:
            self._long += (latency - self._long) / self._windows
        else:
            self._long += (latency - self._long) * 2 / (options.long_window + 1)
        usual = self._long
        if usual > 2 * latency:
            self._long *= 0.95
        if in_flight < self._exact / 2:
            return
        self._exact = step(self._exact, latency, usual, options)


def step(limit: float, latency: float, usual: float, options: AdaptiveLimit) -> float:
    """The next limit: towards `limit × gradient + headroom`, smoothed and kept in bounds."""
    gradient = max(0.5, min(1.0, options.tolerance * usual / latency))
    wanted = limit * gradient + options.headroom
    smoothed = limit * (1 - options.smoothing) + wanted * options.smoothing
    return max(float(options.least), min(float(options.most), smoothed))


def _number_problem(value: object, least: float, most: float) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"must be a number, not {value!r}"
    if not least <= value <= most or value == inf or (least == 0 and value == 0):
        bounds = f"of at least {least:g}" if most == inf else f"above {least:g} and up to {most:g}"
        return f"must be a number {bounds}, not {value!r}"
    return None
