"""API keys and what is kept of them.

from gatekit.keys import KeyManager

keys = KeyManager("sqlite:///keys.db", secret=SECRET)
"""

from gatekit.keys.admin import KeyAdmin
from gatekit.keys.format import KeyFormat
from gatekit.keys.manager import KeyManager, KeyOver, NewKey, NoSuchKey
from gatekit.keys.memory import MemoryKeys
from gatekit.keys.record import KeyRecord
from gatekit.keys.redis import RedisKeys
from gatekit.keys.sql import SQLKeys
from gatekit.keys.store import KeyStore, KeysUnavailable

__all__ = [
    "KeyAdmin",
    "KeyFormat",
    "KeyManager",
    "KeyOver",
    "KeyRecord",
    "KeyStore",
    "KeysUnavailable",
    "MemoryKeys",
    "NewKey",
    "NoSuchKey",
    "RedisKeys",
    "SQLKeys",
]
