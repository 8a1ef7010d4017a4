"""Apps of this process behind a proxy: both kinds, through both doors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import flask
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route as StarletteRoute

from gatekit import Cluster, ConfigurationError, Destination, Proxy, Retry
from gatekit.errors import UpstreamError
from gatekit.proxy.local.transport import AppTransport, kind_of
from gatekit.proxy.transport import InvalidMessage, Origin, Timeouts, UpstreamRequest
from gatekit.testing import Answer
from tests.proxy.handlers import Send


async def mirror_asgi(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it was given."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    fields = [(k.decode(), v.decode("latin-1")) for k, v in scope["headers"]]
    seen = {
        "method": scope["method"],
        "path": scope["path"],
        "raw": scope["raw_path"].decode(),
        "query": scope["query_string"].decode(),
        "scheme": scope["scheme"],
        "fields": dict(fields),
        "body": body.decode("latin-1"),
    }
    headers = [(b"set-cookie", b"a=1"), (b"Set-Cookie", b"b=2"), (b"transfer-encoding", b"chunked")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


def mirror_wsgi(environ: Any, start_response: Any) -> Iterator[bytes]:
    """The same, whose head comes with the first piece."""
    fields = {
        key.removeprefix("HTTP_").replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_") or key in ("CONTENT_LENGTH", "CONTENT_TYPE")
    }
    seen = {
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"].encode("latin-1").decode(),
        "raw": environ["RAW_URI"].partition("?")[0],
        "query": environ["QUERY_STRING"],
        "scheme": environ["wsgi.url_scheme"],
        "fields": fields,
        "body": environ["wsgi.input"].read().decode("latin-1"),
    }
    start_response("201 Created", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    yield b""
    yield json.dumps(seen).encode()


MIRRORS = pytest.mark.parametrize("app", [mirror_asgi, mirror_wsgi], ids=["asgi-app", "wsgi-app"])


def through(send: Send, app: Any, *, host: str = "upstream", **call: Any) -> Answer:
    """One request through a proxy that is closed afterwards, with nothing left under way."""
    cluster = Cluster("local", destinations=[Destination(app, name="app")])
    try:
        return send(Proxy(cluster, host=host), **call)
    finally:
        assert cluster.state.active == 0
        cluster.close()


@MIRRORS
def test_a_request_arrives_as_it_would_elsewhere(send: Send, app: Any) -> None:
    """Method, raw and decoded path, query, fields and body are what was sent."""
    answer = through(
        send,
        app,
        method="POST",
        target="/caf%C3%A9/x?q=1&q=2",
        headers=[("x-one", "1"), ("accept", "a"), ("accept", "b"), ("content-type", "text/plain")],
        body=b"hello",
    )
    seen = json.loads(answer.body)
    assert answer.status == 201
    assert answer.headers.getlist("set-cookie") == ["a=1", "b=2"]
    assert (seen["method"], seen["path"], seen["query"]) == ("POST", "/café/x", "q=1&q=2")
    assert seen["raw"] == "/caf%C3%A9/x"
    assert (seen["body"], seen["fields"]["content-length"]) == ("hello", "5")
    assert seen["fields"]["x-one"] == "1"
    assert seen["fields"]["host"] == "localhost"
    assert seen["fields"]["x-forwarded-host"] == "testserver"


@MIRRORS
def test_a_body_of_unknown_length_streams(app: Any) -> None:
    """An upload in pieces arrives whole, and is announced as one of unknown length."""
    from tests.proxy.handlers import through_asgi

    answer = through(through_asgi, app, method="POST", body=[b"one ", b"two ", b"three"])
    seen = json.loads(answer.body)
    assert seen["body"] == "one two three"
    assert seen["fields"].get("transfer-encoding") == "chunked"
    assert "content-length" not in seen["fields"]


@MIRRORS
def test_the_host_can_be_passed(send: Send, app: Any) -> None:
    """With `host="pass"` the app sees the host that the client asked for."""
    seen = json.loads(through(send, app, host="pass").body)
    assert seen["fields"]["host"] == "testserver"


def test_real_frameworks_answer(send: Send) -> None:
    """A Flask app and a Starlette app stand in one cluster, and each is asked."""
    legacy = flask.Flask("legacy")

    @legacy.post("/who")
    def who() -> str:
        return f"flask {flask.request.get_data(as_text=True)} {flask.request.args['n']}"

    async def star(request: StarletteRequest) -> PlainTextResponse:
        body = (await request.body()).decode()
        return PlainTextResponse(f"starlette {body} {request.query_params['n']}")

    modern = Starlette(routes=[StarletteRoute("/who", star, methods=["POST"])])
    cluster = Cluster("mixed", destinations=[legacy, modern], balance="round_robin")
    proxy = Proxy(cluster)
    texts = {send(proxy, method="POST", target="/who?n=1", body=b"x").text for _ in range(2)}
    assert texts == {"flask x 1", "starlette x 1"}
    assert [status.destination for status in cluster.status()] == ["legacy", "Starlette"]
    cluster.close()


def test_an_app_that_fails_is_passed_by(send: Send, caplog: pytest.LogCaptureFixture) -> None:
    """What it raises is logged, and a request that may be repeated goes to another destination."""

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("out of luck")

    cluster = Cluster(
        "shop",
        destinations=[Destination(broken, name="a"), Destination(mirror_wsgi, name="b")],
        balance="first",
    )
    assert send(Proxy(cluster)).status == 201
    assert "an app in process raised" in caplog.text
    assert "out of luck" in caplog.text
    assert cluster.state.active == 0
    cluster.close()


async def _raises(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("out of luck")


async def _silent(scope: Any, receive: Any, send: Any) -> None:
    return None


async def _short(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"10")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"short"})


async def _body_first(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.body", "body": b"x"})


def _raises_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    raise ValueError("out of luck")


def _silent_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    return []


def _short_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "10")])
    return [b"short"]


def _long_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"short"]


def _nonsense_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "ten")])
    return [b"short"]


@pytest.mark.parametrize(
    "app",
    [
        _raises,
        _silent,
        _short,
        _body_first,
        _raises_wsgi,
        _silent_wsgi,
        _short_wsgi,
        _long_wsgi,
        _nonsense_wsgi,
    ],
)
def test_a_broken_app_is_a_502(send: Send, app: Any) -> None:
    """Raising, silence and a length that is not kept are failures, and tell the client nothing."""
    answer = through(send, app)
    assert answer.status == 502
    assert "out of luck" not in answer.text


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_without_a_body_has_none(send: Send, method: str, status: int) -> None:
    """Whatever an app sends after a head that allows no body is dropped."""

    async def chatty(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"99")] if method == "HEAD" else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * 9})

    def chatty_wsgi(environ: Any, start_response: Any) -> list[bytes]:
        headers = [("Content-Length", "99")] if method == "HEAD" else []
        start_response(f"{status} Text", headers)
        return [b"x" * 9]

    for app in (chatty, chatty_wsgi):
        answer = through(send, app, method=method)
        assert (answer.status, answer.body) == (status, b"")


def test_wsgi_in_full(send: Send) -> None:
    """`write()`, a head replaced with `exc_info`, and `close()` of the iterable all work."""
    closed: list[bool] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b" and yielded"

        def close(self) -> None:
            closed.append(True)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        try:
            raise ValueError
        except ValueError as error:
            info = (type(error), error, error.__traceback__)
            write = start_response("500 Oh", [("X-Why", "replaced")], info)
        write(b"written")
        return Body()

    answer = through(send, app)
    assert (answer.status, answer.headers["x-why"]) == (500, "replaced")
    assert answer.body == b"written and yielded"
    assert closed == [True]


@MIRRORS
def test_what_no_socket_would_carry_reaches_no_app(app: Any) -> None:
    """A target or a field that could not be written is refused, as for a destination elsewhere."""
    here, transport = Origin("http://localhost"), AppTransport(app)
    for request in (
        UpstreamRequest(b"GET", b"/\xff", []),
        UpstreamRequest(b"GET", b"/", [(b"x-one", b"a\r\nx-two: b")]),
        UpstreamRequest(b"G T", b"/", []),
    ):
        with pytest.raises(InvalidMessage):
            transport.send(here, request, Timeouts())
        with pytest.raises(InvalidMessage):
            asyncio.run(transport.asend(here, request, Timeouts()))


def test_kinds_are_told_by_how_an_app_is_called() -> None:
    """Functions, objects, bound methods and partials, of either kind; what is both is asked for."""

    class ASGI:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    class Plain:
        def __call__(self, environ: Any, start_response: Any) -> Any: ...

    def bare(scope: Any, receive: Any, send: Any) -> Any: ...

    def either(*args: Any) -> Any: ...

    assert [kind_of(app) for app in (mirror_asgi, ASGI(), bare, Starlette())] == ["asgi"] * 4
    wsgi = flask.Flask("x")
    assert [kind_of(app) for app in (mirror_wsgi, Plain(), wsgi, wsgi.wsgi_app)] == ["wsgi"] * 4
    assert kind_of(partial(mirror_asgi)) == "asgi"
    assert kind_of(partial(mirror_wsgi)) == "wsgi"
    with pytest.raises(ConfigurationError, match="kind"):
        AppTransport(either)
    AppTransport(either, kind="wsgi")
    with pytest.raises(ConfigurationError, match="app"):
        AppTransport(None)  # type: ignore[arg-type]


def test_work_after_the_answer_goes_on() -> None:
    """What an ASGI app does once its answer is sent is neither waited for nor cancelled."""

    async def main() -> None:
        done, may = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})
            assert (await receive())["type"] in ("http.request", "http.disconnect")
            await may.wait()
            done.set()

        from gatekit import asgi_app
        from gatekit.testing import call_asgi

        proxy = Proxy(Cluster("later", destinations=[app]))
        assert (await call_asgi(asgi_app(proxy))).text == "ok"
        assert not done.is_set()
        may.set()
        await asyncio.wait_for(done.wait(), 5)
        await proxy.aclose()

    asyncio.run(main())


def test_a_failure_that_an_app_lets_through_is_its_own(send: Send) -> None:
    """The app has seen the request: what failed further on does not say that it may be repeated."""
    seen: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(environ["REQUEST_METHOD"])
        raise UpstreamError("connect", "the app asked somebody else")

    cluster = Cluster("local", destinations=[Destination(app, name="app")], retry=Retry(2))
    answer = send(Proxy(cluster), method="POST", body=b"pay")
    assert (answer.status, seen) == (502, ["POST"])
    cluster.close()
