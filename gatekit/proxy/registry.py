"""The pools of a transport: one for each origin, event loop and process.

    registry = Registry(settings)
    registry.of_loop(origin)         # in a running loop
    registry.of_threads(origin)      # in any thread

A process that was forked begins with nothing: a connection that two processes use would mix their
answers. A loop that has ended takes its pools with it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary

from gatekit.proxy.aio import LoopPool
from gatekit.proxy.blocking import ThreadPool
from gatekit.proxy.origin import Origin
from gatekit.proxy.settings import Settings

PoolT = TypeVar("PoolT", LoopPool, ThreadPool)


class Usage(NamedTuple):
    """How the connections to an origin are used."""

    in_use: int
    idle: int
    pending: int


class Registry:
    """Finds the pool, and makes it where there is none."""

    __slots__ = ("_processes", "_settings")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._processes: dict[int, _Process] = {}

    def of_loop(self, origin: Origin) -> LoopPool:
        loop = asyncio.get_running_loop()
        process = self._processes.get(os.getpid()) or self._begin_process()
        pools = process.loops.get(loop)
        if pools is None:
            pools = process.begin_loop(loop)
        pool = pools.get(origin.key)
        if pool is None:
            _forget_unused(pools)
            sweep = partial(_expire, pools)
            pool = pools[origin.key] = LoopPool(origin, self._settings, sweep)
        return pool

    def of_threads(self, origin: Origin) -> ThreadPool:
        process = self._processes.get(os.getpid()) or self._begin_process()
        pool = process.threads.get(origin.key)
        if pool is None:
            with process.lock:
                pools = process.threads
                _forget_unused(pools)
                sweep = partial(_expire, pools)
                pool = pools.setdefault(origin.key, ThreadPool(origin, self._settings, sweep))
        return pool

    def usage(self, origin: Origin) -> Usage:
        process = self._processes.get(os.getpid())
        if process is None:
            return Usage(0, 0, 0)
        found = [pools.get(origin.key) for pools in process.loops.values()]
        places: list[_Places] = [pool.places for pool in found if pool is not None]
        if origin.key in process.threads:
            places.append(process.threads[origin.key].places)
        return Usage(
            sum(place.in_use for place in places),
            sum(place.idle for place in places),
            sum(place.pending for place in places),
        )

    def close(self) -> None:
        """Close what is idle: that of threads at once, that of a loop in its next turn."""
        process = self._processes.get(os.getpid())
        if process is None:
            return
        with process.lock:
            threads, process.threads = process.threads, {}
            loops = list(process.loops.items())
            process.loops.clear()
        for pool in threads.values():
            pool.close()
        for loop, pools in loops:
            # RuntimeError: the loop is closed, and what it had is closed with it.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_close, pools)

    async def aclose(self) -> None:
        process = self._processes.get(os.getpid())
        if process is not None:
            for pool in process.loops.pop(asyncio.get_running_loop(), {}).values():
                await pool.aclose()
        self.close()

    def _begin_process(self) -> _Process:
        """Start afresh, with nothing of the process that this one may be a fork of.

        No lock: it might have been held at the moment of the fork. `setdefault` is atomic.
        """
        for inherited in list(self._processes.values()):
            for pool in inherited.threads.values():
                pool.disown()
        return self._processes.setdefault(os.getpid(), _Process())


class _Process:
    """The pools of one process."""

    __slots__ = ("lock", "loops", "threads")

    def __init__(self) -> None:
        self.lock = Lock()
        self.threads: dict[str, ThreadPool] = {}
        self.loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, LoopPool]] = (
            WeakKeyDictionary()
        )

    def begin_loop(self, loop: asyncio.AbstractEventLoop) -> dict[str, LoopPool]:
        """The pools of `loop`; those of loops that are closed go, with what is left of them."""
        with self.lock:
            for other in list(self.loops):
                if other.is_closed():
                    del self.loops[other]
            return self.loops.setdefault(loop, {})


class _Pool(Protocol):
    def expire(self) -> None: ...

    def close(self) -> None: ...


class _Places(Protocol):
    @property
    def in_use(self) -> int: ...

    @property
    def idle(self) -> int: ...

    @property
    def pending(self) -> int: ...


def _expire(pools: Mapping[str, _Pool]) -> None:
    for pool in list(pools.values()):
        pool.expire()


def _close(pools: Mapping[str, _Pool]) -> None:
    for pool in list(pools.values()):
        pool.close()


def _forget_unused(pools: MutableMapping[str, PoolT]) -> None:
    """Drop what was left of origins that nobody asks any more."""
    for key, pool in list(pools.items()):
        if pool.is_unused:
            del pools[key]
            # Who has just looked it up may use it, but will leave no connection behind.
            pool.close()
