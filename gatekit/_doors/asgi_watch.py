"""Notices that the client left while gatekit itself is at work, and cancels that work.

An app listens to `receive` itself. Where a handler answers, nobody does, and without this an
upstream would go on working for a client that is gone.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Self

from gatekit.errors import ClientDisconnected

if TYPE_CHECKING:
    from gatekit._doors.asgi_http import HTTPExchange

# Most answers are there sooner and never pay for a task.
_PATIENCE = 0.02


class Watch:
    """Cancels the task that entered it when the client leaves; the block then ends quietly.

    `exchange.left` tells that it happened. A chunk of the request's body that arrives meanwhile
    is kept for who reads the body.
    """

    __slots__ = ("_cancelling", "_exchange", "_fired", "_handle", "_main", "_watcher")

    def __init__(self, exchange: HTTPExchange) -> None:
        self._exchange = exchange
        self._fired = False
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        main = asyncio.current_task()
        assert main is not None
        self._main = main
        self._cancelling = main.cancelling()
        self._handle = loop.call_later(_PATIENCE, self._begin)
        return self

    async def stop(self) -> None:
        """Leaves `receive` to others."""
        self._handle.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._handle.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None  # it knows this
        if not self._fired:
            return False
        return self._main.uncancel() <= self._cancelling and isinstance(
            error, asyncio.CancelledError
        )

    def _begin(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._exchange.watch()
        except ClientDisconnected:
            self._exchange.left = True
            self._fired = True
            self._main.cancel()
        except Exception:  # noqa: S110 — a codec's, which the body raises again to whoever reads it
            pass
