"""With an SDK: one span a request, one an attempt, and what they say."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from gatekit import (
    Cluster,
    Gateway,
    Hedge,
    Proxy,
    Request,
    Response,
    Retry,
    Route,
    Tracing,
    UpstreamError,
    asgi,
)
from gatekit.testing import call_asgi, call_wsgi, upstream
from gatekit.testing.upstreams import Sent
from tests.conftest import AppRaised, Door
from tests.doors.messages import Server, http_scope, websocket_scope
from tests.doors.spec import Spec

TRACE = "12345678901234567890123456789012"
SPAN = "1234567890123456"
CALLER = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "foo=1"}


class Recorder:
    """A tracer provider that keeps what it is given."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def middleware(self, **options: Any) -> Tracing:
        return Tracing(tracer_provider=self.provider, **options)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    @property
    def only(self) -> ReadableSpan:
        (span,) = self.spans
        return span

    def of(self, kind: SpanKind) -> list[ReadableSpan]:
        return [span for span in self.spans if span.kind is kind]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_request_is_one_span(door: Door, recorder: Recorder) -> None:
    """A child of the caller's, named by method, with the semantic attributes."""
    headers = {**CALLER, "host": "shop.example:8080", "user-agent": "curl/8"}
    answer = door(Spec(), recorder.middleware(), target="/a/b?page=2", headers=headers)
    assert answer.body == b"hello world"
    span = recorder.only
    assert (span.name, span.kind, span.status.status_code) == (
        "GET" if "http.route" not in attributes(span) else f"GET {attributes(span)['http.route']}",
        SpanKind.SERVER,
        StatusCode.UNSET,
    )
    assert span.parent is not None and span.context is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert (f"{span.parent.span_id:016x}", span.parent.is_remote) == (SPAN, True)
    assert span.context.trace_state.get("foo") == "1"
    expected = {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/a/b",
        "url.query": "page=2",
        "server.address": "shop.example",
        "server.port": 8080,
        "client.address": "127.0.0.1",
        "network.peer.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "user_agent.original": "curl/8",
    }
    assert {name: attributes(span).get(name) for name in expected} == expected


def test_an_app_error_is_the_span_s(door: Door, recorder: Recorder) -> None:
    """It is told by the name of its class, and never by its words."""
    door(Spec(error=RuntimeError("it is hunter2")), recorder.middleware())
    span = recorder.only
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["http.response.status_code"] == 500
    assert "hunter2" not in span.to_json()


def test_an_answer_that_breaks_off_is_an_error(door: Door, recorder: Recorder) -> None:
    """Though its status was a good one."""
    with pytest.raises(AppRaised):
        door(Spec(late_error=RuntimeError("boom")), recorder.middleware())
    assert recorder.only.status.status_code is StatusCode.ERROR
    assert attributes(recorder.only)["http.response.status_code"] == 200


def test_a_client_error_is_no_error_of_the_server(door: Door, recorder: Recorder) -> None:
    """By the conventions a 4xx leaves the status of a SERVER span unset."""
    door(Spec(status=404), recorder.middleware())
    assert recorder.only.status.status_code is StatusCode.UNSET


def test_a_client_that_leaves_is_told(recorder: Recorder) -> None:
    """The span ends there, and is no error of the server's."""

    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass

        server = Server(http_scope())
        task = asyncio.create_task(server.run(asgi(app, recorder.middleware())))
        await server.head_sent.wait()
        server.leave()
        await task

    asyncio.run(main())
    assert attributes(recorder.only)["error.type"] == "client_disconnected"
    assert recorder.only.status.status_code is StatusCode.UNSET


