"""One request to an ASGI app of this process, in the running loop.

The app runs as a task. Its head wakes who asked; its body is taken piece by piece, and an app that
is ahead waits in `send`. Whoever closes the body before its end has left: the app is told so by
`http.disconnect`, and is cancelled. After the last piece it may go on for as long as it likes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from typing import Final, cast
from urllib.parse import unquote

from gatekit.errors import Stage, UpstreamError
from gatekit.proxy.local.request import framed_fields, is_bodiless, length_of
from gatekit.proxy.transport.exchange import AsyncBody, Timeouts, UpstreamRequest, UpstreamResponse
from gatekit.proxy.transport.origin import Origin
from gatekit.proxy.transport.settings import limit_of, shorter
from gatekit.typing import ASGIApp, Message, RawHeaders, Scope

logger = logging.getLogger("gatekit")

# Bytes of the body that an app may be ahead of who reads it.
_AHEAD: Final = 65_536
# Seconds that an app has to clean up once it is cancelled, before nobody waits for it any more.
_CLEAN_UP: Final = 1.0


class Tasks:
    """The apps that are running, held so that none is collected half-way.

    Whose answer is still on its way is not cancelled: it ends with that, or its reader ends it.
    """

    __slots__ = ("_running",)

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[None], _Call] = {}

    def add(self, task: asyncio.Task[None], call: _Call) -> None:
        self._running[task] = call
        task.add_done_callback(lambda task: self._running.pop(task, None))

    def cancel(self) -> None:
        for task, call in list(self._running.items()):
            loop = task.get_loop()
            if call.is_over and not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)

    async def acancel(self) -> None:
        """Those of the running loop are over when this returns."""
        loop = asyncio.get_running_loop()
        ours = [
            task for task, call in self._running.items() if call.is_over and task.get_loop() is loop
        ]
        for task in ours:
            task.cancel()
        if ours:
            await asyncio.wait(ours)


async def run_asgi(
    app: ASGIApp,
    origin: Origin,
    request: UpstreamRequest,
    timeouts: Timeouts,
    deadline: float | None,
    tasks: Tasks,
) -> UpstreamResponse[AsyncBody]:
    """The answer, as soon as its head is there."""
    limit = limit_of(timeouts, deadline, time.monotonic())
    call = _Call(request, timeouts, limit)
    task = asyncio.create_task(call.run(app, _scope(origin, request)))
    tasks.add(task, call)
    call.task = task
    try:
        await call.head()
    except BaseException:
        await call.aclose()
        raise
    return call.answer()


class _Call:
    """One request to the app, and the stream of its answer."""

    def __init__(self, request: UpstreamRequest, timeouts: Timeouts, limit: float) -> None:
        body = request.body
        self.task: asyncio.Task[None] | None = None
        self._timeouts = timeouts
        self._limit = limit
        self._method = request.method
        self._whole = None if isinstance(body, tuple) else body or b""
        self._stream: AsyncIterator[bytes] | None = None
        if isinstance(body, tuple):
            self._stream = aiter(cast("AsyncIterable[bytes]", body[0]))
        self._heard = time.monotonic()
        self._is_reading = False
        self._status = 0
        self._headers: RawHeaders | None = None
        self._declared: int | None = None
        self._is_bodiless = False
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._taken = 0
        self._ended = False
        self._is_closed = False
        self._left = asyncio.Event()
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        self._failure: BaseException | None = None

    @property
    def is_over(self) -> bool:
        """The answer is whole, or nobody wants it any more."""
        return self._ended or self._is_closed

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:
            if self._failure is None and not self._left.is_set():
                logger.error("an app in process raised", exc_info=error)
                self._failure = UpstreamError("closed", f"the app raised {type(error).__name__}")
                self._failure.__cause__ = error
        except asyncio.CancelledError:
            if self._failure is None:
                self._failure = UpstreamError("closed", "the app was cancelled")
            raise
        finally:
            if not self._ended and self._failure is None:
                self._failure = UpstreamError("closed", "the app did not finish its answer")
            self._news.set()

    async def head(self) -> None:
        """Waits for it; raises what came in its place."""
        while self._headers is None:
            if self._failure is not None:
                raise self._failure
            # The clock of the head stands still while the app waits for the request's body.
            left = None if self._is_reading else self._timeouts.first_byte
            if left is not None:
                left = max(left - (time.monotonic() - self._heard), 0.0)
            await self._wait(left, "first_byte_timeout")
        if self._failure is not None:
            # It has broken off before anything of it was given on.
            raise self._failure

    def answer(self) -> UpstreamResponse[AsyncBody]:
        assert self._headers is not None
        if self._ended:
            return UpstreamResponse(self._status, self._headers, self._take())
        return UpstreamResponse(self._status, self._headers, self)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                raise StopAsyncIteration
            try:
                await self._wait(self._timeouts.idle, "idle_timeout")
            except BaseException:
                await self.aclose()
                raise
        return self._take()

    async def aclose(self) -> None:
        """Nobody reads any more."""
        self._pieces.clear()
        task = self.task
        if self._ended or self._is_closed or task is None:
            return
        self._is_closed = True
        self._left.set()
        self._room.set()
        if self._failure is None:
            self._failure = UpstreamError("closed", "the answer was closed")
        task.cancel()
        await asyncio.wait([task], timeout=_CLEAN_UP)

    async def _wait(self, seconds: float | None, stage: Stage) -> None:
        wait, name = shorter(seconds, self._limit, stage, time.monotonic())
        self._news.clear()
        try:
            async with asyncio.timeout(wait):
                await self._news.wait()
        except TimeoutError:
            raise UpstreamError(name, "the app did not answer in time") from None

    def _take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        self._room.set()
        return data

    async def _receive(self) -> Message:
        if self._left.is_set() or self._ended:
            return {"type": "http.disconnect"}
        if self._whole is not None:
            body, self._whole = self._whole, None
            return {"type": "http.request", "body": body, "more_body": False}
        if self._stream is None:
            await self._left.wait()
            return {"type": "http.disconnect"}
        self._is_reading = True
        self._news.set()
        try:
            data = await anext(self._stream)
        except StopAsyncIteration:
            self._stream = None
            return {"type": "http.request", "body": b"", "more_body": False}
        except Exception as error:
            # It is the client's doing, and not the app's: whoever asked is told in its own words.
            self._stream = None
            if self._failure is None:
                self._failure = error
            self._left.set()
            return {"type": "http.disconnect"}
        finally:
            self._is_reading = False
            self._heard = time.monotonic()
            self._news.set()
        return {"type": "http.request", "body": data, "more_body": True}

    async def _send(self, message: Message) -> None:
        if self._left.is_set() or self._ended:
            return
        kind = message["type"]
        if kind == "http.response.start" and self._headers is None:
            self._begin(message["status"], message.get("headers", ()))
        elif kind == "http.response.body" and self._headers is not None:
            await self._feed(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"{kind!r} is not what comes next")

    def _begin(self, status: int, headers: object) -> None:
        self._status = status
        fields = [
            (bytes(name).lower(), bytes(value)) for name, value in cast("RawHeaders", headers)
        ]
        self._is_bodiless = is_bodiless(self._method, status)
        self._declared = None if self._is_bodiless else length_of(fields)
        self._headers = [field for field in fields if field[0] != b"transfer-encoding"]
        self._news.set()

    async def _feed(self, data: bytes, more: bool) -> None:
        if data and not self._is_bodiless:
            self._taken += len(data)
            if self._declared is not None and self._taken > self._declared:
                raise RuntimeError("the body is longer than its Content-Length")
            self._pieces.append(bytes(data))
            self._held += len(data)
        if not more:
            if self._declared is not None and self._taken < self._declared:
                raise RuntimeError("the body is shorter than its Content-Length")
            self._ended = True
            # Who still waits in `receive` learns that it is over.
            self._left.set()
        self._news.set()
        while more and self._held >= _AHEAD and not self._left.is_set():
            self._room.clear()
            await self._room.wait()


def _scope(origin: Origin, request: UpstreamRequest) -> Scope:
    path, _, query = request.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method.decode("ascii"),
        "scheme": origin.scheme,
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": framed_fields(origin, request),
        "client": ("127.0.0.1", 0),
        "server": (origin.host, origin.port),
        "state": {},
        "extensions": {},
    }
