"""Entries in a store: found by key and variant, kept under either, unpacked or as records.

    looked = await shelf.find(request.io, key, raw)
    await shelf.keep(request.io, key, raw, entry, looked)

What the answers of a URL differ by is in an index under its key, the answers themselves under a
digest of the values. An index holds so many variants and no more: the oldest makes room, so that
a client that invents values fills nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from gatekit._core.io import IO
from gatekit.middleware.cache.coalesce import Fill
from gatekit.middleware.cache.entry import Entry, Index, Pass, pack, unpack
from gatekit.middleware.cache.guard import CacheGuard
from gatekit.middleware.cache.memory import MemoryCache
from gatekit.middleware.cache.store import CacheStore
from gatekit.middleware.cache.vary import Normaliser, best_language, variant, vary_names
from gatekit.typing import RawHeaders

_LANGUAGE = b"accept-language"


class Looked(NamedTuple):
    """What was found, and the number of purges until then. `marked`: nothing is to be stored."""

    entry: Entry | None
    epoch: int
    variants: Index | None = None
    marked: Pass | None = None


class Shelf:
    """A store as the cache uses it; what goes wrong there is as if nothing was there."""

    __slots__ = ("guard", "max_variants", "memory", "normalisers", "store")

    def __init__(
        self,
        store: CacheStore,
        max_variants: int,
        normalisers: Mapping[bytes, Normaliser],
        timeout: float | None = None,
    ) -> None:
        self.store = store
        self.memory = store if isinstance(store, MemoryCache) else None
        self.guard = CacheGuard(store, store.timeout if timeout is None else timeout)
        self.max_variants = max_variants
        self.normalisers = normalisers

    async def find(self, io: IO, key: bytes, raw: RawHeaders) -> Looked:
        if self.memory is not None:
            return self.look(self.memory, key, raw)
        found = await self.guard.ask(io, self.store.get, self.store.aget, key)
        if found is None:
            return Looked(None, -1)
        item = None if found.record is None else unpack(found.record)
        if not isinstance(item, Index):
            return _looked(item, found.epoch, None)
        for digest in self._candidates(item, key, raw):
            more = await self.guard.ask(io, self.store.get, self.store.aget, digest)
            if more is not None and more.record is not None:
                return _looked(unpack(more.record), found.epoch, item)
        return Looked(None, found.epoch, item)

    def look(self, memory: MemoryCache, key: bytes, raw: RawHeaders) -> Looked:
        """`find` in memory, where nothing has to be waited for."""
        epoch = memory.epoch
        item = memory.take(key)
        if not isinstance(item, Index):
            return _looked(item, epoch, None)
        for digest in self._candidates(item, key, raw):
            if (found := memory.take(digest)) is not None:
                return _looked(found, epoch, item)
        return Looked(None, epoch, item)

    async def keep(self, io: IO, key: bytes, raw: RawHeaders, entry: Entry, looked: Looked) -> bool:
        """`raw` are the fields of the request that was answered."""
        if self.memory is not None:
            return self.put(self.memory, key, raw, entry, looked)
        place, index, evicted = self._place(key, raw, entry, looked.variants)
        if not await self._put(io, place, entry, entry.keep, entry.tags, looked.epoch):
            return False
        if index is not None and not await self._put(
            io, key, index, max(entry.keep, 3600.0), (), looked.epoch
        ):
            return False
        if evicted:
            await self.guard.ask(io, self.store.delete, self.store.adelete, evicted)
        return True

    def put(
        self, memory: MemoryCache, key: bytes, raw: RawHeaders, entry: Entry, looked: Looked
    ) -> bool:
        """`keep` in memory."""
        names = names_of(entry)
        if not names:
            return memory.keep(key, entry, entry.tags, looked.epoch)
        known = memory.take(key)
        index = known if isinstance(known, Index) else None
        place, index, evicted = self._place(key, raw, entry, index)
        if not memory.keep(place, entry, entry.tags, looked.epoch, key):
            return False
        if index is None:
            return True
        if evicted:
            memory.discard(evicted)
        return memory.keep(key, index, (), looked.epoch)

    def has_purged(self, fill: Fill, key: bytes, tags: tuple[str, ...]) -> bool:
        """Whether what a fill fetches may have been purged since it began.

        Where that cannot be told, it may: one more request asks the origin, or waits for a lease.
        """
        if self.memory is None:
            return True
        entry = fill.entry
        return self.memory.has_purged(
            fill.epoch, key, tags if entry is None else entry.tags, knows_tags=entry is not None
        )

    async def mark(self, io: IO, key: bytes, until: float, seconds: float, looked: Looked) -> None:
        """Tells other processes that this URL's answers are not to be stored."""
        if looked.entry is None and looked.variants is None:
            await self._put(io, key, Pass(until), seconds, (), looked.epoch)

    async def _put(
        self,
        io: IO,
        key: bytes,
        item: Entry | Index | Pass,
        ttl: float,
        tags: tuple[str, ...],
        epoch: int,
    ) -> bool:
        if epoch < 0:
            return False
        store = self.store
        kept = await self.guard.ask(io, store.put, store.aput, key, pack(item), ttl, tags, epoch)
        return bool(kept)

    def _candidates(self, index: Index, key: bytes, raw: RawHeaders) -> list[bytes]:
        wanted = variant(index.names, raw, self.normalisers, index.generation + key)
        known = [digest for digest, _ in index.variants]
        candidates = [wanted] if wanted in known else []
        if not candidates and index.names == (_LANGUAGE,):
            # The one language that is wanted most is there already: no origin would choose another.
            value = b",".join([value for name, value in raw if name == _LANGUAGE])
            best = best_language(value)
            candidates = [
                digest for digest, language in index.variants if best and language == best
            ]
        return candidates

    def _place(
        self, key: bytes, raw: RawHeaders, entry: Entry, index: Index | None
    ) -> tuple[bytes, Index | None, list[bytes]]:
        """Where an entry goes, the index it is then in, and what has to make room."""
        names = names_of(entry)
        if not names:
            return key, None, []
        evicted: list[bytes] = []
        if index is None or not set(names) <= set(index.names):
            if index is not None:
                evicted = [digest for digest, _ in index.variants]
                names = tuple(sorted({*names, *index.names}))
            index = Index(names, os.urandom(8), ())
        digest = variant(index.names, raw, self.normalisers, index.generation + key)
        language = (entry.get(b"content-language") or b"").strip().lower()
        if not language.replace(b"-", b"").isalnum():
            language = b""
        others = [each for each in index.variants if each[0] != digest]
        most = self.max_variants - 1
        if len(others) > most:
            evicted += [each[0] for each in others[: len(others) - most]]
            others = others[len(others) - most :]
        return digest, index._replace(variants=(*others, (digest, language))), evicted


def names_of(entry: Entry) -> tuple[bytes, ...]:
    """The fields that an answer was chosen by."""
    return vary_names(entry.fields) if entry.names is None else entry.names


def _looked(item: object, epoch: int, index: Index | None) -> Looked:
    if isinstance(item, Entry):
        return Looked(item, epoch, index)
    return Looked(None, epoch, index, item if isinstance(item, Pass) else None)
