"""A Django project of one file: configured once, dressed anew for each test.

    with site(django_middleware(CorrelationId()), urls=[path("hello", hello)]) as django:
        answer = call_wsgi(django.wsgi(), target="/hello")

An entry of the site's `MIDDLEWARE` is a factory or, for Django's own, a dotted path. A process has
one set of settings: of two sites that are open at the same time the later one counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test.utils import override_settings
from django.urls import URLPattern, path

from gatekit import Request, Response, django_middleware, django_view
from gatekit.testing import Answer, call_asgi, call_wsgi
from gatekit.typing import ASGIApp, Handler, WSGIApp

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        LOGGING_CONFIG=None,
        MIDDLEWARE=["tests.django_site.gateway"],
        ROOT_URLCONF="tests.django_site",
        SECRET_KEY="not a secret",
    )
    django.setup()

Entry = str | Callable[[Any], Any]

_entries: list[Entry] = []


class Site:
    """Makes Django's own applications, and calls them, while its settings hold."""

    def wsgi(self) -> WSGIApp:
        return WSGIHandler()

    def asgi(self) -> ASGIApp:
        return cast("ASGIApp", TidyHandler())

    def call(self, colour: str, method: str = "GET", target: str = "/", **more: Any) -> Answer:
        """One request to the handler of a colour: "blocking" or "async"."""
        if colour == "blocking":
            return call_wsgi(self.wsgi(), method, target, **more)
        return asyncio.run(call_asgi(self.asgi(), method, target, **more))


class TidyHandler(ASGIHandler):
    """Django leaves the spooled request body to the collector where a stream fails."""

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        with ExitStack() as bodies:
            scope["test.bodies"] = bodies
            await super().handle(scope, receive, send)

    def create_request(self, scope: Any, body_file: Any) -> Any:
        scope["test.bodies"].callback(body_file.close)
        return super().create_request(scope, body_file)


@contextmanager
def site(*entries: Entry, urls: Sequence[URLPattern], **more: Any) -> Iterator[Site]:
    """Django with this `MIDDLEWARE`, outermost first, these URL patterns and `more` settings."""
    _entries[:] = entries
    names = [
        entry if isinstance(entry, str) else f"tests.django_site.entry_{place}"
        for place, entry in enumerate(entries)
    ]
    with override_settings(MIDDLEWARE=names, ROOT_URLCONF=tuple(urls), **more):
        yield Site()


def __getattr__(name: str) -> Any:
    if name.startswith("entry_"):
        return _entries[int(name.removeprefix("entry_"))]
    if name == "wsgi_application":
        return WSGIHandler()
    if name == "asgi_application":
        return ASGIHandler()
    raise AttributeError(name)


# What a real server serves: "tests.django_site:wsgi_application" or "…:asgi_application".


async def stamp(request: Request, call_next: Handler) -> Response:
    """Says in which colour the request was served."""
    response = await call_next(request)
    response.headers["x-colour"] = "async" if request.io.is_async else "blocking"
    return response


async def echo(request: Request) -> Response:
    """Sends the body back, and in header fields what the request was."""
    fields = {
        "x-raw-path": request.raw_path.decode("ascii"),
        "x-path": request.path,
        "x-params": ",".join(f"{name}={value}" for name, value in request.params.items()),
        "x-handler": "async" if request.io.is_async else "blocking",
    }
    return Response(200, fields, await request.body.read())


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"hello")


gateway = django_middleware(stamp)
urlpatterns = [path("hello", hello), path("api/<path:path>", django_view(echo))]
