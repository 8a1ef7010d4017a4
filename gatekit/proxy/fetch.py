"""One bounded request to a service of our own: for keys, introspection, verification, health.

    endpoint = Endpoint("https://id.example/jwks")
    answer = await fetch(request.io, transport, endpoint, timeout=2.0)
    answer.status, answer.headers.get("cache-control"), answer.body

No redirect is followed, there is no cookie jar, no proxy from the environment and no decompression,
and an answer that outgrows `max_bytes` is an `UpstreamError` like one that is late.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import NamedTuple

from gatekit._core.headers import Headers
from gatekit._core.io import IO
from gatekit.errors import ConfigurationError, UpstreamError
from gatekit.proxy.transport import Transport
from gatekit.proxy.transport.exchange import (
    AsyncBody,
    Body,
    Timeouts,
    UpstreamRequest,
    UpstreamResponse,
)
from gatekit.proxy.transport.origin import Origin
from gatekit.typing import RawHeaders

_QUERY = re.compile(r"[!\"$-~]*")


class Endpoint:
    """A URL with its path and query, parsed once; a wrong one is a `ConfigurationError`."""

    __slots__ = ("origin", "target", "url")

    def __init__(self, url: str) -> None:
        before, mark, query = url.partition("?")
        if not _QUERY.fullmatch(query):
            problem = "the query holds what cannot stand in a URL"
            raise ConfigurationError("Endpoint", {"url": problem})
        self.origin = Origin(before)
        path = before.partition("://")[2].partition("/")
        slash = b"/" if path[1] else b""
        self.target = b"/" if not slash else slash + path[2].encode("ascii")
        if mark:
            self.target += b"?" + query.encode("ascii")
        self.url = url

    @classmethod
    def of(cls, origin: Origin, target: bytes) -> Endpoint:
        """Of what is parsed already; the target is as it goes on the wire."""
        endpoint = cls.__new__(cls)
        endpoint.origin, endpoint.target = origin, target
        endpoint.url = f"{origin.scheme}://{origin.authority.decode()}{target.decode()}"
        return endpoint

    def __repr__(self) -> str:
        return f"Endpoint({self.origin!r})"


class Fetched(NamedTuple):
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes


async def fetch(
    io: IO,
    transport: Transport,
    endpoint: Endpoint,
    *,
    method: str = "GET",
    headers: RawHeaders | None = None,
    body: bytes | None = None,
    timeout: float,  # noqa: ASYNC109 — the transport keeps it, in either colour
    max_bytes: int = 1_048_576,
    deadline: float | None = None,
) -> Fetched:
    """The answer, whatever its status. `timeout` is in seconds, for all of it.

    `deadline` is a moment of `io.now()`. Raises `UpstreamError` where there is no answer, or one
    that is too large (stage `"protocol"`).
    """
    fields = [(b"accept-encoding", b"identity"), *(headers or ())]
    outgoing = UpstreamRequest(method.encode("ascii"), endpoint.target, fields, body)
    timeouts = Timeouts(
        connect=timeout, pool=timeout, first_byte=timeout, idle=timeout, total=timeout
    )
    return await io.call(
        _fetch, _afetch, transport, endpoint.origin, outgoing, timeouts, deadline, max_bytes
    )


async def _afetch(
    transport: Transport,
    origin: Origin,
    outgoing: UpstreamRequest,
    timeouts: Timeouts,
    deadline: float | None,
    max_bytes: int,
) -> Fetched:
    answer = await transport.asend(origin, outgoing, timeouts, deadline)
    if isinstance(answer.body, bytes):
        return _whole(answer, answer.body, max_bytes)
    data = bytearray()
    async with aclosing(answer.body) as stream:
        async for chunk in stream:
            data += chunk
            _check_size(len(data), max_bytes)
    return _whole(answer, bytes(data), max_bytes)


def _fetch(
    transport: Transport,
    origin: Origin,
    outgoing: UpstreamRequest,
    timeouts: Timeouts,
    deadline: float | None,
    max_bytes: int,
) -> Fetched:
    answer = transport.send(origin, outgoing, timeouts, deadline)
    if isinstance(answer.body, bytes):
        return _whole(answer, answer.body, max_bytes)
    data = bytearray()
    try:
        for chunk in answer.body:
            data += chunk
            _check_size(len(data), max_bytes)
    finally:
        answer.body.close()
    return _whole(answer, bytes(data), max_bytes)


def _whole(
    answer: UpstreamResponse[AsyncBody] | UpstreamResponse[Body], body: bytes, max_bytes: int
) -> Fetched:
    _check_size(len(body), max_bytes)
    return Fetched(answer.status, Headers(answer.headers), body)


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise UpstreamError("protocol", f"the answer is larger than {max_bytes} bytes")
