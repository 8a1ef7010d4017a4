"""What attempts of the last minute took, as a histogram of fixed size: no list of samples.

    latencies = Latencies()
    latencies.add(0.012, now)
    latencies.quantile(0.95, now)        # seconds, at most 10 % too long

A bucket is a tenth wider than the one before, from half a millisecond on. Two halves of the window
take turns, so that what is remembered is between half of it and all of it. Threads may lose a
sample to each other; nobody can tell a percentile that closely.
"""

from __future__ import annotations

from math import ceil, log
from typing import Final

_LEAST: Final = 0.0005
_GROWTH: Final = 1.1
_LOG_GROWTH: Final = log(_GROWTH)
_BUCKETS: Final = 140
"""Up to 310 s; what took longer counts as that."""

# A quantile is worked out anew when this part of the samples has changed.
_FRESH: Final = 16


class Latencies:
    """`window` is in seconds."""

    __slots__ = ("_asked", "_began", "_found", "_half", "_new", "_old", "_seen", "_size", "_stale")

    def __init__(self, window: float = 60.0) -> None:
        self._half = window / 2
        self._old = [0] * _BUCKETS
        self._new = [0] * _BUCKETS
        self._size = [0, 0]
        self._began = 0.0
        self._seen = 0
        self._stale = 0
        self._asked = -1.0
        self._found = 0.0

    def add(self, seconds: float, now: float) -> None:
        self._turn(now)
        self._new[_bucket(seconds)] += 1
        self._size[1] += 1
        self._seen += 1

    def count(self, now: float) -> int:
        """How many samples the quantile would rest on."""
        self._turn(now)
        return sum(self._size)

    def quantile(self, share: float, now: float) -> float:
        """What a part of `share` took at most; 0 where nothing is known."""
        self._turn(now)
        if share != self._asked or self._seen >= self._stale:
            self._asked, self._found = share, self._compute(share)
            self._stale = self._seen + max(sum(self._size) // _FRESH, 1)
        return self._found

    def _compute(self, share: float) -> float:
        wanted = ceil(share * sum(self._size))
        if not wanted:
            return 0.0
        for bucket, (old, new) in enumerate(zip(self._old, self._new, strict=True)):
            wanted -= old + new
            if wanted <= 0:
                return _LEAST * _GROWTH**bucket
        return _LEAST * _GROWTH**_BUCKETS

    def _turn(self, now: float) -> None:
        if now - self._began < self._half:
            return
        is_recent = now - self._began < 2 * self._half
        self._old = self._new if is_recent else [0] * _BUCKETS
        self._size = [self._size[1] if is_recent else 0, 0]
        self._new = [0] * _BUCKETS
        self._began = now
        self._stale = self._seen


def _bucket(seconds: float) -> int:
    """The first whose upper bound is not below it."""
    if seconds <= _LEAST:
        return 0
    return min(ceil(log(seconds / _LEAST) / _LOG_GROWTH), _BUCKETS - 1)
