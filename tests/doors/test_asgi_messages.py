"""Which of an ASGI app's messages are the body, and that the app's own are left as they are."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatekit import BodyTooLarge, Outcome, Request, Response, asgi, asgi_app
from gatekit.typing import Handler
from tests.doors.messages import Server, http_scope
from tests.doors.test_onion import Upper

START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"body"}


async def filters(request: Request, call_next: Handler) -> Response:
    response = await call_next(request)
    response.filter(Upper())
    return response


async def reads(request: Request, call_next: Handler) -> Response:
    response = await call_next(request)
    await response.read()
    return response


def play(app: Any, *middlewares: Any, **scope: Any) -> Server:
    server = Server(http_scope(**scope))
    asyncio.run(server.run(asgi(app, *middlewares)))
    return server


def sends(*messages: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


@pytest.mark.parametrize("middleware", [filters, reads], ids=["filtered", "held"])
def test_a_message_that_is_no_body_passes_while_the_body_is_held_back(middleware: Any) -> None:
    """A push among the body's messages is not taken for the body's end."""
    push = {"type": "http.response.push", "path": "/style.css", "headers": []}
    server = play(sends(START, push, BODY), middleware)
    assert server.body.lower().rstrip(b"!") == b"body"
    assert push in server.sent


def test_a_second_head_is_no_way_around_a_middleware_that_reads() -> None:
    """While the first is held back it is the app's error, and never reaches the server."""
    other = {"type": "http.response.start", "status": 201, "headers": []}
    server = play(sends(START, other, BODY), reads)
    assert [m["status"] for m in server.sent if m["type"].endswith("start")] == [500]


def test_the_apps_message_is_not_changed() -> None:
    """An app may send one constant to all its clients: nothing of one's answer goes to the next."""
    start = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"1")]}

    async def cookie(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        response.headers.add("set-cookie", "mine=1")
        return response

    server = play(sends(start, BODY), cookie)
    assert (b"set-cookie", b"mine=1") in server.sent[0]["headers"]
    assert start == {"type": "http.response.start", "status": 200, "headers": [(b"a", b"1")]}


def test_fields_given_as_an_iterator_survive_a_read() -> None:
    """ASGI asks for an iterable only, which can be gone through once."""
    fields = iter([(b"set-cookie", b"a=1")])
    server = play(sends({**START, "headers": fields}, BODY), reads)
    assert (b"set-cookie", b"a=1") in server.sent[0]["headers"]


def test_trailers_that_are_not_announced_are_not_waited_for() -> None:
    """`trailers: False` is the same as saying nothing of them."""
    outcomes: list[Outcome] = []

    async def watch(request: Request, call_next: Handler) -> Response:
        request.on_finish(outcomes.append)
        return await call_next(request)

    play(sends({**START, "trailers": False}, BODY), watch)
    assert outcomes[0].ended == "complete"


def test_a_named_file_too_large_to_read_is_sent_to_its_end(tmp_path: Path) -> None:
    """What was held comes first, and the rest of the same message after it."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1024)

    async def tries(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        with pytest.raises(BodyTooLarge):
            await response.read(1000)
        return response

    server = play(sends(START, {"type": "http.response.pathsend", "path": str(path)}), tries)
    assert server.body == path.read_bytes()
    assert [m["more_body"] for m in server.sent[1:]][-1] is False


def test_an_app_that_never_stops_does_not_hold_up_the_loop() -> None:
    """Its response was replaced: what it sends is dropped, and others get their turn."""

    async def replaces(request: Request, call_next: Handler) -> Response:
        await call_next(request)
        return Response(503)

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        while True:
            await send({**BODY, "more_body": True})

    async def main() -> None:
        server = Server(http_scope())
        task = asyncio.ensure_future(server.run(asgi(endless, replaces)))
        await server.head_sent.wait()
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())


async def consumes(request: Request, call_next: Handler) -> Response:
    await request.body.read()
    return await call_next(request)


playing: list[Server] = []


async def waits(request: Request, call_next: Handler) -> Response:
    await playing[-1].taken.wait()  # until the door has begun to listen for the client's leaving
    return await call_next(request)


async def echo(request: Request) -> Response:
    return Response(200, body=await request.body.read())


@pytest.mark.parametrize(
    "build",
    [
        lambda: asgi(sends(START, BODY), filters),
        lambda: asgi(sends(START, BODY), consumes, reads),
        lambda: asgi(sends(START, BODY), waits),
        lambda: asgi_app(echo),
    ],
    ids=["filter", "read", "wait", "handler"],
)
def test_a_request_leaves_nothing_to_the_collector(build: Callable[[], Any]) -> None:
    """Reference counting alone frees a request and what it held."""
    app = build()

    def requests() -> int:
        return sum(issubclass(type(thing), Request) for thing in gc.get_objects())

    async def once() -> None:
        playing.append(Server(http_scope(method="POST")))
        await playing[-1].run(app)
        playing.clear()

    async def main() -> None:
        await once()
        gc.collect()
        before = requests()
        gc.disable()
        try:
            await once()
            assert requests() == before
        finally:
            gc.enable()

    asyncio.run(main())
