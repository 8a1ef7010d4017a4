"""A WSGI app whose answer is replaced, read or refused after all, however it gave it."""

from __future__ import annotations

import asyncio
import gc
import io
import sys
from collections.abc import Iterator
from typing import Any
from wsgiref.util import FileWrapper

import pytest

from gatekit import Outcome, Request, Response, wsgi
from gatekit.testing import call_wsgi
from gatekit.typing import Handler
from tests.doors.test_wsgi import HEADERS, Server, passes


async def denies(request: Request, call_next: Handler) -> Response:
    await call_next(request)
    return Response.text("denied", 403)


async def not_modified(request: Request, call_next: Handler) -> Response:
    response = await call_next(request)
    response.status = 304
    return response


async def reads(request: Request, call_next: Handler) -> Response:
    response = await call_next(request)
    await response.read()
    return response


def writes(environ: Any, start_response: Any) -> Any:
    write = start_response("200 OK", HEADERS)
    write(b"secret ")
    write(b"secret ")
    return [b"secret"]


def sends_file(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", HEADERS)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"contents"))


@pytest.mark.parametrize(
    ("middleware", "status", "body"),
    [(denies, 403, b"denied"), (not_modified, 304, b"")],
    ids=["replaced", "emptied"],
)
def test_what_an_app_writes_after_it_was_replaced_is_not_sent(
    middleware: Any, status: int, body: bytes
) -> None:
    """Neither what `write()` is given nor what the app returns."""
    answer = call_wsgi(wsgi(writes, middleware))
    assert (answer.status, answer.body) == (status, body)


def test_a_writing_app_may_fail_after_it_was_replaced() -> None:
    """The response in its place is sent, and the app's iterable is closed."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", HEADERS)(b"secret")
        raise RuntimeError("too late")

    answer = call_wsgi(wsgi(app, denies))
    assert (answer.status, answer.body) == (403, b"denied")


def test_a_response_of_another_head_does_not_get_the_apps_fields() -> None:
    """An upstream's answer in place of the app's 404 is sent with its own head."""

    async def elsewhere(request: Request, call_next: Handler) -> Response:
        await call_next(request)
        return Response.from_head(200, [(b"x-upstream", b"1"), (b"content-length", b"2")], b"up")

    def missing(environ: Any, start_response: Any) -> Any:
        start_response("404 Not Found", [("X-App", "1"), ("Content-Length", "7")])
        return [b"missing"]

    answer = call_wsgi(wsgi(missing, elsewhere))
    assert answer.headers.items() == [("x-upstream", "1"), ("content-length", "2")]


def test_a_file_is_not_sent_with_a_status_that_has_no_body() -> None:
    """The server would send its own wrapper whatever the status says."""
    server = Server(**{"wsgi.file_wrapper": FileWrapper})
    assert server.run(wsgi(sends_file, not_modified)) == b""
    assert server.heads[0][0].startswith("304")


def test_a_file_may_be_read() -> None:
    """`response.read()` takes the file's bytes, as any others."""
    server = Server(**{"wsgi.file_wrapper": FileWrapper})
    assert server.run(wsgi(sends_file, reads)) == b"contents"


def test_a_head_that_middlewares_have_seen_is_not_changed_any_more() -> None:
    """While the body is read it counts as sent: the app's error is raised again (PEP 3333)."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", HEADERS)
        yield b"part"
        try:
            raise ValueError("half-way")
        except ValueError:
            start_response("500 Oops", HEADERS, sys.exc_info())
        yield b"an error page under a status of 200"

    answer = call_wsgi(wsgi(app, reads))
    assert answer.status == 500
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("status", "headers"),
    [("OK", HEADERS), ("200 OK", [("X-Price", "5 €")])],
    ids=["status without a number", "field outside of Latin-1"],
)
def test_a_head_that_cannot_be_sent_is_the_apps_error(status: str, headers: Any) -> None:
    """Middlewares can catch it, and without any it is a 500."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, headers)
        return [b"body"]

    async def fallback(request: Request, call_next: Handler) -> Response:
        try:
            return await call_next(request)
        except ValueError:
            return Response(502)

    assert call_wsgi(wsgi(app, fallback)).status == 502
    assert call_wsgi(wsgi(app, passes)).status == 500


def test_a_replaced_response_that_fails_to_close_does_not_take_its_replacement_along() -> None:
    """The error is logged; the client gets what it was to get."""

    class Failing:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"body"])

        def close(self) -> None:
            raise RuntimeError("closing")

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", HEADERS)
        return Failing()

    assert call_wsgi(wsgi(app, denies)).status == 403


def test_a_callback_that_suspends_does_not_take_the_others_with_it() -> None:
    """It gets the error that names it, which is logged; the rest of `on_finish` is called."""
    outcomes: list[Outcome] = []

    async def sleepy(_: object) -> None:
        await asyncio.sleep(0)

    async def registers(request: Request, call_next: Handler) -> Response:
        request.on_finish(outcomes.append)
        request.on_finish(sleepy)
        return await call_next(request)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", HEADERS)
        return [b"body"]

    assert call_wsgi(wsgi(app, registers)).body == b"body"
    assert [outcome.ended for outcome in outcomes] == ["complete"]


@pytest.mark.parametrize("app", [writes, sends_file], ids=["write", "file"])
def test_a_request_leaves_nothing_to_the_collector(app: Any) -> None:
    """Reference counting alone frees a request and what it held."""
    door = wsgi(app, passes)

    def requests() -> int:
        return sum(issubclass(type(thing), Request) for thing in gc.get_objects())

    gc.collect()
    before = requests()
    gc.disable()
    try:
        Server(**{"wsgi.file_wrapper": FileWrapper}).run(door)
        assert requests() == before
    finally:
        gc.enable()
