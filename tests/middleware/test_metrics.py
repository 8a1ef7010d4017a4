"""What is counted, under which labels, through every door."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import REGISTRY, CollectorRegistry

from gatekit import (
    CircuitBreaker,
    Cluster,
    ConcurrencyLimit,
    ConfigurationError,
    Gateway,
    Metrics,
    PrometheusEndpoint,
    Proxy,
    RateLimit,
    Request,
    Response,
    Retry,
    Route,
    UpstreamError,
    asgi,
    asgi_app,
    django_middleware,
    django_view,
    wsgi,
    wsgi_app,
)
from gatekit.testing import FakeIO, call_asgi, call_wsgi, exercise, make_request, upstream
from gatekit.testing.upstreams import Sent
from tests.conftest import AppRaised, Door
from tests.doors.messages import Server, http_scope, websocket_scope
from tests.doors.spec import Spec
from tests.metrics.exposition import Family, read, series, value


class Meter:
    """An SDK that keeps what it is given."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


def told(metrics: Metrics) -> dict[str, Family]:
    return read(metrics.prometheus_text()[0].decode())


def test_a_request_is_counted(door: Door) -> None:
    """Once, with its method, route, status, service, duration and sizes."""
    metrics, meter = Metrics(prometheus=True), Meter()
    both = Metrics(meter_provider=meter.provider)
    headers = {"content-length": "5"}
    door(Spec(reads_body=True), metrics, both, method="POST", headers=headers, body=b"12345")
    found = told(metrics)
    labels = {"method": "POST", "status": "200", "service": "local"}
    assert value(found, "http_requests_total", **labels) == 1
    assert value(found, "http_request_duration_seconds_count", **labels) == 1
    assert value(found, "http_request_size_bytes_sum", **labels) == 5
    assert value(found, "http_response_size_bytes_sum", **labels) == 11
    assert value(found, "http_active_connections") == 0
    assert series(found, "http_requests_unfinished_total") == 0
    (point,) = meter.points("http.server.request.duration")
    assert point.attributes["http.request.method"] == "POST"
    assert point.attributes["http.response.status_code"] == 200
    assert point.attributes["url.scheme"] == "http"
    assert point.explicit_bounds[:2] == (0.005, 0.01) and point.explicit_bounds[-1] == 10
    assert [point.sum for point in meter.points("http.server.request.body.size")] == [5]
    assert [point.sum for point in meter.points("http.server.response.body.size")] == [11]
    assert [point.value for point in meter.points("http.server.active_requests")] == [0]


def test_requests_under_way_are_counted(door: Door) -> None:
    """While the app answers there is one; also after an app that failed there is none."""
    metrics, meter = Metrics(prometheus=True), Meter()
    both, seen = Metrics(meter_provider=meter.provider), []

    def look(request: Request) -> None:
        (point,) = meter.points("http.server.active_requests")
        seen.append((value(told(metrics), "http_active_connections"), point.value))

    door(Spec(before=look, error=RuntimeError()), metrics, both)
    assert seen == [(1, 1)]
    assert value(told(metrics), "http_active_connections") == 0
    assert value(told(metrics), "http_requests_total", status="500") == 1


def test_100_000_random_paths_make_no_new_series() -> None:
    """What matches no route is one series, whatever a scanner asks for, in whatever method."""
    metrics = Metrics(prometheus=True)
    made = Gateway(metrics, routes=[Route("/users/{id}", answer_ok)]).asgi()

    async def main() -> None:
        scope = http_scope()
        for number in range(100_000):
            path = f"/{number * 2_654_435_761 % 2**32:x}/{number}"
            server = {**scope, "path": path, "raw_path": path.encode(), "method": f"M{number % 99}"}
            await made(server, nothing, discard)
        for number in range(1000):
            path = f"/users/{number}"
            await made({**scope, "path": path, "raw_path": path.encode()}, nothing, discard)

    asyncio.run(main())
    found = told(metrics)
    assert series(found, "http_requests_total") == 2
    assert value(found, "http_requests_total", endpoint="<unmatched>", method="_OTHER") == 100_000
    assert value(found, "http_requests_total", endpoint="/users/{id}") == 1000


async def answer_ok(request: Request) -> Response:
    return Response(200)


async def nothing() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def discard(message: Any) -> None: ...


def test_series_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """An app that makes up its templates fills a bucket; nothing is lost."""
    metrics = Metrics(prometheus=True, max_series=10)
    for number in range(1000):
        request = make_request()
        request.endpoint = f"/made/up/{number}"
        request.service = f"s{number}"
        exercise(metrics, request=request)
    found = told(metrics)
    assert series(found, "http_requests_total") == 11
    assert value(found, "http_requests_total", endpoint="_other", service="_other") == 990
    assert len(caplog.records) == 1