def test_a_websocket_is_one_span(recorder: Recorder) -> None:
    """From the handshake to its close."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})

    server = Server(websocket_scope(), [{"type": "websocket.connect"}])
    asyncio.run(server.run(asgi(app, recorder.middleware())))
    assert attributes(recorder.only)["http.response.status_code"] == 101


def gateway(recorder: Recorder, answer: Any, **options: Any) -> Gateway:
    cluster = Cluster(
        "orders",
        destinations=["http://a:8001/base", "http://b:8002/base"],
        transport=upstream(answer),
        **options,
    )
    return Gateway(recorder.middleware(), routes=[Route("/orders/{id}", Proxy(cluster))])


@pytest.mark.parametrize("colour", ["asgi", "wsgi"])
def test_each_attempt_is_a_span(recorder: Recorder, colour: str) -> None:
    """With its number, a link to the one before, and its own id for the upstream."""
    sent: list[Sent] = []

    def answer(request: Sent) -> Response:
        sent.append(request)
        if len(sent) == 1:
            raise UpstreamError("connect", "refused")
        return Response.text("no", 503) if len(sent) == 2 else Response.text("ok")

    made = gateway(recorder, answer, retry=Retry(2, backoff=0.0001))
    if colour == "asgi":
        asyncio.run(call_asgi(made.asgi(), target="/orders/7?token=TOP&page=2", headers=CALLER))
    else:
        call_wsgi(made.wsgi(), target="/orders/7?token=TOP&page=2", headers=CALLER)
    (server,) = recorder.of(SpanKind.SERVER)
    clients = recorder.of(SpanKind.CLIENT)
    assert (server.name, len(clients)) == ("GET /orders/{id}", 3)
    assert server.context is not None
    for number, (client, request) in enumerate(zip(clients, sent, strict=True)):
        found, context = attributes(client), client.context
        assert context is not None and client.parent is not None
        assert client.parent.span_id == server.context.span_id
        assert request.headers["traceparent"] == f"00-{TRACE}-{context.span_id:016x}-01"
        assert request.headers["tracestate"] == "foo=1"
        assert found.get("http.request.resend_count", 0) == number
        assert found["server.address"] == request.origin.host
        assert found["server.port"] == request.origin.port
        assert found["url.full"].endswith("/base/orders/7?token=[redacted]&page=2")
        links = [link.context.span_id for link in client.links]
        before = clients[number - 1].context if number else None
        assert links == ([] if before is None else [before.span_id])
    assert [attributes(client).get("error.type") for client in clients] == ["connect", "503", None]
    assert [client.status.status_code for client in clients] == [
        StatusCode.ERROR,
        StatusCode.ERROR,
        StatusCode.UNSET,
    ]
    assert attributes(clients[2])["http.response.status_code"] == 200
    assert attributes(server)["gatekit.service"] == "orders"


def test_a_hedge_that_lost_has_not_failed(recorder: Recorder) -> None:
    """It was given up: its span says so and is no error."""

    class Slow:
        def __init__(self) -> None:
            self.asked = 0

        async def asend(self, *details: Any) -> Any:
            self.asked += 1
            if self.asked == 1:
                await asyncio.Event().wait()
            return await upstream(lambda sent: Response(200)).asend(*details)

        def send(self, *details: Any) -> Any:
            raise NotImplementedError

    cluster = Cluster(
        "orders", destinations=["http://a", "http://b"], transport=Slow(), hedge=Hedge(0.001)
    )
    made = Gateway(recorder.middleware(), routes=[Route("/", Proxy(cluster))])
    assert asyncio.run(call_asgi(made.asgi())).status == 200
    lost = [span for span in recorder.of(SpanKind.CLIENT) if "error.type" in attributes(span)]
    assert len(recorder.of(SpanKind.CLIENT)) == 2
    assert [attributes(span)["error.type"] for span in lost] == ["given_up"]
    assert lost[0].status.status_code is StatusCode.UNSET


def test_the_sampler_decides() -> None:
    """What it does not record is not marked as recorded either, and still hands on its ids."""
    recorder, seen = Recorder(sampler=ParentBased(ALWAYS_OFF)), Spec()
    asyncio.run(call_asgi(asgi(seen.asgi(), recorder.middleware(sample=1.0))))
    assert recorder.spans == []
    assert int(seen.seen[0]["headers"]["traceparent"][-2:], 16) & 1 == 0


def test_a_link_instead_of_a_parent(recorder: Recorder) -> None:
    """A trace of our own, which points back to the caller's."""
    asyncio.run(call_asgi(asgi(Spec().asgi(), recorder.middleware(trust="link")), headers=CALLER))
    span = recorder.only
    assert span.parent is None and span.context is not None
    assert [f"{link.context.trace_id:032x}" for link in span.links] == [TRACE]
    assert f"{span.context.trace_id:032x}" != TRACE


