"""A second run of the inside of an onion under ASGI: a scope of its own, and nobody to send to."""

from __future__ import annotations

import asyncio

from gatekit._core.again import Door
from gatekit._core.messages import Request, Response
from gatekit._doors.asgi_http import HTTPExchange
from gatekit.errors import BodyTooLarge, NoResponse
from gatekit.typing import ASGIApp, Handler, Message, Scope

# Of the server's own: a file that it would send by itself has to be read here.
_LEFT_OUT = ("extensions", "gatekit")


def open_again(scope: Scope, app: ASGIApp | None) -> Door:
    """Copies the scope before the app can write into it."""
    kept = {name: value for name, value in scope.items() if name not in _LEFT_OUT}

    async def run(request: Request, handler: Handler, limit: int) -> Response:
        own: Scope = {**kept, "gatekit": request, "method": "GET", "headers": request.headers.raw}
        heard = False
        head: Message | None = None
        body = bytearray()
        ended = False

        async def receive() -> Message:
            nonlocal heard
            if heard:
                await asyncio.Event().wait()
            heard = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            nonlocal head, ended, body
            if message["type"] == "http.response.start":
                head = message
            elif message["type"] == "http.response.body":
                body += message.get("body", b"")
                if len(body) > limit:
                    raise BodyTooLarge(limit)
                ended = not message.get("more_body", False)

        await HTTPExchange(request, handler, app, own, receive, send).run()
        if head is None or not ended:
            raise NoResponse("the second run did not get to its end")
        return Response.from_head(head["status"], list(head.get("headers", ())), bytes(body))

    return run
