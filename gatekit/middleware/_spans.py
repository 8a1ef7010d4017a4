"""The spans of OpenTelemetry: one SERVER span a request, one CLIENT span an attempt.

Only `Tracing` uses this, and only where an SDK is there to record them. Names of attributes are
those of the semantic conventions for HTTP; no value holds what a message of an error says, and no
query the value of a secret parameter.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)
from opentelemetry.trace import TraceState as OtelState

from gatekit._core.labels import METHODS, route_of
from gatekit._core.messages import Request
from gatekit._core.outcome import Outcome
from gatekit._core.text import printable
from gatekit._core.trace import Format, Trace
from gatekit._core.traceparent import RANDOM, Parent, TraceState
from gatekit.errors import UpstreamError
from gatekit.middleware._redact import SECRET_PARAMETERS, fold, redact_query

if TYPE_CHECKING:
    from gatekit.proxy.attempts.leg import Leg
    from gatekit.proxy.clusters.members import Member
    from gatekit.proxy.transport.exchange import UpstreamRequest

_SECRET = fold(SECRET_PARAMETERS)
_LONGEST = 1024
_ERROR = Status(StatusCode.ERROR)


def begin(
    tracer: Tracer,
    request: Request,
    format: Format,
    parent: Parent | None,
    state: TraceState,
    linked: Parent | None,
    baggage: Mapping[str, str],
) -> RecordedTrace:
    """The span of this request. Whether it is recorded is for the sampler to say."""
    known = OtelState(list(state)) if state else None
    around = Context()
    if parent is not None:
        around = otel.set_span_in_context(NonRecordingSpan(_remote(parent, known)), around)
    links = [] if linked is None else [Link(_remote(linked, None))]
    span = tracer.start_span(
        _server_name(request),
        context=around,
        kind=SpanKind.SERVER,
        attributes=_server_attributes(request),
        links=links,
    )
    found = span.get_span_context()
    flags = int(found.trace_flags)
    if parent is not None:
        flags |= parent.flags & RANDOM
    if found.trace_state is not known:  # the sampler's
        state = tuple(found.trace_state.items())
    return RecordedTrace(
        found, flags, format, span, tracer, parent=parent, state=state, baggage=baggage
    )


class RecordedTrace(Trace):
    """A trace whose spans go to an SDK."""

    __slots__ = ("_before", "_tracer", "context", "span")

    def __init__(
        self,
        found: SpanContext,
        flags: int,
        format: Format,
        span: Span,
        tracer: Tracer,
        *,
        parent: Parent | None,
        state: TraceState,
        baggage: Mapping[str, str],
    ) -> None:
        super().__init__(
            f"{found.trace_id:032x}",
            f"{found.span_id:016x}",
            flags,
            format=format,
            parent_id=None if parent is None else parent.span_id,
            state=state,
            baggage=baggage,
        )
        self.span = span
        self.context = otel.set_span_in_context(span, _with_baggage(self.baggage))
        self._tracer = tracer
        self._before: Context | None = None

    def headers(self) -> dict[str, str]:
        """The fields for a call of your own: this request's span is its parent.

        An id that nobody records would tear the trace apart; a span of yours has one.
        """
        return {name.decode("ascii"): value.decode("latin-1") for name, value in self.fields()}

    def enter(self) -> None:
        """From now on what the app's code records is a child of this request's span."""
        self._before = otel_context.get_current()
        otel_context.attach(self.context)

    def leave(self) -> None:
        """The context as it was, where this still is the same one."""
        before, self._before = self._before, None
        if before is not None and otel.get_current_span() is self.span:
            otel_context.attach(before)

    def attempt(
        self,
        going: Coroutine[Any, Any, Leg],
        request: Request,
        outgoing: UpstreamRequest,
        member: Member,
    ) -> Coroutine[Any, Any, Leg]:
        return self._attempt(going, request, outgoing, member)

    async def _attempt(
        self,
        going: Coroutine[Any, Any, Leg],
        request: Request,
        outgoing: UpstreamRequest,
        member: Member,
    ) -> Leg:
        if outgoing.earlier is None:
            outgoing.earlier = []
        earlier: list[SpanContext] = outgoing.earlier
        span = self._tracer.start_span(
            _method_of(request),
            context=self.context,
            kind=SpanKind.CLIENT,
            attributes=_client_attributes(request, outgoing, member, len(earlier)),
            links=[Link(before) for before in earlier[-1:]],
        )
        found = span.get_span_context()
        earlier.append(found)
        child = Trace(
            self.trace_id,
            f"{found.span_id:016x}",
            int(found.trace_flags) | (self.flags & RANDOM),
            format=self._format,
            parent_id=self.span_id,
            state=self.state,
            baggage=self._baggage,
        )
        self.put(child, outgoing)
        try:
            leg = await going
        except UpstreamError as error:
            _fail(span, error.stage)
            raise
        except BaseException as error:
            # A hedge that lost, a client that left: the attempt was given up and has not failed.
            if isinstance(error, Exception):
                _fail(span, type(error).__qualname__)
            else:
                span.set_attribute("error.type", "given_up")
            raise
        else:
            status = leg.answer.status
            span.set_attribute("http.response.status_code", status)
            if status >= 400:
                _fail(span, str(status))
            return leg
        finally:
            span.end()

    def finish(self, request: Request, outcome: Outcome, *, decisions: bool) -> None:
        """The span ends with the last byte."""
        span = self.span
        if span.is_recording():
            self._tell(span, request, outcome)
            if decisions:
                for decision in request.decisions:
                    attributes = {
                        "gatekit.policy": decision.policy,
                        "gatekit.decision": decision.outcome,
                        "gatekit.reason": decision.reason,
                    }
                    span.add_event("gatekit.decision", attributes)
        began = getattr(span, "start_time", None)
        if isinstance(began, int):
            span.end(began + int(outcome.duration * 1e9))
        else:
            span.end()

    def _tell(self, span: Span, request: Request, outcome: Outcome) -> None:
        route = route_of(request)
        if route is not None:
            span.set_attribute("http.route", route)
            span.update_name(f"{_method_of(request)} {route}")
        if outcome.status is not None:
            span.set_attribute("http.response.status_code", outcome.status)
        if request.service is not None:
            span.set_attribute("gatekit.service", request.service)
        if outcome.ended == "abandoned":
            span.set_attribute("error.type", "client_disconnected")
        elif outcome.status is not None and outcome.status >= 500:
            error = outcome.error
            _fail(span, str(outcome.status) if error is None else type(error).__qualname__)
        elif outcome.ended == "failed":
            error = outcome.error
            _fail(span, "incomplete" if error is None else type(error).__qualname__)


def _remote(parent: Parent, state: OtelState | None) -> SpanContext:
    return SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(parent.flags),
        trace_state=state,
    )


def _with_baggage(members: Mapping[str, str]) -> Context:
    # With what is there, the app's own keys among it; only the span is another one.
    found = otel_context.get_current()
    if members or any(key.startswith("baggage") for key in found):
        from opentelemetry import baggage

        found = baggage.clear(found)
        for name, value in members.items():
            found = baggage.set_baggage(name, value, found)
    return found


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(_ERROR)


def _method_of(request: Request) -> str:
    """For a name: of a method that nobody knows, the protocol's."""
    return request.method if request.method in METHODS else "HTTP"


