"""The small port through which middlewares do I/O, in the colour of the door they run under.

    value = await request.io.call(redis.get, aredis.get, key)    # blocks or awaits
    await request.io.sleep(0.2)
    users, orders = await request.io.gather(fetch(a), fetch(b))
    started = request.io.now()

`gatekit.testing.FakeIO` is the third implementation: its clock is advanced by hand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import copy_context
from inspect import isawaitable
from typing import Any, ParamSpec, Protocol, TypeVar

from gatekit.errors import MisuseError

P = ParamSpec("P")
T = TypeVar("T")


class IO(Protocol):
    """What a request's waits go through."""

    is_async: bool

    async def call(
        self,
        sync: Callable[P, T],
        aio: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Calls the one of the two that fits the door."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def gather(self, *coroutines: Coroutine[Any, Any, T]) -> list[T]:
        """Runs them side by side; the first error cancels the rest and is raised."""
        ...

    def now(self) -> float:
        """Seconds on a monotonic clock."""
        ...

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        """Raises `TimeoutError` inside the block when it is late; under WSGI it cannot."""
        ...


class AsyncIO:
    """Awaits on the running asyncio loop."""

    __slots__ = ()
    is_async = True

    async def call(
        self,
        sync: Callable[P, T],
        aio: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await aio(*args, **kwargs)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def gather(self, *coroutines: Coroutine[Any, Any, T]) -> list[T]:
        tasks: list[asyncio.Task[T]] = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks.extend(group.create_task(coroutine) for coroutine in coroutines)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return [task.result() for task in tasks]

    now = staticmethod(time.monotonic)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(seconds)


class BlockingIO:
    """Blocks the worker's thread; `gather` borrows threads for as long as it runs."""

    __slots__ = ()
    is_async = False

    async def call(
        self,
        sync: Callable[P, T],
        aio: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return sync(*args, **kwargs)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 — there is no event loop here to hold up

    async def gather(self, *coroutines: Coroutine[Any, Any, T]) -> list[T]:
        if len(coroutines) < 2:
            return [block(coroutine) for coroutine in coroutines]
        with ThreadPoolExecutor(len(coroutines)) as threads:
            futures = [
                threads.submit(copy_context().run, block, coroutine) for coroutine in coroutines
            ]
            return [future.result() for future in futures]

    now = staticmethod(time.monotonic)

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        return nullcontext()


async def resolve(value: T | Awaitable[T]) -> T:
    """The value of a callback that may be sync or async."""
    if isawaitable(value):
        return await value
    return value


def block(awaitable: Awaitable[T]) -> T:
    """Runs to the end without an event loop; one that really suspends gets a `MisuseError`."""
    coroutine = awaitable.__await__()
    try:
        coroutine.send(None)
        while True:
            coroutine.throw(suspended(awaitable))
    except StopIteration as stop:
        result: T = stop.value
        return result


def suspended(awaitable: Awaitable[Any]) -> MisuseError:
    """The error for a coroutine that waits on an event loop which WSGI does not have."""
    names: list[str] = []
    frame: Any = awaitable
    while frame is not None and hasattr(frame, "cr_code"):
        code = frame.cr_code
        if not code.co_filename.endswith("compose.py"):
            names.append(f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})")
        frame = frame.cr_await
    path = " → ".join(names) or repr(awaitable)
    return MisuseError(
        f"a coroutine suspended under a WSGI door, which has no event loop: {path}. "
        "Do I/O through `request.io`, with a blocking function beside the async one."
    )
