"""An upstream that is a function, for testing a `Proxy` without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias, cast

from gatekit._core.headers import Headers
from gatekit._core.messages import Response
from gatekit.errors import ConfigurationError
from gatekit.proxy.transport.exchange import (
    AsyncBody,
    Body,
    Timeouts,
    UpstreamRequest,
    UpstreamResponse,
)
from gatekit.proxy.transport.origin import Origin


class Sent(NamedTuple):
    """What a proxy sent to its upstream."""

    origin: Origin
    method: str
    target: str
    headers: Headers
    body: bytes


Upstream: TypeAlias = Callable[[Sent], Response]


def upstream(function: Upstream) -> FunctionTransport:
    """A transport whose every answer the function gives; `UpstreamError` is a failure to raise.

    transport = upstream(lambda sent: Response.text(sent.target))
    proxy = Proxy("http://users:8001", transport=transport)
    """
    if not callable(function):
        raise ConfigurationError("upstream", {"function": "must be a callable of `Sent`"})
    return FunctionTransport(function)


class FunctionTransport:
    """`requests` holds everything that was sent through it, oldest first."""

    def __init__(self, function: Upstream) -> None:
        self._function = function
        self.requests: list[Sent] = []

    async def asend(
        self,
        origin: Origin,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None = None,
    ) -> UpstreamResponse[AsyncBody]:
        body = b""
        if isinstance(request.body, tuple):
            async for chunk in cast("AsyncIterator[bytes]", request.body[0]):
                body += chunk
        else:
            body = request.body or b""
        response = self._answer(origin, request, body)
        content = response.body
        return UpstreamResponse(
            response.status,
            list(response.headers.raw),
            content if isinstance(content, bytes) else _Async(_pieces(response)),
        )

    def send(
        self,
        origin: Origin,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None = None,
    ) -> UpstreamResponse[Body]:
        body = b""
        if isinstance(request.body, tuple):
            body = b"".join(cast("Iterable[bytes]", request.body[0]))
        else:
            body = request.body or b""
        response = self._answer(origin, request, body)
        content = response.body
        return UpstreamResponse(
            response.status,
            list(response.headers.raw),
            content if isinstance(content, bytes) else _Blocking(_pieces(response)),
        )

    def _answer(self, origin: Origin, request: UpstreamRequest, body: bytes) -> Response:
        sent = Sent(
            origin,
            request.method.decode("ascii"),
            request.target.decode("ascii"),
            Headers.of(request.headers),
            body,
        )
        self.requests.append(sent)
        return self._function(sent)


def _pieces(response: Response) -> Iterator[bytes]:
    return iter(cast("Iterable[bytes]", response.body))


class _Blocking:
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        self._pieces = iter(())


class _Async:
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return next(self._pieces)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self._pieces = iter(())
