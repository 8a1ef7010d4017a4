"""A second run of the inside of an onion under WSGI: an environ of its own, nobody to send to."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import cast

from gatekit._core.again import Door
from gatekit._core.body import close_body
from gatekit._core.messages import Request, Response
from gatekit._doors.wsgi_exchange import WSGIExchange
from gatekit.errors import BodyTooLarge, NoResponse
from gatekit.typing import Environ, Handler, StartResponseCallable, WSGIApp

# Of the first request alone.
_LEFT_OUT = frozenset(
    {"gatekit.request", "wsgi.input", "wsgi.file_wrapper", "CONTENT_LENGTH", "CONTENT_TYPE"}
)


def open_again(environ: Environ, app: WSGIApp | None) -> Door:
    """Copies the environ before the app can write into it."""
    kept = {name: value for name, value in environ.items() if name not in _LEFT_OUT}

    async def run(request: Request, handler: Handler, limit: int) -> Response:
        own: Environ = {
            **kept,
            "REQUEST_METHOD": "GET",
            "gatekit.request": request,
            "wsgi.input": io.BytesIO(),
        }
        heads: list[tuple[str, list[tuple[str, str]]]] = []
        chunks: list[bytes] = []
        size = 0

        def take(chunk: bytes) -> None:
            nonlocal size
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge(limit)
            chunks.append(chunk)

        def start_response(
            status: str, headers: list[tuple[str, str]], _exc_info: object = None, /
        ) -> Callable[[bytes], object]:
            heads.append((status, headers))
            return take

        start = cast("StartResponseCallable", start_response)
        answer: Iterable[bytes] = WSGIExchange(request, handler, app, own, start).run()
        try:
            for chunk in answer:
                take(chunk)
        finally:
            close_body(answer)
        if not heads:
            raise NoResponse("the second run did not get to its head")
        status, headers = heads[-1]
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return Response.from_head(int(status[:3]), raw, b"".join(chunks))

    return run
