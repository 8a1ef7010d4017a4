"""Finds the record of a presented key: from memory if it can, from the store once in a while.

    identity = await lookup.find(request.io, b"gk_6fZ0mQ2yJtWkA3bX_4gH…")

            no key's shape ─────────────▶ BadKey
    known and fresh ─▶ compare hashes ──▶ found, or BadKey
            checksum or tag wrong ──────▶ BadKey            no store was asked so far
    the store, one call for all that ask for this key ──▶ kept for `ttl`, or `negative_ttl`

What is kept is kept by id, so a wrong secret for a known id asks nobody either. Records of keys
that exist and the ids of those that do not have each their own bounded place: who asks for keys
that are gone pushes out nobody who is there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from math import inf
from typing import Literal, TypeAlias

from gatekit._core.background import Background
from gatekit._core.flight import Flights
from gatekit._core.io import IO
from gatekit._core.latch import Latch
from gatekit.keys.format import KeyFormat
from gatekit.keys.record import KeyRecord
from gatekit.keys.store import KeyStore, KeysUnavailable
from gatekit.middleware.auth.identity import Identity

Flaw: TypeAlias = Literal["malformed", "forged", "unknown", "wrong secret", "expired", "revoked"]

logger = logging.getLogger("gatekit.keys")

# Seconds between two writes of when a key was last used.
_USE_EVERY = 60.0
# A flush that was begun so long ago has died with its loop.
_FLUSH_LASTS = 30.0
# Ids that are remembered to be nobody's, and uses that wait to be written.
_ABSENT, _WAITING = 4096, 10_000
# After so many failures in a row the store is left alone for so many seconds.
_TRIPS_AFTER, _ALONE = 3, 1.0


class BadKey(Exception):
    """Says what was wrong, for the log; the client is told nothing of it."""

    def __init__(self, flaw: Flaw, key_id: str | None = None) -> None:
        super().__init__(flaw)
        self.flaw: Flaw = flaw
        self.key_id = key_id


class Found:
    """A record as it is kept: `ends` is when it is over, on the wall clock."""

    __slots__ = ("digest", "ends", "fresh_until", "identity", "record", "used")

    def __init__(self, record: KeyRecord, fresh_until: float, used: float) -> None:
        self.record = record
        self.identity = identity_of(record)
        self.digest = bytes.fromhex(record.digest)
        self.ends = min(_moment(record.expires_at), _moment(record.revoked_at))
        self.fresh_until = fresh_until
        self.used = used


class KeyLookup:
    """What one authenticator knows of the keys in a store. Durations are seconds."""

    __slots__ = (
        "__weakref__", "_absent", "_background", "_changes", "_clock", "_down_until", "_failures",
        "_flights", "_flushed", "_format", "_known", "_latch", "_most", "_negative_ttl",
        "_stale_for", "_store", "_timeout", "_tracks", "_ttl", "_uses",
    )  # fmt: skip

    def __init__(
        self,
        store: KeyStore,
        key_format: KeyFormat,
        *,
        ttl: float,
        negative_ttl: float,
        stale_for: float,
        timeout: float,
        max_entries: int,
        track_use: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._format = key_format
        self._ttl = ttl
        self._negative_ttl = negative_ttl
        self._stale_for = stale_for
        self._timeout = timeout
        self._most = max_entries
        self._tracks = track_use
        self._clock = clock
        self._known: dict[str, Found] = {}
        self._absent: dict[str, float] = {}
        self._latch = Latch()
        # By id and count of changes: who asks after a change shares no answer from before it.
        self._flights: Flights[KeyRecord | None] = Flights()
        self._changes = 0
        self._background = Background("keys")
        self._uses: dict[str, float] = {}
        self._flushed = -inf
        self._failures = 0
        self._down_until = -inf

    async def find(self, io: IO, text: bytes) -> Identity:
        """`BadKey`, or `KeysUnavailable` where the store would have to be asked and is away."""
        key_id = self._format.id_of(text)
        if key_id is None:
            raise BadKey("malformed")
        now = io.now()
        found = self._known.get(key_id)
        if found is None or now >= found.fresh_until:
            if not self._format.is_genuine(text):
                raise BadKey("forged")
            found = await self._load(io, key_id, found)
        if not self._format.matches(text, found.digest):
            raise BadKey("wrong secret", key_id)
        wall = self._clock()
        if wall >= found.ends:
            raise BadKey("revoked" if found.record.state(wall) == "revoked" else "expired", key_id)
        if self._tracks and now - found.used >= _USE_EVERY:
            self._note_use(io, found, now, wall)
        return found.identity

    def is_ours(self, text: bytes) -> bool:
        """Whether it could be one of these keys at all, and not something of another kind."""
        return self._format.id_of(text) is not None

    async def _load(self, io: IO, key_id: str, stale: Found | None) -> Found:
        now = io.now()
        if self._absent.get(key_id, -inf) > now:
            raise BadKey("unknown", key_id)
        changes = self._changes
        try:
            if now < self._down_until:
                raise KeysUnavailable(f"{self._store!r} is left alone after several failures")
            record = await self._flights.join(
                io, (key_id, changes), lambda: self._fetch(io, key_id)
            )
        except KeysUnavailable:
            if stale is not None and now < stale.fresh_until + self._stale_for:
                return stale
            raise
        if record is None:
            self._remember_absent(key_id, now)
            raise BadKey("unknown", key_id)
        found = self._remember(record, now, stale)
        if changes != self._changes:
            self._drop(key_id)  # perhaps the record from before the change
        return found

    async def _fetch(self, io: IO, key_id: str) -> KeyRecord | None:
        try:
            async with io.timeout(self._timeout):
                record = await io.call(self._store.get, self._store.aget, key_id)
        except Exception as error:
            self._failures += 1
            if self._failures >= _TRIPS_AFTER:
                self._down_until = io.now() + _ALONE
            if self._failures == _TRIPS_AFTER:
                # The message of a driver may hold a password; its name says enough.
                logger.warning("%r does not answer: %s", self._store, type(error).__name__)
            raise KeysUnavailable(f"{self._store!r}: {type(error).__name__}") from error
        if self._failures >= _TRIPS_AFTER:
            logger.warning("%r answers again", self._store)
        self._failures = 0
        return record

    def _remember(self, record: KeyRecord, now: float, stale: Found | None) -> Found:
        if stale is not None:
            used = stale.used
        elif record.last_used_at is not None:
            used = now - max(0.0, self._clock() - record.last_used_at)
        else:
            used = -inf
        try:
            found = Found(record, now + self._ttl, used)
        except ValueError as error:
            raise KeysUnavailable(f"{self._store!r}: the hash of {record.id} is none") from error
        lock = self._latch.take()
        try:
            # What is asked for again comes to the end, so that the first is the least used.
            self._known.pop(record.id, None)
            self._known[record.id] = found
            if len(self._known) > self._most:
                del self._known[next(iter(self._known))]
        finally:
            lock.release()
        return found

    def _remember_absent(self, key_id: str, now: float) -> None:
        lock = self._latch.take()
        try:
            self._known.pop(key_id, None)
            self._absent.pop(key_id, None)
            self._absent[key_id] = now + self._negative_ttl
            if len(self._absent) > _ABSENT:
                del self._absent[next(iter(self._absent))]
        finally:
            lock.release()

    def forget(self, key_id: str) -> None:
        """The next request asks the store, as after a change of the key."""
        self._changes += 1
        self._drop(key_id)

    def _drop(self, key_id: str) -> None:
        lock = self._latch.take()
        try:
            self._known.pop(key_id, None)
            self._absent.pop(key_id, None)
        finally:
            lock.release()

    def _note_use(self, io: IO, found: Found, now: float, wall: float) -> None:
        found.used = now
        if len(self._uses) < _WAITING:
            self._uses[found.record.id] = wall
        if now - self._flushed >= _FLUSH_LASTS:
            self._flushed = now
            if not self._background.spawn(io, self._flush):
                self._flushed = -inf

    async def _flush(self, io: IO) -> None:
        """Writes what was used, and what is used meanwhile, beside the requests."""
        try:
            while self._uses:
                uses, self._uses = self._uses, {}
                await io.call(self._store.touch, self._store.atouch, uses)
        except Exception as error:
            logger.warning("%r did not take the last uses: %s", self._store, type(error).__name__)
        finally:
            self._flushed = -inf

    def close(self) -> None:
        self._background.close()

    async def aclose(self) -> None:
        await self._background.aclose()


def identity_of(record: KeyRecord) -> Identity:
    """Who a key stands for; the key's own id is the client."""
    return Identity(
        subject=record.subject,
        client_id=record.id,
        scopes=record.scopes,
        roles=record.roles,
        groups=record.groups,
        tenant=record.tenant,
        plan=record.plan,
        claims={"key_id": record.id, "key_name": record.name},
        method="api_key",
        expires_at=record.expires_at,
    )


def _moment(value: float | None) -> float:
    return inf if value is None else value
