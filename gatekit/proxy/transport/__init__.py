"""The proxy's way to its upstreams: HTTP/1.1, strict, pooled, in both colours.

    transport = HTTPTransport(max_connections=200)
    origin = Origin("http://users:8001")
    request = UpstreamRequest(b"GET", b"/users?page=2", [(b"host", origin.authority)])

    response = await transport.asend(origin, request, Timeouts())     # under an event loop
    response = transport.send(origin, request, Timeouts())            # in a thread

    if isinstance(response.body, bytes):
        ...                                   # all of it; the connection is back in the pool
    else:
        async for data in response.body: ...  # or `for`; to the end, or `aclose()`

## What surprises

- Nothing is opened by the constructor. Pools are made by the first exchange, one for each origin
  and event loop, and one for each origin in a process for its threads. After a fork the child makes
  its own.
- There is no cookie jar, no redirect, no decompression, no proxy from the environment: what the
  upstream said is what comes back.
- An idempotent request without a stream is sent again, once, if the idle connection it went out on
  turns out to be closed. Nothing else is ever retried here.
- `close()` and `aclose()` close what is idle. An exchange in flight goes on to its end, and another
  one may be started: it opens a new connection.

Another transport, for a test or another protocol, has these two methods, `send` and `asend`.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable
from typing import Protocol

from gatekit._core.options import (
    integer_problem,
    kind_problem,
    known_keywords,
    number_problem,
)
from gatekit.errors import check
from gatekit.proxy.transport.exchange import (
    AsyncBody,
    AsyncTunnel,
    Body,
    Headers,
    Informational,
    RequestBody,
    Timeouts,
    Tunnel,
    UpstreamRequest,
    UpstreamResponse,
)
from gatekit.proxy.transport.http1_request import InvalidMessage
from gatekit.proxy.transport.origin import TLS, Origin
from gatekit.proxy.transport.registry import Registry, Usage
from gatekit.proxy.transport.settings import Settings

__all__ = [
    "TLS",
    "AsyncBody",
    "AsyncTunnel",
    "Body",
    "HTTPTransport",
    "Headers",
    "Informational",
    "InvalidMessage",
    "Origin",
    "RequestBody",
    "Timeouts",
    "Transport",
    "Tunnel",
    "UpstreamRequest",
    "UpstreamResponse",
    "Usage",
]


class Transport(Protocol):
    """Carries one request to one upstream and brings back the answer, as soon as its head is there.

    `deadline` is a moment of `time.monotonic()` by which the head has to be there.
    Raises `UpstreamError` where the upstream failed and `InvalidMessage` where the request cannot
    be written; what the stream of a request's body raises passes through.
    """

    def asend(
        self,
        origin: Origin,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None = None,
    ) -> Awaitable[UpstreamResponse[AsyncBody]]: ...

    def send(
        self,
        origin: Origin,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None = None,
    ) -> UpstreamResponse[Body]: ...


@known_keywords
class HTTPTransport:
    """A `Transport` for `http`, `https` and Unix sockets.

    `max_connections` and `max_pending` hold for each origin and event loop (or process, for
    threads); `idle_ttl` is in seconds; `max_head` in bytes, and `max_fields` counts the fields of
    one head.
    """

    def __init__(
        self,
        *,
        tls: TLS | None = None,
        max_connections: int = 100,
        max_pending: int = 1000,
        idle_ttl: float = 60.0,
        max_head: int = 64 * 1024,
        max_fields: int = 256,
    ) -> None:
        check(
            "HTTPTransport",
            tls=kind_problem(TLS, tls),
            max_connections=integer_problem(max_connections, 1),
            max_pending=integer_problem(max_pending),
            idle_ttl=number_problem(idle_ttl),
            max_head=integer_problem(max_head, 1024),
            max_fields=integer_problem(max_fields, 1),
        )
        settings = Settings(
            tls=TLS() if tls is None else tls,
            max_connections=max_connections,
            max_pending=max_pending,
            idle_ttl=idle_ttl,
            max_head=max_head,
            max_fields=max_fields,
        )
        self._registry = Registry(settings)
        # Who forgets to close it, and drops it, leaves no socket open.
        weakref.finalize(self, self._registry.close)

    def asend(
        self,
        origin: Origin,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None = None,
    ) -> Awaitable[UpstreamResponse[AsyncBody]]:
        return self._registry.of_loop(origin).exchange(request, timeouts, deadline)

    def send(
        self,
        origin: Origin,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None = None,
    ) -> UpstreamResponse[Body]:
        return self._registry.of_threads(origin).exchange(request, timeouts, deadline)

    def usage(self, origin: Origin) -> Usage:
        """The connections to `origin` in this process, of all its loops and threads."""
        return self._registry.usage(origin)

    def close(self) -> None:
        """Close the idle connections of this process: at once, or in their loop's next turn."""
        self._registry.close()

    async def aclose(self) -> None:
        """The same; those of the running loop are closed when this returns."""
        await self._registry.aclose()
