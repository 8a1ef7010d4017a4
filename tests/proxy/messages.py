"""One request to an ASGI app with every message kept, and a client of HTTP/2 in plain text."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    TrailersReceived,
)

from gatekit.typing import ASGIApp, Message
from tests.net import Address, connect

Fields = list[tuple[bytes, bytes]]
Receive = Callable[[], Awaitable[Message]]


async def messages(
    app: ASGIApp,
    *,
    method: str = "GET",
    headers: Fields | None = None,
    extensions: Sequence[str] = (),
    receive: Receive | None = None,
    send: Callable[[Message], Awaitable[None]] | None = None,
) -> list[Message]:
    """What the app sends; a client that stays, and has no body, unless `receive` says otherwise."""
    sent: list[Message] = []

    async def stays() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async def keep(message: Message) -> None:
        sent.append(message)
        if send is not None:
            await send(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": "/",
        "query_string": b"",
        "headers": [(b"host", b"gateway.test"), *(headers or [])],
        "extensions": {name: {} for name in extensions},
    }
    await app(scope, receive or stays, send or keep)
    return sent


class Exchanged:
    """What a client of HTTP/2 was sent for one request."""

    def __init__(self) -> None:
        self.early: list[Fields] = []
        self.headers: Fields = []
        self.body = b""
        self.trailers: Fields = []


def exchange_h2(address: Address, path: str, fields: Fields) -> Exchanged:
    """One request in HTTP/2 with prior knowledge."""
    h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    seen = Exchanged()
    with connect(address) as client:
        h2.initiate_connection()
        pseudo = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"gateway.test")]
        h2.send_headers(1, [*pseudo, (b":path", path.encode()), *fields], end_stream=True)
        client.send(h2.data_to_send())
        while not _take(h2, client.socket.recv(65_536), seen):
            client.send(h2.data_to_send())
        client.socket.shutdown(socket.SHUT_RDWR)
    return seen


def _take(h2: H2Connection, data: bytes, seen: Exchanged) -> bool:
    assert data
    for event in h2.receive_data(data):
        if isinstance(event, InformationalResponseReceived):
            seen.early.append(list(event.headers or []))
        elif isinstance(event, ResponseReceived):
            seen.headers = list(event.headers or [])
        elif isinstance(event, DataReceived):
            seen.body += event.data or b""
        elif isinstance(event, TrailersReceived):
            seen.trailers = list(event.headers or [])
        elif isinstance(event, StreamEnded):
            return True
    return False
