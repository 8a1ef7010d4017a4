"""The proxy inside a view of the host app, and mounted in it, in real frameworks."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from fastapi import FastAPI
from flask import Flask, request
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.wrappers import Response as WerkzeugResponse

from gatekit import (
    ClientIP,
    CorrelationId,
    Proxy,
    Request,
    Response,
    asgi,
    asgi_app,
    wsgi,
    wsgi_app,
)
from gatekit.testing import FunctionTransport, Sent, call_asgi, call_wsgi, upstream
from gatekit.typing import Handler


def service(sent: Sent) -> Response:
    cookies = [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("content-type", "text/plain")]
    return Response(200, cookies, f"{sent.method} {sent.target} {sent.body.decode()}")


def proxied(**options: Any) -> tuple[Proxy, FunctionTransport]:
    transport = upstream(service)
    return Proxy("http://users:8001", transport=transport, **options), transport


def test_in_a_starlette_view() -> None:
    """An endpoint decides, then returns the proxy as its response."""
    proxy, _ = proxied()
    forward = asgi_app(proxy)

    async def view(request: StarletteRequest) -> Any:
        if "x-secret" not in request.headers:
            return PlainTextResponse("who are you", 401)
        return forward

    app = Starlette(routes=[Route("/users/{id}", view, methods=["GET", "PUT"])])
    assert asyncio.run(call_asgi(app, target="/users/1")).status == 401
    answer = asyncio.run(
        call_asgi(app, "PUT", "/users/1?x=1", headers=SECRET | LENGTH, body=b"data")
    )
    assert answer.text == "PUT /users/1?x=1 data"
    assert answer.headers.getlist("set-cookie") == ["a=1", "b=2"]


SECRET = {"x-secret": "s"}
LENGTH = {"content-length": "4"}


def test_mounted_in_starlette_and_fastapi() -> None:
    """The mount's prefix is not sent on, and is told in `X-Forwarded-Prefix`."""
    proxy, transport = proxied()
    fast = FastAPI()
    fast.mount("/api", asgi_app(proxy))
    for app in (Starlette(routes=[Mount("/api", asgi_app(proxy))]), fast):
        answer = asyncio.run(call_asgi(app, target="/api/users/a%20b"))
        assert answer.text == "GET /users/a%20b "
        assert transport.requests[-1].headers["x-forwarded-prefix"] == "/api"


def test_in_a_flask_view() -> None:
    """`Response.from_app` streams what the proxy answers."""
    proxy, transport = proxied()
    forward = wsgi_app(proxy)
    app = Flask(__name__)

    @app.route("/users/<name>", methods=["GET", "POST"])
    def view(name: str) -> WerkzeugResponse:
        return WerkzeugResponse.from_app(forward, request.environ)

    answer = call_wsgi(app, "POST", "/users/ada?x=1", body=b"data")
    assert answer.text == "POST /users/ada?x=1 data"
    assert answer.headers.getlist("set-cookie") == ["a=1", "b=2"]
    assert transport.requests[0].headers["x-forwarded-for"] == "127.0.0.1"


def test_mounted_in_flask() -> None:
    """Beside the app, through werkzeug's dispatcher."""
    proxy, transport = proxied()
    app = Flask(__name__)
    mounted: Any = DispatcherMiddleware(app, {"/api": wsgi_app(proxy)})
    assert call_wsgi(mounted, target="/api/users/1").text == "GET /users/1 "
    assert transport.requests[0].headers["x-forwarded-prefix"] == "/api"


def test_add_middleware_is_starlettes_own_way() -> None:
    """`app.add_middleware(asgi, ...)` works as it is."""
    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("hello"))])
    app.add_middleware(asgi, CorrelationId())
    answer = asyncio.run(call_asgi(app))
    assert answer.text == "hello"
    assert "x-correlation-id" in answer.headers


def test_wrapping_sees_the_frameworks_own_500() -> None:
    """Around the whole app the fields are on the error page of a crashed view, too."""

    def crash(request: Any) -> Any:
        raise RuntimeError("secret")

    starlette = asgi(Starlette(routes=[Route("/", crash)]), CorrelationId())
    flask = Flask(__name__)
    flask.add_url_rule("/", view_func=lambda: crash(None))
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def main() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "root_path": ""}
        with suppress(RuntimeError):
            await starlette(scope, receive, send)

    asyncio.run(main())
    assert sent[0]["status"] == 500
    assert b"x-correlation-id" in dict(sent[0]["headers"])
    answer = call_wsgi(wsgi(flask.wsgi_app, CorrelationId()))
    assert answer.status == 500 and "x-correlation-id" in answer.headers


def test_a_proxy_in_a_view_knows_what_the_outer_door_found_out() -> None:
    """The trust in a peer and the id go in; the time of the upstream comes out, for the log."""
    proxy, transport = proxied()
    seen: list[Any] = []

    async def watch(request: Request, call_next: Handler) -> Response:
        request.on_finish(lambda outcome: seen.append(request.upstream_time))
        return await call_next(request)

    around = (CorrelationId(), ClientIP(trusted=["127.0.0.1"]), watch)
    flask = Flask(__name__)
    forward = wsgi_app(proxy)
    flask.add_url_rule("/x", view_func=lambda: WerkzeugResponse.from_app(forward, request.environ))
    starlette = Starlette(routes=[Mount("/", asgi_app(proxy))])
    headers = {"x-forwarded-for": "1.2.3.4", "x-correlation-id": "abc"}
    asyncio.run(call_asgi(asgi(starlette, *around), target="/x", headers=headers))
    call_wsgi(wsgi(flask.wsgi_app, *around), target="/x", headers=headers)
    for sent in transport.requests:
        assert sent.headers["x-forwarded-for"] == "1.2.3.4, 127.0.0.1"
        assert sent.headers["x-correlation-id"] == "abc"
    assert len(seen) == 2 and None not in seen
