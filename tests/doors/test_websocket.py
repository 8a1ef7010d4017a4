"""A WebSocket's handshake runs through the onion like any request."""

from __future__ import annotations

import asyncio
from typing import Any

from gatekit import Request, Response, asgi, asgi_app
from gatekit.typing import Handler
from tests.doors.messages import Server, websocket_scope

CONNECT = {"type": "websocket.connect"}
DENIAL: dict[str, Any] = {"websocket.http.response": {}}


async def adds(request: Request, call_next: Handler) -> Response:
    response = await call_next(request)
    response.headers["x-outer"] = str(response.status)
    return response


async def refuses(request: Request, call_next: Handler) -> Response:
    return Response.text("who are you", 401, {"www-authenticate": "Bearer"})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-a", b"1")]})
    message = await receive()
    await send({"type": "websocket.send", "text": message["text"]})
    await send({"type": "websocket.close", "code": 1000})


def run(app: Any, *messages: dict[str, Any], **scope: Any) -> Server:
    server = Server(websocket_scope(**scope), [CONNECT, *messages])
    asyncio.run(server.run(app))
    return server


def test_accept_is_a_101_head() -> None:
    """Middlewares see status 101 and may add fields; frames pass untouched."""
    server = run(asgi(echo, adds), {"type": "websocket.receive", "text": "hi"})
    accept, frame, close = server.sent
    assert accept["subprotocol"] == "chat"
    assert (b"x-a", b"1") in accept["headers"] and (b"x-outer", b"101") in accept["headers"]
    assert (frame["text"], close["code"]) == ("hi", 1000)


def test_a_policy_applies_to_websockets() -> None:
    """A refusal is sent as a response where the server can; the app never sees the handshake."""
    called: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append("app")

    server = run(asgi(app, adds, refuses), extensions=DENIAL)
    assert called == []
    assert server.kinds == ["websocket.http.response.start", "websocket.http.response.body"]
    assert server.sent[0]["status"] == 401
    assert (b"www-authenticate", b"Bearer") in server.sent[0]["headers"]
    assert (b"x-outer", b"401") in server.sent[0]["headers"]
    assert server.body == b"who are you"


def test_without_the_extension_a_refusal_is_a_close() -> None:
    """1008 before the accept, which servers turn into a 403."""
    server = run(asgi(echo, refuses))
    assert server.sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


def test_an_accepted_handshake_may_still_be_replaced() -> None:
    """The app accepted, a middleware says no: the client is refused and the app told."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        seen.append((await receive())["type"])
        await send({"type": "websocket.send", "text": "into the void"})

    async def too_late(request: Request, call_next: Handler) -> Response:
        await call_next(request)
        return Response.text("no", 403)

    server = run(asgi(app, too_late), extensions=DENIAL)
    assert seen == ["websocket.disconnect"]
    assert server.kinds == ["websocket.http.response.start", "websocket.http.response.body"]


def test_the_apps_own_refusals_are_heads_too() -> None:
    """A close before the accept is a 403, a denial response is itself."""

    async def closes(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 4001})

    async def denies(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"none"})

    assert run(asgi(closes, adds)).sent == [{"type": "websocket.close", "code": 4001}]
    with_extension = run(asgi(closes, adds), extensions=DENIAL)
    assert (b"x-outer", b"403") in with_extension.sent[0]["headers"]
    denied = run(asgi(denies, adds), extensions=DENIAL)
    assert denied.sent[0]["status"] == 404 and denied.body == b"none"
    assert (b"x-outer", b"404") in denied.sent[0]["headers"]


def test_a_handler_refuses_by_its_status() -> None:
    """`asgi_app` answers a handshake with the handler's response."""

    async def handler(request: Request) -> Response:
        assert request.is_websocket and request.method == "GET"
        return Response.text("not here", 501)

    server = run(asgi_app(handler), extensions=DENIAL)
    assert server.sent[0]["status"] == 501


def test_the_outcome_of_a_websocket() -> None:
    """Complete after a close by either side, abandoned when the client vanished."""
    outcomes: list[Any] = []

    async def watch(request: Request, call_next: Handler) -> Response:
        request.on_finish(outcomes.append)
        return await call_next(request)

    async def until_gone(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    run(asgi(echo, watch), {"type": "websocket.receive", "text": "hi"})
    for code in (1001, 1006):
        run(asgi(until_gone, watch), {"type": "websocket.disconnect", "code": code})
    assert [outcome.ended for outcome in outcomes] == ["complete", "complete", "abandoned"]
    assert (outcomes[0].status, outcomes[0].sent, outcomes[0].received) == (101, 2, 2)


def waiting(server: Server, answer: Response | None = None) -> Any:
    """A middleware that waits until the door has begun to listen to the client."""

    async def waits(request: Request, call_next: Handler) -> Response:
        await server.taken.wait()
        return answer or await call_next(request)

    return waits


def test_a_middleware_may_wait_before_the_accept() -> None:
    """The connect that the door received meanwhile is not lost, nor taken for a leaving client."""
    server = Server(websocket_scope(), [CONNECT])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        server.say({"type": "websocket.receive", "text": "hello"})
        await echo(scope, receive, send)

    asyncio.run(asyncio.wait_for(server.run(asgi(app, waiting(server))), 5))
    assert server.kinds == ["websocket.accept", "websocket.send", "websocket.close"]


def test_a_refusal_may_take_its_time() -> None:
    """The denial response comes after a wait too."""
    server = Server(websocket_scope(extensions=DENIAL), [CONNECT])
    app = asgi(echo, waiting(server, Response(401)))
    asyncio.run(asyncio.wait_for(server.run(app), 5))
    assert server.sent[0]["status"] == 401


def test_a_client_that_leaves_during_the_handshake_ends_the_wait() -> None:
    """What the middleware waits for is cancelled, and the app is not called."""
    server = Server(websocket_scope(), [CONNECT])
    ended: list[str] = []

    async def waits(request: Request, call_next: Handler) -> Response:
        request.on_finish(lambda outcome: ended.append(outcome.ended))
        server.say({"type": "websocket.disconnect", "code": 1006})
        await asyncio.Event().wait()
        return await call_next(request)

    asyncio.run(asyncio.wait_for(server.run(asgi(echo, waits)), 5))
    assert (ended, server.sent) == (["abandoned"], [])


def test_a_handshake_has_an_empty_body() -> None:
    """Reading it neither waits nor takes the connect away from the app."""

    async def reads(request: Request, call_next: Handler) -> Response:
        assert await request.body.read() == b""
        return await call_next(request)

    server = run(asgi(echo, reads), {"type": "websocket.receive", "text": "hello"})
    assert server.kinds[0] == "websocket.accept"
