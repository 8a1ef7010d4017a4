"""Bodies that an app names instead of sending: `http.response.pathsend` and `zerocopysend`.

Untouched they go on to the server. When a middleware filters or reads the body, the door has to
read the file itself; it does so in a thread, a piece at a time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import TYPE_CHECKING

from gatekit.typing import Message

if TYPE_CHECKING:
    from gatekit._doors.asgi_http import HTTPExchange

_PIECE = 65_536

BODIES = frozenset(
    {
        "http.response.body",
        "http.response.pathsend",
        "http.response.zerocopysend",
        "websocket.http.response.body",
    }
)
"""The messages that stand for a part of the body; all others pass as they are."""


async def body_chunks(message: Message) -> AsyncIterator[tuple[bytes, bool]]:
    """The bytes that a body message stands for, each piece with whether more will follow."""
    if message["type"].endswith(".pathsend"):
        async for piece in _file(message["path"]):
            yield piece, True
        yield b"", False
    elif message["type"].endswith(".zerocopysend"):
        async for piece in _descriptor(message):
            yield piece, True
        yield b"", message.get("more_body", False)
    else:
        yield message.get("body", b""), message.get("more_body", False)


def observe(exchange: HTTPExchange, message: Message) -> Awaitable[None]:
    """The state of an exchange whose codecs only look: a plain body passes as it came."""
    if message["type"] != exchange.BODY:
        return exchange._filter(message)
    exchange._filters.observe(message.get("body", b""), message.get("more_body", False))
    return exchange._pass(message)


def count(message: Message) -> tuple[int, bool] | None:
    """The bytes that another message than a plain body stands for, and whether it is the last."""
    kind = message["type"]
    if kind == "http.response.trailers":
        return 0, not message.get("more_trailers", False)
    if kind == "http.response.pathsend":
        return Path(message["path"]).stat().st_size, True
    if kind == "http.response.zerocopysend":
        return message.get("count") or 0, not message.get("more_body", False)
    return None


async def _file(path: str) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(open, path, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece


async def _descriptor(message: Message) -> AsyncIterator[bytes]:
    descriptor = message["file"] if isinstance(message["file"], int) else message["file"].fileno()
    offset: int = message.get("offset", os.lseek(descriptor, 0, os.SEEK_CUR))
    left: int | None = message.get("count")
    while left is None or left > 0:
        wanted = _PIECE if left is None else min(_PIECE, left)
        piece = await asyncio.to_thread(os.pread, descriptor, wanted, offset)
        if not piece:
            return
        yield piece
        offset += len(piece)
        left = None if left is None else left - len(piece)
