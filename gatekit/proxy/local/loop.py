"""An ASGI app asked by threads: one event loop for a process, in a thread of its own.

Everything of the app happens in that loop; the thread that asks waits for the head, and for each
piece of the body. Its own request's body is read by a helper thread, while it waits.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, TypeAlias, TypeVar, cast

from gatekit._core.tally import Tally
from gatekit.errors import UpstreamError
from gatekit.proxy.transport.exchange import (
    AsyncBody,
    Body,
    Timeouts,
    UpstreamRequest,
    UpstreamResponse,
)
from gatekit.proxy.transport.origin import Origin

T = TypeVar("T")
ASend: TypeAlias = Callable[
    [Origin, UpstreamRequest, Timeouts, float | None],
    Coroutine[Any, Any, UpstreamResponse[AsyncBody]],
]


class LoopThread:
    """Begun by the first request of a process, and anew after `close`."""

    __slots__ = ("_lock", "_pid", "_serving")

    _serving: _Serving | None

    def __init__(self) -> None:
        self._begin()

    def send(
        self,
        asend: ASend,
        origin: Origin,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None,
    ) -> UpstreamResponse[Body]:
        body = request.body
        outgoing = UpstreamRequest(
            request.method,
            request.target,
            request.headers,
            (_read(cast("Iterable[bytes]", body[0])), body[1]) if isinstance(body, tuple) else body,
        )
        serving = self._take()
        try:
            answer = serving.run(asend(origin, outgoing, timeouts, deadline))
        except BaseException:
            serving.leave()
            raise
        content = answer.body
        if isinstance(content, bytes):
            serving.leave()
            return UpstreamResponse(answer.status, answer.headers, content)
        return UpstreamResponse(answer.status, answer.headers, _Blocking(content, serving))

    def close(self) -> None:
        """Stops the loop, now or when the last answer has been read."""
        with self._lock:
            serving, self._serving = self._serving, None
        if serving is not None and self._pid == os.getpid():
            serving.close()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = Lock()
        self._serving = None

    def _take(self) -> _Serving:
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            if self._serving is None:
                self._serving = _Serving()
            self._serving.under_way.add()
            return self._serving


class _Serving:
    """One loop in its thread, and how many exchanges are under way there."""

    __slots__ = ("_is_closed", "_loop", "_thread", "under_way")

    def __init__(self) -> None:
        self.under_way = Tally()
        self._is_closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(
            target=_serve, args=(self._loop,), name="gatekit app loop", daemon=True
        )
        try:
            self._thread.start()
        except BaseException:
            self._loop.close()
            raise

    def leave(self) -> None:
        """An exchange is over. The garbage collector may come here: there is no lock."""
        self.under_way.remove()
        if self._is_closed and not self.under_way:
            self._stop()

    def close(self) -> None:
        self._is_closed = True
        if not self.under_way:
            self._stop()
            self._thread.join()

    def _stop(self) -> None:
        with suppress(RuntimeError):  # it has stopped already
            self._loop.call_soon_threadsafe(self._loop.stop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise UpstreamError("closed", "the loop of the app was stopped") from None
        except BaseException:
            # The thread that waits was interrupted.
            future.cancel()
            raise


class _Blocking:
    """The rest of an answer, for the thread that asked."""

    __slots__ = ("_body", "_serving")

    def __init__(self, body: AsyncBody, serving: _Serving) -> None:
        self._body = body
        self._serving: _Serving | None = serving

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._serving is None:
            raise StopIteration
        try:
            piece = self._serving.run(_following(self._body))
        except BaseException:
            self.close()
            raise
        if not piece:
            self._leave()
            raise StopIteration
        return piece

    def close(self) -> None:
        if self._serving is not None:
            try:
                with suppress(UpstreamError):
                    self._serving.run(self._body.aclose())
            finally:
                self._leave()

    def _leave(self) -> None:
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.leave()

    def __del__(self) -> None:
        self._leave()


async def _following(body: AsyncBody) -> bytes:
    # An app may send an empty piece in the middle, which is no end.
    async for piece in body:
        if piece:
            return piece
    return b""


async def _read(stream: Iterable[bytes]) -> AsyncIterator[bytes]:
    pieces = iter(stream)
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield piece


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        ended: Awaitable[object] = asyncio.gather(*tasks, return_exceptions=True)
        loop.run_until_complete(ended)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
