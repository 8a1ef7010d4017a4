"""Answers in Redis or Valkey, shared by all processes and hosts.

    Cache(store="redis://localhost:6379/0")
    Cache(store=RedisCache("redis://:secret@cache:6379/1", timeout=0.05, prefix="shop"))

A hit is one round trip. A store that is slower than `timeout` is a miss. Purges are a script, so
that what was fetched before one is refused after it. What Redis evicts is a miss: give it a
`maxmemory` and the policy `allkeys-lru`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

from gatekit._core.options import known_keywords, seconds_problem, string_problem
from gatekit.errors import check
from gatekit.limits.redis_clients import Address, aclose, aconnect, connect, parse_address
from gatekit.limits.store import client_problem
from gatekit.middleware.cache.entry import SOFT, SOFT_AT
from gatekit.middleware.cache.store import Found

# Seconds for which a purge is remembered for what is being fetched meanwhile.
_MEMORY = 300
_MOST_CONNECTIONS = 64

# KEYS: the record, then its tags. ARGV: prefix, record, milliseconds, epoch.
# A tomb holds the number of the purge that dug it.
_PUT = """
local epoch = tonumber(ARGV[4])
local cleared = tonumber(redis.call('get', ARGV[1] .. 'floor') or '0')
if cleared > epoch then return 0 end
for i = 1, #KEYS do
  local tomb = redis.call('get', KEYS[i] .. ':tomb')
  if tomb and tonumber(tomb) > epoch then return 0 end
end
redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3])
for i = 2, #KEYS do
  redis.call('sadd', KEYS[i], KEYS[1])
  if redis.call('pttl', KEYS[i]) < tonumber(ARGV[3]) then
    redis.call('pexpire', KEYS[i], ARGV[3])
  end
end
return 1
"""

# KEYS: what is purged by key. ARGV: prefix, seconds that tombs last.
_DELETE = """
local epoch = redis.call('incr', ARGV[1] .. 'epoch')
for i = 1, #KEYS do
  redis.call('unlink', KEYS[i])
  redis.call('set', KEYS[i] .. ':tomb', epoch, 'ex', ARGV[2])
end
return epoch
"""

# KEYS: tags. ARGV: prefix, seconds that tombs last, whether softly, where the flags are, the flag.
_PURGE = """
local epoch = redis.call('incr', ARGV[1] .. 'epoch')
local count = 0
for i = 1, #KEYS do
  redis.call('set', KEYS[i] .. ':tomb', epoch, 'ex', ARGV[2])
  for _, key in ipairs(redis.call('smembers', KEYS[i])) do
    if redis.call('exists', key) == 1 then
      count = count + 1
      if ARGV[3] == '1' then
        local at = tonumber(ARGV[4])
        local flags = string.byte(redis.call('getrange', key, at, at))
        if flags and flags % (2 * tonumber(ARGV[5])) < tonumber(ARGV[5]) then
          redis.call('setrange', key, at, string.char(flags + tonumber(ARGV[5])))
        end
      else
        redis.call('unlink', key)
      end
    end
  end
  if ARGV[3] ~= '1' then redis.call('unlink', KEYS[i]) end