def test_decisions_can_be_events(recorder: Recorder) -> None:
    """What each policy decided, where it is asked for."""
    from gatekit import ConcurrencyLimit

    app = asgi(Spec().asgi(), recorder.middleware(decisions=True), ConcurrencyLimit(3))
    asyncio.run(call_asgi(app))
    (event,) = recorder.only.events
    assert dict(event.attributes or {})["gatekit.decision"] == "allow"


def test_hostile_requests_are_recorded_all_the_same(recorder: Recorder) -> None:
    """An unknown method, a host that is none, control characters, a field without end."""
    app = asgi(Spec().asgi(), recorder.middleware())
    headers = {"host": "[::1", "user-agent": "x" * 50_000}
    asyncio.run(call_asgi(app, "BREW", "/a%0D%0Ab?x=%00&api_key=TOP", headers=headers))
    found = attributes(recorder.only)
    assert (found["http.request.method"], recorder.only.name) == ("_OTHER", "HTTP")
    assert found["http.request.method_original"] == "BREW"
    assert found["url.path"] == r"/a\r\nb"
    assert len(found["user_agent.original"]) == 1024
    assert "TOP" not in recorder.only.to_json()


def test_no_secret_is_in_a_span(recorder: Recorder) -> None:
    """Not of a header field, a cookie, a query or a body; nor of what the app raised."""
    secret = "s3cr3t"
    headers = {"authorization": f"Bearer {secret}", "cookie": f"session={secret}"}

    def answer(request: Sent) -> Response:
        raise UpstreamError("protocol", secret)

    made = gateway(recorder, answer)
    asyncio.run(
        call_asgi(
            made.asgi(),
            "POST",
            f"/orders/7?access_token={secret}&password={secret}",
            headers=headers,
            body=secret.encode(),
        )
    )
    assert len(recorder.spans) >= 2
    assert all(secret not in span.to_json() for span in recorder.spans)


def test_a_span_takes_as_long_as_the_answer(recorder: Recorder) -> None:
    """What runs after the last byte, such as a background task, is not in it."""
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route as Path

    begun: list[int] = []

    async def work() -> None:
        begun.append(time.time_ns())
        for _ in range(2000):
            await asyncio.sleep(0)

    async def view(request: Any) -> PlainTextResponse:
        return PlainTextResponse("ok", background=BackgroundTask(work))

    app = asgi(Starlette(routes=[Path("/items/{id}", view)]), recorder.middleware())
    asyncio.run(call_asgi(app, target="/items/7"))
    assert recorder.only.name == "GET /items/{id}"
    assert recorder.only.end_time is not None and recorder.only.end_time < begun[0] + 1_000_000


def test_two_gateways_are_two_spans(recorder: Recorder) -> None:
    """One process may hold both: the second is a child of the attempt of the first."""
    inner = asgi(Spec().asgi(), recorder.middleware())
    cluster = Cluster("shop", destinations=[inner])
    outer = Gateway(recorder.middleware(), routes=[Route("/*", Proxy(cluster))])
    asyncio.run(call_asgi(outer.asgi(), target="/x"))
    servers, (client,) = recorder.of(SpanKind.SERVER), recorder.of(SpanKind.CLIENT)
    assert client.context is not None
    assert len(servers) == 2
    assert [span.parent.span_id for span in servers if span.parent] == [client.context.span_id]


def test_two_proxies_do_not_count_each_other_s_attempts(recorder: Recorder) -> None:
    """One request may ask several services: each begins with a first attempt."""
    proxies = [
        Proxy(f"http://{name}", transport=upstream(lambda sent: Response.text("ok")))
        for name in ("users", "orders")
    ]

    async def both(request: Request) -> Response:
        await proxies[0](request)
        return await proxies[1](request)

    made = Gateway(recorder.middleware(), routes=[Route("/", both)])
    asyncio.run(call_asgi(made.asgi()))
    clients = recorder.of(SpanKind.CLIENT)
    assert [attributes(span)["gatekit.service"] for span in clients] == ["users", "orders"]
    assert not any("http.request.resend_count" in attributes(span) for span in clients)
    assert not any(span.links for span in clients)


def test_a_refusal_is_a_span(door: Door, recorder: Recorder) -> None:
    """So is what a middleware further in answers."""

    async def refuse(request: Request, call_next: Any) -> Response:
        return Response.text("no", 403)

    door(Spec(), recorder.middleware(), refuse)
    assert attributes(recorder.only)["http.response.status_code"] == 403
