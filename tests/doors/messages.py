"""A server in miniature: plays messages to an ASGI app and keeps what it sends."""

from __future__ import annotations

import asyncio
from typing import Any


class Server:
    """`received` are the messages for the app; when they are used up the client stays, silent.

    `leave()` makes the client leave.
    """

    def __init__(self, scope: dict[str, Any], received: list[dict[str, Any]] | None = None) -> None:
        self.scope = scope
        self.sent: list[dict[str, Any]] = []
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        first = [{"type": "http.request", "body": b"", "more_body": False}]
        for message in first if received is None else received:
            self._queue.put_nowait(message)
        self.head_sent = asyncio.Event()
        self.taken = asyncio.Event()
        """Something was received."""

    def leave(self) -> None:
        self._queue.put_nowait({"type": "http.disconnect"})

    def say(self, message: dict[str, Any]) -> None:
        self._queue.put_nowait(message)

    async def receive(self) -> dict[str, Any]:
        message = await self._queue.get()
        self.taken.set()
        return message

    async def send(self, message: Any) -> None:
        self.sent.append(dict(message))
        if message["type"].endswith(("start", "accept", "close")):
            self.head_sent.set()

    async def run(self, app: Any) -> list[dict[str, Any]]:
        await app(self.scope, self.receive, self.send)
        return self.sent

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.sent if m["type"].endswith(".body"))

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.sent]


def http_scope(**fields: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver")],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 80),
        **fields,
    }


def websocket_scope(**fields: Any) -> dict[str, Any]:
    scope = http_scope(type="websocket", scheme="ws", subprotocols=["chat"], **fields)
    del scope["method"]
    return scope
