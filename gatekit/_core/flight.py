"""Single flight: who asks for what is being fetched already waits for that, in either colour.

    flights: Flights[KeySet] = Flights()
    keys = await flights.join(request.io, issuer, lambda: fetch_keys(issuer))

The first to come runs the work; its result, or what it raised, is everybody's. Under asyncio the
work is a task of its own: a request that is cancelled leaves it to the others. Under WSGI the
thread that came first does it while others block. Work has to bound its own time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from gatekit._core.io import IO

T = TypeVar("T")


class Flights(Generic[T]):
    """What is being fetched now, by key. A loop and the threads of a process share nothing."""

    __slots__ = ("_loops", "_threads")

    def __init__(self) -> None:
        self._loops: WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[Hashable, asyncio.Task[T]]
        ] = WeakKeyDictionary()
        # With the process in the key a fork does not wait for a thread that it has not got.
        self._threads: dict[tuple[int, Hashable], Future[T]] = {}

    async def join(self, io: IO, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of `work`, run now unless it is running."""
        if io.is_async:
            return await asyncio.shield(self._task(key, work))
        ours: Future[T] = Future()
        name = (os.getpid(), key)
        flight = self._threads.setdefault(name, ours)
        if flight is not ours:
            return flight.result()
        try:
            result = await work()
        except BaseException as error:
            self._threads.pop(name, None)
            ours.set_exception(error)
            raise
        self._threads.pop(name, None)
        ours.set_result(result)
        return result

    def _task(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        loop = asyncio.get_running_loop()
        tasks = self._loops.get(loop)
        if tasks is None:
            tasks = self._loops.setdefault(loop, {})
        task = tasks.get(key)
        if task is None:
            task = tasks[key] = loop.create_task(work())
            task.add_done_callback(_Landed(tasks, key))
        return task


class _Landed:
    """Forgets a flight. An error that nobody waited for is theirs who left."""

    __slots__ = ("_key", "_tasks")

    def __init__(self, tasks: dict[Hashable, asyncio.Task[Any]], key: Hashable) -> None:
        self._tasks = tasks
        self._key = key

    def __call__(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(self._key, None)
        if not task.cancelled():
            task.exception()
