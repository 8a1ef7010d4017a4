"""Who leaves when, under ASGI: cancellation, clients that go, bodies that arrive meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gatekit import Request, Response, asgi, asgi_app
from gatekit.typing import Handler
from tests.doors.messages import Server, http_scope
from tests.doors.spec import Spec
from tests.doors.test_asgi import START


def test_cancellation_before_the_head_unwinds_the_onion() -> None:
    """`finally` blocks run, the outcome is `abandoned`, the cancellation goes on."""
    events: list[Any] = []

    async def hold(request: Request, call_next: Handler) -> Response:
        request.on_finish(lambda outcome: events.append((outcome.ended, outcome.status)))
        try:
            return await call_next(request)
        finally:
            events.append("released")

    async def main() -> None:
        entered = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            entered.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(Server(http_scope()).run(asgi(app, hold)))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert events == ["released", ("abandoned", None)]


def test_cancellation_in_mid_body_is_told_once() -> None:
    """After the head only `on_finish` is left to run."""
    events: list[Any] = []

    async def hold(request: Request, call_next: Handler) -> Response:
        request.on_finish(lambda o: events.append((o.ended, o.status, o.sent)))
        return await call_next(request)

    async def main() -> None:
        server = Server(http_scope())

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(dict(START))
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            server.head_sent.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(server.run(asgi(app, hold)))
        await server.head_sent.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert events == [("abandoned", 200, 4)]


def test_a_client_that_leaves_cancels_a_handler() -> None:
    """While a handler waits, the door listens; the wait is cancelled and nothing is sent."""
    events: list[str] = []
    outcomes: list[Any] = []

    async def main() -> list[dict[str, Any]]:
        server = Server(http_scope())

        async def handler(request: Request) -> Response:
            request.on_finish(outcomes.append)
            server.leave()
            try:
                await asyncio.Event().wait()
            finally:
                events.append("cancelled")
            raise AssertionError("never here")

        return await asyncio.wait_for(server.run(asgi_app(handler)), 5)

    assert asyncio.run(main()) == []
    assert events == ["cancelled"]
    assert outcomes[0].ended == "abandoned"


def test_a_client_that_leaves_ends_a_stream() -> None:
    """A streamed body is closed when its reader is gone."""
    closed: list[bool] = []

    async def main() -> None:
        server = Server(http_scope())

        async def body() -> AsyncIterator[bytes]:
            try:
                yield b"first"
                server.leave()
                await asyncio.Event().wait()
            finally:
                closed.append(True)

        async def handler(request: Request) -> Response:
            return Response(200, None, body())

        await asyncio.wait_for(server.run(asgi_app(handler)), 5)

    asyncio.run(main())
    assert closed == [True]


def test_a_body_that_arrives_while_a_middleware_waits_is_not_lost() -> None:
    """The door's listening keeps the chunk for the app."""
    pieces = [
        {"type": "http.request", "body": b"one ", "more_body": True},
        {"type": "http.request", "body": b"two", "more_body": False},
    ]
    seen: list[bytes] = []

    async def main() -> None:
        server = Server(http_scope(method="POST"), [])

        async def waits(request: Request, call_next: Handler) -> Response:
            for piece in pieces:
                server.say(piece)
            await server.taken.wait()
            return await call_next(request)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            more = True
            while more:
                message = await receive()
                seen.append(message["body"])
                more = message["more_body"]
            await send(dict(START))
            await send({"type": "http.response.body"})

        await asyncio.wait_for(server.run(asgi(app, waits)), 5)

    asyncio.run(main())
    assert b"".join(seen) == b"one two"


def test_a_cancellation_on_the_way_out_stays_a_cancellation() -> None:
    """It reaches the middleware that waits, and comes out as itself."""
    seen: list[type[BaseException]] = []

    async def main() -> None:
        waiting = asyncio.Event()

        async def stores(request: Request, call_next: Handler) -> Response:
            response = await call_next(request)
            waiting.set()
            try:
                await asyncio.Event().wait()
            except BaseException as error:
                seen.append(type(error))
                raise
            return response

        task = asyncio.ensure_future(Server(http_scope()).run(asgi(Spec().asgi(), stores)))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == [asyncio.CancelledError]


def test_a_cancelled_callback_does_not_take_the_others_with_it() -> None:
    """Each of `on_finish` is called, and the cancellation goes on."""
    called: list[str] = []

    async def main() -> None:
        waiting = asyncio.Event()

        async def slow(_: object) -> None:
            waiting.set()
            await asyncio.Event().wait()

        async def registers(request: Request, call_next: Handler) -> Response:
            request.on_finish(lambda outcome: called.append(outcome.ended))
            request.on_finish(slow)
            return await call_next(request)

        task = asyncio.ensure_future(Server(http_scope()).run(asgi(Spec().asgi(), registers)))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert called == ["complete"]


def test_a_client_that_leaves_ends_a_stream_that_replaced_the_apps() -> None:
    """The app was called and has returned; the stream in its place is closed all the same."""
    closed: list[bool] = []
    ended: list[str] = []

    async def main() -> None:
        server = Server(http_scope())

        async def body() -> AsyncIterator[bytes]:
            try:
                yield b"first"
                server.leave()
                await asyncio.Event().wait()
            finally:
                closed.append(True)

        async def replaces(request: Request, call_next: Handler) -> Response:
            request.on_finish(lambda outcome: ended.append(outcome.ended))
            await call_next(request)
            return Response(200, None, body())

        app = asgi(Spec(reads_body=True).asgi(), replaces)
        await asyncio.wait_for(server.run(app), 5)

    asyncio.run(main())
    assert (closed, ended) == ([True], ["abandoned"])


def test_an_answer_that_nobody_waits_for_is_closed() -> None:
    """A handler that finishes in spite of the cancellation does not leak its body."""
    closed: list[bool] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"late"])

        def close(self) -> None:
            closed.append(True)

    async def main() -> None:
        server = Server(http_scope())

        async def stubborn(request: Request) -> Response:
            server.leave()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return Response(200, None, Body())

        await asyncio.wait_for(server.run(asgi_app(stubborn)), 5)
        assert server.sent == []

    asyncio.run(main())
    assert closed == [True]
