"""Those who wait, in both colours, and how each is woken from whatever thread or loop.

Under ASGI it is a future of the waiting request's own loop: who comes from another loop or thread
reaches it through `call_soon_threadsafe`. Under WSGI it is a lock that the waiting thread cannot
have until somebody lets go of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Lock
from typing import TypeAlias

from gatekit._core.io import IO


class AsyncWaiter:
    """Made in the loop that waits."""

    __slots__ = ("_deadline", "_expire", "_future", "_loop", "_now")

    def __init__(self, io: IO, seconds: float, expire: Callable[[], None]) -> None:
        self._now = io.now
        self._deadline = io.now() + seconds
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    def is_late(self) -> bool:
        return self._now() >= self._deadline

    def wake(self) -> bool:
        if asyncio._get_running_loop() is self._loop:
            self._set()
            return True
        try:
            self._loop.call_soon_threadsafe(self._set)
        except RuntimeError:  # the loop is closed
            return False
        return True

    async def wait(self) -> None:
        """Until woken; when time is up, `expire` is called first and decides."""
        timer = self._loop.call_later(max(0.0, self._deadline - self._now()), self._expire)
        try:
            await self._future
        finally:
            timer.cancel()

    def _set(self) -> None:
        if not self._future.done():  # cancelled, perhaps
            self._future.set_result(None)


class BlockingWaiter:
    """For a thread."""

    __slots__ = ("_deadline", "_expire", "_lock", "_now")

    def __init__(self, io: IO, seconds: float, expire: Callable[[], None]) -> None:
        self._now = io.now
        self._deadline = io.now() + seconds
        self._expire = expire
        self._lock = Lock()
        self._lock.acquire()

    def is_late(self) -> bool:
        return self._now() >= self._deadline

    def wake(self) -> bool:
        self._lock.release()
        return True

    async def wait(self) -> None:
        """Blocks its thread until woken; when time is up, `expire` is called first and decides."""
        if not self._lock.acquire(timeout=max(0.0, self._deadline - self._now())):
            self._expire()


Waiting: TypeAlias = AsyncWaiter | BlockingWaiter
