"""A WebSocket under ASGI: the handshake runs through the onion, the frames pass untouched.

Where a handler answers, a `Conversation` as the body of its 101 speaks with the client.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from gatekit._core.body import aclose_body
from gatekit._core.conversation import Conversation
from gatekit._core.messages import Response
from gatekit._core.problems import not_carried
from gatekit._doors.asgi_http import HTTPExchange
from gatekit.errors import ClientDisconnected, UpstreamError
from gatekit.typing import Message, Scope

_POLICY_VIOLATION, _INTERNAL_ERROR = 1008, 1011

logger = logging.getLogger("gatekit")


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
        if self._connect is not None:
            message, self._connect = self._connect, None
        else:
            message = await self._receive()
        kind = message["type"]
        if kind == "websocket.receive":
            self.received += _size(message)
        elif kind == "websocket.disconnect" and not self.finished:
            self.left = message.get("code", 1005) == 1006 or self.status is None
            self.finished = not self.left
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
        if not self._called and not await self._is_connected():
            await aclose_body(response.body)
            return
        if response.status == 101 and not self._called:
            if isinstance(response.body, Conversation):
                await self._converse(response, response.body)
                return
            response = not_carried(self.request)
        if self._can_deny:
            await super()._answer_itself(response)
            return
        self._replaced = self._called
        self._state = WebSocketExchange._drop
        self.head(response.status)
        await aclose_body(response.body)
        await self._send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": ""})
        self.finished = True

    async def _is_connected(self) -> bool:
        """Takes the server's word that there is a handshake to answer."""
        if self._connect is None:
            self._connect = await self._receive()
        self.left = self._connect["type"] != "websocket.connect"
        return not self.left

    async def _converse(self, response: Response, conversation: Conversation) -> None:
        self._connect = None
        self.head(101)
        accept = {
            "type": "websocket.accept",
            "subprotocol": conversation.subprotocol,
            "headers": list(response.raw_headers),
        }
        try:
            await self._send(accept)
        except OSError:  # by ASGI, that is how a server tells that the client is gone
            self.left = True
            await conversation.aclose()
            return
        try:
            await conversation.run(self.receive, self._frames)
        except UpstreamError as error:
            self.error = error
        except Exception as error:
            logger.error("a conversation broke off", exc_info=error)
            self.error = error
            await self._break_off()
        finally:
            await conversation.aclose()
        self.finished = self.finished and self.error is None

    async def _break_off(self) -> None:
        if not (self.finished or self.left):
            try:
                await self._send({"type": "websocket.close", "code": _INTERNAL_ERROR, "reason": ""})
            except Exception as error:
                logger.debug("the client was gone before its close", exc_info=error)

    @property
    def _can_deny(self) -> bool:
        return "websocket.http.response" in (self._scope.get("extensions") or {})

    def _frames(self, message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind == "websocket.send":
            self.sent += _size(message)
        elif kind == "websocket.close":
            return self._close(message)
        return self._send(message)

    async def _close(self, message: Message) -> None:
        await self._send(message)
        self.finished = True


def show_offer(scope: Scope) -> None:
    """Some servers keep this field to themselves, and middlewares read and change it."""
    offered = scope.get("subprotocols")
    if offered and all(name != b"sec-websocket-protocol" for name, _ in scope["headers"]):
        field = (b"sec-websocket-protocol", ", ".join(offered).encode("latin-1"))
        scope["headers"] = [*scope["headers"], field]


def _size(message: Message) -> int:
    data = message.get("bytes")
    if data is not None:
        return len(data)
    text = message.get("text") or ""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
