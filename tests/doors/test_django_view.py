"""`django_view`: a handler as a view, native in both colours."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest
from django.db import connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory
from django.urls import path, re_path
from django.views.decorators.cache import never_cache

from gatekit import (
    BodyTooLarge,
    ConfigurationError,
    Rejected,
    Request,
    Response,
    django_middleware,
    django_view,
    when,
)
from gatekit.typing import Handler
from tests.django_site import echo, site, stamp
from tests.net import request as send
from tests.servers import serve

CSRF = "django.middleware.csrf.CsrfViewMiddleware"


@pytest.fixture(params=["blocking", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    """Django's WSGI handler and its ASGI handler in turn."""
    return str(request.param)


async def passes(request: Request, call_next: Handler) -> Response:
    return await call_next(request)


def test_the_handler_sees_the_whole_path(colour: str) -> None:
    """Raw and decoded; the named parts of the pattern are params, as text."""
    seen: list[Request] = []

    async def handler(request: Request) -> Response:
        seen.append(request)
        return Response(204)

    urls = [path("api/<int:number>/<path:path>", django_view(handler))]
    with site(urls=urls) as django:
        django.call(colour, "PUT", "/api/7/a%2Fb/caf%C3%A9?q=1")
    request = seen[0]
    assert (request.method, request.query) == ("PUT", b"q=1")
    assert (request.path, request.raw_path) == ("/api/7/a/b/café", b"/api/7/a%2Fb/caf%C3%A9")
    assert request.params == {"number": "7", "path": "a/b/café"}
    assert request.endpoint == "api/<int:number>/<path:path>"


def test_bytes_that_are_no_text_keep_their_spelling() -> None:
    """Django's decoded path has them percent-encoded; the raw one is not encoded twice."""
    seen: list[bytes] = []

    async def handler(request: Request) -> Response:
        seen.append(request.raw_path)
        return Response(204)

    with site(urls=[re_path("^(?P<path>.*)$", django_view(handler))]) as django:
        django.call("blocking", target="/%FF%2F%2541")
        django.call("blocking", target="/shop/%FF%2F%2541", script_name="/shop")
    assert seen == [b"/%FF%2F%2541"] * 2


def test_the_mount_prefix_is_apart_from_the_path(colour: str) -> None:
    """Of the server's making or of the setting's."""
    seen: list[tuple[str, str, bytes]] = []

    async def handler(request: Request) -> Response:
        seen.append((request.root_path, request.path, request.raw_path))
        return Response(204)

    urls = [path("<path:path>", django_view(handler))]
    mount = {"script_name": "/shop"} if colour == "blocking" else {"root_path": "/shop"}
    with site(urls=urls) as django:
        django.call(colour, target="/shop/a%2Fb", **mount)
    with site(urls=urls, FORCE_SCRIPT_NAME="/shop") as django:
        django.call(colour, target="/a%2Fb")
    assert seen == [("/shop", "/a/b", b"/a%2Fb")] * 2


