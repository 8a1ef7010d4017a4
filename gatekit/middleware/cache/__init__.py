"""The HTTP cache: `Cache`, its key recipe, its rules and its stores.

The stores beside the one in memory are imported when they are first named.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from gatekit.middleware.cache.cached import cached
from gatekit.middleware.cache.key import CacheKey
from gatekit.middleware.cache.memory import MemoryCache
from gatekit.middleware.cache.middleware import Cache
from gatekit.middleware.cache.rules import CacheRule
from gatekit.middleware.cache.stats import CacheStats
from gatekit.middleware.cache.store import CacheStore, Found

if TYPE_CHECKING:
    from gatekit.middleware.cache.redis import RedisCache
    from gatekit.middleware.cache.sqlite import SQLiteCache
    from gatekit.middleware.cache.tiered import TieredCache

__all__ = [
    "Cache",
    "CacheKey",
    "CacheRule",
    "CacheStats",
    "CacheStore",
    "Found",
    "MemoryCache",
    "RedisCache",
    "SQLiteCache",
    "TieredCache",
    "cached",
]

_LATER = {"RedisCache": "redis", "SQLiteCache": "sqlite", "TieredCache": "tiered"}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value
