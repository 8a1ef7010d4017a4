"""Traces without an SDK: whose goes on, what the app and the upstreams are told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat

from gatekit import (
    Cluster,
    ConfigurationError,
    CorrelationId,
    Gateway,
    Proxy,
    Request,
    Response,
    Retry,
    Route,
    Tracing,
    UpstreamError,
    asgi,
    current_trace,
    wsgi,
)
from gatekit.testing import call_asgi, call_wsgi, exercise, upstream
from gatekit.testing.upstreams import Sent
from tests.conftest import Door
from tests.doors.spec import Spec

TRACE = "12345678901234567890123456789012"
SPAN = "1234567890123456"
CALLER = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "foo=1,bar=2"}


def counting() -> Callable[[int], bytes]:
    """Entropy that counts, so that the ids are known."""
    numbers = itertools.count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


def test_the_caller_s_trace_goes_on(door: Door) -> None:
    """The app finds one `traceparent`, which names this request, and the caller's state."""
    spec = Spec()
    answer = door(spec, Tracing(entropy=counting()), headers=CALLER)
    assert answer.status == 200
    seen = spec.seen[0]["headers"]
    assert seen["traceparent"] == f"00-{TRACE}-0000000000000001-01"
    assert seen["tracestate"] == "foo=1,bar=2"


def test_a_trace_begins_here(door: Door) -> None:
    """Without a caller's there is a new one, marked as random and as recorded."""
    spec = Spec()
    door(spec, Tracing(), headers={"tracestate": "foo=1"})
    version, trace_id, span_id, flags = spec.seen[0]["headers"]["traceparent"].split("-")
    assert (version, len(trace_id), len(span_id), flags) == ("00", 32, 16, "03")
    assert "tracestate" not in spec.seen[0]["headers"]


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": f"00-{TRACE}-{SPAN}-01."},
        {"traceparent": f"00-{'0' * 32}-{SPAN}-01"},
        [("traceparent", f"00-{TRACE}-{SPAN}-01"), ("traceparent", f"00-{TRACE}-{SPAN}-01")],
        {"trace-parent": f"00-{TRACE}-{SPAN}-01"},
    ],
    ids=["malformed", "zero", "twice", "misspelt"],
)
def test_what_cannot_be_believed_is_replaced(door: Door, headers: Any) -> None:
    """A malformed caller, or two at once, is none."""
    spec = Spec()
    door(spec, Tracing(), headers=headers)
    assert TRACE not in spec.seen[0]["headers"]["traceparent"]


def test_the_answer_can_tell(door: Door) -> None:
    """`traceresponse` is on every answer, the app's failure among them; by default on none."""
    answer = door(Spec(), Tracing(response_header=True), headers=CALLER)
    assert answer.headers["traceresponse"].startswith(f"00-{TRACE}-")
    failed = door(Spec(error=RuntimeError()), Tracing(response_header=True), headers=CALLER)
    assert failed.status == 500 and failed.headers["traceresponse"].startswith(f"00-{TRACE}-")
    assert "traceresponse" not in door(Spec(), Tracing(), headers=CALLER).headers


def test_trust_at_the_edge() -> None:
    """A caller may be believed or not; a function decides for each request."""
    for trust in ("restart", "link"):
        answer = exercise(Tracing(trust=trust, baggage=True), headers={**CALLER, "baggage": "a=1"})
        trace = answer.request.trace
        assert trace is not None and trace.trace_id != TRACE
        assert (trace.state, trace.baggage, trace.parent_id) == ((), {}, None)
        assert "baggage" not in answer.request.headers
        assert "tracestate" not in answer.request.headers
    by_peer = Tracing(trust=lambda request: "continue" if request.trusted_peer else "restart")

    async def trusted(request: Request, call_next: Any) -> Response:
        request.trusted_peer = True
        return await call_next(request)  # type: ignore[no-any-return]

    inside, outside = exercise(trusted, by_peer, headers=CALLER), exercise(by_peer, headers=CALLER)
    assert inside.request.trace is not None and outside.request.trace is not None
    assert inside.request.trace.trace_id == TRACE != outside.request.trace.trace_id


