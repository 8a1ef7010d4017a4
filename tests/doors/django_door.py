"""Plays a spec as a Django view behind `django_middleware`, under WSGI and under ASGI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from http.cookies import SimpleCookie
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path

from gatekit import django_middleware
from gatekit.testing import Answer, call_asgi, call_wsgi
from gatekit.typing import Middleware
from tests.django_site import site
from tests.doors.spec import Spec


def call_django(
    spec: Spec,
    middlewares: Sequence[Middleware],
    method: str,
    target: str,
    headers: Any,
    body: bytes | list[bytes],
) -> Answer:
    """One request to Django's WSGI handler, whose view streams the spec's chunks."""

    def view(request: HttpRequest, rest: str = "") -> StreamingHttpResponse:
        note(spec, request)
        return respond(spec, spec._iterate())

    whole = body if isinstance(body, bytes) else b"".join(body)
    urls = [path("", view), path("<path:rest>", view)]
    with site(django_middleware(*middlewares), urls=urls) as django:
        return call_wsgi(django.wsgi(), method, target, headers=headers, body=whole)


async def call_django_async(
    spec: Spec,
    middlewares: Sequence[Middleware],
    method: str,
    target: str,
    headers: Any,
    body: bytes | list[bytes],
) -> Answer:
    """The same of its ASGI handler, with an async view and an async stream."""

    async def chunks() -> AsyncIterator[bytes]:
        for chunk in spec._iterate():
            yield chunk

    async def view(request: HttpRequest, rest: str = "") -> StreamingHttpResponse:
        note(spec, request)
        return respond(spec, chunks())

    urls = [path("", view), path("<path:rest>", view)]
    with site(django_middleware(*middlewares), urls=urls) as django:
        return await call_asgi(django.asgi(), method, target, headers=headers, body=body)


def note(spec: Spec, request: HttpRequest) -> None:
    """What the view sees of its request."""
    body = request.read() if spec.reads_body else b""
    headers = {name.lower(): value for name, value in request.headers.items()}
    gatekit_request = request.META["gatekit.request"]
    spec._note(gatekit_request, request.method or "", request.path_info, headers, body)


def respond(spec: Spec, content: Any) -> StreamingHttpResponse:
    """The head as the spec has it; Django keeps cookies apart."""
    response = StreamingHttpResponse(content, status=spec.status)
    del response["Content-Type"]
    for name, value in spec.headers:
        if name.lower() == "set-cookie":
            response.cookies.update(SimpleCookie(value))
        else:
            response[name] = value
    return response
