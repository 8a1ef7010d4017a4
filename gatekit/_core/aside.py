"""Calls that may block or hang, each in a thread of its own and with a limit, in either colour.

    found = await call_aside(io, socket.getaddrinfo, "orders.internal", 8002, seconds=5.0)
    ok = await call_aside(io, probe, destination, seconds=2.0)          # sync or async

For work beside the requests: a thread for each call costs some 100 µs, and needs no pool that a
call which hangs could use up. A function that is late is left behind; its thread is a daemon, and
ends when the function does.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextvars import copy_context
from threading import Thread
from typing import Any, ParamSpec, TypeVar, cast

from gatekit._core.io import IO, resolve

P = ParamSpec("P")
T = TypeVar("T")


class Late(TimeoutError):
    """The time is over, and the thread is not: `future` will tell when it is."""

    def __init__(self, seconds: float, future: Future[Any]) -> None:
        super().__init__(f"not done within {seconds:.3g} s")
        self.future = future


async def call_aside(
    io: IO,
    function: Callable[..., T | Awaitable[T]],
    *args: object,
    seconds: float,
) -> T:
    """What `function` gives, sync or async; `TimeoutError` where that takes longer.

    It is a `Late` where a thread is still busy, so that what hangs need not be started anew. An
    async function runs in the loop of the caller, or in one of its own under WSGI.
    """
    if io.is_async and _is_async(function):
        async with asyncio.timeout(seconds):
            return await cast("Awaitable[T]", function(*args))
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    work = copy_context().run
    Thread(
        target=work, args=(_run, future, function, args, seconds), name="gatekit aside", daemon=True
    ).start()
    try:
        return await io.call(_wait, _await, future, seconds)
    except TimeoutError:
        if future.done():
            raise
        raise Late(seconds, future) from None


class Aside:
    """Calls of which one at most is under way: after a `Late` one further ones are late at once."""

    __slots__ = ("_late",)

    def __init__(self) -> None:
        self._late: Future[Any] | None = None

    async def call(
        self,
        io: IO,
        function: Callable[..., T | Awaitable[T]],
        *args: object,
        seconds: float,
    ) -> T:
        if self._late is not None and not self._late.done():
            raise TimeoutError("the call before has not ended")
        try:
            return await call_aside(io, function, *args, seconds=seconds)
        except Late as late:
            self._late = late.future
            raise


def _run(
    future: Future[T],
    function: Callable[..., T | Awaitable[T]],
    args: tuple[object, ...],
    seconds: float,
) -> None:
    try:
        result = function(*args)
        if inspect.isawaitable(result):
            result = asyncio.run(_within(result, seconds))
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


async def _within(awaitable: Awaitable[T], seconds: float) -> T:
    async with asyncio.timeout(seconds):
        return await resolve(awaitable)


def _wait(future: Future[T], seconds: float) -> T:
    return future.result(seconds)


async def _await(future: Future[T], seconds: float) -> T:
    async with asyncio.timeout(seconds):
        return await asyncio.wrap_future(future)


def _is_async(function: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        cast("Callable[..., Coroutine[Any, Any, object]]", getattr(function, "__call__", None))  # noqa: B004
    )
