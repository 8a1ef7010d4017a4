"""What a cache has done so far, in this process."""

from __future__ import annotations

from typing import NamedTuple


class CacheStats(NamedTuple):
    """`hits` were fresh, `stale` were used beyond their lifetime, `misses` went to the origin.

    `revalidated` of these were confirmed by a 304, `collapsed` read another request's answer.
    `failures` are calls of the store that came to nothing. `bytes` and `entries` are None where
    the store does not tell.
    """

    hits: int
    stale: int
    misses: int
    revalidated: int
    collapsed: int
    stored: int
    bypassed: int
    failures: int
    bytes: int | None
    entries: int | None

    @property
    def hit_ratio(self) -> float:
        """Of the requests that might have been hits."""
        served = self.hits + self.stale + self.collapsed
        return served / max(1, served + self.misses)


class Counts:
    """Counted without a lock: a few may be lost among threads."""

    __slots__ = ("bypassed", "collapsed", "hits", "misses", "revalidated", "stale", "stored")

    def __init__(self) -> None:
        self.hits = self.stale = self.misses = self.revalidated = 0
        self.collapsed = self.stored = self.bypassed = 0
