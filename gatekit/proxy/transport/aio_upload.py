"""The stream of a request's body on its way to an asyncio connection, in a task of its own.

    upload = Upload(connection, stream, length)
    task = loop.create_task(upload.run())

The task exists because an upstream may answer while the stream waits for its sender. `run` ends
early and silently when the sink wants no more; whatever else goes wrong goes to the sink too.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import Protocol

from gatekit.errors import UpstreamError
from gatekit.proxy.transport.http1_request import BodyWriter


class Sink(Protocol):
    """The connection, as far as an upload is concerned."""

    async def put(self, upload: Upload, data: bytes | memoryview) -> bool:
        """Write, wait until more can be written, and say whether more is wanted of this one."""
        ...

    def uploaded(self, upload: Upload, error: Exception | None) -> None:
        """The stream has ended, or failed."""
        ...


class Upload:
    """One body of `length` bytes, or in chunks where it is None."""

    __slots__ = ("_sink", "_stream", "_writer")

    def __init__(
        self,
        sink: Sink,
        stream: AsyncIterable[bytes] | Iterable[bytes | memoryview],
        length: int | None,
    ) -> None:
        self._sink = sink
        self._stream = stream
        self._writer = BodyWriter(length)

    @property
    def is_whole(self) -> bool:
        """All was written that was announced, though the stream may not have said its end."""
        return self._writer.is_whole

    async def run(self) -> None:
        error: Exception | None = None
        try:
            if not await self._send():
                return
        except Exception as failure:
            error = failure
        except BaseException as end:
            # Either the exchange is over, and the sink knows, or the stream cancelled itself.
            detail = f"the body was ended by {type(end).__name__}"
            self._sink.uploaded(self, UpstreamError("body_client", detail))
            raise
        self._sink.uploaded(self, error)

    async def _send(self) -> bool:
        put, encode = self._sink.put, self._writer.encode
        if isinstance(self._stream, AsyncIterable):
            async for data in self._stream:
                if data and not await put(self, encode(data)):
                    return False
        else:
            for piece in self._stream:
                if piece and not await put(self, encode(piece)):
                    return False
        end = self._writer.finish()
        return not end or await put(self, end)
