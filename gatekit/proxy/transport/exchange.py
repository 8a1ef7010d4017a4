"""What travels through a transport: a request, a response, and the limits on the time between them.

    request = UpstreamRequest(b"GET", b"/users?page=2", [(b"host", b"users:8001")])
    response = await transport.asend(Origin("http://users:8001"), request, Timeouts(idle=30.0))

## Header fields

A list of byte pairs, in order, duplicates kept. A request's list is complete but for its framing:
the codec writes `Content-Length` or `Transfer-Encoding` from `body`, and refuses a `Content-Length`
in the list that contradicts it. `Host` is the origin's authority where the list has none.

## Bodies

A request's body is `None` (no body and no framing field), `bytes`, or a pair of a stream and its
length; a stream of unknown length, `None`, travels in chunks. It stays its owner's, to close it
too. A response's body is `bytes` where all of it came with the head: its connection serves the next
request already. Else it is a stream, which must be read to its end or closed: one that is dropped
costs its connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

from gatekit._core.options import known_keywords, seconds_problem
from gatekit.errors import check
from gatekit.proxy.transport.interrupt import Interrupt

Headers: TypeAlias = "list[tuple[bytes, bytes]]"
Informational: TypeAlias = "tuple[int, Headers]"
Stream: TypeAlias = "AsyncIterable[bytes] | Iterable[bytes]"
RequestBody: TypeAlias = "bytes | tuple[Stream, int | None] | None"

BodyT_co = TypeVar("BodyT_co", covariant=True)


@known_keywords
@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds; None is no limit.

    A clock runs only while the transport waits for the upstream, never while it waits for the
    sender of the request or the reader of the response; `total` alone runs always.
    """

    connect: float | None = 15.0
    """The name, the TCP connection and the TLS handshake together."""
    pool: float | None = 5.0
    """The wait for a place among `max_connections`."""
    first_byte: float | None = 60.0
    """From the end of the request to the end of the response's head; a 1xx head starts it again."""
    idle: float | None = 100.0
    """The longest silence of a body, either way."""
    total: float | None = None
    """The whole exchange, from `send` to the last byte of the response."""
    client: float | None = 60.0
    """The longest silence of the client within its request's body, which is the proxy's to mind;
    a transport knows nothing of it."""

    def __post_init__(self) -> None:
        check(
            "Timeouts",
            connect=_wrong(self.connect),
            pool=_wrong(self.pool),
            first_byte=_wrong(self.first_byte),
            idle=_wrong(self.idle),
            total=_wrong(self.total),
            client=_wrong(self.client),
        )


class UpstreamRequest:
    """A request on its way up.

    `target` is the raw path and query, forwarded byte for byte. With `upgrade` a 101 is an answer,
    else it is a violation of the protocol. `on_informational` is called with the status and fields
    of every 1xx head but 100, as it arrives; it must not block. `interrupt` lets another thread end
    the wait for the head. `earlier` is what `request.trace` notes of the attempts, which all those
    that follow one another share.
    """

    __slots__ = (
        "body", "earlier", "headers", "interrupt", "method", "on_informational", "target",
        "upgrade",
    )  # fmt: skip

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: RequestBody = None,
        *,
        upgrade: bool = False,
        on_informational: Callable[[int, Headers], None] | None = None,
        interrupt: Interrupt | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.upgrade = upgrade
        self.on_informational = on_informational
        self.interrupt = interrupt
        self.earlier: list[Any] | None = None


class UpstreamResponse(Generic[BodyT_co]):
    """A final response: names in lower case, values as received, `Transfer-Encoding` gone.

    `Content-Length` is kept as received, on an answer to HEAD too. `trailers` is filled when the
    body has ended. After a 101 the body is an `AsyncTunnel` or a `Tunnel`.
    """

    __slots__ = ("body", "headers", "informational", "status", "trailers")

    def __init__(
        self,
        status: int,
        headers: Headers,
        body: bytes | BodyT_co = b"",
        trailers: Headers | None = None,
        informational: list[Informational] | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body: bytes | BodyT_co = body
        self.trailers: Headers = [] if trailers is None else trailers
        self.informational: list[Informational] = [] if informational is None else informational


class AsyncBody(Protocol):
    """The rest of a response under asyncio; what has arrived comes in one piece.

    Raises `UpstreamError` where the message is cut short: a silent end is a complete body.
    """

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None: ...


class Body(Protocol):
    """The rest of a response for a thread that blocks; otherwise as `AsyncBody`."""

    def __iter__(self) -> Iterator[bytes]: ...

    def __next__(self) -> bytes: ...

    def close(self) -> None: ...


@runtime_checkable
class AsyncTunnel(AsyncBody, Protocol):
    """The body of a 101: bytes both ways at once, until either side has had enough.

    The limits of the exchange are over with the head; a tunnel's owner has others. Nor does it
    count among the connections of the pool any more.
    """

    async def write(self, data: bytes) -> None:
        """Hand over `data`, waiting while the upstream does not read."""
        ...


@runtime_checkable
class Tunnel(Body, Protocol):
    """The same for threads, of which one may read while another writes."""

    def write(self, data: bytes) -> None:
        """Hand over `data`, waiting while the upstream does not read."""
        ...


def _wrong(seconds: float | None) -> str | None:
    if seconds is None or seconds_problem(seconds) is None:
        return None
    return f"{seconds!r} is not a number of seconds above 0, nor None for no limit"