def _server_name(request: Request) -> str:
    route = route_of(request)
    return _method_of(request) if route is None else f"{_method_of(request)} {route}"


def _server_attributes(request: Request) -> dict[str, str | int]:
    found = _method_attributes(request)
    found["url.scheme"] = request.scheme
    found["url.path"] = _short(request.url_path)
    found["network.protocol.version"] = request.http_version
    if request.query:
        found["url.query"] = _short(redact_query(request.query.decode("latin-1"), _SECRET))
    host, port = _host_and_port(request.forwarded_host or request.host)
    if host:
        found["server.address"] = _short(host)
    if port is not None:
        found["server.port"] = port
    if request.client is not None:
        found["network.peer.address"] = request.client[0]
        found["client.address"] = request.client_ip or request.client[0]
    agent = request.headers.get("user-agent")
    if agent:
        found["user_agent.original"] = _short(agent)
    if request.route is not None:
        found["http.route"] = request.route.path
    return found


def _client_attributes(
    request: Request, outgoing: UpstreamRequest, member: Member, number: int
) -> dict[str, str | int]:
    origin = member.origin
    found = _method_attributes(request)
    path, mark, query = outgoing.target.decode("latin-1").partition("?")
    url = f"{origin.scheme}://{origin.authority.decode('latin-1')}{path}"
    found["url.full"] = _short(url + mark + redact_query(query, _SECRET))
    found["server.address"] = origin.host
    found["server.port"] = origin.port
    found["network.protocol.version"] = "1.1"
    found["gatekit.destination"] = member.name
    if request.service is not None:
        found["gatekit.service"] = request.service
    if number:
        found["http.request.resend_count"] = number
    return found


def _method_attributes(request: Request) -> dict[str, str | int]:
    if request.method in METHODS:
        return {"http.request.method": request.method}
    return {
        "http.request.method": "_OTHER",
        "http.request.method_original": _short(request.method),
    }


def _short(text: str) -> str:
    return printable(text[:_LONGEST])


def _host_and_port(host: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port
    except ValueError:
        return "", None
    return parts.hostname or "", port
