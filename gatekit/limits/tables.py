"""The tables of a `MemoryStore`: buckets, and when to look at each of them again.

A bucket is looked at when it may have become worthless, and if it has not, it is put down for a
later moment. So each look is one of a few, however many buckets there are, and one that is used
again and again costs nothing between two looks.
"""

from __future__ import annotations

from collections.abc import Collection
from heapq import heappop, heappush

from gatekit.limits.meters import Meter, State

# When all places are taken: what one request may spend on finding another, in each table.
_SWEPT_WHEN_FULL = 64
# Moments in a period at which buckets are looked at: late by at most this part of it.
_TICKS = 16


class Shard:
    __slots__ = ("size", "tables")

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.size = 0

    def reclaim(self, now: float, in_use: Collection[str]) -> None:
        """Looks for a place in every table; one that is empty goes, unless it is in use."""
        for name, table in list(self.tables.items()):
            self.size -= table.sweep(None, now, _SWEPT_WHEN_FULL)
            if not table.states and name not in in_use:
                del self.tables[name]


class Table:
    """The buckets of one limit, and when to look at each again.

    `due` maps a tick to the keys to be looked at then; a key stands in exactly one of them, however
    often it is used meanwhile. `ticks` is a heap of those.
    """

    __slots__ = ("due", "meter", "states", "ticks")

    def __init__(self) -> None:
        self.states: dict[str, State] = {}
        self.due: dict[int, list[str]] = {}
        self.ticks: list[int] = []
        self.meter: Meter | None = None

    def expect(self, key: str, meter: Meter, moment: float) -> None:
        self.meter = meter
        tick = int(moment * _TICKS / meter.window) + 1
        keys = self.due.get(tick)
        if keys is None:
            keys = self.due[tick] = []
            heappush(self.ticks, tick)
        keys.append(key)

    def sweep(self, meter: Meter | None, now: float, most: int) -> int:
        """Looks at up to `most` keys whose time has come; how many were dropped."""
        meter = meter or self.meter
        dropped = 0
        while most and self.ticks and meter is not None:
            tick = self.ticks[0]
            if tick * meter.window > now * _TICKS:
                break
            keys = self.due[tick]
            while most and keys:
                most -= 1
                key = keys.pop()
                state = self.states.get(key)
                if state is None:
                    continue
                moment = meter.expires(state, now)
                if moment <= now:
                    del self.states[key]
                    dropped += 1
                else:
                    self.expect(key, meter, moment)
            if not keys:
                heappop(self.ticks)
                del self.due[tick]
        return dropped
