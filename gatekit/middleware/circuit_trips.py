"""Tells other processes that a circuit opened, and learns it from them.

    CircuitBreaker("orders", trips=RedisTrips("redis://localhost:6379/0"))

What is shared is that a circuit opened, and for how long; never the single calls. Each process goes
on counting for itself, sends its own probes when the time is over, and needs nobody to agree.

No request waits for it: the exchange is made when a request is over, at most once in `refresh`
seconds, in one round trip to learn and one to tell. Where the server does not answer in time,
each process is on its own, and one line in the log says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from gatekit._core.options import known_keywords, seconds_problem, string_problem
from gatekit.errors import check
from gatekit.limits.redis_clients import Clients, parse_address
from gatekit.limits.secrecy import hashed, secret_problem
from gatekit.limits.store import client_problem

# Connections of a client: nobody waits for it, and few exchanges are made at a time.
_MOST = 2

# Entries lie in a sorted set by the moment at which they end, on the server's clock.
_TELL = """
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], ends, ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last[2]))
return string.format('%.0f', ends)
"""
_LEARN = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local found = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
table.insert(found, 1, string.format('%.0f', now))
return found
"""


@known_keywords
class RedisTrips:
    """In Redis or Valkey; the URLs are those of a `RateLimit`'s store.

    Circuits of the same name in all processes are one. `refresh` and `timeout` are seconds.
    Keys are hashed, with `secret` if there is one, which then all processes share.
    """

    __slots__ = ("_address", "_clients", "_prefix", "_secret", "refresh", "timeout")

    def __init__(
        self,
        url: str,
        *,
        refresh: float = 1.0,
        timeout: float = 0.05,
        prefix: str = "gatekit",
        secret: bytes = b"",
    ) -> None:
        check(
            "RedisTrips",
            url=_url_problem(url),
            refresh=seconds_problem(refresh),
            timeout=seconds_problem(timeout),
            prefix=string_problem(prefix),
            secret=secret_problem(secret),
        )
        self._address = parse_address(url)
        self._prefix = prefix
        self._secret = secret
        self.refresh = refresh
        self.timeout = timeout
        self._clients = Clients(self._address, timeout, _MOST)

    def mark(self, key: str | None) -> str:
        return "" if key is None else hashed(key, self._secret)

    def tell(self, name: str, mark: str, seconds: float) -> int:
        return int(self._clients.blocking().eval(*self._told(name, mark, seconds)))

    async def atell(self, name: str, mark: str, seconds: float) -> int:
        return int(await self._clients.aio().eval(*self._told(name, mark, seconds)))

    def learn(self, name: str) -> Mapping[str, tuple[int, float]]:
        return _learned(self._clients.blocking().eval(_LEARN, 1, self._key(name)))

    async def alearn(self, name: str) -> Mapping[str, tuple[int, float]]:
        return _learned(await self._clients.aio().eval(_LEARN, 1, self._key(name)))

    def close(self) -> None:
        """Closes the connections of this process that no event loop holds."""
        self._clients.close()

    async def aclose(self) -> None:
        """Closes those of the running loop, too."""
        await self._clients.aclose()

    def _told(self, name: str, mark: str, seconds: float) -> tuple[str, int, str, str, int]:
        return _TELL, 1, self._key(name), mark, round(seconds * 1000)

    def _key(self, name: str) -> str:
        return f"{self._prefix}:trips:{name}"

    def __repr__(self) -> str:
        return f"RedisTrips({self._address.shown!r})"


def _learned(found: list[bytes]) -> dict[str, tuple[int, float]]:
    now = int(found[0])
    marks, moments = found[1::2], map(int, map(float, found[2::2]))
    return {
        mark.decode(): (ends, (ends - now) / 1000)
        for mark, ends in zip(marks, moments, strict=True)
    }


def _url_problem(url: object) -> str | None:
    if not isinstance(url, str):
        return f"must be a URL such as redis://localhost:6379/0, not {url!r}"
    try:
        parse_address(url)
    except ValueError as error:
        return str(error)
    return client_problem()
