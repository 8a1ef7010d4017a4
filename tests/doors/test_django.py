"""What the Django door does with Django's own requests, responses and other middlewares."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from gatekit import (
    ConfigurationError,
    Identity,
    Request,
    Response,
    asgi,
    django_middleware,
    django_view,
    when,
    wsgi,
)
from gatekit.testing import call_asgi, call_wsgi
from gatekit.typing import Handler, Middleware
from tests.django_site import hello, site, stamp

COMMON = "django.middleware.common.CommonMiddleware"
GZIP = "django.middleware.gzip.GZipMiddleware"


@pytest.fixture(params=["blocking", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    """Django's WSGI handler and its ASGI handler in turn."""
    return str(request.param)


async def passes(request: Request, call_next: Handler) -> Response:
    return await call_next(request)


def changes(change: Callable[[Response], object]) -> Middleware:
    """A middleware that does something to the response."""

    async def middleware(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        change(response)
        return response

    return middleware


def replaces(response: Callable[[], Response]) -> Middleware:
    """A middleware that answers something else once the view has run."""

    async def middleware(request: Request, call_next: Handler) -> Response:
        await call_next(request)
        return response()

    return middleware


def outside(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A Django middleware, sync only, that does something to the response further out."""

    def factory(get_response: Any) -> Any:
        def middleware(request: HttpRequest) -> Any:
            return change(response := get_response(request)) or response

        return middleware

    return factory


def baker(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(b"hello")
    response.set_cookie("a", "1 2", max_age=60, httponly=True, samesite="Lax")
    response.set_cookie("b", "2", path="/b", secure=True)
    return response


def cookies_of(colour: str, *middlewares: Middleware) -> list[str]:
    with site(django_middleware(*middlewares), urls=[path("", baker)]) as django:
        return django.call(colour).headers.getlist("set-cookie")


def test_cookies_keep_their_attributes(colour: str) -> None:
    """All of a view's cookies are fields to a middleware and leave as they would without it."""
    seen: list[str] = []

    def look(response: Response) -> None:
        seen.extend(response.headers.getlist("set-cookie"))
        response.headers["x-added"] = "1"

    with_door = cookies_of(colour, changes(look))
    assert [line.partition(";")[0] for line in with_door] == ['a="1 2"', "b=2"]
    assert with_door == seen
    assert "HttpOnly" in with_door[0] and "Max-Age=60" in with_door[0]
    assert "Path=/b" in with_door[1] and "Secure" in with_door[1]


def test_one_cookie_may_go_and_others_come(colour: str) -> None:
    """Two of one name and an attribute that Python does not know are sent as their lines say."""
    new = ["b=3; Path=/other; Priority=High; Secure", "b=4;Path=/x", "odd name=1"]

    def bake(response: Response) -> None:
        kept = [c for c in response.headers.getlist("set-cookie") if not c.startswith("a=")]
        del response.headers["set-cookie"]
        for line in kept + new:
            response.headers.add("set-cookie", line)

    sent = cookies_of(colour, changes(bake))
    assert sent[0].startswith("b=2;")
    assert sent[1:] == new


def test_a_cookie_that_is_not_ascii_is_encoded(colour: str) -> None:
    """Django's ASGI handler would fail on it, after the middlewares have done their work."""
    add = changes(lambda response: response.headers.add("set-cookie", "c=caf\xe9; Path=/"))
    assert "c=caf%E9; Path=/" in cookies_of(colour, add)


def test_django_code_may_change_an_added_cookie(colour: str) -> None:
    """To a Django middleware further out it is a cookie like any other."""
    add = changes(lambda response: response.headers.add("set-cookie", "c=3; path=/; Priority=Low"))

    def secure(response: Any) -> None:
        assert (response.cookies["c"].value, response.cookies["c"]["path"]) == ("3", "/")
        response.cookies["c"]["secure"] = True

    urls = [path("", hello)]
    with site(outside(secure), django_middleware(add), urls=urls) as django:
        assert django.call(colour).headers.getlist("set-cookie") == ["c=3; Path=/; Secure"]


def test_fields_are_written_only_where_they_changed(colour: str) -> None:
    """Spelling and reason phrase stay the view's own; several values of a name are joined."""
    seen: list[tuple[str, list[tuple[str, str]]]] = []

    def view(request: HttpRequest) -> HttpResponse:
        headers = {"X-oDD": "1", "X-Gone": "1", "X-New": "old"}
        return HttpResponse(b"", "text/plain", 299, "Fine By Me", headers=headers)

    def change(response: Response) -> None:
        del response.headers["x-gone"]
        response.headers["x-odd"] = "2"
        response.headers.add("x-new", "new")

    def look(response: Any) -> None:
        seen.append((response.reason_phrase, list(response.items())))

    entries = (outside(look), django_middleware(changes(change)))
    with site(*entries, urls=[path("", view)]) as django:
        assert django.call(colour).status == 299
    reason_phrase, items = seen[0]
    assert reason_phrase == "Fine By Me"
    assert dict(items) == {"Content-Type": "text/plain", "X-oDD": "2", "X-New": "old, new"}


def test_a_changed_status_takes_its_own_reason(colour: str) -> None:
    """The phrase of another status would contradict it."""
    seen: list[str] = []

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(b"x", status=299, reason="Fine By Me")

    change = django_middleware(changes(lambda response: setattr(response, "status", 503)))
    look = outside(lambda response: seen.append(response.reason_phrase))
    with site(look, change, urls=[path("", view)]) as django:
        assert (django.call(colour).status, seen) == (503, ["Service Unavailable"])


@pytest.mark.parametrize("rewrites", [True, False], ids=["rewritten", "looked at"])
def test_a_response_that_is_read_stays_the_object(colour: str, rewrites: bool) -> None:
    """What Django code has hung on it is still there for a middleware further out."""
    seen: list[Any] = []

    def view(request: HttpRequest) -> JsonResponse:
        response = JsonResponse({"a": 1})
        response.mark = "mine"  # type: ignore[attr-defined]
        return response

    async def read(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        body = await response.read()
        if rewrites:
            response.body = body.replace(b"1", b"22")
        return response

    entries = (COMMON, outside(seen.append), django_middleware(read))
    with site(*entries, urls=[path("", view)]) as django:
        answer = django.call(colour)
    assert answer.body == (b'{"a": 22}' if rewrites else b'{"a": 1}')
    assert answer.headers["content-length"] == str(len(answer.body))
    assert seen[0].mark == "mine"


@pytest.mark.parametrize("streams", [True, False], ids=["streaming", "whole"])
def test_a_replaced_response_is_one_of_djangos(colour: str, streams: bool) -> None:
    """Django's own middlewares further out work on it: here it is compressed."""
    chunks = [b"new " * 100, b"body"]

    def new() -> Response:
        body = iter(chunks) if streams else b"".join(chunks)
        return Response(418, {"content-type": "text/plain"}, body)

    with site(GZIP, django_middleware(replaces(new)), urls=[path("", hello)]) as django:
        answer = django.call(colour, headers={"accept-encoding": "gzip"})
    assert (answer.status, answer.headers["content-encoding"]) == (418, "gzip")
    assert gzip.decompress(answer.body) == b"".join(chunks)


def test_a_replaced_response_has_no_field_of_its_own_making(colour: str) -> None:
    """Django gives every new response a content type; a middleware may have meant none."""
    entry = django_middleware(replaces(lambda: Response(204)))
    with site(entry, urls=[path("", hello)]) as django:
        answer = django.call(colour)
    assert (answer.status, answer.body, answer.headers.items()) == (204, b"", [])


def test_the_view_response_is_freed_when_it_is_replaced(colour: str) -> None:
    """What it holds is closed, while Django's signal for a finished request comes once."""
    from django.core.signals import request_finished

    events: list[str] = []

    class Content:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"x"])

        def close(self) -> None:
            events.append("closed")

    def finished(**_: object) -> None:
        events.append("finished")

    request_finished.connect(finished)
    view = lambda request: StreamingHttpResponse(Content())  # noqa: E731
    try:
        entry = django_middleware(replaces(lambda: Response.text("new")))
        with site(entry, urls=[path("", view)]) as django:
            django.call(colour)
    finally:
        request_finished.disconnect(finished)
    assert events == ["closed", "finished"]


def test_head_declares_the_length_of_get(colour: str) -> None:
    """CommonMiddleware would otherwise say that the body which HEAD leaves out is empty."""
    with site(
        COMMON, django_middleware(replaces(lambda: Response.text("four"))), urls=[path("", hello)]
    ) as django:
        answer = django.call(colour, "HEAD")
    assert (answer.body, answer.headers["content-length"]) == (b"", "4")


def test_djangos_cache_stores_what_leaves_the_door(colour: str) -> None:
    """A response with callbacks and added cookies survives being pickled and served again."""
    calls: list[str] = []

    async def watch(request: Request, call_next: Handler) -> Response:
        request.on_finish(lambda outcome: calls.append(outcome.ended))
        response = await call_next(request)
        response.headers.add("set-cookie", "c=3; Priority=Low")
        return response

    cache = [f"django.middleware.cache.{name}CacheMiddleware" for name in ("Update", "FetchFrom")]
    prefix = {"CACHE_MIDDLEWARE_KEY_PREFIX": colour}
    with site(*cache, django_middleware(watch), urls=[path("", hello)], **prefix) as django:
        answers = [django.call(colour) for _ in range(2)]
    assert [answer.headers["set-cookie"] for answer in answers] == ["c=3; Priority=Low"] * 2
    assert calls == ["complete"]


def test_a_sync_only_neighbour_decides_the_colour() -> None:
    """Django runs the door blocking around a middleware that cannot be awaited, else natively."""
    door, neighbour = django_middleware(stamp), outside(lambda response: None)
    stacks: list[tuple[list[Any], str]] = [
        ([door], "async"),
        ([neighbour, door], "async"),
        ([door, neighbour], "blocking"),
    ]
    for entries, expected in stacks:
        with site(*entries, urls=[path("", hello)]) as django:
            assert django.call("async").headers["x-colour"] == expected
            assert django.call("blocking").headers["x-colour"] == "blocking"


def test_an_exception_that_django_lets_through_can_be_caught(colour: str) -> None:
    """With DEBUG_PROPAGATE_EXCEPTIONS it reaches the middlewares, and is a 500 if none has it."""

    def view(request: HttpRequest) -> HttpResponse:
        raise KeyError("k")

    async def fallback(request: Request, call_next: Handler) -> Response:
        try:
            return await call_next(request)
        except KeyError:
            return Response.text("fallback", 503)

    for middleware, expected in [(fallback, 503), (passes, 500)]:
        entry = django_middleware(middleware)
        urls = [path("", view)]
        with site(entry, urls=urls, DEBUG_PROPAGATE_EXCEPTIONS=True) as django:
            assert django.call(colour).status == expected


def test_django_errors_keep_their_page(colour: str) -> None:
    """A 404 is Django's own, with what the middlewares add to it, and has no endpoint."""
    seen: list[Any] = []

    async def look(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        seen.append(request.endpoint)
        return response

    urls = [path("items/<int:number>", lambda request, number: HttpResponse())]
    with site(django_middleware(stamp, look), urls=urls) as django:
        missing = django.call(colour, target="/nowhere")
        django.call(colour, target="/items/7")
    assert (missing.status, missing.headers["x-colour"]) == (404, colour)
    assert b"Not Found" in missing.body
    assert seen == [None, "items/<int:number>"]


def test_django_test_clients_work() -> None:
    """Both of them, their cookies and the exceptions of views included."""
    urls = [path("", baker)]
    add = changes(lambda response: response.headers.add("set-cookie", "c=3; Priority=Low"))
    with site(django_middleware(stamp, add), urls=urls):
        client = Client()
        assert client.get("/").headers["x-colour"] == "blocking"
        assert sorted(client.cookies) == ["a", "b", "c"]
        assert client.get("/").wsgi_request.COOKIES == {"a": "1 2", "b": "2", "c": "3"}

        async def main() -> Any:
            return await AsyncClient().get("/")

        assert asyncio.run(main()).headers["x-colour"] == "async"


def test_wrong_constructions_are_refused() -> None:
    """At once, by name; an async callback where Django gives something that blocks."""

    async def is_admin(request: Request) -> bool:
        return True

    with pytest.raises(ConfigurationError, match="middleware 2"):
        django_middleware(passes, "x")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="handler"):
        django_view("x")  # type: ignore[arg-type]
    entry = django_middleware(when(is_admin, passes))
    with site(entry, urls=[path("", hello)]) as django:
        with pytest.raises(ConfigurationError, match="predicate"):
            django.wsgi()
        assert django.call("async").body == b"hello"


def test_django_is_imported_only_when_it_is_needed() -> None:
    """Importing gatekit leaves Django alone; without it the error names the extra."""
    code = """
import sys
import gatekit, gatekit._doors.django as door
assert not [name for name in sys.modules if name.split(".")[0] in ("django", "asgiref")]
sys.modules["django"] = None
for make in (door.django_middleware, lambda: door.django_view(print)):
    try:
        make()
    except gatekit.ConfigurationError as error:
        assert "gatekit-middleware[django]" in str(error), error
    else:
        raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_was_found_outside_is_known_inside() -> None:
    """Identity, ids and state pass from the door around Django to those inside of it."""
    seen: list[Any] = []

    async def identify(request: Request, call_next: Handler) -> Response:
        request.identity, request.state["n"] = Identity("ada"), 1
        return await call_next(request)

    async def correlate(request: Request, call_next: Handler) -> Response:
        request.correlation_id = "id-1"
        return await call_next(request)

    async def handler(request: Request) -> Response:
        seen.append((request.identity, request.correlation_id, request.state))
        return Response(204)

    with site(django_middleware(correlate), urls=[path("", django_view(handler))]) as django:
        call_wsgi(wsgi(django.wsgi(), identify))
        asyncio.run(call_asgi(asgi(django.asgi(), identify)))
    assert seen == [(Identity("ada"), "id-1", {"n": 1})] * 2
