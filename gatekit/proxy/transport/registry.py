"""The pools of a transport: one for each origin, event loop and process.

    registry = Registry(settings)
    registry.of_loop(origin)         # in a running loop
    registry.of_threads(origin)      # in any thread

A process that was forked begins with nothing: a connection that two processes use would mix their
answers. A loop that has ended takes its pools with it.
"""

from __future__ import annotations

import asyncio
import weakref
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import Generic, NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary

from gatekit._core.process import here
from gatekit.proxy.transport.aio import LoopPool
from gatekit.proxy.transport.blocking import ThreadPool
from gatekit.proxy.transport.origin import Origin
from gatekit.proxy.transport.settings import Settings

PoolT = TypeVar("PoolT", LoopPool, ThreadPool)


class Usage(NamedTuple):
    """How the connections to an origin are used."""

    in_use: int
    idle: int
    pending: int


class Registry:
    """Finds the pool, and makes it where there is none."""

    __slots__ = ("_latest", "_processes", "_settings")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._processes: dict[int, _Process] = {}
        # Most processes run one loop, which need not be looked up.
        self._latest: _Latest | None = None

    def of_loop(self, origin: Origin) -> LoopPool:
        loop = asyncio.get_running_loop()
        latest = self._latest
        if latest is None or latest.loop() is not loop or latest.pid != here.pid:
            latest = self._find_loop(loop)
        pools = latest.pools
        pool = pools.by_key.get(origin.key)
        return pool or pools.add(origin.key, LoopPool(origin, self._settings, pools.sweep))

    def of_threads(self, origin: Origin) -> ThreadPool:
        process = self._processes.get(here.pid) or self._begin_process()
        pools = process.threads
        pool = pools.by_key.get(origin.key)
        return pool or pools.add(origin.key, ThreadPool(origin, self._settings, pools.sweep))

    def usage(self, origin: Origin) -> Usage:
        process = self._processes.get(here.pid)
        if process is None:
            return Usage(0, 0, 0)
        places: list[_Places] = [
            pools.by_key[origin.key].places
            for pools in process.loop_pools()
            if origin.key in pools.by_key
        ]
        if origin.key in process.threads.by_key:
            places.append(process.threads.by_key[origin.key].places)
        return Usage(
            sum(place.in_use for place in places),
            sum(place.idle for place in places),
            sum(place.pending for place in places),
        )

    def close(self) -> None:
        """Close what is idle: that of threads at once, that of a loop in its next turn."""
        process = self._processes.get(here.pid)
        if process is None:
            return
        threads, process.threads = process.threads, _Pools(self._settings.idle_ttl)
        threads.close()
        ended = process.end_loops()
        self._latest = None
        for loop, pools in ended:
            # RuntimeError: the loop is closed, and what it had is closed with it.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(pools.close)

    async def aclose(self) -> None:
        process = self._processes.get(here.pid)
        if process is not None:
            pools = process.loops.pop(asyncio.get_running_loop(), None)
            self._latest = None
            if pools is not None:
                for pool in list(pools.by_key.values()):
                    await pool.aclose()
        self.close()

    def _find_loop(self, loop: asyncio.AbstractEventLoop) -> _Latest:
        process = self._processes.get(here.pid) or self._begin_process()
        pools = process.loops.get(loop)
        if pools is None:
            pools = process.begin_loop(loop)
        found = self._latest = _Latest(here.pid, weakref.ref(loop), pools)
        if process.loops.get(loop) is not pools:
            # Another thread has closed the transport in between.
            self._latest = None
        return found

    def _begin_process(self) -> _Process:
        """Start afresh, with nothing of the process that this one may be a fork of.

        No lock: it might have been held at the moment of the fork. `setdefault` is atomic.
        """
        for inherited in list(self._processes.values()):
            for pool in inherited.threads.by_key.values():
                pool.disown()
        return self._processes.setdefault(here.pid, _Process(self._settings.idle_ttl))


class _Pools(Generic[PoolT]):
    """The pools of one loop, or of the threads of one process, by the key of their origin."""

    __slots__ = ("_idle_ttl", "_lock", "_next_sweep", "by_key")

    def __init__(self, idle_ttl: float) -> None:
        self.by_key: dict[str, PoolT] = {}
        self._lock = Lock()
        self._idle_ttl = idle_ttl
        self._next_sweep = 0.0

    def add(self, key: str, pool: PoolT) -> PoolT:
        """Keep it, unless another thread was faster; forget those of origins that are gone."""
        old = monotonic() - self._idle_ttl
        with self._lock:
            for other, unused in list(self.by_key.items()):
                if unused.is_unused and unused.used_at <= old:
                    del self.by_key[other]
                    # Who has just looked it up may use it, but will leave no connection behind.
                    unused.close()
            return self.by_key.setdefault(key, pool)

    def sweep(self) -> None:
        """Close what has been idle for too long."""
        now = monotonic()
        if now >= self._next_sweep:
            # A look at every pool is worth its time once a second, not for every connection.
            self._next_sweep = now + min(self._idle_ttl, 1.0)
            for pool in list(self.by_key.values()):
                pool.expire()

    def close(self) -> None:
        for pool in list(self.by_key.values()):
            pool.close()


class _Latest(NamedTuple):
    """The pools that were asked for last."""

    pid: int
    loop: weakref.ref[asyncio.AbstractEventLoop]
    pools: _Pools[LoopPool]


class _Process:
    """The pools of one process."""

    __slots__ = ("_idle_ttl", "_lock", "loops", "threads")

    def __init__(self, idle_ttl: float) -> None:
        self._idle_ttl = idle_ttl
        self._lock = Lock()
        self.threads: _Pools[ThreadPool] = _Pools(idle_ttl)
        self.loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pools[LoopPool]] = (
            WeakKeyDictionary()
        )

    def begin_loop(self, loop: asyncio.AbstractEventLoop) -> _Pools[LoopPool]:
        """The pools of `loop`; those of loops that are closed go, with what is left of them."""
        with self._lock:
            for other in list(self.loops):
                if other.is_closed():
                    del self.loops[other]
            return self.loops.setdefault(loop, _Pools(self._idle_ttl))

    def loop_pools(self) -> list[_Pools[LoopPool]]:
        with self._lock:
            return list(self.loops.values())

    def end_loops(self) -> list[tuple[asyncio.AbstractEventLoop, _Pools[LoopPool]]]:
        """All that were begun, which are forgotten."""
        with self._lock:
            ended = list(self.loops.items())
            self.loops.clear()
        return ended


class _Places(Protocol):
    @property
    def in_use(self) -> int: ...

    @property
    def idle(self) -> int: ...

    @property
    def pending(self) -> int: ...
