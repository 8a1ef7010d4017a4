"""Where a request stands in its trace, and how those are told whom it asks.

    trace = request.trace                       # set by `Tracing`
    client.get(url, headers=trace.headers())    # a call of your own: a child of this request
    current_trace()                             # the same from anywhere below the request

A `Proxy` does that for each attempt by itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from gatekit._core import traceparent as w3c
from gatekit._core.traceparent import SAMPLED, Parent, TraceState
from gatekit.typing import RawHeaders

if TYPE_CHECKING:
    from gatekit._core.messages import Request
    from gatekit.proxy.attempts.leg import Leg
    from gatekit.proxy.clusters.members import Member
    from gatekit.proxy.transport.exchange import UpstreamRequest

Entropy: TypeAlias = Callable[[int], bytes]

_NOTHING: Mapping[str, str] = {}

_current: ContextVar[Trace | None] = ContextVar("gatekit.trace", default=None)


def current_trace() -> Trace | None:
    """That of the request which this context serves; None outside of one."""
    return _current.get()


def set_current(trace: Trace | None) -> None:
    """Without a token: the way out may run in another context, where one is refused."""
    _current.set(trace)


class Arrived(NamedTuple):
    """What a caller says; `parent` is None where it says nothing that could be understood."""

    parent: Parent | None
    state: TraceState
    baggage: Mapping[str, str]


class Format(Protocol):
    """How a trace is read from header fields and written into them."""

    names: frozenset[bytes]
    """The fields that it reads and writes, in lower case."""

    def read(self, fields: RawHeaders, allowed: Collection[str] | None) -> Arrived:
        """From fields of these names; `allowed` are the keys of baggage, None for all."""
        ...

    def fields(self, trace: Trace) -> RawHeaders: ...


class Trace:
    """One span of a trace: this request's, or that of a call that it makes.

    `trace_id` and `span_id` are lower-case hexadecimal, `parent_id` is the caller's span or None.
    `baggage` is percent-decoded, and holds what was allowed in.
    """

    __slots__ = ("_baggage", "_entropy", "_format", "flags", "parent_id", "span_id", "state",
                 "trace_id")  # fmt: skip

    def __init__(
        self,
        trace_id: str,
        span_id: str,
        flags: int,
        *,
        format: Format,
        parent_id: str | None = None,
        state: TraceState = (),
        baggage: Mapping[str, str] = _NOTHING,
        entropy: Entropy = os.urandom,
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.flags = flags
        self.parent_id = parent_id
        self.state = state
        self._baggage = baggage
        self._format = format
        self._entropy = entropy

    @property
    def sampled(self) -> bool:
        """Somebody records this trace."""
        return bool(self.flags & SAMPLED)

    @property
    def baggage(self) -> dict[str, str]:
        return w3c.readable(self._baggage)

    @property
    def raw_baggage(self) -> Mapping[str, str]:
        """Percent-encoded, as it travels."""
        return self._baggage

    @property
    def traceparent(self) -> str:
        return w3c.traceparent(self.trace_id, self.span_id, self.flags).decode("ascii")

    @property
    def tracestate(self) -> str:
        return w3c.tracestate(self.state).decode("ascii")

    def child(self) -> Trace:
        """A span below this one, with an id of its own."""
        return Trace(
            self.trace_id,
            self._entropy(8).hex(),
            self.flags,
            format=self._format,
            parent_id=self.span_id,
            state=self.state,
            baggage=self._baggage,
            entropy=self._entropy,
        )

    def headers(self) -> dict[str, str]:
        """The header fields for one call of your own; ask anew for each call."""
        return _readable(self._format.fields(self.child()))

    def fields(self) -> RawHeaders:
        """The header fields that name this very span."""
        return self._format.fields(self)

    def attempt(
        self,
        going: Coroutine[Any, Any, Leg],
        request: Request,
        outgoing: UpstreamRequest,
        member: Member,
    ) -> Coroutine[Any, Any, Leg]:
        """What a proxy awaits in place of `going`, which has not begun: one attempt."""
        self.put(self.child(), outgoing)
        return going

    def put(self, child: Trace, outgoing: UpstreamRequest) -> None:
        """Its fields take the place of those that the request has."""
        names = self._format.names
        fields = [field for field in outgoing.headers if field[0] not in names]
        fields += self._format.fields(child)
        outgoing.headers = fields

    def __repr__(self) -> str:
        return f"<Trace {self.traceparent}>"


class W3C:
    """`traceparent`, `tracestate` and `baggage`."""

    __slots__ = ("_key",)

    names = frozenset({b"traceparent", b"tracestate", b"baggage"})

    def __init__(self, key: str | None = None) -> None:
        self._key = key

    def read(self, fields: RawHeaders, allowed: Collection[str] | None) -> Arrived:
        parents: list[bytes] = []
        states: list[bytes] = []
        lines: list[bytes] = []
        for name, value in fields:
            if name == b"traceparent":
                parents.append(value)
            else:
                (states if name == b"tracestate" else lines).append(value)
        parent = w3c.parse_traceparent(parents[0]) if len(parents) == 1 else None
        # §3.3: without a valid traceparent the tracestate MUST NOT be used.
        state = w3c.parse_tracestate(states) if states and parent is not None else ()
        baggage = _NOTHING
        if lines and (allowed is None or allowed):
            baggage = w3c.parse_baggage(lines, allowed)
        return Arrived(parent, state, baggage)

    def fields(self, trace: Trace) -> RawHeaders:
        found = [(b"traceparent", w3c.traceparent(trace.trace_id, trace.span_id, trace.flags))]
        state = trace.state
        if self._key is not None:
            state = w3c.with_member(state, self._key, trace.span_id)
        if state:
            found.append((b"tracestate", w3c.tracestate(state)))
        if trace.raw_baggage:
            found.append((b"baggage", w3c.baggage(trace.raw_baggage)))
        return found


def _readable(fields: RawHeaders) -> dict[str, str]:
    return {name.decode("ascii"): value.decode("latin-1") for name, value in fields}
