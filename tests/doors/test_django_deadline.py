"""Deadlines inside Django: a view that can be interrupted, and one that cannot."""

from __future__ import annotations

import asyncio

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import path

from gatekit import Request, Response, django_middleware
from gatekit.typing import Handler, Middleware
from tests.django_site import site
from tests.doors.django_watch import AsyncBody, Body, Watch, streams


@pytest.fixture(params=["blocking", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    """Django's WSGI handler and its ASGI handler in turn."""
    return str(request.param)


def deadline(seconds: float) -> Middleware:
    """Sets a deadline so many seconds from now."""

    async def middleware(request: Request, call_next: Handler) -> Response:
        request.deadline = request.io.now() + seconds
        return await call_next(request)

    return middleware


def test_a_late_async_view_is_interrupted() -> None:
    """504, and the view is cancelled where it waits."""
    cancelled: list[bool] = []

    async def view(request: HttpRequest) -> HttpResponse:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)
        raise AssertionError

    watch = Watch()
    with site(django_middleware(watch, deadline(-1.0)), urls=[path("", view)]) as django:
        assert django.call("async").status == 504
    assert cancelled == [True]
    assert [outcome.status for outcome in watch.outcomes] == [504]


def test_a_late_blocking_view_is_answered_for() -> None:
    """It cannot be interrupted; its response is freed and 504 sent in its place."""
    body, watch = Body(), Watch()
    entry = django_middleware(watch, deadline(-1.0))
    with site(entry, urls=[path("", streams(body))]) as django:
        assert django.call("blocking").status == 504
    assert body.closed == 1
    assert [outcome.status for outcome in watch.outcomes] == [504]


def test_a_stream_may_outlast_the_deadline(colour: str) -> None:
    """It is for the head; here it passes between head and body."""
    body = Body() if colour == "blocking" else AsyncBody()

    async def expires(request: Request, call_next: Handler) -> Response:
        request.deadline = request.io.now() + 60.0
        response = await call_next(request)
        request.deadline = request.io.now() - 1.0
        return response

    with site(django_middleware(expires), urls=[path("", streams(body))]) as django:
        assert django.call(colour).body == b"onetwo"
