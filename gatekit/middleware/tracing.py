"""Distributed traces: who called, and whom this request calls, by W3C Trace Context.

    Gateway(Tracing(), AccessLog(), routes=[Route("/orders/*", Proxy("http://orders:8002"))])

It needs nothing but itself: without an SDK of OpenTelemetry the ids are made, kept and handed on,
one new span id for each attempt of a proxy. With an SDK (any global tracer provider, or the one
that is given) each request is one SERVER span, each attempt of a proxy one CLIENT span below it,
and what the app records itself is a child of the request's.

**At the edge** the internet should not name your traces: `trust="restart"`, or a function.

    Tracing(trust=lambda request: "continue" if request.trusted_peer else "restart")

`request.trace` has the ids; `request.trace.headers()` is what a call of your own should send.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from opentelemetry import trace as otel

from gatekit._core.compose import answered
from gatekit._core.messages import Request, Response
from gatekit._core.options import (
    each_problem,
    flag_problem,
    function_problem,
    known_keywords,
    token_problem,
)
from gatekit._core.outcome import Outcome
from gatekit._core.trace import W3C, Entropy, Format, Trace, set_current
from gatekit._core.traceparent import RANDOM, SAMPLED, Parent, TraceState, member_problem
from gatekit.errors import check
from gatekit.typing import Handler

if TYPE_CHECKING:
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import Tracer, TracerProvider

    from gatekit.middleware._spans import RecordedTrace

Trust: TypeAlias = Literal["continue", "restart", "link"]

# Level 2, §3.2.2.5: the rightmost 7 bytes of a random trace id are what samplers may go by.
_BITS = 56
_NAMED = "OTEL_PYTHON_TRACER_PROVIDER"
_UNKNOWN = object()


@known_keywords
class Tracing:
    """Finds or begins the trace of each request, and has spans recorded where an SDK is.

    `trust` says what becomes of a caller's trace: `"continue"`, `"restart"` with a new one, or
    `"link"`, a new one whose span points back to the caller's; or a function of the request that
    says so. `sample` is the part of the traces begun here that are marked as recorded, where there
    is no SDK whose sampler would say. `baggage` are the keys that may come in and go on, `True` for
    all of them. `vendor` is a key of `tracestate` under which this gateway names its span.

    `response_header` tells the client by `traceresponse`. `propagators` of OpenTelemetry take the
    place of `traceparent`: the first that finds a trace is believed, all are written. `decisions`
    adds what the policies decided as events of the span. `tracer_provider` is the global one
    unless it is given. `entropy` gives random bytes.
    """

    def __init__(
        self,
        *,
        trust: Trust | Callable[[Request], Trust] = "continue",
        sample: float = 1.0,
        baggage: Collection[str] | bool = (),
        vendor: str | None = None,
        response_header: bool = False,
        propagators: Sequence[TextMapPropagator] | None = None,
        decisions: bool = False,
        tracer_provider: TracerProvider | None = None,
        entropy: Entropy = os.urandom,
    ) -> None:
        check(
            "Tracing",
            trust=_trust_problem(trust),
            sample=_ratio_problem(sample),
            baggage=None if isinstance(baggage, bool) else each_problem(baggage, token_problem),
            vendor=None if vendor is None else member_problem(vendor),
            response_header=flag_problem(response_header),
            propagators=_propagators_problem(propagators, vendor),
            decisions=flag_problem(decisions),
            tracer_provider=_provider_problem(tracer_provider),
            entropy=function_problem(entropy),
        )
        self._trust = trust
        self._below = int(sample * (1 << _BITS))
        self._allowed: Collection[str] | None = (
            None if baggage is True else frozenset(baggage or ())
        )
        self._respond = response_header
        self._decisions = decisions
        self._given = tracer_provider
        # The API makes the provider that the environment names when it is first asked.
        self._is_named = _NAMED in os.environ
        self._provider: object = None
        self._tracer: Tracer | None = None
        self._entropy = entropy
        self._format: Format = W3C(vendor)
        if propagators is not None:
            from gatekit.middleware._propagators import Propagated

            self._format = Propagated(propagators)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if request.trace is not None:  # a `Tracing` further out has begun: one span a request
            return await call_next(request)
        headers = request.headers
        raw = headers.raw
        names = self._format.names
        rest = [field for field in raw if field[0] not in names]
        parent: Parent | None = None
        linked: Parent | None = None
        state: TraceState = ()
        baggage: Mapping[str, str] = {}
        if len(rest) != len(raw):
            trust = self._trust if isinstance(self._trust, str) else self._trust(request)
            if trust != "restart":
                arrived = self._format.read(
                    [field for field in raw if field[0] in names], self._allowed
                )
                if trust == "continue":
                    parent, state, baggage = arrived
                elif trust == "link":
                    linked = arrived.parent
                else:
                    raise ValueError(f"trust gave {trust!r}: {_trust_problem(trust)}")
        provider = getattr(otel, "_TRACER_PROVIDER", _UNKNOWN) if self._given is None else None
        if provider is None and self._given is None and not self._is_named:
            trace = self._unrecorded(parent, state, baggage)
        else:
            trace = self._recorded(request, parent, state, linked, baggage)
        request.trace = trace
        # Fields of our own also where the caller's trace goes on: `Connection` cannot take them.
        rest += self._format.fields(trace)
        headers.replace(rest)
        set_current(trace)
        if not self._respond:
            return await call_next(request)
        response = await answered(request, call_next)
        response.headers["traceresponse"] = trace.traceparent
        return response

    def _unrecorded(
        self, parent: Parent | None, state: TraceState, baggage: Mapping[str, str]
    ) -> Trace:
        entropy = self._entropy
        if parent is not None:
            return Trace(
                parent.trace_id,
                entropy(8).hex(),
                parent.flags,
                format=self._format,
                parent_id=parent.span_id,
                state=state,
                baggage=baggage,
                entropy=entropy,
            )
        ids = entropy(24).hex()
        flags = RANDOM | SAMPLED if int(ids[18:32], 16) < self._below else RANDOM
        return Trace(
            ids[:32], ids[32:], flags, format=self._format, baggage=baggage, entropy=entropy
        )

    def _recorded(
        self,
        request: Request,
        parent: Parent | None,
        state: TraceState,
        linked: Parent | None,
        baggage: Mapping[str, str],
    ) -> Trace:
        tracer = self._tracer_now()
        if tracer is None:
            return self._unrecorded(parent, state, baggage)
        from gatekit.middleware import _spans

        trace = _spans.begin(tracer, request, self._format, parent, state, linked, baggage)
        # First in, last out: what others do at the end is still inside of the span.
        request.on_finish(partial(self._finish, request, trace))
        trace.enter()
        return trace

    def _finish(self, request: Request, trace: RecordedTrace, outcome: Outcome) -> None:
        trace.finish(request, outcome, decisions=self._decisions)
        trace.leave()

    def _tracer_now(self) -> Tracer | None:
        """None where nobody records: the provider may be set long after this was made."""
        provider = self._given or otel.get_tracer_provider()
        if provider is not self._provider:
            self._provider = provider
            is_idle = isinstance(provider, otel.NoOpTracerProvider | otel.ProxyTracerProvider)
            self._tracer = None if is_idle else provider.get_tracer("gatekit")
        return self._tracer

    def __repr__(self) -> str:
        return f"Tracing(trust={self._trust!r})"


def _trust_problem(trust: Any) -> str | None:
    if isinstance(trust, str):
        return None if trust in get_args(Trust) else 'must be "continue", "restart" or "link"'
    if trust is None:
        return 'must be "continue", "restart" or "link"'
    return function_problem(trust)


def _ratio_problem(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return None
    return f"must be a number from 0 to 1, not {value!r}"


def _propagators_problem(propagators: Any, vendor: str | None) -> str | None:
    from opentelemetry.propagators.textmap import TextMapPropagator

    if propagators is None:
        return None
    if not isinstance(propagators, Sequence) or not propagators:
        return f"must be a list of propagators, not {propagators!r}"
    listed = cast("Sequence[object]", propagators)
    if not all(isinstance(one, TextMapPropagator) for one in listed):
        return "must be propagators of OpenTelemetry, such as B3MultiFormat()"
    return None if vendor is None else "write what they write: leave out `vendor`"


def _provider_problem(provider: Any) -> str | None:
    if provider is None or hasattr(provider, "get_tracer"):
        return None
    return f"must be a TracerProvider, not {provider!r}"
