"""What the ASGI door does that only ASGI knows."""

from __future__ import annotations

import asyncio
import contextvars
import os
from pathlib import Path
from typing import Any

import pytest

from gatekit import ConfigurationError, Request, Response, asgi, asgi_app
from gatekit.testing import call_asgi
from gatekit.typing import Handler
from tests.doors.messages import Server, http_scope

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"a/b")]}


async def passes(request: Request, call_next: Handler) -> Response:
    return await call_next(request)


class Upper:
    def feed(self, data: bytes) -> bytes:
        return data.upper()

    def finish(self) -> bytes:
        return b""


async def uppers(request: Request, call_next: Handler) -> Response:
    response = await call_next(request)
    response.filter(Upper())
    return response


def run(app: Any, server: Server) -> Server:
    asyncio.run(server.run(app))
    return server


def test_the_scope_is_never_copied() -> None:
    """The app gets the server's own scope object, with the request in it."""
    scope = http_scope()
    seen: list[Any] = []

    async def app(inner: Any, receive: Any, send: Any) -> None:
        seen.append(inner)
        await send(dict(START))
        await send({"type": "http.response.body"})

    run(asgi(app, passes), Server(scope))
    assert seen[0] is scope
    assert isinstance(scope["gatekit"], Request)


def test_the_servers_header_list_is_not_changed() -> None:
    """A changed field makes a new list; the server keeps the one that it gave."""
    given = [(b"host", b"testserver")]
    scope = http_scope(headers=given)

    async def identify(request: Request, call_next: Handler) -> Response:
        request.headers["x-user"] = "ada"
        return await call_next(request)

    async def app(inner: Any, receive: Any, send: Any) -> None:
        await send(dict(START))
        await send({"type": "http.response.body"})

    run(asgi(app, identify), Server(scope))
    assert given == [(b"host", b"testserver")]
    assert (b"x-user", b"ada") in scope["headers"]


def test_unknown_messages_and_early_hints_pass() -> None:
    """What the door does not know goes both ways untouched, trailers included."""
    messages: list[dict[str, Any]] = [
        {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]},
        {**START, "trailers": True},
        {"type": "http.response.debug", "info": {"a": 1}},
        {"type": "http.response.body", "body": b"x", "more_body": False},
        {"type": "http.response.trailers", "headers": [(b"x-t", b"1")], "more_trailers": False},
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(dict(message))

    server = run(asgi(app, passes), Server(http_scope()))
    assert [m["type"] for m in messages] == server.kinds
    assert server.sent[1]["trailers"] is True


def test_trailers_decide_the_end() -> None:
    """An exchange with trailers is complete with the last of them."""
    outcomes: list[Any] = []

    async def watch(request: Request, call_next: Handler) -> Response:
        request.on_finish(outcomes.append)
        return await call_next(request)

    async def cut(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "trailers": True})
        await send({"type": "http.response.body", "body": b"x"})

    async def whole(scope: Any, receive: Any, send: Any) -> None:
        await cut(scope, receive, send)
        await send({"type": "http.response.trailers", "headers": []})

    run(asgi(cut, watch), Server(http_scope()))
    run(asgi(whole, watch), Server(http_scope()))
    assert [outcome.ended for outcome in outcomes] == ["failed", "complete"]


def test_lifespan_passes_and_closes_what_the_middlewares_hold() -> None:
    """Startup and shutdown reach the app; parts are closed before shutdown is complete."""
    events: list[str] = []

    class Holds:
        async def __call__(self, request: Request, call_next: Handler) -> Response:
            return await call_next(request)

        def close(self) -> None: ...

        async def aclose(self) -> None:
            events.append("closed")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            events.append(message["type"])
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return

    scope = {"type": "lifespan", "state": {}}
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    server = run(asgi(app, Holds()), Server(scope, messages))
    assert events == ["lifespan.startup", "lifespan.shutdown", "closed"]
    assert server.kinds == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_handlers_app_speaks_lifespan() -> None:
    """`asgi_app` answers it itself."""

    async def handler(request: Request) -> Response:
        return Response.text("x")

    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    server = run(asgi_app(handler), Server({"type": "lifespan"}, messages))
    assert server.kinds == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_unknown_scopes_pass() -> None:
    """A scope type of the future is the app's affair."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    run(asgi(app, passes), Server({"type": "datagram"}))
    assert seen == ["datagram"]


def test_pathsend_passes_untouched(tmp_path: Path) -> None:
    """A named file goes on to the server as it is, its size in the outcome."""
    file = tmp_path / "file"
    file.write_bytes(b"content")
    outcomes: list[Any] = []

    async def watch(request: Request, call_next: Handler) -> Response:
        request.on_finish(outcomes.append)
        return await call_next(request)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(dict(START))
        await send({"type": "http.response.pathsend", "path": str(file)})

    server = run(asgi(app, watch), Server(http_scope(extensions={"http.response.pathsend": {}})))
    assert server.kinds[-1] == "http.response.pathsend"
    assert (outcomes[0].ended, outcomes[0].sent) == ("complete", 7)


def test_pathsend_is_read_when_it_is_filtered(tmp_path: Path) -> None:
    """With a codec, or a `read()`, the door sends the file's bytes itself."""
    file = tmp_path / "file"
    file.write_bytes(b"content" * 20_000)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(dict(START))
        await send({"type": "http.response.pathsend", "path": str(file)})

    server = run(asgi(app, uppers), Server(http_scope()))
    assert server.body == b"CONTENT" * 20_000
    assert server.sent[-1]["more_body"] is False


