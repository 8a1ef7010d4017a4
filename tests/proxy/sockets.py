r"""WebSockets in tests: upstreams that play frames on raw sockets, and a client without a server.

def script(peer: Peer) -> None:
    accept(peer)
    peer.send(frame(TEXT, b"hello"))
    assert read_frame(peer) == (CLOSE, b"\x03\xe8")

async with Client(app) as client:
    assert (await client.said())["type"] == "websocket.accept"
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from gatekit.proxy.websocket.handshake import accept_of
from tests.doors.messages import websocket_scope
from tests.proxy.upstream import Peer, Received, Script

CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
DENIAL: dict[str, Any] = {"websocket.http.response": {}}
KEY = re.compile(rb"\r\nsec-websocket-key: (\S+)", re.IGNORECASE)


def accept(peer: Peer, *fields: bytes, also: bytes = b"") -> Received:
    """Answer the handshake; `also` goes out in the same write."""
    request = peer.read_request()
    switch(peer, request, *fields, also=also)
    return request


def switch(peer: Peer, request: Received, *fields: bytes, also: bytes = b"") -> None:
    key = KEY.search(request.head)
    assert key is not None
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Accept: " + accept_of(key[1]),
        *fields,
    ]
    peer.send(b"\r\n".join(lines) + b"\r\n\r\n" + also)


def frame(
    opcode: int, data: bytes = b"", *, fin: bool = True, reserved: int = 0, mask: bytes = b""
) -> bytes:
    """A frame as a server sends it: without a mask, unless one is given."""
    length = len(data)
    size = (
        bytes([length])
        if length < 126
        else b"\x7e" + length.to_bytes(2, "big")
        if length < 65536
        else b"\x7f" + length.to_bytes(8, "big")
    )
    head = bytes([fin << 7 | reserved << 4 | opcode, size[0] | (0x80 if mask else 0)])
    return head + size[1:] + mask + unmasked(mask or bytes(4), data)


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def read_frame(peer: Peer) -> tuple[int, bytes]:
    """The opcode and data of the next frame, which must be masked and whole (RFC 6455 §5.1)."""
    first, second = peer.read_exactly(2)
    assert first & 0xF0 == 0x80 and second & 0x80
    length = second & 127
    if length > 125:
        length = int.from_bytes(peer.read_exactly(2 if length == 126 else 8), "big")
    mask = peer.read_exactly(4)
    return first & 15, unmasked(mask, peer.read_exactly(length))


def unmasked(mask: bytes, data: bytes) -> bytes:
    repeated = (mask * (len(data) // 4 + 1))[: len(data)]
    number = int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")
    return number.to_bytes(len(data), "big")


def accepting(play: Callable[[Peer], object], *fields: bytes) -> Script:
    """Accept, play, and wait for the gateway to close."""

    def script(peer: Peer) -> None:
        accept(peer, *fields)
        play(peer)
        peer.read_to_end()

    return script


def echo(peer: Peer) -> None:
    """Send every message back, and answer the close."""
    accept(peer)
    while True:
        opcode, data = read_frame(peer)
        peer.send(frame(opcode, data))
        if opcode == CLOSE:
            return


class Client:
    """A client's end of an ASGI app's WebSocket; the app must have ended when the block has.

    With `slow` the app waits after each of its messages until `said` takes it. `patience` is in
    seconds of the loop's clock.
    """

    def __init__(
        self,
        app: Any,
        headers: Iterable[tuple[str, str]] = (),
        *,
        target: str = "/",
        can_be_denied: bool = True,
        slow: bool = False,
        patience: float = 10.0,
        **scope: Any,
    ) -> None:
        fields = [(b"host", b"testserver"), (b"upgrade", b"websocket"), (b"connection", b"Upgrade")]
        fields += [(name.lower().encode(), value.encode()) for name, value in headers]
        path, _, query = target.partition("?")
        self.scope = websocket_scope(
            path=unquote(path),
            raw_path=path.encode(),
            query_string=query.encode(),
            headers=fields,
            extensions=DENIAL if can_be_denied else {},
            **scope,
        )
        self._app = app
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._out: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._slow = slow
        self._patience = patience

    async def __aenter__(self) -> Self:
        self._in.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(self._app(self.scope, self._in.get, self._send))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.task.cancel()
            return
        async with asyncio.timeout(self._patience):
            await self.task

    async def _send(self, message: Any) -> None:
        self._out.put_nowait(dict(message))
        if message["type"] == "websocket.close":
            self.leave(message["code"])
        if self._slow:
            await self._out.join()

    def say(self, data: str | bytes) -> None:
        key = "text" if isinstance(data, str) else "bytes"
        self._in.put_nowait({"type": "websocket.receive", key: data})

    def leave(self, code: int = 1000, reason: str = "") -> None:
        self._in.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def said(self) -> dict[str, Any]:
        """The next message of the app."""
        async with asyncio.timeout(self._patience):
            message = await self._out.get()
        self._out.task_done()
        return message

    async def accepted(self) -> Self:
        assert (await self.said())["type"] == "websocket.accept"
        return self

    async def heard(self) -> str | bytes:
        """The next message of the upstream."""
        message = await self.said()
        assert message["type"] == "websocket.send", message
        text: str | bytes | None = message.get("text")
        return message["bytes"] if text is None else text

    async def closed(self) -> tuple[int, str]:
        message = await self.said()
        assert message["type"] == "websocket.close", message
        return message["code"], message["reason"]

    async def denied(self) -> tuple[int, bytes]:
        start = await self.said()
        assert start["type"] == "websocket.http.response.start", start
        body = b""
        while (message := await self.said()).get("more_body"):
            body += message["body"]
        return start["status"], body + message["body"]
