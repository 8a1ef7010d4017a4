"""Runs middlewares around an app that is a function, in a context that changes half-way."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from contextvars import Context, copy_context
from typing import Any, Self, TypeAlias, cast
from urllib.parse import unquote

from gatekit._core.body import Filters, RequestBody
from gatekit._core.compose import compose, flatten, to_app
from gatekit._core.exchange import Exchange
from gatekit._core.flow import Step, fail_blocking, resume_blocking
from gatekit._core.headers import Headers, HeadersLike
from gatekit._core.io import IO, block, resolve
from gatekit._core.messages import Request, Response
from gatekit._core.signals import APP, APP_BODY, AppBody, ReadBody
from gatekit.errors import BodyTooLarge, MisuseError
from gatekit.testing.clients import Answer
from gatekit.testing.fake_io import FakeIO
from gatekit.typing import Middleware

App: TypeAlias = Callable[[Request], "Response | Awaitable[Response]"]


def exercise(
    *middlewares: Middleware,
    app: App | None = None,
    request: Request | None = None,
    method: str = "GET",
    target: str = "/",
    headers: HeadersLike | None = None,
    body: bytes | Iterable[bytes] = b"",
    io: IO | None = None,
) -> Answer:
    """Sends one request through middlewares, outermost first, around `app` (default: 200 `ok`)."""
    if request is None:
        request = make_request(method, target, headers=headers, body=body, io=io)
    exchange = Exchange(request)
    with _Raised() as raised:
        onion = cast("Any", compose(flatten("exercise", middlewares), to_app)(request))
        step = copy_context().run(resume_blocking, onion, None)
        source: Response | None = None
        if step is APP:
            try:
                source = block(resolve((app or _ok)(request)))
            except Exception as error:
                request.app_error = exchange.error = error
                step = _elsewhere(fail_blocking, onion, error)
            else:
                head = Response.from_head(source.status, source.headers.raw, APP_BODY)
                step = _elsewhere(resume_blocking, onion, head)
        while isinstance(step, ReadBody):
            assert source is not None
            content = _whole(source)
            if len(content) > step.limit:
                step = _elsewhere(fail_blocking, onion, BodyTooLarge(step.limit))
            else:
                step = _elsewhere(resume_blocking, onion, content)
    raised.reraise(request)
    response = cast("Response", step)
    exchange.head(response.status)
    if isinstance(response.body, AppBody):
        assert source is not None
        response.body = source.body
    content = _whole(response)
    if response.codecs is not None:
        content = Filters(response.codecs).finish(content)
    exchange.sent, exchange.finished = len(content), True
    outcome = exchange.outcome()
    block(exchange.close_book())
    return Answer(response.status, response.headers, content, request=request, outcome=outcome)


def make_request(
    method: str = "GET",
    target: str = "/",
    *,
    headers: HeadersLike | None = None,
    body: bytes | Iterable[bytes] = b"",
    io: IO | None = None,
    client: tuple[str, int] | None = ("127.0.0.1", 50_000),
    scheme: str = "http",
    root_path: str = "",
) -> Request:
    """A request as a door would make it; `target` is the raw path and query."""
    path, _, query = target.partition("?")
    fields = Headers.of(headers)
    fields.setdefault("host", "testserver")
    return Request(
        method,
        unquote(path),
        io=io or FakeIO(),
        headers=fields,
        query=query.encode("ascii"),
        scheme=scheme,
        root_path=root_path,
        raw_path=path.encode("ascii"),
        client=client,
        body=RequestBody(_pull([body] if isinstance(body, bytes) else body)),
    )


def _ok(_: Request) -> Response:
    return Response.text("ok")


def _elsewhere(function: Callable[..., Step], *args: object) -> Step:
    """Runs in a context that shares nothing with the one in which the onion was started."""
    return Context().run(function, *args)


def _whole(response: Response) -> bytes:
    body = response.body
    if isinstance(body, bytes):
        return body
    if isinstance(body, AppBody):
        raise MisuseError("the response stands for an app's body, but no app was called")
    if isinstance(body, AsyncIterable):
        source = aiter(body)
        chunks: list[bytes] = []
        while True:
            try:
                chunks.append(block(anext(source)))
            except StopAsyncIteration:
                break
    else:
        chunks = list(body)
    response.body = b"".join(chunks)
    return response.body


def _pull(pieces: Iterable[bytes]) -> Callable[[], Awaitable[tuple[bytes, bool]]]:
    waiting = list(pieces)

    async def pull() -> tuple[bytes, bool]:
        piece = waiting.pop(0) if waiting else b""
        return piece, bool(waiting)

    return pull


class _Raised(logging.Handler):
    """Notices what the links logged, so that a test fails with the middleware's own error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._errors: list[BaseException | str] = []

    def __enter__(self) -> Self:
        logging.getLogger("gatekit").addHandler(self)
        return self

    def __exit__(self, *details: object) -> None:
        logging.getLogger("gatekit").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._errors.append(error or record.getMessage())

    def reraise(self, request: Request) -> None:
        for error in self._errors:
            if isinstance(error, str):
                raise MisuseError(error)
            if error is not request.app_error:
                raise error
