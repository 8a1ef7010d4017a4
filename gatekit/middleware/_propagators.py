"""Other forms of a trace in header fields: B3, Jaeger, AWS, by OpenTelemetry's propagators."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from opentelemetry import baggage as otel_baggage
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, Setter, TextMapPropagator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace import TraceState as OtelState

from gatekit._core.trace import Arrived, Trace
from gatekit._core.traceparent import Parent, parse_baggage
from gatekit.typing import RawHeaders

_W3C = ("traceparent", "tracestate", "baggage")


class Propagated:
    """The first propagator that finds a trace is believed; all of them write."""

    __slots__ = ("_propagators", "names")

    def __init__(self, propagators: Sequence[TextMapPropagator]) -> None:
        self._propagators = tuple(propagators)
        asked = _Fields({})
        for propagator in propagators:
            propagator.extract(asked, Context(), _GETTER)
        names = asked.asked.union(_W3C, *(propagator.fields for propagator in propagators))
        self.names = frozenset(name.lower().encode("ascii") for name in names)

    def read(self, fields: RawHeaders, allowed: Collection[str] | None) -> Arrived:
        values: dict[str, list[str]] = {}
        for name, value in fields:
            values.setdefault(name.decode("ascii"), []).append(value.decode("latin-1"))
        carrier = _Fields(values)
        parent: Parent | None = None
        state: tuple[tuple[str, str], ...] = ()
        found = Context()
        for propagator in self._propagators:
            found = propagator.extract(carrier, found, _GETTER)
            span = otel.get_current_span(found).get_span_context()
            if span.is_valid:
                ids = f"{span.trace_id:032x}", f"{span.span_id:016x}"
                parent = Parent(*ids, int(span.trace_flags))
                state = tuple(span.trace_state.items())
                break
        lines = [value for name, value in fields if name == b"baggage"]
        members = parse_baggage(lines, allowed) if allowed is None or allowed else {}
        return Arrived(parent, state, members)

    def fields(self, trace: Trace) -> RawHeaders:
        span = SpanContext(
            int(trace.trace_id, 16),
            int(trace.span_id, 16),
            is_remote=False,
            trace_flags=TraceFlags(trace.flags),
            trace_state=OtelState(list(trace.state)),
        )
        context = otel.set_span_in_context(NonRecordingSpan(span), Context())
        for name, value in trace.baggage.items():
            context = otel_baggage.set_baggage(name, value, context)
        carrier: dict[str, str] = {}
        for propagator in self._propagators:
            propagator.inject(carrier, context, _SETTER)
        return [
            (name.lower().encode("ascii"), value.encode("latin-1"))
            for name, value in carrier.items()
        ]


class _Fields:
    def __init__(self, values: dict[str, list[str]]) -> None:
        self.values = values
        self.asked: set[str] = set()


class _Getter(Getter[_Fields]):
    def get(self, carrier: _Fields, key: str) -> list[str] | None:
        carrier.asked.add(key)
        return carrier.values.get(key.lower())

    def keys(self, carrier: _Fields) -> list[str]:
        return list(carrier.values)


class _Setter(Setter[dict[str, str]]):
    def set(self, carrier: dict[str, str], key: str, value: str) -> None:
        carrier[key] = value


_GETTER, _SETTER = _Getter(), _Setter()