def test_baggage_is_let_in_by_name() -> None:
    """By default none is, and then none goes on."""
    headers = {**CALLER, "baggage": "tenant=acme%20co,secret=1"}
    cases: list[tuple[Any, dict[str, str]]] = [
        ((), {}),
        (False, {}),
        (["tenant"], {"tenant": "acme co"}),
        (True, {"tenant": "acme co", "secret": "1"}),
    ]
    for allowed, expected in cases:
        request = exercise(Tracing(baggage=allowed), headers=headers).request
        assert request.trace is not None and request.trace.baggage == expected
        assert ("baggage" in request.headers) is bool(expected)


def test_samples() -> None:
    """The part of the new traces that is marked as recorded; a caller's mark stays."""
    for ratio, expected in ((0.0, "02"), (1.0, "03")):
        fresh = exercise(Tracing(sample=ratio)).request.trace
        assert fresh is not None and fresh.traceparent.endswith(f"-{expected}")
        assert fresh.sampled is (ratio == 1.0)
        kept = exercise(Tracing(sample=ratio), headers=CALLER).request.trace
        assert kept is not None and kept.traceparent.endswith("-01")
    half = Tracing(sample=0.5, entropy=lambda size: b"\x00" * 9 + b"\x7f" + b"\xff" * (size - 10))
    other = Tracing(sample=0.5, entropy=lambda size: b"\x00" * 9 + b"\x80" + b"\x01" * (size - 10))
    found = [exercise(tracing).request.trace for tracing in (half, other)]
    assert [trace is not None and trace.sampled for trace in found] == [True, False]


def test_a_call_of_the_app_s_own_is_a_child() -> None:
    """Each call has an id of its own, below the request's, and our member of the state."""
    trace = exercise(Tracing(vendor="gk", entropy=counting()), headers=CALLER).request.trace
    assert trace is not None
    assert trace.headers() == {
        "traceparent": f"00-{TRACE}-0000000000000002-01",
        "tracestate": "gk=0000000000000002,foo=1,bar=2",
    }
    assert trace.headers()["traceparent"] == f"00-{TRACE}-0000000000000003-01"
    assert (trace.span_id, trace.parent_id) == ("0000000000000001", SPAN)


def test_each_attempt_of_a_proxy_has_an_id_of_its_own(door: Door) -> None:
    """A retry is another span of the same trace; what the client sent does not cross."""
    sent: list[str] = []

    def answer(request: Sent) -> Response:
        sent.append(request.headers["traceparent"])
        assert request.headers.getlist("traceparent") == [sent[-1]]
        if len(sent) == 1:
            raise UpstreamError("connect", "refused")
        return Response.text("ok")

    cluster = Cluster(
        "orders",
        destinations=["http://a", "http://b"],
        transport=upstream(answer),
        retry=Retry(backoff=0.0001),
    )
    proxy = Proxy(cluster)

    async def ask(request: Request, call_next: Any) -> Response:
        return await proxy(request)

    assert door(Spec(), Tracing(entropy=counting()), ask, headers=CALLER).status == 200
    assert sent == [
        f"00-{TRACE}-0000000000000002-01",
        f"00-{TRACE}-0000000000000003-01",
    ]


def test_a_client_cannot_nominate_it_away() -> None:
    """`Connection: traceparent` drops what the client sent, and not what the gateway says."""
    transport = upstream(lambda sent: Response(200))
    gateway = Gateway(Tracing(), routes=[Route("/", Proxy("http://a", transport=transport))])
    headers = {**CALLER, "connection": "traceparent, tracestate"}
    for _ in range(2):
        asyncio.run(call_asgi(gateway.asgi(), headers=headers))
    call_wsgi(gateway.wsgi(), headers=headers)
    assert [TRACE in sent.headers["traceparent"] for sent in transport.requests] == [True] * 3


