"""At most so many requests at the same time."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest

from gatekit import ConfigurationError, Request, Response, asgi
from gatekit.limits import keys
from gatekit.middleware.concurrency import AdaptiveLimit, ConcurrencyLimit
from gatekit.middleware.correlation import CorrelationId
from gatekit.testing import FakeIO, call_asgi, exercise, make_request
from gatekit.typing import Handler
from tests.conftest import AppRaised, Door
from tests.doors.messages import Server, websocket_scope
from tests.doors.spec import Spec
from tests.middleware.crowd import Crowd, counts, until


def fill(limit: ConcurrencyLimit, **options: Any) -> list[Any]:
    """Exercises a request from within another, so that both are inside."""
    inner: list[Any] = []

    def app(_: Request) -> Response:
        inner.append(exercise(limit, **options))
        return Response.text("outer")

    outer = exercise(limit, app=app, **options)
    return [outer, *inner]


def test_what_fits_passes(door: Door) -> None:
    """Under every door, and the place is free again afterwards."""
    limit = ConcurrencyLimit(1)
    for _ in range(3):
        assert door(Spec(), limit).status == 200
        assert counts(limit) == (0, 0)
    assert limit.refused == {}


def test_it_counts_while_the_app_works(door: Door) -> None:
    """Inside the app the request is in flight, and one place less remains."""
    limit = ConcurrencyLimit(3)
    seen: list[Any] = []
    door(Spec(before=lambda _: seen.extend(limit.status())), limit)
    assert [(one.in_flight, one.remaining, one.limit) for one in seen] == [(1, 2, 3)]


def test_too_many_is_a_503(door: Door) -> None:
    """The service's own overload, with `Retry-After` and a problem, under every door."""
    limit = ConcurrencyLimit(1, retry_after=2.5)
    inner: list[Any] = []

    def again(_: Any) -> None:
        inner.append(exercise(limit))

    assert door(Spec(before=again), limit).status == 200
    [answer] = inner
    assert (answer.status, answer.headers["retry-after"]) == (503, "3")
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.body)["type"] == "urn:gatekit:overloaded"
    assert limit.refused == {"full": 1}
    assert counts(limit) == (0, 0)


def test_an_app_that_fails_gives_its_place_back(door: Door) -> None:
    """Whether it raises before its head or in the middle of its body."""
    limit = ConcurrencyLimit(1)
    assert door(Spec(error=ValueError("broken")), limit).status == 500
    assert counts(limit) == (0, 0)
    with suppress(AppRaised, ValueError):
        door(Spec(late_error=ValueError("half-way")), limit)
    assert counts(limit) == (0, 0)
    assert door(Spec(), limit).status == 200


def test_a_clients_own_cap_is_a_429() -> None:
    """With a key it is the client that asks for too much; others are not touched."""
    limit = ConcurrencyLimit(1, key=keys.header("x-client"))
    seen: list[Any] = []

    def app(_: Request) -> Response:
        seen.append(exercise(limit, headers={"x-client": "ada"}))
        seen.append(exercise(limit, headers={"x-client": "bob"}))
        seen.append([one.key for one in limit.status()])
        return Response.text("ok")

    assert exercise(limit, app=app, headers={"x-client": "ada"}).status == 200
    refused, let_in, held = seen
    assert (refused.status, let_in.status) == (429, 200)
    assert json.loads(refused.body)["type"] == "urn:gatekit:too-many-at-once"
    assert refused.headers["retry-after"] == "1"
    assert held == ["ada"]
    assert limit.status() == []


def test_the_status_may_be_said() -> None:
    """A key of the service's own, such as a route, means 503."""
    _, refused = fill(ConcurrencyLimit(1, key=keys.route, status=503))
    assert refused.status == 503


@pytest.mark.parametrize(
    ("missing", "status", "outcome"),
    [("anonymous", 429, "deny"), ("skip", 200, "skip"), ("deny", 429, "deny")],
)
def test_a_request_without_a_key(missing: Any, status: int, outcome: str) -> None:
    """Is counted by its address, let through, or refused, as `missing` says."""
    limit = ConcurrencyLimit(1, key=keys.header("x-client"), missing=missing)
    *_, last = fill(limit)
    assert (last.status, last.request.decisions[-1].outcome) == (status, outcome)


def test_keys_are_forgotten() -> None:
    """What nobody uses takes no memory, whether it was let in or not."""
    limit = ConcurrencyLimit(1, key=keys.path)
    for number in range(100):
        fill(limit, target=f"/{number}")
    assert limit.status() == []


def test_every_decision_has_its_reason() -> None:
    """Observers find what was decided and why."""
    limit = ConcurrencyLimit(1, name="reports")
    allowed, refused = fill(limit)
    assert allowed.request.decisions == [("reports", "allow", "there is room")]
    assert refused.request.decisions == [("reports", "deny", "full")]


def test_shadow_lets_everybody_through() -> None:
    """It counts, tells and refuses nobody; nobody waits either."""
    limit = ConcurrencyLimit(1, queue=5, shadow=True)
    allowed, over = fill(limit)
    assert (allowed.status, over.status) == (200, 200)
    assert over.request.decisions == [("concurrency-limit", "shadow_deny", "full")]
    assert (limit.refused, counts(limit)) == ({"full": 1}, (0, 0))


