"""One asyncio connection: an `asyncio.Protocol` that carries one exchange after another.

## What surprises

An exchange costs one future and no task; only the stream of a request's body has a task, which has
ended before `exchange` returns. A response that has come whole gives its connection back inside
`data_received`, before the task that waits for it even wakes.

Whatever ends a connection ends in `shut`, and a place is given back by exactly one of `_finish` and
`_discard`: after a failure `_waiter` and `_stream` are gone, so that no second one can be.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterable, Iterable
from time import monotonic
from typing import TypeAlias, cast

from gatekit.errors import Stage, UpstreamError
from gatekit.proxy.transport.aio_body import BodyReader, Stream, TunnelEnd
from gatekit.proxy.transport.aio_timer import LazyTimer
from gatekit.proxy.transport.aio_upload import Upload
from gatekit.proxy.transport.exchange import AsyncBody, Timeouts, UpstreamRequest, UpstreamResponse
from gatekit.proxy.transport.http1 import ResponseReader
from gatekit.proxy.transport.pool import Pool
from gatekit.proxy.transport.settings import NEVER, SMALL_BODY, slices

Response: TypeAlias = UpstreamResponse[AsyncBody]


class Connection(asyncio.Protocol):
    """One connection and the exchange on it.

    It is *waiting* (`_waiter`) until the head of the answer is there, *streaming* (`_stream`) until
    the body is, and idle, on its way to an exchange, or closed where it is neither.
    """

    __slots__ = (
        "_first_byte",
        "_held",
        "_idle",
        "_loop",
        "_places",
        "_reader",
        "_stream",
        "_timer",
        "_transport",
        "_upload",
        "_waiter",
        "_whole",
        "_writable",
        "closed",
        "idle_since",
        "served",
        "stale",
    )

    _transport: asyncio.Transport

    def __init__(
        self, places: Pool[Connection], reader: ResponseReader, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._places = places
        self._reader = reader
        self._loop = loop
        self._waiter: asyncio.Future[Response] | None = None
        self._stream: Stream | None = None
        self._writable: asyncio.Future[None] | None = None
        self._timer = LazyTimer(loop, self._ring)
        self._first_byte: float | None = None
        self._idle: float | None = None
        self._upload: Upload | None = None
        self._held = False
        self.closed = False
        self.stale = False
        self._whole = NEVER
        self.served = 0
        self.idle_since = 0.0

    async def exchange(
        self,
        request: UpstreamRequest,
        head: bytes,
        persistent: bool,
        timeouts: Timeouts,
        limit: float,
        whole: float,
    ) -> Response:
        """Write `request` and wait for the head of its answer.

        `limit` holds until the head, `whole` until the last byte.
        """
        self.served += 1
        self._whole = whole
        self._timer.limit = limit
        self._first_byte = timeouts.first_byte
        self._idle = timeouts.idle
        self._reader.begin(
            request.method,
            persistent=persistent,
            upgrade=request.upgrade,
            on_informational=request.on_informational,
        )
        waiter: asyncio.Future[Response] = self._loop.create_future()
        self._waiter = waiter
        body = request.body
        try:
            if body is None:
                self._transport.write(head)
            elif isinstance(body, tuple):
                return await self._stream_up(waiter, head, *body)
            elif len(body) <= SMALL_BODY:
                self._transport.write(head + body)
            else:
                return await self._stream_up(waiter, head, slices(body), len(body))
            self._timer.expect(self._first_byte, "first_byte_timeout")
            return await waiter
        except BaseException:
            self._abandon(waiter)
            raise

    async def _stream_up(
        self,
        waiter: asyncio.Future[Response],
        head: bytes,
        stream: AsyncIterable[bytes] | Iterable[bytes | memoryview],
        length: int | None,
    ) -> Response:
        self._upload = Upload(self, stream, length)
        self._timer.expect(None, "total_timeout")
        self._transport.write(head)
        task = self._loop.create_task(self._upload.run())
        try:
            response = await waiter
        except GeneratorExit:
            # The loop is gone, and nobody can wait any more.
            task.cancel()
            raise
        except BaseException:
            await _end(task)
            raise
        await _end(task)
        return response

    # The upload says which one it is: an answer may come before its task has ended, and then the
    # connection may carry the next exchange already, with an upload of its own.

    async def put(self, upload: Upload, data: bytes | memoryview) -> bool:
        """Write a piece of the body, and wait until the next one can be written."""
        if self._upload is not upload or self._transport.is_closing():
            return False
        self._transport.write(data)
        if self._writable is None:
            # A stream that never waits would keep the loop from seeing an early answer.
            await asyncio.sleep(0)
        else:
            self._timer.expect(self._idle, "idle_timeout")
            await self._writable
            if self._upload is upload:
                self._timer.expect(None, "total_timeout")
        return self._upload is upload

    def uploaded(self, upload: Upload, error: Exception | None) -> None:
        """The stream of the body has ended; without an error, it is the upstream's turn."""
        if self._upload is upload and error is not None:
            self._fail(error)
        elif self._upload is upload:
            self._upload = None
            self._timer.expect(self._first_byte, "first_byte_timeout")

    def _abandon(self, waiter: asyncio.Future[Response]) -> None:
        """The exchange has raised or was cancelled: leave nothing of it behind."""
        if self._waiter is waiter:
            self._waiter = None
            self._discard()
        elif not waiter.cancelled() and waiter.exception() is None:
            # It was cancelled with the answer in its hands.
            body = waiter.result().body
            if isinstance(body, BodyReader):
                body.abandon()

    # The event loop calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        stream = self._stream
        if stream is None and self._waiter is None:
            # Bytes that nobody asked for, on an idle connection.
            self._die()
            return
        reader = self._reader
        if reader.upgraded and stream is not None:
            self._push(stream, [data])
            return
        try:
            reader.feed(data)
        except Exception as error:
            self._fail(error)
            return
        if stream is not None:
            self._pass_on(stream)
        elif reader.head_complete:
            self._answer()
        elif reader.between_heads and self._upload is None:
            self._timer.expect(self._first_byte, "first_byte_timeout")

    def eof_received(self) -> None:
        stream = self._stream
        if stream is None and self._waiter is None:
            self._die()
            return
        if self._reader.upgraded and stream is not None:
            self._stream = None
            self._discard()
            stream.push([], True)
            return
        try:
            if not _is_farewell(self._transport):
                raise UpstreamError("closed", "the connection ended without TLS's close_notify")
            self._reader.eof()
        except UpstreamError as error:
            self._lost(error)
        else:
            if stream is not None:
                self._pass_on(stream)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.closed:
            return
        if self._stream is None and self._waiter is None:
            self._die()
        elif exc is None:
            self._lost(UpstreamError("closed", "the connection was closed"))
        else:
            self._lost(UpstreamError("reset", str(exc) or type(exc).__name__))

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def _answer(self) -> None:
        """The head is there: wake the exchange, with the whole response if that is there too."""
        reader = self._reader
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            self._discard()
            return
        upload, self._upload = self._upload, None
        if upload is not None and not upload.is_whole:
            # RFC 9112 §9.3: after a request that was not sent to its end there is no other one.
            reader.persistent = False
        self._timer.limit = self._whole
        response: Response = UpstreamResponse(
            reader.status, reader.headers, b"", reader.trailers, reader.informational
        )
        if reader.upgraded:
            response.body = self._switch()
        elif reader.complete:
            response.body = reader.take_all()
            self._finish()
        else:
            self._stream = stream = Stream(self, self._loop)
            response.body = BodyReader(stream)
            self._pass_on(stream)
        waiter.set_result(response)

    def _switch(self) -> TunnelEnd:
        # The limits of an exchange end with it; the owner of a tunnel has others.
        self._timer.limit = NEVER
        self._timer.rest()
        self._idle = None
        # Nor does it take one of the places of those who ask and are answered.
        self._places.forfeit()
        self._stream = stream = Stream(self, self._loop)
        if self._reader.leftover:
            self._push(stream, [self._reader.leftover])
        return TunnelEnd(stream, self)

    def _pass_on(self, stream: Stream) -> None:
        """Give the reader of the body what has come of it."""
        self._timer.expect(None, "total_timeout")
        chunks = self._reader.take()
        if self._reader.complete:
            self._stream = None
            self._finish()
            stream.push(chunks, True)
        else:
            self._push(stream, chunks)

    def _push(self, stream: Stream, chunks: list[bytes]) -> None:
        if stream.push(chunks, False) and not self._held:
            self._held = True
            self._transport.pause_reading()

    def _finish(self) -> None:
        """The response has come whole."""
        self._timer.rest()
        transport = self._transport
        busy = self._held or transport.is_closing() or transport.get_write_buffer_size()
        if self._reader.persistent and not busy:
            self._places.release(self, monotonic())
        else:
            self._discard()

    # The streams of `aio_body` call these.

    def resume(self, stream: Stream) -> None:
        if self._stream is stream and self._held:
            self._held = False
            self._transport.resume_reading()

    def expect_body(self, stream: Stream) -> None:
        if self._stream is stream:
            self._timer.expect(self._idle, "idle_timeout")

    def abandon_body(self, stream: Stream) -> None:
        if self._stream is stream:
            self._stream = None
            self._discard()

    async def write_tunnel(self, data: bytes) -> None:
        if self.closed:
            raise UpstreamError("closed", "the tunnel is closed")
        self._transport.write(data)
        if self._writable is not None:
            # The future is shared: a task that is cancelled must not end another's wait.
            await asyncio.shield(self._writable)

    def shut(self) -> None:
        """Close it, with no word to the pool."""
        self.closed = True
        self._upload = None
        self._reader.close()
        self._timer.cancel()
        self.resume_writing()
        self._transport.abort()

    def _discard(self) -> None:
        """Close it in the middle of an exchange, and give its place back."""
        if not self.closed:
            self.shut()
            if not self._reader.upgraded:
                self._places.forfeit()

    def _die(self) -> None:
        """It ended while idle, or on its way to an exchange, which finds it `closed`."""
        if not self.closed:
            self._places.remove(self)
            self.shut()

    def _lost(self, error: UpstreamError) -> None:
        self.stale = not self._reader.started
        if self.stale and self._upload is not None:
            error = UpstreamError("send", error.detail)
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        waiter, self._waiter = self._waiter, None
        stream, self._stream = self._stream, None
        if waiter is None and stream is None:
            return
        self._discard()
        if stream is not None:
            stream.fail(error)
        elif waiter is not None and not waiter.done():
            waiter.set_exception(error)

    def _ring(self, stage: Stage) -> None:
        self._fail(UpstreamError(stage, "the upstream was silent for too long"))


async def _end(task: asyncio.Task[None]) -> None:
    """Wait for its end: the owner of a stream may use it again when nobody else runs it."""
    if not task.done():
        task.cancel()
        await asyncio.wait((task,))


def _is_farewell(transport: asyncio.Transport) -> bool:
    """Over TLS an end without close_notify may be an attacker's."""
    tls = transport.get_extra_info("ssl_object")
    try:
        return tls is None or not tls.read(1)
    except ssl.SSLZeroReturnError:
        return True
    except ssl.SSLError:
        return False
