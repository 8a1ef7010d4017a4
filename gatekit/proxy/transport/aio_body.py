"""What stands between an asyncio connection and the reader of a body or of a tunnel.

    stream = Stream(connection, loop)
    stream.push([b"..."], ended=False)      # the connection's side
    async for data in BodyReader(stream):   # the reader's side
        ...

The connection holds the stream and the reader holds a facade of it, but nothing leads from the
stream to the facade: so a facade that is dropped is collected, and that closes the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, Protocol, Self

from gatekit.errors import UpstreamError

_HIGH_WATER: Final = 64 * 1024
"""Bytes held for a slow reader before the socket is left unread; a loop reads 256 KiB at once."""


class Source(Protocol):
    """The connection, as far as a stream is concerned."""

    def resume(self, stream: Stream) -> None: ...

    def expect_body(self, stream: Stream) -> None: ...

    def abandon_body(self, stream: Stream) -> None: ...

    def write_tunnel(self, data: bytes) -> Coroutine[Any, Any, None]: ...


class Stream:
    """The bytes that have come and were not read yet, and the one who waits for more."""

    __slots__ = ("_chunks", "_ended", "_error", "_loop", "_size", "_source", "_waiter")

    def __init__(self, source: Source, loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._loop = loop
        self._chunks: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._ended = False

    async def read(self) -> bytes:
        """What has come, in one piece; empty at the end."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            if self._waiter is not None:
                raise RuntimeError("two tasks read one body")
            self._waiter = self._loop.create_future()
            self._source.expect_body(self)
            try:
                await self._waiter
            finally:
                self._waiter = None
        chunks, self._chunks = self._chunks, []
        if self._size > _HIGH_WATER:
            self._source.resume(self)
        self._size = 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def push(self, chunks: list[bytes], ended: bool) -> bool:
        """Add what has come; True where it is time to wait for the reader."""
        self._chunks += chunks
        self._size += sum(map(len, chunks))
        self._ended = ended
        self._wake()
        return self._size > _HIGH_WATER

    def fail(self, error: Exception) -> None:
        """Raise `error` to the reader when it has read what came before."""
        self._error = error
        self._ended = True
        self._wake()

    def abandon(self) -> None:
        """Before the end it costs the connection; after it, it does nothing."""
        if not self._ended:
            self._source.abandon_body(self)
            self._chunks = []
            self.fail(UpstreamError("closed", "the body was closed by its reader"))

    def forget(self) -> None:
        """`abandon` from the garbage collector, which runs in any thread."""
        if not self._ended:
            try:
                self._loop.call_soon_threadsafe(self.abandon)
            except RuntimeError:
                # The loop is closed, and its sockets with it.
                self._ended = True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class BodyReader:
    """The rest of a response: an `AsyncBody`."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data = await self._stream.read()
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Before the end it costs the connection; after it, it does nothing."""
        self._stream.abandon()

    def abandon(self) -> None:
        """`aclose` for who cannot wait; only in the thread of the event loop."""
        self._stream.abandon()

    def __del__(self) -> None:
        self._stream.forget()


class TunnelEnd(BodyReader):
    """The connection after a 101: an `AsyncTunnel`."""

    __slots__ = ("_source",)

    def __init__(self, stream: Stream, source: Source) -> None:
        super().__init__(stream)
        self._source = source

    def write(self, data: bytes) -> Coroutine[Any, Any, None]:
        return self._source.write_tunnel(data)
