"""Keys in Redis or Valkey, for all hosts; the server has to be one that keeps what it is told.

    KeyManager("redis://localhost:6379/1", secret=SECRET)
    KeyManager(RedisKeys("rediss://:password@redis.example", prefix="shop"), secret=SECRET)

One hash for each key: `record` is JSON, `used` when it was last used; and one sorted set with all
ids, for listing. One round trip a lookup. Persistence (`appendonly yes`) and `noeviction` are the
server's settings: without them a restart or a full memory takes keys away.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from gatekit._core.options import integer_problem, known_keywords, seconds_problem
from gatekit.errors import check
from gatekit.keys.record import NOT_REVOKED, KeyRecord, load
from gatekit.limits.redis_clients import aclose, aconnect, connect, parse_address
from gatekit.limits.store import client_problem

# A script is the only way to compare and write in one step; each names its one key (cluster).
_REPLACE = """
local known = redis.call('HGET', KEYS[1], 'record')
if not known or not string.find(known, ARGV[2], 1, true) then return 0 end
redis.call('HSET', KEYS[1], 'record', ARGV[1])
return 1
"""
_TOUCH = """
if redis.call('HEXISTS', KEYS[1], 'record') == 0 then return 0 end
local known = redis.call('HGET', KEYS[1], 'used')
if known and tonumber(known) >= tonumber(ARGV[1]) then return 0 end
return redis.call('HSET', KEYS[1], 'used', ARGV[1])
"""


@known_keywords
class RedisKeys:
    """Records on the server, cluster or Sentinel service that `url` names.

    `timeout` is the deadline of one call in seconds. `prefix` begins every name.
    """

    __slots__ = ("_address", "_clients", "_loops", "_most", "_prefix", "timeout")

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 0.5,
        prefix: str = "gatekit",
        max_connections: int = 16,
    ) -> None:
        check(
            "RedisKeys",
            url=url_problem(url),
            timeout=seconds_problem(timeout),
            prefix=_prefix_problem(prefix),
            max_connections=integer_problem(max_connections, 1),
        )
        self._address = parse_address(url)
        self._prefix = prefix
        self._most = max_connections
        self.timeout = timeout
        self._clients: dict[int, Any] = {}
        self._loops: dict[int, WeakKeyDictionary[asyncio.AbstractEventLoop, Any]] = {}

    def get(self, key_id: str) -> KeyRecord | None:
        return _record(self._client().hmget(self._name(key_id), "record", "used"))

    async def aget(self, key_id: str) -> KeyRecord | None:
        return _record(await self._aclient().hmget(self._name(key_id), "record", "used"))

    def add(self, record: KeyRecord) -> None:
        client = self._client()
        # Into the list first: an entry without a record is passed over, a record without an entry
        # would be a key that nobody sees.
        client.zadd(self._list, {record.id: 0})
        if not client.hsetnx(self._name(record.id), "record", record.dump()):
            raise KeyError(record.id)

    async def aadd(self, record: KeyRecord) -> None:
        client = self._aclient()
        await client.zadd(self._list, {record.id: 0})
        if not await client.hsetnx(self._name(record.id), "record", record.dump()):
            raise KeyError(record.id)

    def replace(self, record: KeyRecord) -> None:
        name, text = self._name(record.id), record.dump()
        if not self._client().eval(_REPLACE, 1, name, text, NOT_REVOKED):
            raise KeyError(record.id)

    async def areplace(self, record: KeyRecord) -> None:
        name, text = self._name(record.id), record.dump()
        if not await self._aclient().eval(_REPLACE, 1, name, text, NOT_REVOKED):
            raise KeyError(record.id)

    def page(self, after: str, limit: int, subject: str | None = None) -> list[KeyRecord]:
        client = self._client()
        found: list[KeyRecord] = []
        while len(found) < limit:
            ids = client.zrangebylex(self._list, _behind(after), "+", 0, limit)
            for key_id in map(_text, ids):
                after = key_id
                record = _record(client.hmget(self._name(key_id), "record", "used"))
                if record is not None and subject in (None, record.subject):
                    found.append(record)
                    if len(found) == limit:
                        break
            if len(ids) < limit:
                break
        return found

    async def apage(self, after: str, limit: int, subject: str | None = None) -> list[KeyRecord]:
        client = self._aclient()
        found: list[KeyRecord] = []
        while len(found) < limit:
            ids = await client.zrangebylex(self._list, _behind(after), "+", 0, limit)
            for key_id in map(_text, ids):
                after = key_id
                record = _record(await client.hmget(self._name(key_id), "record", "used"))
                if record is not None and subject in (None, record.subject):
                    found.append(record)
                    if len(found) == limit:
                        break
            if len(ids) < limit:
                break
        return found

    def touch(self, uses: Mapping[str, float]) -> None:
        client = self._client()
        for key_id, moment in uses.items():
            client.eval(_TOUCH, 1, self._name(key_id), repr(moment))

    async def atouch(self, uses: Mapping[str, float]) -> None:
        client = self._aclient()
        for key_id, moment in uses.items():
            await client.eval(_TOUCH, 1, self._name(key_id), repr(moment))

    @property
    def _list(self) -> str:
        return f"{self._prefix}:keys"

    def _name(self, key_id: str) -> str:
        return f"{self._prefix}:key:{key_id}"

    def _client(self) -> Any:
        pid = os.getpid()
        found = self._clients.get(pid)
        if found is None:
            fresh = connect(self._address, self.timeout, self._most)
            found = self._clients.setdefault(pid, fresh)
        return found

    def _aclient(self) -> Any:
        loops = self._loops.setdefault(os.getpid(), WeakKeyDictionary())
        loop = asyncio.get_running_loop()
        found = loops.get(loop)
        if found is None:
            found = loops[loop] = aconnect(self._address, self.timeout, self._most)
        return found

    def close(self) -> None:
        """Closes the connections of this process that no event loop holds."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Closes those of the running loop, too."""
        loops = self._loops.get(os.getpid())
        client = None if loops is None else loops.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await aclose(client)
        self.close()

    def __repr__(self) -> str:
        return f"RedisKeys({self._address.shown!r})"


def _record(found: list[bytes | str | None]) -> KeyRecord | None:
    text, used = found
    if text is None:
        return None
    return load(text, None if used is None else float(used))


def _behind(after: str) -> str:
    return f"({after}" if after else "-"


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()


def url_problem(url: object) -> str | None:
    if not isinstance(url, str):
        return f"must be a URL such as redis://localhost:6379/1, not {type(url).__name__}"
    try:
        parse_address(url)
    except ValueError as error:
        return str(error)
    return client_problem()


def _prefix_problem(prefix: object) -> str | None:
    if isinstance(prefix, str) and prefix and not set(prefix) & set("{}*?[]\\ "):
        return None
    return f"must be a text without spaces, braces and the signs of a pattern, not {prefix!r}"