def test_a_refusal_is_decorated_outside() -> None:
    """It is a response like any other to what stands further out."""
    limit = ConcurrencyLimit(1)
    _, refused = fill(limit)  # the plain one
    nested: list[Any] = []

    def app(_: Request) -> Response:
        nested.append(exercise(CorrelationId(generate=lambda: "abc"), limit))
        return Response.text("ok")

    exercise(limit, app=app)
    assert "x-correlation-id" not in refused.headers
    assert nested[0].status == 503
    assert nested[0].headers["x-correlation-id"] == "abc"
    assert json.loads(nested[0].body)["instance"] == "abc"


def test_it_counts_to_the_end_of_the_body() -> None:
    """The head is not the end: a download holds its place until its last byte."""

    async def main() -> None:
        limit = ConcurrencyLimit(1)
        crowd = Crowd(limit)
        crowd.sent_half = True
        first = crowd.send("first")
        await until(lambda: crowd.servers["first"].body == b"half")
        assert counts(limit) == (1, 0)
        await crowd.send("second")
        assert crowd.answer("second") == 503
        crowd.let_go("first")
        await first
        assert counts(limit) == (0, 0)

    asyncio.run(main())


def test_a_websocket_counts_until_it_is_closed() -> None:
    """An open conversation is in flight; a second handshake is denied."""

    async def main() -> None:
        limit = ConcurrencyLimit(1)
        closing = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await closing.wait()
            await send({"type": "websocket.close", "code": 1000})

        door = asgi(app, limit)
        extensions: dict[str, Any] = {"websocket.http.response": {}}
        first = Server(websocket_scope(), [{"type": "websocket.connect"}])
        second = Server(websocket_scope(extensions=extensions), [{"type": "websocket.connect"}])
        task = asyncio.create_task(first.run(door))
        await first.head_sent.wait()
        assert counts(limit) == (1, 0)
        await second.run(door)
        assert second.sent[0]["status"] == 503
        closing.set()
        await task
        assert counts(limit) == (0, 0)

    asyncio.run(main())


def test_an_answer_from_further_in_counts_and_is_over() -> None:
    """Also where no app is called at all."""
    limit = ConcurrencyLimit(1)

    async def replies(request: Request, call_next: Handler) -> Response:
        assert counts(limit) == (1, 0)
        return Response.text("cached")

    assert exercise(limit, replies).text == "cached"
    assert counts(limit) == (0, 0)


def test_a_key_that_raises_holds_nothing() -> None:
    """It is a 500 before anything was counted."""

    def broken(_: Request) -> str:
        raise ValueError("no key today")

    async def ok(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("must not be called")

    limit = ConcurrencyLimit(1, key=broken)
    assert asyncio.run(call_asgi(asgi(ok, limit))).status == 500
    assert limit.status() == []


def test_without_time_nobody_waits() -> None:
    """A deadline that is over is no reason to stand in a line."""
    limit = ConcurrencyLimit(1, queue=5)
    io = FakeIO()
    late = make_request(io=io)
    late.deadline = io.now()
    answers: list[Any] = []

    def app(_: Request) -> Response:
        answers.append(exercise(limit, request=late))
        return Response.text("ok")

    exercise(limit, app=app)
    assert answers[0].status == 503
    assert limit.refused == {"the deadline is over": 1}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"max_concurrent": 1.5}, "max_concurrent"),
        ({"max_concurrent": True}, "max_concurrent"),
        ({"max_concurrent": AdaptiveLimit(), "key": keys.path}, "max_concurrent"),
        ({"key": "address"}, "key"),
        ({"key": ()}, "key"),
        ({"missing": "allow"}, "missing"),
        ({"queue": -1}, "queue"),
        ({"max_wait": 0}, "max_wait"),
        ({"target_wait": 1.0}, "target_wait"),
        ({"target_wait": 0}, "target_wait"),
        ({"order": "random"}, "order"),
        ({"priority": lambda _: 1}, "priority"),
        ({"priority": 1, "queue": 1}, "priority"),
        ({"shadow": "no"}, "shadow"),
        ({"que": 1}, "que"),
        ({"status": 500}, "status"),
        ({"retry_after": 0}, "retry_after"),
        ({"name": None}, "name"),
        ({"partitions": {"a": 0.5}, "queue": 1}, "partition"),
        ({"partition": lambda _: "a"}, "partition"),
        ({"partitions": {}, "partition": lambda _: "a"}, "partitions"),
        ({"partitions": {"a": 0.0}, "partition": lambda _: "a", "queue": 1}, "partitions"),
        ({"partitions": {"a": 1.1}, "partition": lambda _: "a", "queue": 1}, "partitions"),
        (
            {"partitions": {"a": 0.6, "b": 0.6}, "partition": lambda _: "a", "queue": 1},
            "partitions",
        ),
        ({"partitions": {"a": 0.01}, "partition": lambda _: "a", "queue": 1}, "partitions"),
        ({"partitions": {"a": 0.5}, "partition": lambda _: "a"}, "partitions"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], named: str) -> None:
    """What could not work is an error before the first request."""
    with pytest.raises(ConfigurationError) as caught:
        ConcurrencyLimit(**{"max_concurrent": 10, **options})
    assert list(caught.value.problems) == [named]


def test_all_that_is_wrong_is_said_at_once() -> None:
    """One error names every parameter."""
    with pytest.raises(ConfigurationError) as caught:
        ConcurrencyLimit(0, queue=-1, max_wait=0)
    assert list(caught.value.problems) == ["max_concurrent", "queue", "max_wait"]
