"""When and how a WSGI app may give its head: lazily, twice, with `write()`, not at all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from gatekit import Request, Response, wsgi
from gatekit.testing import call_wsgi
from gatekit.typing import Handler
from tests.doors.test_wsgi import HEADERS, Server, adds, passes, uppers


def test_an_untouched_head_keeps_its_spelling() -> None:
    """Reason phrase and the case of names are the app's own, even beside an added field."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("299 Fine By Me", list(HEADERS))
        return [b"x"]

    server = Server()
    server.run(wsgi(app, adds))
    status, headers, _ = server.heads[0]
    assert status == "299 Fine By Me"
    assert [name for name, _ in headers][:2] == ["Content-Type", "X-Odd-CASE"]
    assert ("X-Added", "1") in headers


def test_a_lazy_start_response_is_waited_for() -> None:
    """A generator calls it on its first step, after an empty chunk even."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        yield b""
        start_response("200 OK", list(HEADERS))
        yield b"later"

    server = Server()
    assert server.run(wsgi(app, adds)) == b"later"
    assert len(server.heads) == 1


def test_write_pushes_through_the_onion() -> None:
    """What `write()` is given comes before the iterable, filters applied."""

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", list(HEADERS))
        write(b"first ")
        write(b"second ")
        return [b"third"]

    assert Server().run(wsgi(app, adds)) == b"first second third"
    assert Server().run(wsgi(app, uppers)) == b"FIRST SECOND THIRD!"


def test_write_is_held_for_read() -> None:
    """`response.read()` sees what was written and what was returned."""
    read: list[bytes] = []

    async def reads(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        read.append(await response.read())
        return response

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", list(HEADERS))
        write(b"a")
        return [b"b"]

    assert Server().run(wsgi(app, reads)) == b"ab"
    assert read == [b"ab"]


def test_exc_info_before_the_first_chunk_replaces_the_head() -> None:
    """The app may change its mind as long as nothing was sent; middlewares see the new head."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", list(HEADERS))
        try:
            raise ValueError("x")
        except ValueError:
            start_response("503 Sorry", list(HEADERS), sys.exc_info())
        yield b"sorry"

    server = Server()
    server.run(wsgi(app, adds))
    assert [status for status, _, _ in server.heads] == ["503 Sorry"]


def test_exc_info_after_the_first_chunk_is_the_servers_to_raise() -> None:
    """Too late: the server re-raises, and the exchange has failed."""
    outcomes: list[Any] = []

    async def watch(request: Request, call_next: Handler) -> Response:
        request.on_finish(outcomes.append)
        return await call_next(request)

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", list(HEADERS))
        yield b"half"
        try:
            raise ValueError("late")
        except ValueError:
            start_response("500 Oops", list(HEADERS), sys.exc_info())

    with pytest.raises(ValueError, match="late"):
        Server().run(wsgi(app, watch))
    assert [(o.ended, o.sent) for o in outcomes] == [("failed", 4)]


def test_a_second_start_response_is_the_apps_error() -> None:
    """Without `exc_info` it is refused, and answered 500."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        start_response("200 OK", [])
        return [b""]

    assert call_wsgi(wsgi(app, passes)).status == 500


def test_an_app_that_never_calls_start_response_is_a_500() -> None:
    """An error of its own, which middlewares can catch."""

    def app(environ: Any, start_response: Any) -> Any:
        return []

    assert call_wsgi(wsgi(app, passes)).status == 500
