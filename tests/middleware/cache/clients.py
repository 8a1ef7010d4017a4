"""Clients that read as it comes and may leave, and a handler that streams when it is let."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from gatekit import Request, Response
from gatekit.typing import Message

LONG = ("cache-control", "max-age=600")


async def settle() -> None:
    """Lets everybody who can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


class Slow:
    """A streamed body, a chunk each time it is let."""

    def __init__(self, chunks: list[bytes], *, length: bool = True) -> None:
        self.chunks = chunks
        self.length = length
        self.asked = 0
        self.closed = False
        self.permits: asyncio.Queue[None] = asyncio.Queue()

    async def __call__(self, request: Request) -> Response:
        self.asked += 1
        fields = [LONG]
        if self.length:
            fields.append(("content-length", str(sum(map(len, self.chunks)))))
        return Response(200, fields, self._body())

    async def _body(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self.chunks:
                await self.permits.get()
                yield chunk
        finally:
            self.closed = True

    def let(self, count: int) -> None:
        for _ in range(count):
            self.permits.put_nowait(None)


class Client:
    """Reads what an app sends, and may leave."""

    def __init__(self, app: Any) -> None:
        self.got: list[Message] = []
        self.left = asyncio.Event()
        self.task = asyncio.create_task(app(self._scope(), self._receive, self._send))
        self._first = True

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.got)

    def _scope(self) -> dict[str, Any]:
        return {
            "type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"",
            "headers": [(b"host", b"a")], "scheme": "http", "http_version": "1.1", "client": None,
        }  # fmt: skip

    async def _receive(self) -> Message:
        if self._first:
            self._first = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.got.append(message)

    async def leave(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
