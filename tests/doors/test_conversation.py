"""A handler that answers a WebSocket's handshake itself: with a 101 that has somebody to speak."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from gatekit import Conversation, Outcome, Request, Response, asgi_app, wsgi_app
from gatekit.errors import UpstreamError
from gatekit.testing import call_asgi, call_wsgi
from gatekit.typing import Handler, Receive, Send
from tests.proxy.sockets import Client


class Echo:
    """Sends back what comes, until the client leaves or says `stop`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.subprotocol: str | None = "chat"
        self.error = error
        self.given_back = 0

    async def run(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "stop":
                await send({"type": "websocket.close", "code": 4000, "reason": "stopped"})
                return
            if self.error is not None:
                raise self.error
            await send({"type": "websocket.send", "text": message["text"] * 2})

    async def aclose(self) -> None:
        self.given_back += 1


class Handle:
    """Answers every request with a conversation, and keeps the outcome."""

    def __init__(self, echo: Echo) -> None:
        self.echo = echo
        self.outcome: Outcome

    async def __call__(self, request: Request) -> Response:
        def over(outcome: Outcome) -> None:
            self.outcome = outcome

        request.on_finish(over)
        return Response(101, {"x-room": "7"}, self.echo)


def test_a_conversation() -> None:
    """The accept has the response's fields and the subprotocol; then the handler speaks."""
    handle = Handle(Echo())
    assert isinstance(handle.echo, Conversation)

    async def main() -> None:
        async with Client(asgi_app(handle)) as client:
            accept = await client.said()
            assert (accept["type"], accept["subprotocol"]) == ("websocket.accept", "chat")
            assert accept["headers"] == [(b"x-room", b"7")]
            client.say("é")
            assert await client.heard() == "éé"
            client.say("stop")
            assert await client.closed() == (4000, "stopped")

    asyncio.run(main())
    outcome = handle.outcome
    assert (outcome.ended, outcome.status, outcome.sent, outcome.received) == (
        "complete",
        101,
        4,
        6,
    )
    assert handle.echo.given_back == 1


@pytest.mark.parametrize(("code", "ended"), [(1000, "complete"), (1006, "abandoned")])
def test_a_client_that_leaves(code: int, ended: str) -> None:
    """The conversation is told, and ends."""
    handle = Handle(Echo())

    async def main() -> None:
        async with Client(asgi_app(handle)) as client:
            await client.accepted()
            client.leave(code)

    asyncio.run(main())
    assert (handle.outcome.ended, handle.echo.given_back) == (ended, 1)


def test_a_conversation_that_breaks_off(caplog: pytest.LogCaptureFixture) -> None:
    """The client is told 1011, the log why, and the outcome that it failed."""
    handle = Handle(Echo(ValueError("a bug")))

    async def main() -> None:
        async with Client(asgi_app(handle)) as client:
            await client.accepted()
            client.say("hello")
            assert await client.closed() == (1011, "")

    with caplog.at_level(logging.ERROR, "gatekit"):
        asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == ["a conversation broke off"]
    assert (handle.outcome.ended, repr(handle.outcome.error)) == ("failed", "ValueError('a bug')")
    assert handle.echo.given_back == 1


def test_an_upstream_that_failed_is_no_bug(caplog: pytest.LogCaptureFixture) -> None:
    """The conversation has told the client itself, and nothing is logged as an error."""

    class Lost(Echo):
        async def run(self, receive: Receive, send: Send) -> None:
            await send({"type": "websocket.close", "code": 1011, "reason": ""})
            raise UpstreamError("closed", "gone")

    handle = Handle(Lost())

    async def main() -> None:
        async with Client(asgi_app(handle)) as client:
            await client.accepted()
            assert await client.closed() == (1011, "")

    asyncio.run(main())
    assert caplog.records == []
    assert (handle.outcome.ended, type(handle.outcome.error)) == ("failed", UpstreamError)


def test_a_middleware_may_refuse_it_on_its_way_out() -> None:
    """The conversation never begins; fields that were put on the 101 are the accept's."""
    handle = Handle(Echo())

    async def refuses(request: Request, call_next: Handler) -> Response:
        await call_next(request)
        return Response.text("no", 403)

    async def adds(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        response.headers["x-seen"] = str(response.status)
        return response

    async def main() -> None:
        async with Client(asgi_app(handle, refuses)) as client:
            assert await client.denied() == (403, b"no")
        async with Client(asgi_app(handle, adds)) as client:
            assert (b"x-seen", b"101") in (await client.said())["headers"]
            client.leave()

    asyncio.run(main())


def test_a_client_that_is_gone_before_the_accept() -> None:
    """The server's `send` says so; the conversation is given back unbegun."""
    handle = Handle(Echo())

    async def main() -> None:
        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            raise OSError("gone")

        await asgi_app(handle)(Client(None).scope, receive, send)

    asyncio.run(main())
    assert (handle.outcome.ended, handle.echo.given_back) == ("abandoned", 1)


def test_a_client_that_never_connected() -> None:
    """Nothing is sent to it."""
    handle = Handle(Echo())

    async def main() -> None:
        async def receive() -> Any:
            return {"type": "websocket.disconnect", "code": 1006}

        async def send(message: Any) -> None:
            raise AssertionError(message)

        await asgi_app(handle)(Client(None).scope, receive, send)

    asyncio.run(main())
    assert (handle.outcome.ended, handle.echo.given_back) == ("abandoned", 1)


def test_the_offer_is_a_field_whatever_the_server() -> None:
    """One that tells the subprotocols beside the fields only, as wsproto does under uvicorn."""
    seen: list[list[str]] = []

    async def handler(request: Request) -> Response:
        seen.append(request.headers.getlist("sec-websocket-protocol"))
        return Response(403)

    async def main() -> None:
        for fields in ([], [("sec-websocket-protocol", "mqtt")]):
            async with Client(asgi_app(handler), fields) as client:
                await client.denied()

    asyncio.run(main())
    assert seen == [["chat"], ["mqtt"]]


def test_a_101_without_a_conversation() -> None:
    """A handler that switches to nothing: 501."""

    async def handler(request: Request) -> Response:
        return Response(101)

    async def main() -> None:
        async with Client(asgi_app(handler)) as client:
            status, body = await client.denied()
            assert status == 501 and b"urn:gatekit:websocket-not-carried" in body

    asyncio.run(main())


def test_where_there_is_no_websocket(caplog: pytest.LogCaptureFixture) -> None:
    """Under WSGI, and for an ordinary request, such an answer becomes a 501, said in the log."""
    handle = Handle(Echo())
    plain = asyncio.run(call_asgi(asgi_app(handle)))
    blocking = call_wsgi(wsgi_app(handle))
    for answer in (plain, blocking):
        assert answer.status == 501 and "urn:gatekit:websocket-not-carried" in answer.text
    assert handle.echo.given_back == 2
    assert len(caplog.records) == 2 and "answered 101" in caplog.text