def test_one_inside_of_another_does_nothing() -> None:
    """In the same list, or in a door inside of another: a request is one span."""
    spec = Spec()
    inner = asgi(spec.asgi(), Tracing(entropy=lambda size: b"\xff" * size))
    outer = asgi(inner, Tracing(entropy=counting()), Tracing())
    asyncio.run(call_asgi(outer, headers=CALLER))
    assert spec.seen[0]["headers"]["traceparent"] == f"00-{TRACE}-0000000000000001-01"


def test_the_app_finds_it(door: Door) -> None:
    """On the request, and from anywhere below it; a worker's next request has its own."""
    found: list[Any] = []

    def look(request: Request) -> None:
        found.append((request.trace, current_trace()))

    for _ in range(2):
        door(Spec(before=look), Tracing())
    (first, also_first), (second, also_second) = found
    assert first is also_first and second is also_second
    assert first.trace_id != second.trace_id


def test_b3_and_others() -> None:
    """Propagators of OpenTelemetry read and write; what they own does not pass by."""
    headers = {
        **CALLER,
        "x-b3-traceid": "a" * 32,
        "x-b3-spanid": "b" * 16,
        "x-b3-sampled": "1",
        "x-b3-parentspanid": "c" * 16,
    }
    tracing = Tracing(propagators=[B3SingleFormat(), B3MultiFormat()], entropy=counting())
    request = exercise(tracing, headers=headers).request
    assert request.trace is not None and request.trace.trace_id == "a" * 32
    assert request.headers["b3"] == f"{'a' * 32}-0000000000000001-1"
    assert request.headers.getlist("x-b3-spanid") == ["0000000000000001"]
    assert "traceparent" not in request.headers
    assert request.trace.headers()["x-b3-spanid"] == "0000000000000002"
    fresh = exercise(tracing, headers=CALLER).request.trace
    assert fresh is not None and fresh.trace_id != TRACE


def test_a_trust_that_is_none_is_an_error() -> None:
    """A function that answers anything else is not taken for a yes."""
    with pytest.raises(ValueError, match="trust gave"):
        exercise(Tracing(trust=lambda request: True), headers=CALLER)  # type: ignore[arg-type, return-value]


def test_it_gets_on_with_others() -> None:
    """Outside or inside of what replaces the header fields itself."""
    spec = Spec()
    app = wsgi(spec.wsgi(), CorrelationId(), Tracing(entropy=counting()))
    call_wsgi(app, headers=CALLER)
    assert spec.seen[0]["headers"]["traceparent"] == f"00-{TRACE}-0000000000000001-01"
    assert "x-correlation-id" in spec.seen[0]["headers"]


def test_all_wrong_options_are_named() -> None:
    """One error names every parameter that is wrong."""

    async def asynchronous(request: Request) -> str:
        return "continue"

    with pytest.raises(ConfigurationError) as caught:
        Tracing(
            trust=asynchronous,  # type: ignore[arg-type]
            sample=2,
            baggage="tenant",
            vendor="Shop",
            response_header="yes",  # type: ignore[arg-type]
            propagators=["b3"],  # type: ignore[list-item]
            decisions=1,  # type: ignore[arg-type]
            tracer_provider=7,  # type: ignore[arg-type]
            entropy=7,  # type: ignore[arg-type]
            sampel=1,  # type: ignore[call-arg]
        )
    assert set(caught.value.problems) == {
        "trust", "sample", "baggage", "vendor", "response_header", "propagators", "decisions",
        "tracer_provider", "entropy", "sampel",
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match="continue"):
        Tracing(trust="yes")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="leave out"):
        Tracing(vendor="gk", propagators=[B3SingleFormat()])
