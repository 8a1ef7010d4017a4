"""What the WSGI door does that only WSGI knows."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from werkzeug.middleware.lint import LintMiddleware

from gatekit import ConfigurationError, Request, Response, when, wsgi, wsgi_app
from gatekit._core.body import close_body
from gatekit.testing import call_wsgi
from gatekit.typing import Handler

HEADERS = [("Content-Type", "text/plain"), ("X-Odd-CASE", "1")]


async def passes(request: Request, call_next: Handler) -> Response:
    return await call_next(request)


async def adds(request: Request, call_next: Handler) -> Response:
    response = await call_next(request)
    response.headers["x-added"] = "1"
    return response


class Upper:
    def feed(self, data: bytes) -> bytes:
        return data.upper()

    def finish(self) -> bytes:
        return b"!"


async def uppers(request: Request, call_next: Handler) -> Response:
    response = await call_next(request)
    response.filter(Upper())
    return response


class Server:
    """Keeps what it is told, as PEP 3333 has it."""

    def __init__(self, **environ: Any) -> None:
        self.heads: list[tuple[str, list[tuple[str, str]], bool]] = []
        self.written: list[bytes] = []
        self.environ: dict[str, Any] = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            **environ,
        }

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        if exc_info and self.heads:
            raise exc_info[1]
        self.heads.append((status, headers, exc_info is not None))
        return self.written.append

    def call(self, app: Any) -> Any:
        return app(self.environ, self.start_response)

    def run(self, app: Any) -> bytes:
        iterable = self.call(app)
        try:
            return b"".join([*self.written, *iterable])
        finally:
            close_body(iterable)


def test_both_sides_pass_both_linters() -> None:
    """wsgiref's and werkzeug's checkers find nothing, inside or outside of the door."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    checked = validator(wsgi(validator(app), adds))
    assert call_wsgi(checked).headers["x-added"] == "1"
    linted = LintMiddleware(wsgi(LintMiddleware(app), adds, uppers))
    assert call_wsgi(linted).body == b"HELLO!"


class Closing:
    """An iterable that notes its closing."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = iter(chunks)
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self.chunks

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("kind", ["passed", "replaced", "filtered", "abandoned", "broken"])
def test_close_is_always_passed_on(kind: str) -> None:
    """Exactly once, whatever became of the body."""
    iterable = Closing(b"a", b"b")

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(HEADERS))
        return iterable

    async def replaces(request: Request, call_next: Handler) -> Response:
        await call_next(request)
        return Response.text("new")

    async def breaks(request: Request, call_next: Handler) -> Response:
        await call_next(request)
        raise ValueError

    middleware = {"replaced": replaces, "filtered": uppers, "broken": breaks}.get(kind, passes)
    result = Server().call(wsgi(app, middleware))
    if kind != "abandoned":
        list(result)
    close_body(result)
    close_body(result)
    assert iterable.closed == 1


def test_a_whole_body_is_a_list_unless_its_end_is_awaited() -> None:
    """A server sends a list together with the head, and would not close one that wants it."""
    outcomes: list[Any] = []

    async def watch(request: Request, call_next: Handler) -> Response:
        request.on_finish(outcomes.append)
        return await call_next(request)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(HEADERS))
        return [b"a", b"b"]

    async def answer(request: Request) -> Response:
        return Response.text("ab")

    assert Server().call(wsgi(app, passes)) == [b"a", b"b"]
    assert Server().call(wsgi_app(answer)) == [b"ab"]
    for door in (wsgi(app, watch), wsgi_app(answer, watch)):
        result = Server().call(door)
        assert not isinstance(result, list)
        assert list(result)
        close_body(result)
    assert [outcome.sent for outcome in outcomes] == [2, 2]


def test_a_client_that_leaves_is_an_abandoned_exchange() -> None:
    """The server closes the iterable before its end."""
    outcomes: list[Any] = []

    async def watch(request: Request, call_next: Handler) -> Response:
        request.on_finish(outcomes.append)
        return await call_next(request)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(HEADERS))
        return Closing(b"a", b"b")

    result = Server().call(wsgi(app, watch))
    next(iter(result))
    result.close()
    assert [(o.ended, o.sent) for o in outcomes] == [("abandoned", 1)]


def test_a_file_wrapper_is_kept() -> None:
    """The server gets its own wrapper back, so that it may use sendfile; its close is noticed."""
    outcomes: list[Any] = []

    async def watch(request: Request, call_next: Handler) -> Response:
        request.on_finish(outcomes.append)
        return await call_next(request)

    file = io.BytesIO(b"content")

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [*HEADERS, ("Content-Length", "7")])
        return environ["wsgi.file_wrapper"](file)

    server = Server(**{"wsgi.file_wrapper": FileWrapper})
    result = server.call(wsgi(app, watch))
    assert isinstance(result, FileWrapper)
    assert outcomes == []
    assert b"".join(result) == b"content"
    result.close()
    assert file.closed
    assert [(o.ended, o.sent, o.status) for o in outcomes] == [("complete", 7, 200)]


def test_a_file_that_is_filtered_is_read() -> None:
    """With a codec the bytes go through the door."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(HEADERS))
        return environ["wsgi.file_wrapper"](io.BytesIO(b"content"))

    assert Server(**{"wsgi.file_wrapper": FileWrapper}).run(wsgi(app, uppers)) == b"CONTENT!"


