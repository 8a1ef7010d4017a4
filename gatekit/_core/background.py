"""Work beside the requests, in the colour of the door: tasks of the loop, or a few threads.

    background = Background("health")
    background.keep(request.io, watch_over)            # one in the process, begun when first asked
    background.spawn(request.io, revalidate)           # once, now

    async def watch_over(io: IO) -> None:
        while True:
            await check(io)
            await io.sleep(30)

Nothing is begun before a request asks for it, so that every process of a pre-fork server has its
own. A job does its I/O through the `io` that it is given. What it raises is logged.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from threading import Event, Lock, Thread
from typing import Any, TypeAlias

from gatekit._core.io import IO, AsyncIO, BlockingIO, block

Job: TypeAlias = Callable[[IO], Coroutine[Any, Any, None]]

logger = logging.getLogger("gatekit")

_ASYNC_IO = AsyncIO()


class Stopped(BaseException):
    """Ends the sleep of a job in a thread whose time is over."""


class Background:
    """The jobs of one part; `name` is for the log and for threads.

    `threads` bounds those that run at once by `spawn` under WSGI. `close()` ends what sleeps; a
    job that waits for I/O ends with it. Afterwards jobs may be started anew.
    """

    __slots__ = ("_kept", "_lock", "_name", "_pid", "_stop", "_tasks", "_threads", "_width")

    _kept: asyncio.Task[None] | Thread | None
    _tasks: set[asyncio.Task[None]]
    _threads: set[Thread]

    def __init__(self, name: str, *, threads: int = 4) -> None:
        self._name = name
        self._width = threads
        self._begin()

    def keep(self, io: IO, job: Job) -> None:
        """See to it that `job` runs, once in this process; one that has ended is begun again."""
        kept = self._kept
        if self._pid == os.getpid() and kept is not None and _lives(kept):
            return
        self._new_process()
        with self._lock:
            if self._kept is None or not _lives(self._kept):
                # It outlives the request that began it, and is no part of its trace.
                self._kept = self._start(io, job, Context())

    def spawn(self, io: IO, job: Job) -> bool:
        """Run `job` once; False where all threads are busy, and it is not run."""
        self._new_process()
        if not io.is_async:
            with self._lock:
                self._threads = {thread for thread in self._threads if thread.is_alive()}
                if len(self._threads) >= self._width:
                    return False
                thread = self._start(io, job, copy_context())
                assert isinstance(thread, Thread)
                self._threads.add(thread)
            return True
        self._start(io, job, copy_context())
        return True

    def close(self) -> None:
        """End every job: at once where it sleeps in a thread, in its loop's next turn else."""
        stop, tasks = self._stop, list(self._tasks)
        self._begin()
        stop.set()
        for task in tasks:
            loop = task.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)

    async def aclose(self) -> None:
        """The same; the tasks of the running loop are over when this returns."""
        loop = asyncio.get_running_loop()
        ours = [task for task in self._tasks if task.get_loop() is loop]
        self.close()
        if ours:
            await asyncio.wait(ours)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = Lock()
        self._stop = Event()
        self._kept = None
        self._tasks = set()
        self._threads = set()

    def _new_process(self) -> None:
        if self._pid != os.getpid():
            self._begin()

    def _start(self, io: IO, job: Job, context: Context) -> asyncio.Task[None] | Thread:
        if io.is_async:
            running = self._run(job, _ASYNC_IO)
            task = asyncio.get_running_loop().create_task(running, context=context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return task
        thread = Thread(
            target=context.run,
            args=(self._run_in_thread, job, _ThreadIO(self._stop)),
            name=f"gatekit {self._name}",
            daemon=True,
        )
        thread.start()
        return thread

    def _run_in_thread(self, job: Job, io: IO) -> None:
        block(self._run(job, io))

    async def _run(self, job: Job, io: IO) -> None:
        try:
            await job(io)
        except Stopped:
            pass
        except Exception as error:
            logger.error("background work of %s raised", self._name, exc_info=error)


class _ThreadIO(BlockingIO):
    """Sleeps until the time or the part is over."""

    __slots__ = ("_stop",)

    def __init__(self, stop: Event) -> None:
        self._stop = stop

    async def sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped


def _lives(runner: asyncio.Task[None] | Thread) -> bool:
    if isinstance(runner, Thread):
        return runner.is_alive()
    return not runner.done() and not runner.get_loop().is_closed()
