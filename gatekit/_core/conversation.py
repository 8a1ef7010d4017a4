"""What a handler answers a WebSocket's handshake with: the body of its 101.

    class Echo:
        subprotocol = None

        async def run(self, receive, send):
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message["text"]})

        async def aclose(self):
            pass

    async def echo(request):
        return Response(101, body=Echo())

The messages are those of ASGI. The door sends the `accept`, with the response's fields, and then
calls `run`; middlewares see a head with status 101, and what they put in its place refuses the
handshake. Under WSGI, and where a request is no handshake, such an answer becomes a 501.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from gatekit.typing import Receive, Send

Side: TypeAlias = Literal["client", "upstream", "gateway"]
Cause: TypeAlias = Literal[
    "closed", "lost", "protocol", "too_big", "idle", "lifetime", "drain", "cancelled"
]


@runtime_checkable
class Conversation(Protocol):
    """The messages of one WebSocket, from its `accept` to its end."""

    subprotocol: str | None
    """The one of those offered that the `accept` names."""

    async def run(self, receive: Receive, send: Send) -> None:
        """Ends when the connection has; if it raises, the door closes that with 1011."""
        ...

    async def aclose(self) -> None:
        """Gives back what it holds; called where `run` never was, too."""
        ...


class WebSocketClose(NamedTuple):
    """How a WebSocket that was carried to an upstream ended.

    `by` is who ended it, and `cause` why: `closed` with a close frame or `lost` without one, by
    what the other side sent, by a limit of the gateway's. `code` is the one received or, from the
    gateway, sent: 1005 for a close without a code, 1006 for none (RFC 6455 §7.4.1). `reason` is
    what the peer wrote. Bytes are those of messages; `duration` is in seconds from the accept.
    """

    by: Side
    cause: Cause
    code: int
    reason: str
    messages_received: int
    """From the client."""
    bytes_received: int
    messages_sent: int
    bytes_sent: int
    duration: float
