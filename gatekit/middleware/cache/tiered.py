"""Two tiers: a shared store, and in front of it a little memory of this process.

    Cache(store=TieredCache("redis://localhost", seconds=2.0))

What was just read is not asked for again for `seconds`. A purge here is felt here at once; one by
another process is felt when that time is over, so it bounds how long something purged lives on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gatekit._core.latch import Latch
from gatekit._core.options import (
    function_problem,
    integer_problem,
    known_keywords,
    seconds_problem,
)
from gatekit.errors import check
from gatekit.middleware.cache.store import CacheStore, Found, open_store, store_problem


class _Near(NamedTuple):
    found: Found
    until: float


@known_keywords
class TieredCache:
    """`far` is a store or its URL; `max_bytes` bounds the memory. `clock` is a monotonic one."""

    __slots__ = (
        "_bytes", "_changes", "_clock", "_far", "_latch", "_max_bytes", "_near", "_seconds",
        "shared", "timeout",
    )  # fmt: skip

    def __init__(
        self,
        far: str | CacheStore,
        *,
        seconds: float = 1.0,
        max_bytes: int = 32 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check(
            "TieredCache",
            far=store_problem(far),
            seconds=seconds_problem(seconds),
            max_bytes=integer_problem(max_bytes, 1),
            clock=function_problem(clock),
        )
        self._far = open_store(far, 256 * 1024 * 1024)
        self.shared = self._far.shared
        self.timeout = self._far.timeout
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._clock = clock
        self._latch = Latch()
        self._near: dict[bytes, _Near] = {}
        self._bytes = 0
        self._changes = 0

    def get(self, key: bytes) -> Found:
        changes = self._changes
        return self._seen(key) or self._remember(key, self._far.get(key), changes)

    async def aget(self, key: bytes) -> Found:
        changes = self._changes
        return self._seen(key) or self._remember(key, await self._far.aget(key), changes)

    def put(self, key: bytes, record: bytes, ttl: float, tags: Sequence[str], epoch: int) -> bool:
        kept = self._far.put(key, record, ttl, tags, epoch)
        self._forget(key)
        return kept

    async def aput(
        self, key: bytes, record: bytes, ttl: float, tags: Sequence[str], epoch: int
    ) -> bool:
        kept = await self._far.aput(key, record, ttl, tags, epoch)
        self._forget(key)
        return kept

    def delete(self, keys: Sequence[bytes]) -> None:
        self._far.delete(keys)
        self._forget_all()

    async def adelete(self, keys: Sequence[bytes]) -> None:
        await self._far.adelete(keys)
        self._forget_all()

    def purge(self, tags: Sequence[str], soft: bool) -> int:
        count = self._far.purge(tags, soft)
        self._forget_all()
        return count

    async def apurge(self, tags: Sequence[str], soft: bool) -> int:
        count = await self._far.apurge(tags, soft)
        self._forget_all()
        return count

    def clear(self) -> None:
        self._far.clear()
        self._forget_all()

    async def aclear(self) -> None:
        await self._far.aclear()
        self._forget_all()

    def lease(self, key: bytes, owner: bytes, seconds: float) -> bool:
        return self._far.lease(key, owner, seconds)

    async def alease(self, key: bytes, owner: bytes, seconds: float) -> bool:
        return await self._far.alease(key, owner, seconds)

    def release(self, key: bytes, owner: bytes) -> None:
        self._far.release(key, owner)

    async def arelease(self, key: bytes, owner: bytes) -> None:
        await self._far.arelease(key, owner)

    def close(self) -> None:
        self._forget_all()
        self._far.close()

    async def aclose(self) -> None:
        self._forget_all()
        await self._far.aclose()

    def _seen(self, key: bytes) -> Found | None:
        near = self._near.get(key)
        return near.found if near is not None and self._clock() < near.until else None

    def _remember(self, key: bytes, found: Found, changes: int) -> Found:
        record = found.record
        lock = self._latch.take()
        try:
            self._drop(key)
            # What was read before a purge, and has come after it, is not to outlive it here.
            if record is None or len(record) > self._max_bytes or changes != self._changes:
                return found
            self._near[key] = _Near(found, self._clock() + self._seconds)
            self._bytes += len(record)
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._near)))
        finally:
            lock.release()
        return found

    def _forget(self, key: bytes) -> None:
        lock = self._latch.take()
        try:
            self._changes += 1
            self._drop(key)
        finally:
            lock.release()

    def _drop(self, key: bytes) -> None:
        near = self._near.pop(key, None)
        if near is not None:
            self._bytes -= len(near.found.record or b"")

    def _forget_all(self) -> None:
        lock = self._latch.take()
        try:
            self._changes += 1
            self._near.clear()
            self._bytes = 0
        finally:
            lock.release()

    def __repr__(self) -> str:
        return f"TieredCache({self._far!r})"
