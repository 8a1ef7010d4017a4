"""Notices that the client left while gatekit itself is at work, and cancels that work.

An app listens to `receive` itself. Where a handler answers, nobody does, and without this an
upstream would go on working for a client that is gone.
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from gatekit.errors import ClientDisconnected

if TYPE_CHECKING:
    from gatekit._doors.asgi_http import HTTPExchange

# Seconds. Most answers are there sooner and never pay for a task.
_PATIENCE = 0.02


class Watch:
    """Cancels the task that entered it when the client leaves; the block then ends quietly.

    `awaited` is what that task is about to wait for, where it is known. `exchange.left` tells that
    it happened. A chunk of the request's body that arrives meanwhile is kept for who reads the
    body.
    """

    __slots__ = ("_cancelling", "_exchange", "_fired", "_loop", "_main", "_rounds", "_watcher")

    def __init__(self, exchange: HTTPExchange, awaited: object = None) -> None:
        self._exchange = exchange
        self._fired = False
        self._watcher: asyncio.Task[None] | None = None
        # A future knows its loop; which one is running costs a question to the kernel.
        if isinstance(awaited, asyncio.Future):
            self._loop = cast("asyncio.Future[object]", awaited).get_loop()
        else:
            self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        loop = self._loop
        main = asyncio.current_task(loop)
        assert main is not None
        self._main = main
        self._cancelling = main.cancelling()
        self._rounds = _rounds_of(loop)
        self._rounds.join(self)
        return self

    @property
    def has_begun(self) -> bool:
        """It listens: `stop` it before anybody else does."""
        return self._watcher is not None

    async def stop(self) -> None:
        """Leaves `receive` to others."""
        self._rounds.leave(self)
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._rounds.leave(self)
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None  # it knows this
        if not self._fired:
            return False
        return self._main.uncancel() <= self._cancelling and isinstance(
            error, asyncio.CancelledError
        )

    def begin(self) -> None:
        """Its patience is over."""
        self._watcher = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._exchange.watch()
        except ClientDisconnected:
            self._exchange.left = True
            self._fired = True
            self._main.cancel()
        except Exception:  # noqa: S110 — a codec's, which the body raises again to whoever reads it
            pass


class _Rounds:
    """One timer for all watches of a loop: a timer for each costs more than all else they do.

    A watch that has seen one round to its end begins with the next, after one to two `_PATIENCE`.
    """

    __slots__ = ("_loop", "_old", "_ticks", "_young")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ticks = False
        self._young: set[Watch] = set()
        self._old: set[Watch] = set()

    def join(self, watch: Watch) -> None:
        self._young.add(watch)
        if not self._ticks:
            self._ticks = True
            self._loop.call_later(_PATIENCE, self._tick)

    def leave(self, watch: Watch) -> None:
        self._young.discard(watch)
        self._old.discard(watch)

    def is_of(self, loop: asyncio.AbstractEventLoop) -> bool:
        return self._loop is loop

    def _tick(self) -> None:
        due, self._old, self._young = self._old, self._young, set()
        for watch in due:
            watch.begin()
        self._ticks = bool(self._old)
        if self._ticks:
            self._loop.call_later(_PATIENCE, self._tick)


class _Thread(threading.local):
    """A thread runs one loop at a time."""

    rounds: _Rounds | None = None


_thread = _Thread()


def _rounds_of(loop: asyncio.AbstractEventLoop) -> _Rounds:
    rounds = _thread.rounds
    if rounds is None or not rounds.is_of(loop):
        rounds = _thread.rounds = _Rounds(loop)
    return rounds
