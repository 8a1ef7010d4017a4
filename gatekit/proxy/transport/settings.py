"""What all pools of one transport share, in either colour, and the small questions both ask."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final, TypeVar

from gatekit.errors import Stage, UpstreamError
from gatekit.proxy.transport.exchange import Timeouts, UpstreamRequest
from gatekit.proxy.transport.http1 import ResponseReader
from gatekit.proxy.transport.http1_request import RequestWriter
from gatekit.proxy.transport.origin import TLS, Origin
from gatekit.proxy.transport.pool import Pool, Poolable

SMALL_BODY: Final = 64 * 1024
"""Bytes of a request's body up to which it is written together with the head, in one call."""
NEVER: Final = float("inf")
_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})

C = TypeVar("C", bound=Poolable)


class Settings:
    """The options of a transport, checked by `HTTPTransport`."""

    __slots__ = (
        "_context",
        "idle_ttl",
        "max_connections",
        "max_fields",
        "max_head",
        "max_pending",
        "tls",
        "writer",
    )

    def __init__(
        self,
        *,
        tls: TLS,
        max_connections: int,
        max_pending: int,
        idle_ttl: float,
        max_head: int,
        max_fields: int,
    ) -> None:
        self.tls = tls
        self.max_connections = max_connections
        self.max_pending = max_pending
        self.idle_ttl = idle_ttl
        self.max_head = max_head
        self.max_fields = max_fields
        self.writer = RequestWriter()
        self._context: ssl.SSLContext | None = None

    def pool(self, _kind: type[C]) -> Pool[C]:
        return Pool(
            max_connections=self.max_connections,
            max_pending=self.max_pending,
            idle_ttl=self.idle_ttl,
        )

    def reader(self) -> ResponseReader:
        return ResponseReader(self.max_head, self.max_fields)

    def context(self) -> ssl.SSLContext:
        """One for the transport's life, made by the first `https` connection: it takes 30 ms."""
        if self._context is None:
            try:
                self._context = self.tls.context()
            except (OSError, ValueError) as error:
                raise UpstreamError("tls", f"the files of TLS: {error}") from error
        return self._context

    def server_name(self, origin: Origin) -> str:
        # RFC 6066 §3: a name in SNI has no dot at its end.
        return self.tls.server_name or origin.host.rstrip(".")


def is_replayable(request: UpstreamRequest) -> bool:
    """RFC 9110 §9.2.2: idempotent, and its body, if any, is still here to be sent again."""
    if request.interrupt is not None and request.interrupt.has_fired:
        return False
    return request.method in _IDEMPOTENT and not isinstance(request.body, tuple)


def limit_of(timeouts: Timeouts, deadline: float | None, now: float) -> float:
    """When the whole exchange must have ended, on the monotonic clock."""
    limit = NEVER if timeouts.total is None else now + timeouts.total
    if deadline is not None and deadline < limit:
        limit = deadline
    if limit <= now:
        raise UpstreamError("total_timeout", "no time was left to begin with")
    return limit


def shorter(
    seconds: float | None, limit: float, stage: Stage, now: float
) -> tuple[float | None, Stage]:
    """The time to wait at most, None for ever, and what to call it when it is over."""
    left = limit - now
    if seconds is not None and seconds <= left:
        return seconds, stage
    return (None if left == NEVER else max(left, 0.0)), "total_timeout"


def slices(body: bytes) -> Iterator[memoryview]:
    """A large body in pieces, so that an early answer is seen between them."""
    view = memoryview(body)
    for start in range(0, len(view), SMALL_BODY):
        yield view[start : start + SMALL_BODY]
