"""The client's body on its way up: none, whole, or a stream that may not stand still for ever.

if may_have_body(request, length, is_chunked):
    body = await upstream_body(request, length, is_chunked, seconds=60.0)
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator, Iterator
from typing import Any, Self, TypeVar

from gatekit._core.body import RequestBody
from gatekit._core.io import block
from gatekit._core.messages import Request
from gatekit.errors import Rejected
from gatekit.proxy.fields import closing
from gatekit.proxy.transport.exchange import RequestBody as UpstreamBody

T = TypeVar("T")


class PatientBody:
    """The rest of a body under asyncio, whose every piece has `seconds` to arrive."""

    __slots__ = ("_request", "_seconds")

    def __init__(self, request: Request, seconds: float | None) -> None:
        self._request = request
        self._seconds = seconds

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data = await _in_time(self._request, self._request.body.chunk(), self._seconds)
        if not data:
            raise StopAsyncIteration
        return data


def may_have_body(request: Request, length: int | None, is_chunked: bool) -> bool:
    """HTTP/1 announces a body (RFC 9112 §6.3); later versions may just send one."""
    return length is not None or is_chunked or not request.http_version.startswith("1")


async def upstream_body(
    request: Request, length: int | None, is_chunked: bool, seconds: float | None
) -> UpstreamBody:
    """What a transport is given where there may be a body.

    A client that is silent for `seconds` is answered with 408.

    Under WSGI nothing can interrupt the server's own reading, and `seconds` means nothing.
    """
    if length == 0:
        return b""
    announced = length is not None or is_chunked
    data, is_whole = await _in_time(request, request.body.peek(), seconds)
    if is_whole:
        return data if data or announced else None
    return PatientBody(request, seconds) if request.io.is_async else _blocking(request.body), length


def _blocking(body: RequestBody) -> Iterator[bytes]:
    while data := block(body.chunk()):
        yield data


async def _in_time(request: Request, reading: Coroutine[Any, Any, T], seconds: float | None) -> T:
    """What is there already costs no timer, which would cost more than the reading."""
    try:
        awaited = reading.send(None)
    except StopIteration as stop:
        there: T = stop.value
        return there
    try:
        async with request.io.timeout(seconds):
            return await _go_on(reading, awaited)
    except TimeoutError:
        raise Rejected(
            408,
            "The request's body did not arrive in time.",
            type="urn:gatekit:request-timeout",
            headers=closing(request),
        ) from None


@types.coroutine
def _go_on(coroutine: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """The rest of a coroutine that has begun, and waits for `awaited`."""
    try:
        while True:
            try:
                value = yield awaited
            except BaseException as error:
                awaited = coroutine.throw(error)
            else:
                awaited = coroutine.send(value)
    except StopIteration as stop:
        result: T = stop.value
        return result
