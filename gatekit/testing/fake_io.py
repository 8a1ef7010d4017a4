"""An `io` whose clock is advanced by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

from gatekit._core.io import block

P = ParamSpec("P")
T = TypeVar("T")


class FakeIO:
    """An `io` whose clock stands still until it is advanced; it blocks, as under WSGI.

    `sleep` advances the clock instead of waiting; `slept` lists how long.
    """

    is_async = False

    def __init__(self, now: float = 1_000.0) -> None:
        self._now = now
        self.slept: list[float] = []

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def now(self) -> float:
        return self._now

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
        self.slept.append(seconds)
        self.advance(seconds)

    async def gather(self, *coroutines: Coroutine[Any, Any, T]) -> list[T]:
        return [block(coroutine) for coroutine in coroutines]

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        return nullcontext()