def proxied(metrics: Metrics, answer: Any, *inside: Any, **options: Any) -> Gateway:
    cluster = Cluster(
        "orders",
        destinations=["http://a:8001", "http://b:8002"],
        transport=upstream(answer),
        **options,
    )
    return Gateway(metrics, routes=[Route("/orders/{id}", Proxy(cluster), *inside)])


@pytest.mark.parametrize("colour", ["asgi", "wsgi"])
def test_attempts_are_counted(colour: str) -> None:
    """Each with where it went and what came of it; the request under its cluster's name."""
    metrics, meter, asked = Metrics(prometheus=True), Meter(), []
    both = Metrics(meter_provider=meter.provider)

    def answer(sent: Sent) -> Response:
        asked.append(sent)
        if len(asked) == 1:
            raise UpstreamError("connect", "refused")
        return Response.text("ok")

    made = proxied(metrics, answer, retry=Retry(backoff=0.0001))
    outer = Gateway(both, made)
    if colour == "asgi":
        asyncio.run(call_asgi(outer.asgi(), target="/orders/7"))
    else:
        call_wsgi(outer.wsgi(), target="/orders/7")
    found = told(metrics)
    labels = {"endpoint": "/orders/{id}", "service": "orders", "status": "200", "method": "GET"}
    assert value(found, "http_requests_total", **labels) == 1
    tried = "http_client_request_duration_seconds_count"
    assert value(found, tried, service="orders", status="connect") == 1
    assert value(found, tried, service="orders", status="200") == 1
    assert value(found, "gatekit_overhead_seconds_count", service="orders") == 1
    points = meter.points("http.client.request.duration")
    assert {point.attributes.get("error.type") for point in points} == {"connect", None}
    assert {point.attributes["server.port"] for point in points} == {8001, 8002}
    assert len(meter.points("gatekit.request.overhead")) == 1


def test_the_gateway_s_own_time_is_apart() -> None:
    """Until the head, without what the attempts took."""
    metrics, io = Metrics(prometheus=True), FakeIO()

    def answer(sent: Sent) -> Response:
        io.advance(0.5)
        return Response.text("ok")

    async def slow(request: Request, call_next: Any) -> Response:
        io.advance(0.25)
        return await call_next(request)  # type: ignore[no-any-return]

    proxy = Proxy("http://users", transport=upstream(answer))

    async def ask(request: Request, call_next: Any) -> Response:
        return await proxy(request)

    exercise(metrics, slow, ask, io=io)
    found = told(metrics)
    assert value(found, "gatekit_overhead_seconds_sum", service="users") == 0.25
    assert value(found, "http_client_request_duration_seconds_sum") == 0.5
    assert value(found, "http_request_duration_seconds_sum", service="users") == 0.75


def test_decisions_are_counted() -> None:
    """By policy, with what each of them decided."""
    metrics, meter = Metrics(prometheus=True), Meter()
    both = Metrics(meter_provider=meter.provider)
    limit = RateLimit("1/hour")
    for _ in range(3):
        exercise(metrics, both, limit)
    found = told(metrics)
    assert value(found, "gatekit_decisions_total", policy="rate-limit", decision="allow") == 1
    assert value(found, "gatekit_decisions_total", policy="rate-limit", decision="deny") == 2
    counted = {
        point.attributes["gatekit.decision"]: point.value
        for point in meter.points("gatekit.decisions")
    }
    assert counted == {"allow": 1, "deny": 2}


def test_an_answer_that_breaks_off_is_told(door: Door) -> None:
    """It is counted under the status that was sent, and as one that failed."""
    metrics = Metrics(prometheus=True)
    with pytest.raises(AppRaised):
        door(Spec(late_error=RuntimeError("boom")), metrics)
    found = told(metrics)
    labels = {"status": "200", "outcome": "failed"}
    assert value(found, "http_requests_unfinished_total", **labels) == 1
    assert value(found, "http_active_connections") == 0


def test_a_client_that_leaves_is_its_own_outcome() -> None:
    """In the midst of an answer, and before there is one, which is a 499."""
    metrics, meter = Metrics(prometheus=True), Meter()
    both = Metrics(meter_provider=meter.provider)

    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass

        server = Server(http_scope())
        task = asyncio.create_task(server.run(asgi(app, metrics, both)))
        await server.head_sent.wait()
        server.leave()
        await task

        inside = asyncio.Event()

        async def waiting(scope: Any, receive: Any, send: Any) -> None:
            inside.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(Server(http_scope()).run(asgi(waiting, metrics, both)))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    found = told(metrics)
    for status in ("200", "499"):
        labels = {"status": status, "outcome": "client_cancelled"}
        assert value(found, "http_requests_unfinished_total", **labels) == 1
    points = meter.points("http.server.request.duration")
    assert {point.attributes["error.type"] for point in points} == {"client_cancelled"}
    assert value(found, "http_active_connections") == 0


