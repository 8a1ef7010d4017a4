"""One question about what the gateway needs, asked with a deadline in either colour.

    async def database() -> bool:
        return await pool.fetchval("select 1") == 1

    Check(database, timeout=0.5)

A check is well if it gives None or True, and not if it gives False or raises; `"up"`, `"degraded"`
and `"down"` say it in words. An async one runs in the loop under ASGI, and in a loop of its own in
a thread under WSGI; a plain one always runs in a thread, for it may block.

**A check that hangs** is `down` when its time is up. As long as it has not ended it is not begun
again: a service that is away costs one thread, not one for each probe.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from threading import Thread
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from gatekit._core.io import IO
from gatekit._core.options import function_problem, known_keywords, seconds_problem
from gatekit.errors import check

Status: TypeAlias = Literal["up", "degraded", "down"]
Answer: TypeAlias = "bool | Status | None"
Question: TypeAlias = "Callable[[], Answer | Awaitable[Answer]]"
Run: TypeAlias = "asyncio.Task[tuple[object, float]] | Future[tuple[object, float]]"


@known_keywords
class Check:
    """`function` takes nothing; `timeout` is in seconds, None for that of the `Health`."""

    __slots__ = ("function", "timeout")

    def __init__(self, function: Question, *, timeout: float | None = None) -> None:
        check(
            "Check",
            function=question_problem(function),
            timeout=None if timeout is None else seconds_problem(timeout),
        )
        self.function = function
        self.timeout = timeout


class Finding(NamedTuple):
    """What came of a check. `reason` holds no text of an exception, which may hold secrets."""

    status: Status
    reason: str = ""
    seconds: float | None = None


class Probe:
    """A check by its name, and the run of it that has not ended in time."""

    __slots__ = ("_function", "_hung", "_pid", "name", "timeout")

    def __init__(self, name: str, function: Question, timeout: float) -> None:
        self.name = name
        self.timeout = timeout
        # In a tuple: a WSGI door takes an async function among the attributes for a callback.
        self._function = (function,)
        self._hung: Run | None = None
        self._pid = 0

    def begin(self, io: IO) -> Run | None:
        """Starts it; None if an earlier run still hangs."""
        hung = self._hung
        if hung is not None and self._pid == os.getpid() and not _is_over(hung):
            return None
        self._hung = None
        if io.is_async and _is_async(self._function[0]):
            return asyncio.get_running_loop().create_task(self._await(io.now))
        future: Future[tuple[object, float]] = Future()
        future.set_running_or_notify_cancel()
        thread = Thread(
            target=self._run, args=(io.now, future), name=f"gatekit health {self.name}", daemon=True
        )
        thread.start()
        return future

    async def finish(self, io: IO, run: Run | None, began: float) -> Finding:
        """What it found, or that it did not within its time, which began when it was started."""
        if run is None:
            return Finding("down", "an earlier run has not ended")
        left = max(0.0, self.timeout - (io.now() - began))
        if not await io.call(_wait, _await, run, left):
            self._hung, self._pid = run, os.getpid()
            if isinstance(run, asyncio.Task):
                run.cancel()
            return Finding("down", f"no answer within {self.timeout:g} s", self.timeout)
        try:
            value, seconds = run.result()
        except asyncio.CancelledError:
            return Finding("down", "it was cancelled")
        except Exception as error:
            return Finding("down", f"it raised {type(error).__qualname__}")
        return _finding(value, seconds)

    async def _await(self, now: Callable[[], float]) -> tuple[object, float]:
        began = now()
        value = self._function[0]()
        if inspect.isawaitable(value):
            value = await value
        return value, now() - began

    def _run(self, now: Callable[[], float], future: Future[tuple[object, float]]) -> None:
        began = now()
        try:
            value: object = self._function[0]()
            if inspect.isawaitable(value):
                value = asyncio.run(_awaited(value))
        except BaseException as error:
            future.set_exception(error if isinstance(error, Exception) else RuntimeError())
        else:
            future.set_result((value, now() - began))


def question_problem(value: object) -> str | None:
    """Of a check: a class or a coroutine that was called already is a common mistake."""
    if value is None or inspect.iscoroutine(value):
        return f"must be a function, not {value!r}"
    return function_problem(value, takes_async=True)


def _finding(value: object, seconds: float) -> Finding:
    if value is None or value is True:
        return Finding("up", "", seconds)
    if value is False:
        return Finding("down", "it says so", seconds)
    if value in ("up", "degraded", "down"):
        return Finding(value, "" if value == "up" else "it says so", seconds)
    return Finding("down", f"it gave a {type(value).__qualname__}, which says nothing", seconds)


def _is_async(function: object) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004 — not whether it can be called
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _is_over(run: Run) -> bool:
    return run.done() or (isinstance(run, asyncio.Task) and run.get_loop().is_closed())


async def _awaited(value: Awaitable[object]) -> object:
    return await value


def _wait(run: Run, seconds: float) -> bool:
    return bool(wait_for([cast("Future[Any]", run)], seconds).done)


async def _await(run: Run, seconds: float) -> bool:
    waiting: asyncio.Future[Any] = (
        asyncio.wrap_future(run) if isinstance(run, Future) else cast("asyncio.Task[Any]", run)
    )
    done, _ = await asyncio.wait([waiting], timeout=seconds)
    if waiting is not run:
        if not done:
            # A thread that ends after the loop must not look for it. It cannot be cancelled itself.
            waiting.cancel()
        elif not waiting.cancelled():
            waiting.exception()  # it is asked for at the run itself; nobody else will look here
    return bool(done)
