"""A WSGI app asked by an event loop: one thread for the whole of a request.

The thread calls the app, reads the client's body by way of the loop, and hands over the answer in
pieces, a few of them ahead at most. One that waits for either is woken when the client has left.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Event, Semaphore
from typing import cast

from gatekit.errors import Stage, UpstreamError
from gatekit.proxy.local.wsgi import run_wsgi
from gatekit.proxy.transport.exchange import AsyncBody, Timeouts, UpstreamRequest, UpstreamResponse
from gatekit.proxy.transport.origin import Origin
from gatekit.typing import WSGIApp

# Pieces that the thread may be ahead.
_AHEAD = 4
# Seconds between two looks at whether the loop is still there.
_LOOK_AGAIN = 1.0


class AppThreads:
    """At most `width` threads of a process, begun when they are first needed."""

    __slots__ = ("_pid", "_pool", "_width")

    def __init__(self, width: int) -> None:
        self._width = width
        self._pid = os.getpid()
        self._pool: ThreadPoolExecutor | None = None

    async def send(
        self,
        app: WSGIApp,
        origin: Origin,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None,
    ) -> UpstreamResponse[AsyncBody]:
        if self._pool is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._pool = ThreadPoolExecutor(self._width, thread_name_prefix="gatekit app")
        call = _Call(timeouts)
        body = request.body
        outgoing = UpstreamRequest(
            request.method,
            request.target,
            request.headers,
            (call.upload(cast("AsyncIterable[bytes]", body[0])), body[1])
            if isinstance(body, tuple)
            else body,
        )
        job = self._pool.submit(
            copy_context().run, call.work, app, origin, outgoing, timeouts, deadline
        )
        try:
            return await call.head(deadline)
        except BaseException:
            job.cancel()
            await call.aclose()
            raise

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None and self._pid == os.getpid():
            pool.shutdown(wait=False)


class _Call:
    """One request, seen from the loop and from the thread."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeouts = timeouts
        self._head: asyncio.Future[UpstreamResponse[AsyncBody]] = self._loop.create_future()
        self._pieces: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._room = Semaphore(_AHEAD)
        self._pending: Future[bytes] | None = None
        self._failure: Exception | None = None
        self._ended = False
        self._gone = Event()
        self._is_uploading = False

    def work(
        self,
        app: WSGIApp,
        origin: Origin,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None,
    ) -> None:
        """In the thread: the whole of the call."""
        if self._gone.is_set():
            return
        failure: Exception | None = None
        try:
            answer = run_wsgi(app, origin, request, timeouts, deadline)
            body = answer.body
            if isinstance(body, bytes):
                self._tell(
                    self._begin, UpstreamResponse[AsyncBody](answer.status, answer.headers, body)
                )
                return
            self._tell(
                self._begin, UpstreamResponse[AsyncBody](answer.status, answer.headers, self)
            )
            try:
                for piece in body:
                    while not self._room.acquire(timeout=_LOOK_AGAIN):
                        self._look_for_loop()
                    if self._gone.is_set():
                        break
                    self._tell(self._arrive, piece)
            finally:
                body.close()
        except Exception as error:
            failure = error
        self._tell(self._end, failure)

    def upload(self, stream: AsyncIterable[bytes]) -> Iterator[bytes]:
        """In the thread: the client's body, by way of the loop."""
        pieces = aiter(stream)

        async def following() -> bytes:
            return await anext(pieces, b"")

        while not self._gone.is_set():
            self._is_uploading = True
            pending = self._pending = asyncio.run_coroutine_threadsafe(following(), self._loop)
            self._tell(self._news.set)
            if self._gone.is_set():
                pending.cancel()
            piece = self._result(pending)
            self._is_uploading = False
            self._tell(self._news.set)
            if not piece:
                return
            yield piece
        raise UpstreamError("closed", "the client has left")

    async def head(self, deadline: float | None) -> UpstreamResponse[AsyncBody]:
        now = self._loop.time
        limit = None if deadline is None else now() + (deadline - time.monotonic())
        while not self._head.done():
            wait = self._timeouts.first_byte
            stage: Stage = "first_byte_timeout"
            if self._is_uploading:
                wait = None
            if limit is not None and (wait is None or limit - now() < wait):
                wait, stage = max(limit - now(), 0.0), "total_timeout"
            self._news.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                raise UpstreamError(stage, "the app did not answer in time") from None
        return self._head.result()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._failure is not None:
                raise self._failure
            if self._ended or self._gone.is_set():
                raise StopAsyncIteration
            self._news.clear()
            try:
                async with asyncio.timeout(self._timeouts.idle):
                    await self._news.wait()
            except TimeoutError:
                await self.aclose()
                raise UpstreamError("idle_timeout", "the app was silent") from None
        piece = self._pieces.popleft()
        self._room.release()
        return piece

    async def aclose(self) -> None:
        """Nobody reads any more: the thread ends with its next piece, and closes the app's body."""
        self._gone.set()
        self._pieces.clear()
        self._room.release()
        if self._pending is not None:
            self._pending.cancel()

    def _result(self, pending: Future[bytes]) -> bytes:
        while True:
            try:
                return pending.result(_LOOK_AGAIN)
            except TimeoutError:
                if pending.done():
                    raise
                self._look_for_loop()

    def _look_for_loop(self) -> None:
        """In the thread: a loop that was closed without a word makes no room, and sends nothing."""
        if self._loop.is_closed():
            self._gone.set()
            raise UpstreamError("closed", "the event loop is gone")

    def _tell(self, told: Callable[..., object], *args: object) -> None:
        """In the thread: do this in the loop."""
        try:
            self._loop.call_soon_threadsafe(told, *args)
        except RuntimeError:
            # The loop is closed: nobody is there any more, and nobody will make room.
            self._gone.set()
            self._room.release()

    def _begin(self, answer: UpstreamResponse[AsyncBody]) -> None:
        if not self._head.done():
            self._head.set_result(answer)
        self._news.set()

    def _arrive(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._news.set()

    def _end(self, failure: Exception | None) -> None:
        self._ended = True
        self._failure = failure
        if failure is not None and not self._head.done():
            self._head.set_exception(failure)
            if self._gone.is_set():
                self._head.exception()
        self._news.set()
