"""Where keys are kept: the protocol of a store, and which one a URL means.

    store = open_store("sqlite:///keys.db")
    record = store.get("6fZ0mQ2yJtWkA3bX")

A store of your own has these methods. The blocking ones are called under WSGI, the others under
ASGI; neither is called for the other. A store holds hashes only: who reads it can present no key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from gatekit.errors import GatekitError
from gatekit.keys.record import KeyRecord

METHODS = ("get", "add", "replace", "page", "touch")


class KeyStore(Protocol):
    """Records by id. What it raises is a failure of the store.

    `add` raises `KeyError` for an id that is taken, `replace` for one that is not there and for one
    that is revoked: of two that change a key at once, neither takes back the other's revocation.
    `replace` leaves `last_used_at` alone. `page` gives up to `limit` records in the order of their
    ids, those behind `after`, of all subjects or of one. `touch` writes when keys were last used; a
    moment before the one that is known, or an id that is not, changes nothing.
    """

    def get(self, key_id: str) -> KeyRecord | None: ...
    async def aget(self, key_id: str) -> KeyRecord | None: ...
    def add(self, record: KeyRecord) -> None: ...
    async def aadd(self, record: KeyRecord) -> None: ...
    def replace(self, record: KeyRecord) -> None: ...
    async def areplace(self, record: KeyRecord) -> None: ...
    def page(self, after: str, limit: int, subject: str | None = None) -> list[KeyRecord]: ...
    async def apage(
        self, after: str, limit: int, subject: str | None = None
    ) -> list[KeyRecord]: ...
    def touch(self, uses: Mapping[str, float]) -> None: ...
    async def atouch(self, uses: Mapping[str, float]) -> None: ...


class KeysUnavailable(GatekitError):
    """The store of keys did not answer in time, or said that it cannot."""


_REDIS = ("redis", "rediss", "unix", "valkey", "valkeys")


def open_store(value: str | KeyStore) -> KeyStore:
    """The store that a URL means; nothing is connected yet."""
    if not isinstance(value, str):
        return value
    scheme = urlsplit(value).scheme
    if scheme == "memory":
        from gatekit.keys.memory import MemoryKeys

        return MemoryKeys()
    if scheme.partition("+")[0] in _REDIS:
        from gatekit.keys.redis import RedisKeys

        return RedisKeys(value)
    from gatekit.keys.sql import SQLKeys

    return SQLKeys(value)


def store_problem(value: object) -> str | None:
    """What is wrong with a store or its URL; a password in it is not shown."""
    if isinstance(value, str):
        scheme = urlsplit(value).scheme
        if scheme == "memory":
            return None
        if scheme.partition("+")[0] in _REDIS:
            from gatekit.keys.redis import url_problem

            return url_problem(value)
        if not scheme:
            return "must be a URL such as sqlite:///keys.db, postgresql://… or redis://…"
        from gatekit.keys.sql import url_problem

        return url_problem(value)
    for method in METHODS:
        for name in (method, f"a{method}"):
            if not callable(getattr(value, name, None)):
                return f"{value!r} is neither a URL nor a store of keys: it has no {name}()"
    return None
