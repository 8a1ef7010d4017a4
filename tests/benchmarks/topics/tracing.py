"""Traces, metrics and logs together, beside OpenTelemetry's own ASGI middleware, µs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

import gatekit
from gatekit import AccessLog, Metrics, Tracing
from gatekit.typing import ASGIApp
from tests.benchmarks.harness import Bench
from tests.benchmarks.inprocess import Caller, http_scope, noop
from tests.benchmarks.report import Line, at_most

CALLER = [
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"tracestate", b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
]


class Nowhere(logging.Handler):
    """Takes each record, and writes it nowhere: what is exported costs the peers nothing either."""

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()


def log() -> logging.Logger:
    logger = logging.getLogger("bench.access")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [Nowhere()]
    return logger


def measure(bench: Bench) -> Iterator[Line]:
    tracers, meters = TracerProvider(), MeterProvider()
    apps: dict[str, ASGIApp] = {
        "base": noop,
        "Tracing": gatekit.asgi(noop, Tracing()),
        "recorded": gatekit.asgi(noop, Tracing(tracer_provider=tracers)),
        "three": gatekit.asgi(noop, Tracing(), Metrics(), AccessLog(log())),
        "three, Prometheus": gatekit.asgi(
            noop, Tracing(), Metrics(prometheus=True), AccessLog(log())
        ),
        "otel": OpenTelemetryMiddleware(
            noop, tracer_provider=tracers, meter_provider=meters, exclude_spans=["send", "receive"]
        ),
        "otel, no SDK": OpenTelemetryMiddleware(noop, exclude_spans=["send", "receive"]),
        "otel, its three spans": OpenTelemetryMiddleware(
            noop, tracer_provider=tracers, meter_provider=meters
        ),
    }
    scope = http_scope(headers=CALLER)
    with Caller() as call:
        for name, app in apps.items():
            if (status := call.status(app, scope)) != 200:
                raise AssertionError(f"{name} answers {status}")
        samples = bench.alternate(
            {name: partial(call.measure, app, scope) for name, app in apps.items()}
        )
    peer, against = samples.added("otel", "base"), "opentelemetry-instrumentation-asgi"
    for name, label, budget in (
        ("Tracing", "Tracing, no SDK", None),
        ("three", "with Metrics and AccessLog, no SDK", at_most(1 / 3)),
        ("three, Prometheus", "the same with Prometheus", None),
        ("recorded", "Tracing, with the SDK", None),
    ):
        yield Line(
            label, ours=samples.added(name, "base"), peer=peer, against=against, budget=budget
        )
    yield Line(
        "with Metrics and AccessLog, no SDK",
        ours=samples.added("three", "base"),
        peer=samples.added("otel, no SDK", "base"),
        against="the same without an SDK",
    )
    yield Line(
        "its three spans a request",
        ours=samples.added("three", "base"),
        peer=samples.added("otel, its three spans", "base"),
        against="the same by default",
        budget=at_most(1 / 3),
    )