def test_zerocopysend_is_read_when_it_is_filtered(tmp_path: Path) -> None:
    """Offset and count of a descriptor are kept to."""
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            await send(dict(START))
            piece = {"type": "http.response.zerocopysend", "file": descriptor}
            await send({**piece, "offset": 2, "count": 3, "more_body": True})
            await send({"type": "http.response.body", "body": b"end"})
        finally:
            os.close(descriptor)

    assert run(asgi(app, uppers), Server(http_scope())).body == b"234END"


def test_a_replaced_app_is_told_that_the_client_left() -> None:
    """It sees `http.disconnect` and what it still sends is swallowed."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(dict(START))
        seen.append((await receive())["type"])
        await send({"type": "http.response.body", "body": b"late", "more_body": False})
        raise RuntimeError("after the fact")

    async def replace(request: Request, call_next: Handler) -> Response:
        await call_next(request)
        return Response.text("new")

    server = run(asgi(app, replace), Server(http_scope()))
    assert seen == ["http.disconnect"]
    assert server.body == b"new"
    assert server.kinds.count("http.response.start") == 1


def test_an_app_that_returns_without_a_head_is_a_500() -> None:
    """That is an error of its own, and middlewares can catch it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        return

    answer = asyncio.run(call_asgi(asgi(app, passes)))
    assert answer.status == 500


def test_a_handler_that_raises_is_a_500() -> None:
    """Without any middleware the door still answers."""

    async def handler(request: Request) -> Response:
        raise RuntimeError("secret")

    answer = asyncio.run(call_asgi(asgi_app(handler)))
    assert answer.status == 500
    assert b"secret" not in answer.body


def test_a_mount_prefix_is_not_part_of_the_path() -> None:
    """Whether the server puts it into `path`, as the specification says, or not."""
    seen: list[tuple[str, str, bytes]] = []

    async def handler(request: Request) -> Response:
        seen.append((request.root_path, request.path, request.raw_path))
        return Response(204)

    app = asgi_app(handler)
    for path in ("/api/a b", "/a b"):
        raw = path.replace(" ", "%20").encode()
        asyncio.run(Server(http_scope(path=path, raw_path=raw, root_path="/api")).run(app))
    assert seen == [("/api", "/a b", b"/a%20b")] * 2


def test_a_path_that_something_rewrote_is_encoded_anew() -> None:
    """A raw path that no longer fits is not believed."""
    seen: list[bytes] = []

    async def handler(request: Request) -> Response:
        seen.append(request.raw_path)
        return Response(204)

    asyncio.run(Server(http_scope(path="/new é", raw_path=b"/old")).run(asgi_app(handler)))
    assert seen == [b"/new%20%C3%A9"]


def test_a_context_variable_set_on_the_way_in_is_seen_by_the_app() -> None:
    """The app runs in the context in which the onion was started."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    async def binds(request: Request, call_next: Handler) -> Response:
        variable.set("bound")
        return await call_next(request)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(variable.get())
        await send(dict(START))
        await send({"type": "http.response.body"})

    run(asgi(app, binds), Server(http_scope()))
    assert seen == ["bound"]


@pytest.mark.parametrize("wrong", [object(), Upper, Upper(), lambda request: None])
def test_what_is_no_middleware_is_refused_at_construction(wrong: Any) -> None:
    """A class, a thing that is not callable, a function of another shape: named at once."""

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="middleware 2"):
        asgi(app, passes, wrong)


def test_what_is_no_app_is_refused_at_construction() -> None:
    """`asgi(None)` does not wait for a request to fail."""
    with pytest.raises(ConfigurationError, match="app"):
        asgi(None, passes)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="handler"):
        asgi_app("http://users:8001")  # type: ignore[arg-type]


def test_an_app_without_a_lifespan_gets_one_for_the_parts() -> None:
    """Django's refuses the scope; what the middlewares hold is closed all the same."""
    events: list[str] = []

    class Holds:
        async def __call__(self, request: Request, call_next: Handler) -> Response:
            return await call_next(request)

        def close(self) -> None: ...

        async def aclose(self) -> None:
            events.append("closed")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("only HTTP here")

    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    server = run(asgi(app, Holds()), Server({"type": "lifespan"}, messages))
    assert events == ["closed"]
    assert server.kinds == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(ValueError, match="only HTTP"):
        run(asgi(app, passes), Server({"type": "lifespan"}, []))
