"""Where counts are kept: the protocol of a store, and which one a URL means.

    store = open_store("redis://localhost:6379/0")
    standings = store.take([("203.0.113.9", meter)], cost=1, now=request.io.now())

A store of your own has these methods. `take` is one atomic step: it reads every state, asks every
meter, and keeps the new states only if all of them admit. The blocking methods are called under
WSGI, the others under ASGI; neither is called for the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias, cast
from urllib.parse import urlsplit

from gatekit.errors import GatekitError
from gatekit.limits.meters import Meter, Standing

Claim: TypeAlias = tuple[str, Meter]
"""A key and the meter that it is counted by."""


class Store(Protocol):
    """Counts. What it raises is a failure of the store, which the policy's `on_store_error` meets.

    `now` is a moment on the clock of `request.io`, for stores that have no clock of their own.
    """

    def take(
        self, claims: Sequence[Claim], cost: int, now: float, forced: bool = False
    ) -> list[Standing]:
        """One standing for each claim. Nothing is kept where one of them refuses.

        `forced` books whatever it costs, a refund if the cost is negative; a cost of 0 looks only.
        """
        ...

    async def atake(
        self, claims: Sequence[Claim], cost: int, now: float, forced: bool = False
    ) -> list[Standing]: ...

    def clear(self, claims: Sequence[Claim]) -> None:
        """Forgets the counts of these claims."""
        ...

    async def aclear(self, claims: Sequence[Claim]) -> None: ...

    def clear_scope(self, scope: str) -> None:
        """Forgets every count of one policy."""
        ...

    async def aclear_scope(self, scope: str) -> None: ...


class StoreUnavailable(GatekitError):
    """A store did not answer in time, or said that it cannot; `on_store_error` says what then."""


SCHEMES = (
    "memory", "sqlite", "redis", "rediss", "unix", "valkey", "valkeys",
    "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel", "valkey+cluster",
    "valkey+sentinel",
)  # fmt: skip


def open_store(value: str | Store) -> Store:
    """The store that a URL means; nothing is connected yet."""
    if not isinstance(value, str):
        return value
    scheme = urlsplit(value).scheme
    if scheme == "memory":
        from gatekit.limits.memory import MemoryStore

        return MemoryStore()
    if scheme == "sqlite":
        from gatekit.limits.sqlite import SQLiteStore

        # As SQLAlchemy writes them: three slashes and a relative path, four and an absolute one.
        return SQLiteStore(value.removeprefix("sqlite:").removeprefix("//").removeprefix("/"))
    from gatekit.limits.redis import RedisStore

    return RedisStore(value)


def store_problem(value: object) -> str | None:
    """What is wrong with a store or its URL."""
    if isinstance(value, str):
        scheme = urlsplit(value).scheme
        if scheme not in SCHEMES:
            known = ", ".join(f"{each}:" for each in SCHEMES)
            return f"{scheme or value!r} is no store; a URL must begin with one of {known}"
        if scheme == "sqlite" and not value.removeprefix("sqlite:").strip("/"):
            return "names no file; sqlite:///limits.db does"
        if "redis" in scheme or "valkey" in scheme or scheme == "unix":
            from gatekit.limits.redis_clients import parse_address

            try:
                parse_address(value)
            except ValueError as error:
                return f"the {scheme} URL {error}"
            return client_problem()
        return None
    for method in ("take", "atake", "clear", "aclear", "clear_scope", "aclear_scope"):
        if not callable(getattr(value, method, None)):
            return f"{value!r} is neither a URL nor a store: it has no {method}()"
    return None


def client_problem() -> str | None:
    """Whether the client library of Redis is there."""
    from importlib.util import find_spec

    if find_spec("redis") is None:
        return "needs the extra `redis`: pip install 'gatekit-middleware[redis]'"
    return None


def single_slot(store: Store) -> bool:
    """Whether all claims of one call must share a key, as on a cluster."""
    return bool(cast("object", getattr(store, "single_slot", False)))
