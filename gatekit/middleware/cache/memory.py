"""Answers in this process, bounded by bytes; the least recently used ones go first.

    Cache(store=MemoryCache(256 * 1024 * 1024))

An answer that rests is one string of bytes, so that it weighs little more than its body. The few
that are asked for again and again are kept unpacked, ready to be sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gatekit._core.latch import Latch
from gatekit._core.options import function_problem, integer_problem, known_keywords
from gatekit.errors import check
from gatekit.middleware.cache.entry import (
    SOFT,
    Entry,
    Index,
    Pass,
    pack,
    size_of,
    soften,
    unpack,
)
from gatekit.middleware.cache.store import Found

# What a record costs beside its own bytes: its key, its place in the table, its object.
_OVERHEAD = 160
# How many answers are kept unpacked.
_HOT = 1024
# Purges that are remembered one by one, for what is being fetched meanwhile.
_MOST_TOMBS = 4096

Item = Entry | Index | Pass


@known_keywords
class MemoryCache:
    """`clock` is only asked when an answer is stored or swept."""

    shared = False
    timeout = 1.0

    __slots__ = (
        "_clock", "_epoch", "_floor", "_hot", "_items", "_latch", "_tagged", "_tags", "_tombs",
        "bytes", "max_bytes",
    )  # fmt: skip

    def __init__(
        self, max_bytes: int = 64 * 1024 * 1024, *, clock: Callable[[], float] = time.time
    ) -> None:
        check("MemoryCache", max_bytes=integer_problem(max_bytes, 1), clock=function_problem(clock))
        self.max_bytes = max_bytes
        self.bytes = 0
        self._clock = clock
        self._latch = Latch()
        # In the order of use, the oldest first.
        self._items: dict[bytes, bytes | Item] = {}
        self._hot: dict[bytes, None] = {}
        self._tags: dict[str, set[bytes]] = {}
        self._tombs: dict[bytes | str, int] = {}
        self._epoch = 0
        # A purge that is no longer remembered counts for everything.
        self._floor = 0
        # The last purge by a tag that an answer names itself.
        self._tagged = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def epoch(self) -> int:
        """The number of purges so far."""
        return self._epoch

    def take(self, key: bytes) -> Item | None:
        """What is under a key, unpacked. It is the store's own: not to be changed."""
        item = self._items.get(key)
        # One that another thread is just moving is missing for a moment: asked again with the lock.
        return self._wake(key) if item is None or isinstance(item, bytes) else item

    def keep(
        self, key: bytes, item: Item, tags: Sequence[str], epoch: int, under: bytes = b""
    ) -> bool:
        """`put` for what is not packed. `under` is the key of the index that leads to it."""
        return self._put(key, pack(item, checked=False), tags, epoch, under)

    def has_purged(self, epoch: int, key: bytes, tags: Sequence[str], *, knows_tags: bool) -> bool:
        """Whether there was a purge since `epoch` of this key, or one of its tags.

        Without `knows_tags` it may have others, and any purge by tag counts.
        """
        if self._floor > epoch or (self._tagged > epoch and not knows_tags):
            return True
        names: tuple[bytes | str, ...] = (key, *tags)
        return any(self._tombs.get(name, -1) > epoch for name in names)

    def discard(self, keys: Sequence[bytes]) -> None:
        """Makes room. This is no purge: what is being fetched may still be kept."""
        lock = self._latch.take()
        try:
            for key in keys:
                self._drop(key)
        finally:
            lock.release()

    def get(self, key: bytes) -> Found:
        item = self.take(key)
        return Found(None if item is None else pack(item), self._epoch)

    async def aget(self, key: bytes) -> Found:
        return self.get(key)

    def put(self, key: bytes, record: bytes, ttl: float, tags: Sequence[str], epoch: int) -> bool:
        item = unpack(record)
        return item is not None and self.keep(key, item, tags, epoch)

    async def aput(
        self, key: bytes, record: bytes, ttl: float, tags: Sequence[str], epoch: int
    ) -> bool:
        return self.put(key, record, ttl, tags, epoch)

    def delete(self, keys: Sequence[bytes]) -> None:
        lock = self._latch.take()
        try:
            self._bury(keys)
            for key in keys:
                self._drop(key)
        finally:
            lock.release()

    async def adelete(self, keys: Sequence[bytes]) -> None:
        self.delete(keys)

    def purge(self, tags: Sequence[str], soft: bool) -> int:
        lock = self._latch.take()
        try:
            self._bury(tags)
            if not all(tag.startswith("url:") for tag in tags):
                self._tagged = self._epoch
            keys = set[bytes]().union(*(self._tags.get(tag, ()) for tag in tags))
            for key in keys:
                if soft:
                    self._soften(key)
                else:
                    self._drop(key)
            return len(keys)
        finally:
            lock.release()

    async def apurge(self, tags: Sequence[str], soft: bool) -> int:
        return self.purge(tags, soft)

    def clear(self) -> None:
        lock = self._latch.take()
        try:
            self._epoch += 1
            self._floor = self._epoch
            self._items.clear()
            self._hot.clear()
            self._tags.clear()
            self._tombs.clear()
            self.bytes = 0
        finally:
            lock.release()

    async def aclear(self) -> None:
        self.clear()

    def lease(self, key: bytes, owner: bytes, seconds: float) -> bool:
        return True

    async def alease(self, key: bytes, owner: bytes, seconds: float) -> bool:
        return True

    def release(self, key: bytes, owner: bytes) -> None:
        pass

    async def arelease(self, key: bytes, owner: bytes) -> None:
        pass

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def _wake(self, key: bytes) -> Item | None:
        """Unpacks what is used, and lets the least recently woken rest again."""
        lock = self._latch.take()
        try:
            item = self._items.pop(key, None)
            if item is None:
                return None
            woken = unpack(item, checked=False) if isinstance(item, bytes) else item
            if woken is None:
                return None
            self._items[key] = woken
            self._hot[key] = None
            if len(self._hot) > _HOT:
                oldest = next(iter(self._hot))
                del self._hot[oldest]
                rests = self._items.pop(oldest, None)
                if rests is not None:
                    # Used since it was woken: it moves to the end, where the used ones are.
                    self._items[oldest] = (
                        rests if isinstance(rests, bytes) else pack(rests, checked=False)
                    )
            return woken
        finally:
            lock.release()

    def _put(
        self, key: bytes, record: bytes, tags: Sequence[str], epoch: int, under: bytes
    ) -> bool:
        size = len(record) + _OVERHEAD
        lock = self._latch.take()
        try:
            if epoch < self._floor:
                return False
            if self._epoch > epoch:
                # There has been a purge since; most often it was of something else.
                names: tuple[bytes | str, ...] = (key, under, *tags)
                for name in names:
                    if self._tombs.get(name, -1) > epoch:
                        return False
            self._drop(key)
            if size > self.max_bytes:
                return False
            self._items[key] = record
            self.bytes += size
            for tag in tags:
                self._tags.setdefault(tag, set()).add(key)
            while self.bytes > self.max_bytes:
                self._drop(self._victim())
            return True
        finally:
            lock.release()

    def _victim(self) -> bytes:
        """The one that rests longest; one that is hot gets a second chance."""
        for _ in range(min(len(self._items), 64)):
            key = next(iter(self._items))
            if key not in self._hot:
                return key
            del self._hot[key]
            item = self._items.pop(key)
            self._items[key] = item if isinstance(item, bytes) else pack(item, checked=False)
        return next(iter(self._items))

    def _drop(self, key: bytes) -> None:
        item = self._items.pop(key, None)
        if item is None:
            return
        self._hot.pop(key, None)
        if isinstance(item, bytes):
            self.bytes -= len(item) + _OVERHEAD
            unpacked = unpack(item, checked=False) if self._tags else None
        else:
            self.bytes -= _size(item) + _OVERHEAD
            unpacked = item
        for tag in unpacked.tags if isinstance(unpacked, Entry) else ():
            keys = self._tags.get(tag)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._tags[tag]

    def _soften(self, key: bytes) -> None:
        item = self._items.get(key)
        if isinstance(item, bytes):
            self._items[key] = soften(item)
        elif isinstance(item, Entry):
            item.flags |= SOFT

    def _bury(self, names: Sequence[bytes] | Sequence[str]) -> None:
        self._epoch += 1
        for name in names:
            self._tombs.pop(name, None)
            self._tombs[name] = self._epoch
        while len(self._tombs) > _MOST_TOMBS:
            self._floor = max(self._floor, self._tombs.pop(next(iter(self._tombs))))

    def __repr__(self) -> str:
        return f"MemoryCache({self.max_bytes})"


def _size(item: Item) -> int:
    return size_of(item) if isinstance(item, Entry) else len(pack(item, checked=False))
