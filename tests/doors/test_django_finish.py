"""How an exchange inside Django ends: `on_finish`, and what is closed."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextvars import ContextVar
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.test import AsyncClient
from django.urls import path

from gatekit import Outcome, Request, Response, django_middleware, django_view
from gatekit.typing import Handler
from tests.django_site import hello, site
from tests.doors.django_watch import AsyncBody, Body, Watch, start, streams, visit

MIXED = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume:Warning")


@pytest.fixture(params=["blocking", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    """Django's WSGI handler and its ASGI handler in turn."""
    return str(request.param)


@pytest.mark.parametrize(
    ("view", "sent"),
    [
        (hello, 5),
        (lambda request: HttpResponse(), 0),
        (lambda request: HttpResponse(status=204), 0),
    ],
    ids=["whole", "empty", "bodiless"],
)
def test_a_whole_response_is_complete_when_django_closes_it(
    colour: str, view: Any, sent: int
) -> None:
    """Its length counts as sent."""
    watch = Watch()
    with site(django_middleware(watch), urls=[path("", view)]) as django:
        status = django.call(colour).status
    assert watch.ends == [("complete", status, sent)]


@MIXED
@pytest.mark.parametrize("kind", [Body, AsyncBody])
def test_a_stream_is_complete_after_its_last_chunk(colour: str, kind: type[Body]) -> None:
    """In the colour of the stack and in the other."""
    watch = Watch()
    with site(django_middleware(watch), urls=[path("", streams(kind()))]) as django:
        assert django.call(colour).body == b"onetwo"
    assert watch.ends == [("complete", 200, 6)]


def test_head_is_complete_without_its_stream(colour: str) -> None:
    """A server that asks for no body has not been left by its client."""
    watch = Watch()
    body = Body() if colour == "blocking" else AsyncBody()
    with site(django_middleware(watch), urls=[path("", streams(body))]) as django:
        if colour == "blocking":
            start(django, REQUEST_METHOD="HEAD").close()
        else:
            django.call(colour, "HEAD")
    assert watch.ends == [("complete", 200, 0)]


@MIXED
@pytest.mark.parametrize("kind", [Body, AsyncBody])
def test_a_stream_that_breaks_has_failed(colour: str, kind: type[Body]) -> None:
    """Told once, though Django's ASGI handler closes nothing then; the error stays the server's."""
    watch = Watch()
    view = streams(kind(error=KeyError("late")))
    with (
        site(django_middleware(watch), urls=[path("", view)]) as django,
        pytest.raises(KeyError),
    ):
        django.call(colour)
    assert [outcome.ended for outcome in watch.outcomes] == ["failed"]
    assert isinstance(watch.outcomes[0].error, KeyError)


def test_a_task_that_only_fetches_the_response_does_not_end_it() -> None:
    """A Django middleware further out may await what comes next in a task of its own."""
    watch, body = Watch(), AsyncBody()

    def elsewhere(get_response: Any) -> Any:
        async def middleware(request: HttpRequest) -> Any:
            return await asyncio.create_task(get_response(request))

        return middleware

    async def handler(request: Request) -> Response:
        return Response(200, {"content-type": "text/plain"}, body)

    elsewhere.async_capable, elsewhere.sync_capable = True, False  # type: ignore[attr-defined]
    with site(elsewhere, urls=[path("", django_view(handler, watch))]) as django:
        assert django.call("async").body == b"onetwo"
    assert (watch.ends, body.closed) == ([("complete", 200, 6)], 1)


def test_a_response_that_django_swaps_further_out_ends_all_the_same(colour: str) -> None:
    """Nobody closes ours then; the end of the request counts."""
    watch = Watch()

    def swaps(get_response: Any) -> Any:
        def middleware(request: HttpRequest) -> HttpResponse:
            get_response(request)
            return HttpResponseNotModified()

        return middleware

    with site(swaps, django_middleware(watch), urls=[path("", hello)]) as django:
        assert django.call(colour).status == 304
    assert watch.ends == [("complete", 200, 5)]


def test_callbacks_run_on_the_loop_in_the_requests_context() -> None:
    """Django closes in a thread; a callback may still wake a waiter and read context variables."""
    name: ContextVar[str] = ContextVar("name", default="nobody")
    told: list[tuple[str, bool]] = []

    async def watch(request: Request, call_next: Handler) -> Response:
        name.set("ada")
        loop = asyncio.get_running_loop()

        def plain(outcome: Outcome) -> None:
            told.append((name.get(), asyncio.get_running_loop() is loop))

        async def waits(outcome: Outcome) -> None:
            await asyncio.sleep(0)
            plain(outcome)

        request.on_finish(plain)
        request.on_finish(waits)
        return await call_next(request)

    with site(django_middleware(watch), urls=[path("", hello)]) as django:
        django.call("async")
    assert told == [("ada", True)] * 2


def test_the_async_test_client_ends_it_too() -> None:
    """It closes a stream on the loop itself, where nobody can wait for a callback that awaits."""
    watch, told = Watch(), asyncio.Event()

    async def waits(request: Request, call_next: Handler) -> Response:
        async def finished(outcome: Outcome) -> None:
            await asyncio.sleep(0)
            told.set()

        request.on_finish(finished)
        return await call_next(request)

    async def main() -> None:
        response: Any = await AsyncClient().get("/")
        assert b"".join(response.streaming_content) == b"onetwo"
        await told.wait()
        assert watch.ends == [("complete", 200, 6)]
        plain: Any = await AsyncClient().get("/plain")
        assert plain.content == b"hello"

    urls = [path("", streams(Body())), path("plain", hello)]
    with site(django_middleware(waits, watch), urls=urls):
        asyncio.run(main())
    assert watch.ends == [("complete", 200, 6), ("complete", 200, 5)]


@pytest.mark.parametrize("left", [False, True], ids=["to its end", "abandoned"])
def test_a_body_of_gatekits_own_is_closed(colour: str, left: bool) -> None:
    """Once, at the end and when the client leaves: an upstream must not go on for nobody."""
    watch = Watch()
    body = Body() if colour == "blocking" else AsyncBody(waits=left)

    async def handler(request: Request) -> Response:
        return Response(200, {"content-type": "text/plain"}, body)

    with site(urls=[path("", django_view(handler, watch))]) as django:
        if colour == "blocking":
            response = start(django)
            assert next(iter(response)) == b"one"
            if not left:
                assert list(response) == [b"two"]
            response.close()
        elif left:
            visit(django.asgi())
        else:
            assert django.call(colour).body == b"onetwo"
    assert body.closed == 1
    assert watch.ends == [("abandoned", 200, 3) if left else ("complete", 200, 6)]


def test_djangos_request_dies_with_its_last_reference() -> None:
    """The door leaves no cycle on it that would wait for the collector."""
    seen: list[Any] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(weakref.ref(request))
        return HttpResponse(b"x")

    with site(django_middleware(Watch()), urls=[path("", view)]) as django:
        gc.disable()
        try:
            start(django).close()
            assert seen[0]() is None
        finally:
            gc.enable()
