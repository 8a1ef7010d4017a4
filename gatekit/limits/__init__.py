"""Limits, the stores that count, and the keys that they are counted by.

    from gatekit.limits import Limit, RedisStore, keys

    RateLimit(Limit("100/minute", burst=20), key=keys.identity, store=RedisStore("redis://..."))

A name is imported when it is first used. `limits`, the library whose grammar this is, and `redis`
wait until something is constructed that needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatekit.limits import keys
    from gatekit.limits.calendar import Calendar
    from gatekit.limits.limit import Limit
    from gatekit.limits.memory import MemoryStore
    from gatekit.limits.meters import Meter, Standing
    from gatekit.limits.redis import RedisStore
    from gatekit.limits.sqlite import SQLiteStore
    from gatekit.limits.store import Claim, Store, StoreUnavailable

# Where each public name lives, below `gatekit.limits`.
_HOMES = {
    "Calendar": "calendar",
    "Claim": "store",
    "Limit": "limit",
    "MemoryStore": "memory",
    "Meter": "meters",
    "RedisStore": "redis",
    "SQLiteStore": "sqlite",
    "Standing": "meters",
    "Store": "store",
    "StoreUnavailable": "store",
}

__all__ = [
    "Calendar",
    "Claim",
    "Limit",
    "MemoryStore",
    "Meter",
    "RedisStore",
    "SQLiteStore",
    "Standing",
    "Store",
    "StoreUnavailable",
    "keys",
]


def __getattr__(name: str) -> object:
    if name == "keys":
        return import_module("gatekit.limits.keys")
    if name not in _HOMES:
        raise AttributeError(f"module 'gatekit.limits' has no attribute {name!r}")
    value: object = getattr(import_module(f"gatekit.limits.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
