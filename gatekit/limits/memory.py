"""Counts in the memory of one process: exact, fast, and gone when it ends.

    RateLimit("100/minute", store=MemoryStore(max_keys=100_000))

Every worker process counts for itself; four of them admit four times the limit. The stores that
share are `SQLiteStore`, on one host, and `RedisStore`.

**Memory.** A bucket takes about 150 bytes, and there are at most `max_keys` of them, one for each
key and limit. One that says no more than a fresh one would is dropped, a few at a time while new
keys arrive: there is no thread and no sweep. One that does is never dropped, whatever arrives.
When all are of that kind, a key not among them is refused, or with `when_full="allow"` admitted
uncounted: the first lets an attacker with a million addresses keep newcomers out, the second lets
him in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from typing import Literal

from gatekit._core.latch import Latch
from gatekit._core.options import function_problem, integer_problem, known_keywords
from gatekit.errors import check
from gatekit.limits.meters import Meter, Standing, State
from gatekit.limits.store import Claim
from gatekit.limits.tables import Shard, Table

# Each with a lock of its own; a power of two.
_SHARDS = 16
# Below this the shards would fill unevenly.
_LEAST_SHARDED = 1024
# Buckets looked at for each new one: two, so that a table shrinks faster than it grows.
_SWEPT = 2

_FULL = Standing(0, 1.0, 1.0)


@known_keywords
class MemoryStore:
    """At most `max_keys` buckets. `clock` takes the place of the request's own, for tests."""

    __slots__ = ("_clock", "_latches", "_mask", "_max", "_refuses", "_shards")

    def __init__(
        self,
        *,
        max_keys: int = 1_000_000,
        when_full: Literal["deny", "allow"] = "deny",
        clock: Callable[[], float] | None = None,
    ) -> None:
        check(
            "MemoryStore",
            max_keys=integer_problem(max_keys, 1),
            when_full=None if when_full in {"deny", "allow"} else "must be 'deny' or 'allow'",
            clock=function_problem(clock),
        )
        count = _SHARDS if max_keys >= _LEAST_SHARDED else 1
        self._max = max_keys // count
        self._mask = count - 1
        self._shards = [Shard() for _ in range(count)]
        self._refuses = when_full == "deny"
        self._clock = clock
        self._latches = [Latch() for _ in self._shards]

    def take(
        self, claims: Sequence[Claim], cost: int, now: float, forced: bool = False
    ) -> list[Standing]:
        if len(claims) == 1:
            key, meter = claims[0]
            return [self.take_one(key, meter, cost, now, forced)]
        if self._clock is not None:
            now = self._clock()
        key = claims[0][0]
        if all(other == key for other, _ in claims):
            place = hash(key) & self._mask
            with self._latches[place].lock:
                return self._take_all(claims, [place] * len(claims), cost, now, forced)
        places = [hash(key) & self._mask for key, _ in claims]
        with ExitStack() as held:
            # In one order everywhere, so that two requests never wait for each other.
            for place in sorted(set(places)):
                held.enter_context(self._latches[place].lock)
            return self._take_all(claims, places, cost, now, forced)

    def take_one(
        self, key: str, meter: Meter, cost: int, now: float, forced: bool = False
    ) -> Standing:
        """`take` for a single claim."""
        if self._clock is not None:
            now = self._clock()
        place = hash(key) & self._mask
        with self._latches[place].lock:
            shard = self._shards[place]
            table = shard.tables.get(meter.id)
            if table is None:
                table = shard.tables[meter.id] = Table()
            states = table.states
            before = states.get(key)
            state, standing = meter.take(before, now, cost, forced)
            if standing.retry_after or not cost:
                return standing
            if before is not None:
                states[key] = state
            elif not self._keep(shard, table, (key, meter), state, now, (meter.id,)):
                return _FULL
            return standing

    async def atake(
        self, claims: Sequence[Claim], cost: int, now: float, forced: bool = False
    ) -> list[Standing]:
        return self.take(claims, cost, now, forced)

    def _take_all(
        self, claims: Sequence[Claim], places: list[int], cost: int, now: float, forced: bool
    ) -> list[Standing]:
        """With the locks of these places held."""
        found: list[tuple[Shard, Table, State, Standing]] = []
        standings: list[Standing] = []
        refused = False
        for (key, meter), place in zip(claims, places, strict=True):
            shard = self._shards[place]
            table = shard.tables.get(meter.id)
            if table is None:
                table = shard.tables[meter.id] = Table()
            state, standing = meter.take(table.states.get(key), now, cost, forced)
            found.append((shard, table, state, standing))
            standings.append(standing)
            refused = refused or standing.retry_after > 0
        if refused:
            for number, (key, meter) in enumerate(claims):
                if not standings[number].retry_after:
                    before = found[number][1].states.get(key)
                    standings[number] = meter.take(before, now, 0)[1]
        elif cost and not self._keep_all(claims, found, now):
            return [_FULL] * len(claims)
        return standings

    def _keep_all(
        self,
        claims: Sequence[Claim],
        found: list[tuple[Shard, Table, State, Standing]],
        now: float,
    ) -> bool:
        """Every state or, where there is no place for one of them, none."""
        fresh: list[tuple[Shard, Table, str]] = []
        in_use = {meter.id for _, meter in claims}
        for (key, meter), (shard, table, state, _) in zip(claims, found, strict=True):
            if key in table.states:
                continue
            if not self._keep(shard, table, (key, meter), state, now, in_use):
                for shard, table, key in fresh:  # noqa: PLW2901
                    del table.states[key]
                    shard.size -= 1
                return False
            fresh.append((shard, table, key))
        for (key, _), (_, table, state, _) in zip(claims, found, strict=True):
            if key in table.states:
                table.states[key] = state
        return True

    def _keep(
        self,
        shard: Shard,
        table: Table,
        claim: Claim,
        state: State,
        now: float,
        in_use: Collection[str],
    ) -> bool:
        """Makes a place for a new key; False where there is none and it has to be refused."""
        key, meter = claim
        shard.size -= table.sweep(meter, now, _SWEPT)
        if shard.size >= self._max:
            shard.reclaim(now, in_use)
            if shard.size >= self._max:
                return not self._refuses
        table.states[key] = state
        shard.size += 1
        table.expect(key, meter, meter.expires(state, now))
        return True

    def clear(self, claims: Sequence[Claim]) -> None:
        for key, meter in claims:
            place = hash(key) & self._mask
            shard = self._shards[place]
            with self._latches[place].lock:
                table = shard.tables.get(meter.id)
                # It stays listed among those to be looked at, and is not found then.
                if table is not None and table.states.pop(key, None) is not None:
                    shard.size -= 1

    async def aclear(self, claims: Sequence[Claim]) -> None:
        self.clear(claims)

    def clear_scope(self, scope: str) -> None:
        for shard, latch in zip(self._shards, self._latches, strict=True):
            with latch.lock:
                for name in [name for name in shard.tables if name.startswith(f"{scope}/")]:
                    shard.size -= len(shard.tables.pop(name).states)

    async def aclear_scope(self, scope: str) -> None:
        self.clear_scope(scope)

    def __len__(self) -> int:
        """How many buckets are held."""
        return sum(shard.size for shard in self._shards)

    def __repr__(self) -> str:
        return f"MemoryStore(max_keys={self._max * (self._mask + 1)})"
