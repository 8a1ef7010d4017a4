"""What a Redis URL means, and the client of redis-py that speaks to it, in either colour.

    address = parse_address("redis+sentinel://one:26379,two:26379/mymaster/0")
    clients = Clients(address, timeout=0.05, most=64)
    clients.blocking().execute_command("PING")          # or: await clients.aio().execute_command(…)

No client retries: a second attempt would come after the deadline, and the breaker stands for it.
"""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit
from weakref import WeakKeyDictionary

Kind: TypeAlias = Literal["server", "cluster", "sentinel"]
Settings: TypeAlias = dict[str, Any]

_PORTS: dict[Kind, int] = {"server": 6379, "cluster": 6379, "sentinel": 26379}


class Address(NamedTuple):
    """`nodes` are hosts and ports; `service` is the name that Sentinel knows the primary by."""

    kind: Kind
    url: str
    nodes: tuple[tuple[str, int], ...]
    settings: Settings
    service: str
    shown: str
    """The URL without its password."""


class Clients:
    """A blocking client for each process, and one for each event loop, made when first asked for.

    `timeout` is in seconds, `most` the connections that a client may have.
    """

    __slots__ = ("_address", "_blocking", "_loops", "_most", "_timeout")

    def __init__(self, address: Address, timeout: float, most: int) -> None:
        self._address = address
        self._timeout = timeout
        self._most = most
        self._blocking: dict[int, Any] = {}
        self._loops: dict[int, WeakKeyDictionary[asyncio.AbstractEventLoop, Any]] = {}

    def blocking(self) -> Any:
        pid = os.getpid()
        found = self._blocking.get(pid)
        if found is None:
            fresh = connect(self._address, self._timeout, self._most)
            # Two threads may both have made one; the one that is left over is not connected.
            found = self._blocking.setdefault(pid, fresh)
        return found

    def aio(self) -> Any:
        pid = os.getpid()
        loops = self._loops.get(pid)
        if loops is None:
            loops = self._loops.setdefault(pid, WeakKeyDictionary())
        loop = asyncio.get_running_loop()
        found = loops.get(loop)
        if found is None:
            found = loops[loop] = aconnect(self._address, self._timeout, self._most)
        return found

    def close(self) -> None:
        """Closes the connections of this process that no event loop holds."""
        client = self._blocking.pop(os.getpid(), None)
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Closes those of the running loop, too."""
        loops = self._loops.get(os.getpid())
        client = None if loops is None else loops.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await aclose(client)
        self.close()


def parse_address(url: str) -> Address:
    """`ValueError` says what is wrong with it."""
    parts = urlsplit(url)
    scheme, _, way = parts.scheme.replace("valkey", "redis").partition("+")
    kind: Kind = "server"
    if way == "cluster":
        kind = "cluster"
    elif way == "sentinel":
        kind = "sentinel"
    elif way or scheme not in {"redis", "rediss", "unix"}:
        raise ValueError(f"{parts.scheme!r} is no scheme of Redis")
    credentials, _, hosts = parts.netloc.rpartition("@")
    shown = f"{parts.scheme}://{hosts}{parts.path}"
    if kind == "server":
        if scheme == "unix" and not parts.path.strip("/"):
            raise ValueError("names no socket; unix:///run/redis.sock does")
        return Address(kind, f"{scheme}:{url.partition(':')[2]}", (), {}, "", shown)
    nodes = tuple(_node(host, _PORTS[kind]) for host in hosts.split(",") if host)
    if not nodes:
        raise ValueError("names no host")
    settings = _settings(parts, credentials, scheme)
    path = parts.path.strip("/").split("/")
    if kind == "sentinel":
        if not path[0]:
            raise ValueError("names no service; redis+sentinel://host:26379/mymaster does")
        settings["db"] = _database(path[1:])
    return Address(kind, url, nodes, settings, path[0], shown)


def connect(address: Address, timeout: float, most: int) -> Any:
    """A blocking client; nothing is sent yet, except to a cluster, which is asked for its nodes."""
    redis, backoff, retry = _modules("redis", "redis.backoff", "redis.retry")
    limits: Settings = {
        "socket_timeout": timeout / 2,
        "socket_connect_timeout": timeout / 2,
        "protocol": 2,
        "max_connections": most,
    }
    if address.kind == "cluster":
        [cluster] = _modules("redis.cluster")
        return cluster.RedisCluster(
            startup_nodes=[cluster.ClusterNode(*node) for node in address.nodes],
            retry=retry.Retry(backoff.NoBackoff(), 0),
            **limits,
            **address.settings,
        )
    limits["retry"] = retry.Retry(backoff.NoBackoff(), 0)
    if address.kind == "sentinel":
        [module] = _modules("redis.sentinel")
        names = ("socket_timeout", "socket_connect_timeout", "retry")
        asked = {name: limits[name] for name in names}
        sentinel = module.Sentinel(list(address.nodes), sentinel_kwargs=asked)
        return sentinel.master_for(address.service, **limits, **address.settings)
    return redis.Redis.from_url(address.url, **limits)


def aconnect(address: Address, timeout: float, most: int) -> Any:
    """A client for the running loop; nothing is sent yet. More than `most` requests wait."""
    redis, backoff, retry = _modules("redis.asyncio", "redis.backoff", "redis.asyncio.retry")
    limits: Settings = {"socket_timeout": timeout, "protocol": 2}
    if address.kind == "cluster":
        [cluster] = _modules("redis.asyncio.cluster")
        return cluster.RedisCluster(
            startup_nodes=[cluster.ClusterNode(*node) for node in address.nodes],
            max_connections=most,
            retry=retry.Retry(backoff.NoBackoff(), 0),
            **limits,
            **address.settings,
        )
    limits["retry"] = retry.Retry(backoff.NoBackoff(), 0)
    if address.kind == "sentinel":
        [module] = _modules("redis.asyncio.sentinel")
        asked = {"socket_timeout": timeout, "retry": limits["retry"]}
        sentinel = module.Sentinel(list(address.nodes), sentinel_kwargs=asked)
        return sentinel.master_for(address.service, **limits, **address.settings)
    pool = redis.BlockingConnectionPool.from_url(
        address.url, max_connections=most, timeout=timeout, **limits
    )
    return redis.Redis(connection_pool=pool)


async def aclose(client: Any) -> None:
    """Closes its connections, and those to the sentinels that it asked."""
    pool = getattr(client, "connection_pool", None)
    manager = getattr(pool, "sentinel_manager", None)
    await client.aclose()
    if pool is not None:
        await pool.disconnect()
    for sentinel in getattr(manager, "sentinels", ()):
        await sentinel.aclose()


def _modules(*names: str) -> list[Any]:
    """Not typed all the way through, and not wanted before a store is."""
    return [import_module(name) for name in names]


def _node(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"{text!r} is no host")
    return parts.hostname, parts.port or port


def _settings(parts: SplitResult, credentials: str, scheme: str) -> Settings:
    settings: Settings = {}
    user, _, password = credentials.partition(":")
    if user:
        settings["username"] = unquote(user)
    if password:
        settings["password"] = unquote(password)
    if scheme == "rediss":
        settings["ssl"] = True
    if parts.query:
        raise ValueError("takes no options in its query")
    return settings


def _database(path: list[str]) -> int:
    if not path:
        return 0
    if len(path) > 1 or not path[0].isdecimal():
        raise ValueError(f"{'/'.join(path)!r} is no database number")
    return int(path[0])
