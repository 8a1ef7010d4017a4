"""The same numbers through the instruments of OpenTelemetry, by its semantic conventions.

Where no SDK is set up the instruments do nothing; they begin to count when one is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from weakref import ref

from opentelemetry import metrics as otel
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from gatekit._core.outcome import Outcome
from gatekit.metrics.gauges import MEASURES, Measure, Parts
from gatekit.metrics.series import (
    BYTES,
    CLIENT_CLOSED,
    OVERHEAD,
    SECONDS,
    Ruled,
    Series,
    Tried,
    ending,
)

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue


class OpenTelemetry:
    """Where `Metrics` leaves what an SDK of OpenTelemetry exports.

    `active` counts the requests under way. Nothing of the meter's holds on to this.
    """

    def __init__(
        self, parts: Parts, active: Callable[[], int], provider: MeterProvider | None = None
    ) -> None:
        meter = otel.get_meter("gatekit", meter_provider=provider)
        self.duration = meter.create_histogram(
            "http.server.request.duration",
            "s",
            "Until the last byte.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self.received = meter.create_histogram(
            "http.server.request.body.size",
            "By",
            "Bytes of the request's body.",
            explicit_bucket_boundaries_advisory=BYTES,
        )
        self.sent = meter.create_histogram(
            "http.server.response.body.size",
            "By",
            "Bytes of the response's body.",
            explicit_bucket_boundaries_advisory=BYTES,
        )
        self.attempts = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Attempts at an upstream, until the head.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self.overhead = meter.create_histogram(
            "gatekit.request.overhead",
            "s",
            "Until the head of an answer from an upstream, without the attempts.",
            explicit_bucket_boundaries_advisory=OVERHEAD,
        )
        self.decisions = meter.create_counter(
            "gatekit.decisions", "{decision}", "What the policies decided."
        )
        self._parts = parts
        this: ref[OpenTelemetry] = ref(self)
        self._active = active
        self._instruments: list[object] = [
            meter.create_observable_up_down_counter(
                "http.server.active_requests",
                [_under_way(this)],
                "{request}",
                "Requests under way.",
            )
        ]
        for measure in MEASURES:
            create = (
                meter.create_observable_counter
                if measure.kind == "counter"
                else meter.create_observable_gauge
            )
            name = measure.name.replace("_", ".", 1)
            self._instruments.append(create(name, [_observe(this, measure)], "1", measure.help))

    def bind(self, series: Series) -> Callable[[Outcome], None]:
        """What records a request of this kind; its attributes are made here, once."""
        attributes: dict[str, AttributeValue] = {
            "http.request.method": series.method,
            "url.scheme": series.scheme,
            "http.route": series.route,
            "gatekit.service": series.service,
        }
        if series.status != CLIENT_CLOSED:
            attributes["http.response.status_code"] = series.status
        if series.status >= 500:
            attributes["error.type"] = str(series.status)
        duration, received, sent = self.duration.record, self.received.record, self.sent.record

        def record(outcome: Outcome) -> None:
            told = attributes
            if outcome.ended != "complete":
                told = {**attributes, "error.type": ending(outcome)}
            duration(outcome.duration, told)
            received(outcome.received, told)
            sent(outcome.sent, told)

        return record

    def bind_attempt(self, tried: Tried) -> Callable[[float], None]:
        attributes: dict[str, AttributeValue] = {
            "http.request.method": tried.method,
            "gatekit.service": tried.service,
            **_server(tried.destination),
        }
        if tried.result.isdigit():
            attributes["http.response.status_code"] = int(tried.result)
        if not tried.result.isdigit() or tried.result >= "400":
            attributes["error.type"] = tried.result
        return lambda seconds: self.attempts.record(seconds, attributes)

    def bind_overhead(self, series: Series) -> Callable[[float], None]:
        attributes = {"http.route": series.route, "gatekit.service": series.service}
        return lambda seconds: self.overhead.record(seconds, attributes)

    def bind_ruling(self, ruled: Ruled) -> Callable[[], None]:
        attributes = {"gatekit.policy": ruled.policy, "gatekit.decision": ruled.decision}
        return lambda: self.decisions.add(1, attributes)


def _under_way(
    this: ref[OpenTelemetry],
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        found = this()
        return [] if found is None else [Observation(found._active())]

    return observe


def _observe(
    this: ref[OpenTelemetry], measure: Measure
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        found = this()
        if found is None:
            return []
        return [
            Observation(value, dict(zip(measure.labels, labels, strict=True)))
            for labels, value in measure.read(found._parts)
        ]

    return observe


def _server(destination: str) -> dict[str, AttributeValue]:
    """Where a destination is, if its name says so; it does unless it was given one."""
    try:
        parts = urlsplit(destination)
        host, port = parts.hostname, parts.port
    except ValueError:
        return {"server.address": destination}
    if host is None:
        return {"server.address": destination}
    return {
        "server.address": host,
        "server.port": port or (443 if parts.scheme == "https" else 80),
    }
