"""A WebSocket under ASGI: the handshake runs through the onion, the frames pass untouched."""

from __future__ import annotations

from collections.abc import Awaitable

from gatekit._core.body import aclose_body
from gatekit._core.messages import Response
from gatekit._doors.asgi_http import HTTPExchange
from gatekit.errors import ClientDisconnected
from gatekit.typing import Message

_POLICY_VIOLATION = 1008


class WebSocketExchange(HTTPExchange):
    """To the onion an `accept` is a head with status 101, a `close` before it one with 403."""

    START = "websocket.http.response.start"
    BODY = "websocket.http.response.body"

    _connect: Message | None = None
    """What the door received while a middleware waited, and the app has not seen."""

    async def watch(self) -> None:
        self._connect = await self._receive()
        if self._connect["type"] == "websocket.connect":
            await self._receive()
        raise ClientDisconnected("the client left during the handshake")

    async def receive(self) -> Message:
        if self._replaced or self.left:
            return {"type": "websocket.disconnect", "code": 1006}
        message, self._connect = self._connect, None
        if message is None:
            message = await self._receive()
        if message["type"] == "websocket.disconnect" and not self.finished:
            self.left = message.get("code", 1005) == 1006 or self.status is None
            self.finished = not self.left
        elif message["type"] == "websocket.receive":
            self.received += _size(message)
        return message

    def _head(self, message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind == "websocket.accept":
            response = Response.from_head(101, message.get("headers", ()), b"")
        elif kind == "websocket.close":
            response = Response(403)
        else:
            return super()._head(message)
        return self._resume(message, response)

    def _answer(self, response: Response) -> Awaitable[None]:
        start = self._start
        if start is not None and (
            (start["type"] == "websocket.accept" and response.status == 101)
            or (start["type"] == "websocket.close" and not self._can_deny)
        ):
            return self._agree(response, start)
        return super()._answer(response)

    async def _agree(self, response: Response, start: Message) -> None:
        self._waiting = False
        self.head(response.status)
        if response.status == 101:
            self._state = WebSocketExchange._frames
            start = {**start, "headers": response.raw_headers}
        else:
            self._state = WebSocketExchange._drop
            self.finished = True
        await self._send(start)

    async def _answer_itself(self, response: Response) -> None:
        if not self._called and self._connect is None:
            await self._receive()
        if self._can_deny:
            await super()._answer_itself(response)
            return
        self._replaced = self._called
        self._state = WebSocketExchange._drop
        self.head(response.status)
        await aclose_body(response.body)
        await self._send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": ""})
        self.finished = True

    @property
    def _can_deny(self) -> bool:
        return "websocket.http.response" in (self._scope.get("extensions") or {})

    async def _frames(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "websocket.send":
            self.sent += _size(message)
        elif message["type"] == "websocket.close":
            self.finished = True


def _size(message: Message) -> int:
    data = message.get("bytes")
    return len(data) if data is not None else len((message.get("text") or "").encode())
