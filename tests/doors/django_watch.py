"""What the tests of the Django door watch an exchange with, and how its client behaves."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse

from gatekit import Outcome, Request, Response
from gatekit.typing import ASGIApp, Handler
from tests.django_site import Site
from tests.doors.messages import Server, http_scope


class Watch:
    """A middleware that notes every outcome, and on which thread it was told."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.threads: list[threading.Thread] = []

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        request.on_finish(self.note)
        return await call_next(request)

    def note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.threads.append(threading.current_thread())

    @property
    def ends(self) -> list[tuple[str, int | None, int]]:
        return [(outcome.ended, outcome.status, outcome.sent) for outcome in self.outcomes]


class Body:
    """A stream of two chunks, in either colour, that notes its closing and may fail or wait."""

    def __init__(self, *, error: Exception | None = None, waits: bool = False) -> None:
        self.error = error
        self.waits = waits
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield b"one"
        if self.error:
            raise self.error
        yield b"two"

    def close(self) -> None:
        self.closed += 1


class AsyncBody(Body):
    __iter__ = None  # type: ignore[assignment]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in Body.__iter__(self):
            yield chunk
            if self.waits:
                await asyncio.Event().wait()

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.closed += 1


def streams(body: Any) -> Callable[[HttpRequest], StreamingHttpResponse]:
    return lambda request: StreamingHttpResponse(body)


def start(django: Site, **environ: Any) -> Any:
    """The WSGI response, of which nothing has been read yet."""
    fields = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.input": io.BytesIO()}
    fields |= {"wsgi.url_scheme": "http", "SERVER_NAME": "a", "SERVER_PORT": "80"}
    response: Any = django.wsgi()(fields | environ, lambda *_: lambda data: None)
    return response


class Visitor(Server):
    """A client that leaves once something has happened."""

    def __init__(self) -> None:
        super().__init__(http_scope())
        self.chunk_came = asyncio.Event()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message.get("body"):
            self.chunk_came.set()

    async def leave_after(self, event: asyncio.Event, app: ASGIApp) -> None:
        running = asyncio.create_task(self.run(app))
        await event.wait()
        self.leave()
        await running


def visit(app: ASGIApp, until: asyncio.Event | None = None) -> Visitor:
    """Leaves after the first chunk, unless told of another event."""
    visitor = Visitor()
    asyncio.run(visitor.leave_after(until or visitor.chunk_came, app))
    return visitor
