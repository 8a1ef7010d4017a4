"""`stale-while-revalidate` (RFC 5861 §3): the old answer at once, the new one fetched beside."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from gatekit import Cache, Gateway, Proxy, Request, Response, Route, asgi, asgi_app, wsgi, wsgi_app
from gatekit.testing import Sent, call_asgi, call_wsgi, upstream
from tests.middleware.cache.origin import Clock, in_loop

FIELDS = [("cache-control", "max-age=10, stale-while-revalidate=60"), ("etag", '"a"')]


class Site:
    """The same app in both colours, and as a handler; `done` is set at each answer."""

    def __init__(self) -> None:
        self.body = b"old"
        self.seen: list[dict[str, str]] = []
        self.done = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def note(self, headers: dict[str, str]) -> None:
        self.seen.append(headers)
        self.done.set()

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        raw = [(name.encode(), value.encode()) for name, value in FIELDS]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        await send({"type": "http.response.body", "body": self.body})
        self.note({name.decode(): value.decode() for name, value in scope["headers"]})

    def wsgi(self, environ: Any, start_response: Any) -> Any:
        self.go.wait(10)
        start_response("200 OK", list(FIELDS))
        yield self.body
        self.note({key: str(value) for key, value in environ.items() if key.startswith("HTTP_")})

    async def handler(self, request: Request) -> Response:
        self.go.wait(10)
        self.note(dict(request.headers.items()))
        return Response(200, FIELDS, self.body)


async def settle(cache: Cache) -> None:
    """Waits until nothing runs beside the requests."""
    while tasks := set(cache._background._tasks):
        await asyncio.wait(tasks)


@pytest.mark.parametrize("kind", ["app", "handler", "gateway", "gateway before an app"])
@in_loop
async def test_beside_the_requests_of_a_loop(kind: str) -> None:
    """The stale answer is there at once; one task asks, with the validator, for all of them."""
    site, clock = Site(), Clock()
    cache = Cache(clock=clock)
    app: Any = {
        "app": asgi(site.asgi, cache),
        "handler": asgi_app(site.handler, cache),
        "gateway": Gateway(routes=[Route("/", site.handler, cache)]).asgi(),
        "gateway before an app": Gateway(cache).asgi(site.asgi),
    }[kind]
    await call_asgi(app)
    clock.now += 20
    site.body = b"new"
    answers = [await call_asgi(app, headers={"x": "1"}) for _ in range(5)]
    await settle(cache)
    assert {answer.body for answer in answers[:1]} == {b"old"}
    assert answers[0].headers["cache-status"] == "gatekit; hit; ttl=-10"
    assert len(site.seen) == 2
    assert site.seen[1]["if-none-match"] == '"a"'
    assert site.seen[1]["x"] == "1"
    assert (await call_asgi(app)).body == b"new"
    assert len(site.seen) == 2
    assert cache.stats().stale >= 1
    await cache.aclose()


@pytest.mark.parametrize("kind", ["app", "handler", "gateway"])
def test_beside_the_requests_of_threads(kind: str) -> None:
    """Under WSGI in a thread of the cache's own, while the worker goes on."""
    site, clock = Site(), Clock()
    cache = Cache(clock=clock)
    app: Any = {
        "app": wsgi(site.wsgi, cache),
        "handler": wsgi_app(site.handler, cache),
        "gateway": Gateway(routes=[Route("/", site.handler, cache)]).wsgi(),
    }[kind]
    call_wsgi(app)
    clock.now += 20
    site.body = b"new"
    site.done.clear()
    site.go.clear()
    assert call_wsgi(app).body == b"old"
    assert call_wsgi(app).body == b"old"
    assert len(site.seen) == 1
    site.go.set()
    assert site.done.wait(10)
    for thread in set(cache._background._threads):
        thread.join(10)
    assert call_wsgi(app).body == b"new"
    assert len(site.seen) == 2


@in_loop
async def test_a_proxy_is_asked_beside() -> None:
    """The condition reaches the upstream, and its 304 freshens what is stored."""
    clock = Clock()

    def answer(sent: Sent) -> Response:
        if sent.headers.get("if-none-match") == '"a"':
            return Response(304, FIELDS)
        return Response(200, FIELDS, b"old")

    transport = upstream(answer)
    cache = Cache(clock=clock)
    app = asgi_app(Proxy("http://shop:80", transport=transport), cache)
    await call_asgi(app)
    clock.now += 20
    assert (await call_asgi(app)).body == b"old"
    await settle(cache)
    answered = await call_asgi(app)
    assert (answered.body, answered.headers["age"]) == (b"old", "0")
    assert len(transport.requests) == 2
    await cache.aclose()


@in_loop
async def test_an_error_beside_leaves_what_is_stored(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next request tries again."""
    site, clock = Site(), Clock()
    cache = Cache(clock=clock)
    app = asgi_app(site.handler, cache)
    await call_asgi(app)
    clock.now += 20

    async def failing(request: Request) -> Response:
        raise OSError("gone")

    broken = asgi_app(failing, cache)
    assert (await call_asgi(broken)).body == b"old"
    await settle(cache)
    assert (await call_asgi(app)).body == b"old"
    await settle(cache)
    assert len(site.seen) == 2
    await cache.aclose()


@in_loop
async def test_beyond_the_window_the_request_waits() -> None:
    """What is too stale is not served."""
    site, clock = Site(), Clock()
    cache = Cache(clock=clock)
    app = asgi_app(site.handler, cache)
    await call_asgi(app)
    clock.now += 71
    site.body = b"new"
    assert (await call_asgi(app)).body == b"new"


@in_loop
async def test_a_client_that_insists_waits() -> None:
    """`no-cache` is not answered with what is stale."""
    site, clock = Site(), Clock()
    app = asgi_app(site.handler, Cache(clock=clock))
    await call_asgi(app)
    clock.now += 20
    site.body = b"new"
    assert (await call_asgi(app, headers={"cache-control": "no-cache"})).body == b"new"


@in_loop
async def test_the_option_counts_for_what_says_nothing() -> None:
    """And never for what must be validated."""
    for directives, body in (("max-age=10", b"old"), ("max-age=10, must-revalidate", b"new")):
        clock = Clock()
        cache = Cache(clock=clock, stale_while_revalidate=60)
        bodies = [b"old", b"new", b"newer"]

        async def handler(
            request: Request, said: str = directives, left: list[bytes] = bodies
        ) -> Response:
            return Response(200, [("cache-control", said)], left.pop(0))

        app = asgi_app(handler, cache)
        await call_asgi(app)
        clock.now += 20
        assert (await call_asgi(app)).body == body
        await cache.aclose()