def test_the_scheme_is_djangos(colour: str) -> None:
    """A project that trusts its proxy's word for it has said so in its settings."""

    async def handler(request: Request) -> Response:
        return Response.text(request.scheme)

    trusted = {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_PROTO", "https")}
    with site(urls=[path("", django_view(handler))], **trusted) as django:
        assert django.call(colour, headers={"x-proto": "https"}).body == b"https"
        assert django.call(colour).body == b"http"


def test_it_runs_where_django_runs(colour: str) -> None:
    """On the loop's own thread under ASGI, with no hop; and blocking with no loop under WSGI."""
    seen: list[Any] = []

    async def handler(request: Request) -> Response:
        if request.io.is_async:
            asyncio.get_running_loop()
        seen.append((request.io.is_async, threading.current_thread()))
        return Response(204)

    with site(django_middleware(stamp), urls=[path("", django_view(handler, stamp))]) as django:
        django.call(colour)
    assert seen == [(colour == "async", threading.main_thread())]


def test_middlewares_and_errors_are_as_everywhere(colour: str) -> None:
    """The view's own middlewares see the handler's errors, and a rejection is its problem."""

    async def handler(request: Request) -> Response:
        if request.path == "/rejected":
            raise Rejected(409, "Not now.")
        raise KeyError("secret")

    async def fallback(request: Request, call_next: Handler) -> Response:
        try:
            return await call_next(request)
        except KeyError:
            return Response.text("fallback", 503)

    urls = [
        path("raises", django_view(handler)),
        path("rejected", django_view(handler, fallback)),
        path("caught", django_view(handler, fallback)),
    ]
    with site(urls=urls) as django:
        answers = [
            django.call(colour, target=f"/{name}") for name in ("raises", "rejected", "caught")
        ]
    assert [answer.status for answer in answers] == [500, 409, 503]
    assert b"secret" not in answers[0].body


def test_no_form_token_is_asked_for(colour: str) -> None:
    """Other views of the project stay protected."""
    urls = [path("", django_view(echo)), path("own", lambda request: HttpResponse())]
    with site(CSRF, urls=urls) as django:
        assert django.call(colour, "POST", body=b"x").body == b"x"
        assert django.call(colour, "POST", "/own", body=b"x").status == 403


def test_it_stands_outside_of_transactions(colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ATOMIC_REQUESTS every view opens one, which this project has no database for."""
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    urls = [path("", django_view(echo)), path("own", lambda request: HttpResponse())]
    with site(urls=urls) as django:
        assert django.call(colour).status == 200
        assert django.call(colour, target="/own").status == 500


def test_djangos_decorators_work_on_it(colour: str) -> None:
    """One that wraps it does so before its colour is known; what Django asks of views is kept."""
    with site(CSRF, urls=[path("", never_cache(django_view(echo)))]) as django:
        answer = django.call(colour, "POST", body=b"x")
    assert answer.body == b"x"
    assert "no-store" in answer.headers["cache-control"]


def test_it_may_be_called_by_hand() -> None:
    """In a test with a request factory there is neither a handler nor a resolver match."""
    response = django_view(echo)(RequestFactory().post("/x", b"body", "text/plain"))
    assert (response.status_code, response.getvalue()) == (200, b"body")
    with pytest.raises(AttributeError, match="nothing"):
        django_view(echo).nothing  # noqa: B018


def test_an_async_callback_is_refused_when_the_view_has_to_block() -> None:
    """Nothing tells the colour before the first request; then the option is named."""

    async def is_admin(request: Request) -> bool:
        return True

    view = django_view(echo, when(is_admin, passes))
    with site(urls=[path("", view)]) as django:
        assert django.call("async").status == 200
        with pytest.raises(ConfigurationError, match="predicate"):
            Client().get("/")


def test_a_response_without_a_body_of_its_own_is_a_500(colour: str) -> None:
    """A handler that hands on another app's response stands for nothing here."""

    async def handler(request: Request) -> Response:
        from gatekit._core.signals import APP_BODY

        return Response(200, None, APP_BODY)

    with site(urls=[path("", django_view(handler))]) as django:
        assert django.call(colour).status == 500


@pytest.mark.parametrize("limit", [100, 1], ids=["all of it", "a part"])
def test_a_blocking_door_under_asgi_reads_async_streams(limit: int) -> None:
    """Where a sync-only middleware makes it block, an async stream is read on the event loop."""

    class Upper:
        def feed(self, data: bytes) -> bytes:
            return data.upper()

        def finish(self) -> bytes:
            return b"!"

    async def reads(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        with suppress(BodyTooLarge):
            assert await response.read(limit) == b"ab"
        response.filter(Upper())
        return response

    async def view(request: HttpRequest) -> StreamingHttpResponse:
        async def chunks() -> Any:
            yield b"a"
            await asyncio.sleep(0)
            yield b"b"

        return StreamingHttpResponse(chunks())

    def neighbour(get_response: Any) -> Any:
        def middleware(request: HttpRequest) -> Any:
            return get_response(request)

        return middleware

    with site(django_middleware(stamp, reads), neighbour, urls=[path("", view)]) as django:
        answer = django.call("async")
    assert (answer.headers["x-colour"], answer.body) == ("blocking", b"AB!")


@pytest.mark.parametrize(
    ("server", "application", "runs"),
    [("uvicorn", "asgi_application", "async"), ("gunicorn", "wsgi_application", "blocking")],
)
def test_real_servers_serve_it(server: Any, application: str, runs: str) -> None:
    """The raw path, the body and both doors, through a server and Django's own handler."""
    with serve(server, f"tests.django_site:{application}") as running:
        answer = send(running.address, "POST", "/api/a%2Fb?q=1", body=b"body")
        plain = send(running.address, "GET", "/hello")
    assert (answer.status, answer.body) == (200, b"body")
    assert answer.header("x-raw-path") == "/api/a%2Fb"
    assert answer.header("x-params") == "path=a/b"
    assert (answer.header("x-handler"), answer.header("x-colour")) == (runs, runs)
    assert (plain.body, plain.header("x-colour")) == (b"hello", runs)
