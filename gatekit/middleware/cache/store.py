"""Where answers are kept: the protocol of a store, and which one a URL means.

    store = open_store("redis://localhost:6379/0", max_bytes=None)
    found = store.get(key)
    store.put(key, record, ttl=60.0, tags=("news",), epoch=found.epoch)

A store keeps bytes and asks nothing about them. **Epochs** make a purge final: `get` says how many
purges there have been, and a `put` with a number older than the last purge of its key or of one of
its tags is refused, so that an answer fetched before a purge cannot come back after it.

The blocking methods are called under WSGI, the others under ASGI. What a store raises is a miss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from gatekit.limits.store import client_problem


class Found(NamedTuple):
    """What is under a key, if anything, and the number of purges so far."""

    record: bytes | None
    epoch: int


class CacheStore(Protocol):
    """Records by keys of sixteen bytes. `shared` says that other processes see the same."""

    shared: bool
    timeout: float
    """Seconds after which a call is a miss."""

    def get(self, key: bytes) -> Found: ...
    async def aget(self, key: bytes) -> Found: ...

    def put(self, key: bytes, record: bytes, ttl: float, tags: Sequence[str], epoch: int) -> bool:
        """Keeps it for `ttl` seconds, unless it was purged since `epoch`."""
        ...

    async def aput(
        self, key: bytes, record: bytes, ttl: float, tags: Sequence[str], epoch: int
    ) -> bool: ...

    def delete(self, keys: Sequence[bytes]) -> None:
        """Purges single keys."""
        ...

    async def adelete(self, keys: Sequence[bytes]) -> None: ...

    def purge(self, tags: Sequence[str], soft: bool) -> int:
        """Purges what has one of these tags, or marks it as stale; how many that were."""
        ...

    async def apurge(self, tags: Sequence[str], soft: bool) -> int: ...

    def clear(self) -> None: ...
    async def aclear(self) -> None: ...

    def lease(self, key: bytes, owner: bytes, seconds: float) -> bool:
        """Whether it is `owner` who is to fill this key; others wait for as long as that."""
        ...

    async def alease(self, key: bytes, owner: bytes, seconds: float) -> bool: ...

    def release(self, key: bytes, owner: bytes) -> None: ...
    async def arelease(self, key: bytes, owner: bytes) -> None: ...

    def close(self) -> None: ...
    async def aclose(self) -> None: ...


_METHODS = ("get", "put", "delete", "purge", "clear", "lease", "release", "close")
_SCHEMES = ("memory", "sqlite", "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")


def open_store(value: str | CacheStore, max_bytes: int, timeout: float | None = None) -> CacheStore:
    """The store that a URL means; nothing is opened yet. `max_bytes` bounds memory and disk,
    `timeout` one call; None leaves that to the store.
    """
    if not isinstance(value, str):
        return value
    scheme = urlsplit(value).scheme
    if scheme == "memory":
        from gatekit.middleware.cache.memory import MemoryCache

        return MemoryCache(max_bytes)
    if scheme == "sqlite":
        from gatekit.middleware.cache.sqlite import SQLiteCache

        # As SQLAlchemy writes them: three slashes and a relative path, four and an absolute one.
        path = value.removeprefix("sqlite:").removeprefix("//").removeprefix("/")
        return SQLiteCache(path, max_bytes=max_bytes, timeout=timeout or 0.1)
    from gatekit.middleware.cache.redis import RedisCache

    return RedisCache(value, timeout=timeout or 0.05)


def store_problem(value: object) -> str | None:
    """What is wrong with a store or its URL."""
    if isinstance(value, str):
        scheme = urlsplit(value).scheme
        if scheme not in _SCHEMES:
            known = ", ".join(f"{each}:" for each in _SCHEMES)
            return f"{scheme or value!r} is no store; a URL must begin with one of {known}"
        if scheme == "memory":
            return None
        if scheme == "sqlite":
            if not value.removeprefix("sqlite:").strip("/"):
                return "names no file; sqlite:///cache.db does"
            return None
        from gatekit.limits.redis_clients import parse_address

        try:
            parse_address(value)
        except ValueError as error:
            return f"the {scheme} URL {error}"
        return client_problem()
    for name in _METHODS:
        if not callable(getattr(value, name, None)) or not callable(
            getattr(value, f"a{name}", None)
        ):
            return f"{value!r} is neither a URL nor a store: it has no {name}() and a{name}()"
    return None
