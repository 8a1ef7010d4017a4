"""Makes, lists, replaces and ends API keys, in either colour.

    keys = KeyManager("sqlite:///keys.db", secret=SECRET)
    made = keys.create("acme", scopes=["orders.read"], plan="pro", expires_in=90 * 86400)
    made.text                                    # "gk_…", shown this once and stored nowhere
    keys.rotate(made.record.id, overlap=86400)   # a new key; the old one is good for another day
    keys.revoke(made.record.id)                  # at once

    gateway = Gateway(ApiKeyAuth(keys), ...)

`acreate`, `alist`, `aget`, `arotate` and `arevoke` are for event loops. The command
`gatekit keys` does the same in a shell, and `KeyAdmin` over HTTP.

**A revoked key** is refused at once by the authenticators that were given this very object. Other
processes notice when what they remember is older than their `ttl`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import cast
from weakref import WeakSet

from gatekit._core.io import IO, AsyncIO, BlockingIO, block
from gatekit._core.options import (
    each_problem,
    function_problem,
    hmac_key_problem,
    integer_problem,
    known_keywords,
    seconds_problem,
    string_problem,
)
from gatekit.errors import GatekitError, check
from gatekit.keys.format import KeyFormat, prefix_problem, secrets_problem
from gatekit.keys.lookup import KeyLookup
from gatekit.keys.record import KeyRecord
from gatekit.keys.store import KeyStore, open_store, store_problem
from gatekit.typing import SupportsClose

_LONGEST = 255
# Seconds, some three hundred years: beyond the year 9999 no calendar shows when a key ends.
_LONGEST_LIFE = 1e10
_BLOCKING, _AWAITING = BlockingIO(), AsyncIO()


class NoSuchKey(GatekitError, LookupError):
    """There is no key of this id."""


class KeyOver(GatekitError):
    """The key is revoked, expired or replaced, so there is nothing to rotate."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """`text` is the key itself, which cannot be had again."""

    text: str = field(repr=False)
    record: KeyRecord


@known_keywords
class KeyManager:
    """Keys of one `prefix` in one store, an object or a URL.

    `secret` is what their hashes are keyed with, at least 16 bytes, the same in every process that
    checks them: without it nobody can make a key, even who can write into the store. `clock` is a
    wall clock, `entropy` gives random bytes.
    """

    __slots__ = ("_clock", "_lookups", "format", "store")

    def __init__(
        self,
        store: str | KeyStore,
        *,
        secret: bytes,
        previous_secrets: Sequence[bytes] = (),
        prefix: str = "gk",
        clock: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        check(
            "KeyManager",
            store=store_problem(store),
            secret=hmac_key_problem(secret),
            previous_secrets=secrets_problem(previous_secrets),
            prefix=prefix_problem(prefix),
            clock=function_problem(clock),
            entropy=function_problem(entropy),
        )
        self.store = open_store(store)
        self.format = KeyFormat(
            prefix, secret=secret, previous_secrets=previous_secrets, entropy=entropy
        )
        self._clock = clock
        self._lookups: WeakSet[KeyLookup] = WeakSet()

    def create(
        self,
        subject: str,
        *,
        name: str = "",
        scopes: Collection[str] = (),
        roles: Collection[str] = (),
        groups: Collection[str] = (),
        tenant: str | None = None,
        plan: str | None = None,
        expires_in: float | None = None,
    ) -> NewKey:
        """A key for `subject`, good for `expires_in` seconds or until it is revoked."""
        record = self.draft(
            subject,
            name=name,
            scopes=scopes,
            roles=roles,
            groups=groups,
            tenant=tenant,
            plan=plan,
            expires_in=expires_in,
        )
        return block(self.create_by(_BLOCKING, record))

    async def acreate(
        self,
        subject: str,
        *,
        name: str = "",
        scopes: Collection[str] = (),
        roles: Collection[str] = (),
        groups: Collection[str] = (),
        tenant: str | None = None,
        plan: str | None = None,
        expires_in: float | None = None,
    ) -> NewKey:
        """`create` in an event loop."""
        record = self.draft(
            subject,
            name=name,
            scopes=scopes,
            roles=roles,
            groups=groups,
            tenant=tenant,
            plan=plan,
            expires_in=expires_in,
        )
        return await self.create_by(_AWAITING, record)

    def get(self, key_id: str) -> KeyRecord:
        """`NoSuchKey` if there is none."""
        return block(self.get_by(_BLOCKING, key_id))

    async def aget(self, key_id: str) -> KeyRecord:
        return await self.get_by(_AWAITING, key_id)

    def list(
        self, *, subject: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[KeyRecord]:
        """Up to `limit` keys in the order of their ids, those behind the id `after`."""
        return block(self.list_by(_BLOCKING, subject, after, limit))

    async def alist(
        self, *, subject: str | None = None, after: str = "", limit: int = 100
    ) -> Sequence[KeyRecord]:
        return await self.list_by(_AWAITING, subject, after, limit)

    def rotate(
        self, key_id: str, *, overlap: float = 86400.0, expires_in: float | None = None
    ) -> NewKey:
        """A new key with everything that the old one has, which ends in `overlap` seconds.

        The new one lasts as long as the old one did, or `expires_in` seconds. `KeyOver` if there is
        nothing to replace, because the old one is over or was replaced before.
        """
        return block(self.rotate_by(_BLOCKING, key_id, overlap, expires_in))

    async def arotate(
        self, key_id: str, *, overlap: float = 86400.0, expires_in: float | None = None
    ) -> NewKey:
        return await self.rotate_by(_AWAITING, key_id, overlap, expires_in)

    def revoke(self, key_id: str) -> KeyRecord:
        """Ends a key now. One that is revoked already stays so since then."""
        return block(self.revoke_by(_BLOCKING, key_id))

    async def arevoke(self, key_id: str) -> KeyRecord:
        return await self.revoke_by(_AWAITING, key_id)

    async def create_by(self, io: IO, record: KeyRecord) -> NewKey:
        made = self.format.generate()
        record = replace(record, id=made.id, digest=made.digest, created_at=self._clock())
        await io.call(self.store.add, self.store.aadd, record)
        self._changed(made.id)
        return NewKey(made.text, record)

    async def get_by(self, io: IO, key_id: str) -> KeyRecord:
        record = None
        if key_id.isascii() and key_id.isalnum():
            record = await io.call(self.store.get, self.store.aget, key_id)
        if record is None:
            raise NoSuchKey(f"there is no key {key_id!r}")
        return record

    async def list_by(
        self, io: IO, subject: str | None, after: str, limit: int
    ) -> Sequence[KeyRecord]:
        check("KeyManager.list", limit=integer_problem(limit, 1))
        return await io.call(self.store.page, self.store.apage, after, limit, subject)

    async def rotate_by(
        self, io: IO, key_id: str, overlap: float, expires_in: float | None
    ) -> NewKey:
        check(
            "KeyManager.rotate",
            overlap=None if overlap == 0 else _life_problem(overlap),
            expires_in=None if expires_in is None else _life_problem(expires_in),
        )
        old = await self.get_by(io, key_id)
        now = self._clock()
        if old.state(now) != "active" or old.replaced_by is not None:
            state = "replaced" if old.replaced_by is not None else old.state(now)
            raise KeyOver(f"the key {key_id!r} is {state}")
        if expires_in is None and old.expires_at is not None:
            expires_in = old.expires_at - old.created_at
        ends = None if expires_in is None else now + expires_in
        draft = replace(old, expires_at=ends, last_used_at=None)
        made = await self.create_by(io, draft)
        end = now + overlap if old.expires_at is None else min(old.expires_at, now + overlap)
        ending = replace(old, expires_at=end, replaced_by=made.record.id)
        try:
            await io.call(self.store.replace, self.store.areplace, ending)
        except KeyError:
            await self.revoke_by(io, made.record.id)
            raise KeyOver(f"the key {key_id!r} is revoked") from None
        self._changed(key_id)
        return made

    async def revoke_by(self, io: IO, key_id: str) -> KeyRecord:
        record = await self.get_by(io, key_id)
        if record.revoked_at is None:
            record = replace(record, revoked_at=self._clock())
            try:
                await io.call(self.store.replace, self.store.areplace, record)
            except KeyError:  # somebody else was faster
                record = await self.get_by(io, key_id)
        self._changed(key_id)
        return record

    def now(self) -> float:
        """By the wall clock that the keys end by."""
        return self._clock()

    def lookup(
        self,
        *,
        ttl: float,
        negative_ttl: float,
        stale_for: float,
        timeout: float,
        max_entries: int,
        track_use: bool,
    ) -> KeyLookup:
        """What an authenticator asks; it hears of changes that are made through this object."""
        found = KeyLookup(
            self.store,
            self.format,
            ttl=ttl,
            negative_ttl=negative_ttl,
            stale_for=stale_for,
            timeout=timeout,
            max_entries=max_entries,
            track_use=track_use,
            clock=self._clock,
        )
        self._lookups.add(found)
        return found

    def _changed(self, key_id: str) -> None:
        for lookup in list(self._lookups):
            lookup.forget(key_id)

    def draft(
        self,
        subject: str,
        *,
        name: str = "",
        scopes: Collection[str] = (),
        roles: Collection[str] = (),
        groups: Collection[str] = (),
        tenant: str | None = None,
        plan: str | None = None,
        expires_in: float | None = None,
    ) -> KeyRecord:
        """A record without its key; `ConfigurationError` names what is wrong with it."""
        check(
            "KeyManager.create",
            subject=_text_problem(subject) or (None if subject else "must not be empty"),
            name=_text_problem(name),
            scopes=each_problem(scopes, _word_problem),
            roles=each_problem(roles, _text_problem),
            groups=each_problem(groups, _text_problem),
            tenant=None if tenant is None else _text_problem(tenant),
            plan=None if plan is None else _text_problem(plan),
            expires_in=None if expires_in is None else _life_problem(expires_in),
        )
        return KeyRecord(
            id="",
            digest="",
            subject=subject,
            name=name,
            scopes=frozenset(scopes),
            roles=frozenset(roles),
            groups=frozenset(groups),
            tenant=tenant,
            plan=plan,
            expires_at=None if expires_in is None else self._clock() + expires_in,
        )

    def close(self) -> None:
        if isinstance(self.store, SupportsClose):
            self.store.close()

    async def aclose(self) -> None:
        if isinstance(self.store, SupportsClose):
            await self.store.aclose()

    def __repr__(self) -> str:
        return f"KeyManager({self.store!r}, prefix={self.format.prefix!r})"


def _text_problem(value: object) -> str | None:
    problem = string_problem(value)
    if problem is not None:
        return problem
    text = str(value)
    if len(text) > _LONGEST:
        return f"is longer than {_LONGEST} characters"
    # It becomes header fields and log lines.
    return None if text.isprintable() else f"{text!r} has characters that do not print"


def _life_problem(value: object) -> str | None:
    problem = seconds_problem(value)
    if problem is None and cast("float", value) > _LONGEST_LIFE:
        return f"must be at most {_LONGEST_LIFE:.0f} seconds; leave it out for a key without an end"
    return problem


def _word_problem(value: object) -> str | None:
    """Of a scope, which is written with spaces between (RFC 6749 §3.3)."""
    problem = _text_problem(value)
    if problem is None and (not value or " " in str(value)):
        return f"{value!r} is not a scope: it must be a word"
    return problem