end
return count
"""

_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end"


@known_keywords
class RedisCache:
    """`timeout` is the deadline of one call in seconds; `prefix` begins every key. A cluster is not
    supported: a purge is one step over keys that lie anywhere.
    """

    shared = True

    __slots__ = ("_address", "_clients", "_loops", "_prefix", "timeout")

    def __init__(self, url: str, *, timeout: float = 0.05, prefix: str = "gatekit-cache") -> None:
        check(
            "RedisCache",
            url=_url_problem(url),
            timeout=seconds_problem(timeout),
            prefix=string_problem(prefix),
            redis=client_problem(),
        )
        self._address: Address = parse_address(url)
        self._prefix = f"{prefix}:".encode()
        self.timeout = timeout
        self._clients: dict[int, Any] = {}
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()

    def get(self, key: bytes) -> Found:
        return _found(self._client.execute_command("MGET", *self._look(key)))

    async def aget(self, key: bytes) -> Found:
        return _found(await self._aclient.execute_command("MGET", *self._look(key)))

    def put(self, key: bytes, record: bytes, ttl: float, tags: Sequence[str], epoch: int) -> bool:
        command = self._putting(key, record, ttl, tags, epoch)
        return bool(self._client.execute_command(*command) == 1)

    async def aput(
        self, key: bytes, record: bytes, ttl: float, tags: Sequence[str], epoch: int
    ) -> bool:
        command = self._putting(key, record, ttl, tags, epoch)
        return bool(await self._aclient.execute_command(*command) == 1)

    def delete(self, keys: Sequence[bytes]) -> None:
        self._client.execute_command(*self._deleting(keys))

    async def adelete(self, keys: Sequence[bytes]) -> None:
        await self._aclient.execute_command(*self._deleting(keys))

    def purge(self, tags: Sequence[str], soft: bool) -> int:
        return int(self._client.execute_command(*self._purging(tags, soft)))

    async def apurge(self, tags: Sequence[str], soft: bool) -> int:
        return int(await self._aclient.execute_command(*self._purging(tags, soft)))

    def clear(self) -> None:
        client = self._client
        client.execute_command(*self._raising(client.incr(self._prefix + b"epoch")))
        for key in client.scan_iter(match=self._prefix + b"*", count=1000):
            if key not in (self._prefix + b"floor", self._prefix + b"epoch"):
                client.unlink(key)

    async def aclear(self) -> None:
        client = self._aclient
        epoch = await client.incr(self._prefix + b"epoch")
        await client.execute_command(*self._raising(epoch))
        async for key in client.scan_iter(match=self._prefix + b"*", count=1000):
            if key not in (self._prefix + b"floor", self._prefix + b"epoch"):
                await client.unlink(key)

    def lease(self, key: bytes, owner: bytes, seconds: float) -> bool:
        return self._client.execute_command(*self._leasing(key, owner, seconds)) is not None

    async def alease(self, key: bytes, owner: bytes, seconds: float) -> bool:
        command = self._leasing(key, owner, seconds)
        return await self._aclient.execute_command(*command) is not None

    def release(self, key: bytes, owner: bytes) -> None:
        self._client.execute_command("EVAL", _RELEASE, 1, self._lease_key(key), owner)

    async def arelease(self, key: bytes, owner: bytes) -> None:
        await self._aclient.execute_command("EVAL", _RELEASE, 1, self._lease_key(key), owner)

    def close(self) -> None:
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        self.close()
        client = self._loops.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await aclose(client)

    @property
    def _client(self) -> Any:
        pid = os.getpid()
        client = self._clients.get(pid)
        if client is None:
            made = connect(self._address, self.timeout, _MOST_CONNECTIONS)
            client = self._clients.setdefault(pid, made)
        return client

    @property
    def _aclient(self) -> Any:
        loop = asyncio.get_running_loop()
        client = self._loops.get(loop)
        if client is None:
            client = self._loops[loop] = aconnect(self._address, self.timeout, _MOST_CONNECTIONS)
        return client

    def _look(self, key: bytes) -> tuple[bytes, bytes]:
        return self._prefix + key, self._prefix + b"epoch"

    def _lease_key(self, key: bytes) -> bytes:
        return self._prefix + b"lease:" + key

    def _putting(
        self, key: bytes, record: bytes, ttl: float, tags: Sequence[str], epoch: int
    ) -> list[Any]:
        keys = [self._prefix + key, *map(self._tag, tags)]
        milliseconds = max(1, int(min(ttl, 1e9) * 1000))
        return ["EVAL", _PUT, len(keys), *keys, self._prefix, record, milliseconds, epoch]

    def _deleting(self, keys: Sequence[bytes]) -> list[Any]:
        names = [self._prefix + key for key in keys]
        return ["EVAL", _DELETE, len(names), *names, self._prefix, _MEMORY]

    def _purging(self, tags: Sequence[str], soft: bool) -> list[Any]:
        names = list(map(self._tag, tags))
        softly = "1" if soft else "0"
        return [
            "EVAL", _PURGE, len(names), *names, self._prefix, _MEMORY, softly, SOFT_AT, SOFT,
        ]  # fmt: skip

    def _raising(self, epoch: int) -> list[Any]:
        # Not for ever: should the count be lost, nothing could be stored until it is as high again.
        return ["SET", self._prefix + b"floor", epoch, "EX", _MEMORY]

    def _leasing(self, key: bytes, owner: bytes, seconds: float) -> list[Any]:
        return ["SET", self._lease_key(key), owner, "NX", "PX", max(1, int(seconds * 1000))]

    def _tag(self, tag: str) -> bytes:
        return self._prefix + b"tag:" + tag.encode("utf-8", "surrogateescape")

    def __repr__(self) -> str:
        return f"RedisCache({self._address.shown!r})"


def _found(answer: object) -> Found:
    record, epoch = cast("list[bytes | None]", answer)
    return Found(record, int(epoch or 0))


def _url_problem(url: object) -> str | None:
    if not isinstance(url, str):
        return f"must be a URL, not {url!r}"
    try:
        address = parse_address(url)
    except ValueError as error:
        return f"the URL {error}"
    if address.kind == "cluster":
        return "is a cluster, over which a purge cannot be one step"
    return None
