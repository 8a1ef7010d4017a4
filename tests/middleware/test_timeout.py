"""A bound on the wait for a head."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from gatekit import ConfigurationError, Outcome, Request, Response, asgi, asgi_app
from gatekit.middleware.correlation import CorrelationId
from gatekit.middleware.timeout import Timeout
from gatekit.testing import Answer, FakeIO, call_asgi, exercise
from gatekit.typing import Handler
from tests.conftest import Door
from tests.doors.messages import Server, http_scope, websocket_scope
from tests.doors.spec import Spec

NO_TIME = 1e-9


def hang(*middlewares: Any) -> tuple[Answer, list[BaseException]]:
    """Calls an app that waits for what never comes, and tells how it was stopped."""
    stopped: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            stopped.append(error)
            raise

    return asyncio.run(call_asgi(asgi(app, *middlewares))), stopped


def test_an_app_that_hangs_is_cancelled() -> None:
    """Under ASGI the client gets a 504 and the app stops working."""
    answer, stopped = hang(Timeout(0.01))
    assert answer.status == 504
    assert answer.headers["content-type"] == "application/problem+json"
    assert "urn:gatekit:timeout" in answer.text
    assert [type(error) for error in stopped] == [asyncio.CancelledError]


def test_a_handler_that_hangs_is_cancelled() -> None:
    """So is a handler of gatekit's own."""

    async def handler(request: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    answer = asyncio.run(call_asgi(asgi_app(handler, Timeout(0.01))))
    assert answer.status == 504


def test_a_late_head_is_a_504(door: Door) -> None:
    """Under every door: what comes after the deadline is replaced."""
    assert door(Spec(), Timeout(NO_TIME)).status == 504


def test_a_timely_head_passes(door: Door) -> None:
    """In time nothing changes."""
    answer = door(Spec(), Timeout(60))
    assert (answer.status, answer.body) == (200, b"hello world")


def test_the_504_passes_what_decorates() -> None:
    """On its way out from further in, the app's timeout is a 504 already and no 500."""
    answer, _ = hang(Timeout(0.01), CorrelationId(generate=lambda: "abc"))
    assert (answer.status, answer.headers["x-correlation-id"]) == (504, "abc")
    answer, _ = hang(CorrelationId(generate=lambda: "abc"), Timeout(0.01))
    assert (answer.status, answer.headers["x-correlation-id"]) == (504, "abc")
    assert '"instance":"abc"' in answer.text


def test_a_fallback_further_in_is_given_the_error() -> None:
    """Between app and Timeout it is a `TimeoutError` that can be caught."""

    async def fallback(request: Request, call_next: Handler) -> Response:
        try:
            return await call_next(request)
        except TimeoutError:
            return Response.text("later", 503)

    io = FakeIO()

    def app(request: Request) -> Response:
        io.advance(2)
        raise TimeoutError

    assert exercise(Timeout(1), fallback, app=app, io=io).status == 504
    io = FakeIO()
    assert exercise(Timeout(3), fallback, app=app, io=io).status == 503


def test_an_apps_own_timeout_is_its_own_error(door: Door) -> None:
    """A `TimeoutError` before the deadline, of a database perhaps, stays a 500."""
    assert door(Spec(error=TimeoutError("database")), Timeout(60)).status == 500


def test_the_earliest_deadline_holds() -> None:
    """Of two, the one that ends sooner, wherever it stands."""
    for first, second in [(1.0, 5.0), (5.0, 1.0)]:
        answer = exercise(Timeout(first), Timeout(second), io=FakeIO(now=1_000.0))
        assert answer.request.deadline == 1_001.0


@pytest.mark.parametrize(("seconds", "status"), [(0.5, 200), (1.5, 504)])
def test_a_middlewares_own_wait_counts(seconds: float, status: int) -> None:
    """What runs further in than Timeout draws on the same time."""
    io = FakeIO()

    async def waits(request: Request, call_next: Handler) -> Response:
        await request.io.sleep(seconds)
        return Response.text("from a cache")

    assert exercise(Timeout(1), waits, io=io).status == status


def test_a_late_body_is_closed() -> None:
    """A replaced response gives back what its body holds, an upstream's connection for one."""
    io, closed = FakeIO(), []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"late"])

        def close(self) -> None:
            closed.append("body")

    async def slow(request: Request, call_next: Handler) -> Response:
        io.advance(2)
        return Response(200, body=Body())

    assert exercise(Timeout(1), slow, io=io).status == 504
    assert closed == ["body"]


async def pass_the_deadline(request: Request) -> None:
    """Returns once a timer of the deadline's would have fired."""
    assert request.deadline is not None
    passed = asyncio.Event()
    asyncio.get_running_loop().call_at(request.deadline + 0.01, passed.set)
    await passed.wait()


def test_a_body_may_take_its_time() -> None:
    """The clock stops at the head."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await pass_the_deadline(scope["gatekit"])
        await send({"type": "http.response.body", "body": b"slow but whole"})

    answer = asyncio.run(call_asgi(asgi(app, Timeout(0.05))))
    assert (answer.status, answer.body) == (200, b"slow but whole")


def test_an_accepted_websocket_stays_open() -> None:
    """The handshake is bounded, the conversation is not."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await pass_the_deadline(scope["gatekit"])
        await send({"type": "websocket.send", "text": "still here"})
        await send({"type": "websocket.close", "code": 1000})

    server = Server(websocket_scope(), [{"type": "websocket.connect"}])
    asyncio.run(server.run(asgi(app, Timeout(0.05))))
    assert server.kinds == ["websocket.accept", "websocket.send", "websocket.close"]


def test_a_late_handshake_is_refused() -> None:
    """An app that never accepts does not keep the client waiting."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    server = Server(
        websocket_scope(extensions={"websocket.http.response": {}}),
        [{"type": "websocket.connect"}],
    )
    asyncio.run(server.run(asgi(app, Timeout(0.01))))
    assert server.sent[0]["status"] == 504


def test_a_client_that_leaves_is_not_a_timeout() -> None:
    """Cancellation from outside passes through and nothing is answered."""
    outcomes: list[Outcome] = []

    async def watches(request: Request, call_next: Handler) -> Response:
        request.on_finish(outcomes.append)
        return await call_next(request)

    async def main() -> list[dict[str, Any]]:
        inside = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            inside.set()
            await asyncio.Event().wait()

        server = Server(http_scope())
        task = asyncio.create_task(server.run(asgi(app, watches, Timeout(60))))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return server.sent

    assert asyncio.run(main()) == []
    assert [outcome.ended for outcome in outcomes] == ["abandoned"]


@pytest.mark.parametrize("seconds", [0, -1, "10", float("inf"), float("nan"), True])
def test_a_wrong_option_is_named(seconds: Any) -> None:
    """A bound is a number of seconds above 0."""
    with pytest.raises(ConfigurationError) as caught:
        Timeout(seconds)
    assert list(caught.value.problems) == ["seconds"]