def test_a_websocket_is_as_fast_as_its_handshake() -> None:
    """The hours that it is open are in no histogram of answers."""
    metrics, open_for = Metrics(prometheus=True), list[float]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        began = time.monotonic()
        await send({"type": "websocket.accept"})
        for _ in range(2000):
            await asyncio.sleep(0)
        open_for.append(time.monotonic() - began)
        await send({"type": "websocket.close", "code": 1000})

    server = Server(websocket_scope(), [{"type": "websocket.connect"}])
    asyncio.run(server.run(asgi(app, metrics)))
    assert value(told(metrics), "http_request_duration_seconds_sum", status="101") < open_for[0]


def test_the_other_parts_tell_of_themselves() -> None:
    """All that stand in the same door, and what `watch` is given."""
    metrics, meter = Metrics(prometheus=True), Meter()
    both = Metrics(meter_provider=meter.provider)
    breaker = CircuitBreaker(name="orders-breaker", consecutive_failures=1)
    made = proxied(metrics, lambda sent: Response(500), breaker, retry=None)
    app = Gateway(both, made).asgi()
    asyncio.run(call_asgi(app, target="/orders/7"))
    found = told(metrics)
    assert value(found, "gatekit_upstream_available", service="orders") == 2
    assert value(found, "gatekit_circuits", name="orders-breaker", state="open") == 1
    assert value(found, "gatekit_circuit_trips_total", name="orders-breaker") == 1
    assert value(told(metrics), "gatekit_circuit_trips_total", name="orders-breaker") == 1
    points = meter.points("gatekit.upstream_available")
    assert {point.attributes["destination"] for point in points} == {
        "http://a:8001",
        "http://b:8002",
    }
    elsewhere = Metrics(prometheus=True)
    elsewhere.watch(made)
    assert value(told(elsewhere), "gatekit_circuits", state="open") == 1


def test_parts_meet_in_every_door() -> None:
    """Around an app, alone, and among Django's own middlewares."""
    doors: list[Callable[..., object]] = [
        lambda *parts: asgi(Spec().asgi(), *parts),
        lambda *parts: wsgi(Spec().wsgi(), *parts),
        lambda *parts: asgi_app(answer_ok, *parts),
        lambda *parts: wsgi_app(answer_ok, *parts),
        django_middleware,
        lambda *parts: django_view(answer_ok, *parts),
    ]
    for make in doors:
        metrics = Metrics(prometheus=True)
        make(metrics, ConcurrencyLimit(3, name="bulk"))
        assert value(told(metrics), "gatekit_concurrency_limit", name="bulk") == 3


def test_pools_are_read() -> None:
    """Connections by their state, for each destination that has a pool of ours."""
    metrics = Metrics(prometheus=True)
    metrics.watch(Proxy("http://users:8001"))
    found = told(metrics)
    for state in ("in_use", "idle", "pending"):
        labels = {"service": "users", "destination": "http://users:8001", "state": state}
        assert value(found, "gatekit_upstream_connections", **labels) == 0


def test_a_registry_of_one_s_own() -> None:
    """By default each has its own, and none is the global one."""
    before = set(REGISTRY._names_to_collectors)
    registry = CollectorRegistry()
    Metrics(prometheus=True), Metrics(prometheus=True), Metrics(prometheus=registry)
    assert set(REGISTRY._names_to_collectors) == before
    assert "http_requests_total" in registry._names_to_collectors


def test_no_secret_is_a_label() -> None:
    """Not of a path, a query, a header field, a body or an error."""
    metrics = Metrics(prometheus=True)
    secret = "s3cr3t"

    def answer(sent: Sent) -> Response:
        raise UpstreamError("protocol", secret)

    made = proxied(metrics, answer, RateLimit("9/hour", key=lambda request: secret))
    headers = {"authorization": f"Bearer {secret}", "cookie": secret, "host": f"{secret}.example"}
    for method, target in (("POST", f"/orders/{secret}?token={secret}"), (secret, f"/{secret}")):
        call = call_asgi(made.asgi(), method, target, headers=headers, body=secret.encode())
        asyncio.run(call)
    assert secret not in metrics.prometheus_text()[0].decode()


def test_all_wrong_options_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One error names every parameter that is wrong, and the extra that is missing."""
    with pytest.raises(ConfigurationError) as caught:
        Metrics(prometheus=7, meter_provider=7, max_series=0, service=7, buckets=())  # type: ignore[arg-type, call-arg]
    assert set(caught.value.problems) == {
        "prometheus", "meter_provider", "max_series", "service", "buckets",
    }  # fmt: skip
    monkeypatch.setattr("gatekit.middleware.metrics.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"gatekit-middleware\[prometheus\]"):
        Metrics(prometheus=True)
    for wrong in (Metrics(), Metrics, None):
        with pytest.raises(ConfigurationError, match="prometheus=True"):
            PrometheusEndpoint(wrong)  # type: ignore[arg-type]
