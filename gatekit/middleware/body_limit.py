"""A bound on the bytes of a request's body, announced or not.

    BodyLimit(10 * 1024 * 1024)

A `Content-Length` beyond it is a 413 before the app is called. A body of unknown length is counted
as it comes, and whoever reads the byte too many is stopped: the client sees a 413 even if the app
swallows the error, as long as its own head is not yet sent.

What is counted is what arrives here: put it outside of whatever unpacks a body.
"""

from __future__ import annotations

import sys

from gatekit._core.messages import Request, Response
from gatekit._core.options import integer_problem, known_keywords
from gatekit.errors import BodyTooLarge, Rejected, check
from gatekit.typing import Handler


@known_keywords
class BodyLimit:
    """At most `max_bytes` bytes, which itself is still allowed; 0 allows no body at all."""

    __slots__ = ("_max_bytes",)

    def __init__(self, max_bytes: int) -> None:
        check("BodyLimit", max_bytes=integer_problem(max_bytes))
        self._max_bytes = max_bytes

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        lengths: list[bytes] = []
        chunked = False
        for name, value in request.headers.raw:
            if name == b"content-length":
                lengths.append(value)
            elif name == b"transfer-encoding":
                chunked = True
        if lengths and _length(lengths) > self._max_bytes:
            raise BodyTooLarge(self._max_bytes)
        # With a length and nothing that overrides it (RFC 9112 §6.3) the server itself stops there.
        if (not lengths or chunked) and not request.is_websocket and not request.body.ended:
            request.body.filter(_Counter(self._max_bytes))
        return await call_next(request)


class _Counter:
    __slots__ = ("_left", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit

    def feed(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise BodyTooLarge(self._limit)
        return data

    def finish(self) -> bytes:
        return b""


def _length(values: list[bytes]) -> int:
    # RFC 9110 §8.6: "a Content-Length = 1*DIGIT"; a sign or a list is an attack on the framing.
    if len(values) != 1 or not values[0].isdigit():
        raise Rejected(400, "Content-Length is not one number.", type="urn:gatekit:content-length")
    # More digits than any file has bytes; int() itself refuses to read thousands of them.
    return int(values[0]) if len(values[0]) < 20 else sys.maxsize
