"""Clients that leave and servers that fail while an exchange is inside Django."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from django.http import HttpRequest, HttpResponse
from django.urls import path

from gatekit import Request, Response, django_middleware
from gatekit.typing import ASGIApp, Handler
from tests.django_site import hello, site
from tests.doors.django_watch import AsyncBody, Body, Visitor, Watch, start, streams, visit
from tests.doors.messages import Server, http_scope


def test_a_wsgi_client_that_leaves_has_abandoned_it() -> None:
    """The server closes the response before its end."""
    watch = Watch()
    with site(django_middleware(watch), urls=[path("", streams(Body()))]) as django:
        response = start(django)
        assert next(iter(response)) == b"one"
        assert watch.ends == []
        response.close()
        response.close()
    assert watch.ends == [("abandoned", 200, 3)]


def test_an_asgi_client_that_leaves_has_abandoned_it() -> None:
    """Django cancels the stream; told once, on the event loop."""
    watch = Watch()
    view = streams(AsyncBody(waits=True))
    with site(django_middleware(watch), urls=[path("", view)]) as django:
        visit(django.asgi())
    assert watch.ends == [("abandoned", 200, 3)]
    assert watch.threads == [threading.main_thread()]


def test_a_client_that_leaves_while_the_view_works() -> None:
    """Django cancels the view and never has a response to close; middlewares unwind before."""
    watch = Watch()
    entered = asyncio.Event()
    unwound: list[str] = []

    async def view(request: HttpRequest) -> HttpResponse:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def unwinds(request: Request, call_next: Handler) -> Response:
        try:
            return await call_next(request)
        finally:
            unwound.append(str(len(watch.outcomes)))

    with site(django_middleware(watch, unwinds), urls=[path("", view)]) as django:
        visitor = visit(django.asgi(), entered)
    assert (visitor.sent, unwound) == ([], ["0"])
    assert watch.ends == [("abandoned", None, 0)]
    assert isinstance(watch.outcomes[0].error, asyncio.CancelledError)


def test_a_client_that_leaves_after_the_door_was_passed() -> None:
    """A Django middleware further out still waits: its cancellation ends the exchange too."""
    watch = Watch()
    entered = asyncio.Event()

    def slow(get_response: Any) -> Any:
        async def middleware(request: HttpRequest) -> Any:
            await get_response(request)
            entered.set()
            await asyncio.Event().wait()

        return middleware

    slow.async_capable, slow.sync_capable = True, False  # type: ignore[attr-defined]
    with site(slow, django_middleware(watch), urls=[path("", hello)]) as django:
        visit(django.asgi(), entered)
    assert watch.ends == [("abandoned", 200, 0)]


def test_a_client_that_leaves_a_blocking_view_behind() -> None:
    """The view goes on in its thread, for nobody: the end of that thread ends the exchange."""
    watch, entered, told = Watch(), asyncio.Event(), asyncio.Event()
    may_return = threading.Event()

    async def tells(request: Request, call_next: Handler) -> Response:
        request.on_finish(lambda outcome: told.set())
        return await call_next(request)

    def blocks(get_response: Any) -> Any:
        def middleware(request: HttpRequest) -> HttpResponse:
            SyncToAsync.threadlocal.main_event_loop.call_soon_threadsafe(entered.set)
            assert may_return.wait(10)
            return HttpResponse(b"late")

        return middleware

    class Signals(Visitor):
        async def receive(self) -> Any:
            message = await super().receive()
            if message["type"] == "http.disconnect":
                may_return.set()
            return message

    async def main(app: ASGIApp) -> None:
        await Signals().leave_after(entered, app)
        await told.wait()

    with site(django_middleware(tells, watch), blocks, urls=[path("", hello)]) as django:
        asyncio.run(main(django.asgi()))
    assert watch.ends == [("abandoned", 200, 0)]


def test_a_server_that_cannot_send_has_failed() -> None:
    """Django's ASGI handler closes nothing then either."""

    class Broken(Server):
        async def send(self, message: Any) -> None:
            if message.get("body"):
                raise OSError("gone")

    watch, told = Watch(), asyncio.Event()

    async def tells(request: Request, call_next: Handler) -> Response:
        request.on_finish(lambda outcome: told.set())
        return await call_next(request)

    async def main(app: ASGIApp) -> None:
        with pytest.raises(OSError, match="gone"):
            await asyncio.create_task(Broken(http_scope()).run(app))
        await told.wait()

    with site(django_middleware(tells, watch), urls=[path("", hello)]) as django:
        asyncio.run(main(django.asgi()))
    assert watch.ends == [("failed", 200, 0)]