def test_a_list_gets_its_length() -> None:
    """A server adds it for a list of one; the door does, for it hides the list."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(HEADERS))
        return [b"hello"]

    assert call_wsgi(wsgi(app, passes)).headers["content-length"] == "5"


def test_a_middleware_that_awaits_the_loop_is_named() -> None:
    """Under WSGI it cannot suspend; the outer middlewares see a 500 and the log who it was."""

    async def sleepy(request: Request, call_next: Handler) -> Response:
        await asyncio.sleep(0)
        return await call_next(request)

    def app(environ: Any, start_response: Any) -> Any:
        raise AssertionError("never called")

    answer = call_wsgi(wsgi(app, adds, sleepy))
    assert (answer.status, answer.headers["x-added"]) == (500, "1")


def test_the_error_of_a_suspended_middleware_names_it(caplog: pytest.LogCaptureFixture) -> None:
    """The message has the function's name and where it stands."""

    async def sleepy(request: Request, call_next: Handler) -> Response:
        await asyncio.sleep(0)
        return await call_next(request)

    def app(environ: Any, start_response: Any) -> Any:
        raise AssertionError("never called")

    call_wsgi(wsgi(app, sleepy))
    assert "sleepy" in str(caplog.records[0].exc_info)
    assert "request.io" in str(caplog.records[0].exc_info)


def test_an_async_callback_is_refused_at_construction() -> None:
    """A WSGI door has no loop for it: `ConfigurationError` names the option."""

    async def is_admin(request: Request) -> bool:
        return True

    def app(environ: Any, start_response: Any) -> Any:
        return []

    with pytest.raises(ConfigurationError, match="predicate"):
        wsgi(app, when(is_admin, passes))


def test_a_handler_may_stream_in_either_way() -> None:
    """Iterables and async iterables that never suspend are sent chunk by chunk, and closed."""
    closed: list[str] = []

    async def asynchronous() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append("async")

    async def handler(request: Request) -> Response:
        body = asynchronous() if request.path == "/async" else iter([b"a", b"b"])
        return Response(200, {"content-type": "text/plain"}, body)

    assert call_wsgi(wsgi_app(handler), target="/async").chunks == [b"a", b"b"]
    assert call_wsgi(wsgi_app(handler), target="/sync").chunks == [b"a", b"b"]
    assert closed == ["async"]


def test_the_declared_length_bounds_the_body() -> None:
    """A server whose input never ends is not read past it; too little is a broken request."""
    read: list[bytes] = []

    async def handler(request: Request) -> Response:
        read.append(await request.body.read())
        return Response(204)

    app = wsgi_app(handler)
    environ = {"CONTENT_LENGTH": "4", "wsgi.input": io.BytesIO(b"bodyGET / HTTP/1.1")}
    Server(**environ).run(app)
    assert read == [b"body"]
    short = Server(CONTENT_LENGTH="10", **{"wsgi.input": io.BytesIO(b"body")})
    short.run(app)
    assert short.heads[0][0].startswith("400")


def test_script_name_is_the_root_path() -> None:
    """The mount prefix is apart from the path, and cut off the raw one."""
    seen: list[tuple[str, str, bytes]] = []

    async def handler(request: Request) -> Response:
        seen.append((request.root_path, request.path, request.raw_path))
        return Response(204)

    call_wsgi(wsgi_app(handler), target="/api/a%2Fb?x=1", script_name="/api")
    assert seen == [("/api", "/a/b", b"/a%2Fb")]


def test_close_of_the_door_closes_the_parts() -> None:
    """`close()` reaches what holds resources."""
    closed: list[str] = []

    class Holds:
        async def __call__(self, request: Request) -> Response:
            return Response(204)

        def close(self) -> None:
            closed.append("closed")

        async def aclose(self) -> None: ...

    app: Any = wsgi_app(Holds())
    app.close()
    assert closed == ["closed"]


def test_a_chunked_body_that_the_server_does_not_end_is_refused() -> None:
    """It cannot be told from an empty one: 411, and no upstream is sent half of it."""

    async def handler(request: Request) -> Response:
        await request.body.read()
        return Response(204)

    server = Server(HTTP_TRANSFER_ENCODING="chunked")
    server.run(wsgi_app(handler))
    assert server.heads[0][0].startswith("411")
