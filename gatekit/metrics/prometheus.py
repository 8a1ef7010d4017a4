"""The same numbers for Prometheus, by `prometheus_client`: the extra `prometheus`.

The registry is the `Metrics`' own. With `PROMETHEUS_MULTIPROC_DIR` in the environment of a process
that starts, the numbers of all its workers are in files of that directory, and whichever worker is
asked answers for all of them. Gauges are those of workers that live: a worker that died is found by
its process id and taken out when the numbers are next asked for, while its counts stay.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess, values
from prometheus_client.exposition import choose_encoder

from gatekit._core.outcome import Outcome
from gatekit.metrics.gauges import MEASURES, Labels, Measure, Parts
from gatekit.metrics.series import BYTES, OVERHEAD, SECONDS, Ruled, Series, Tried, ending

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

_LIVE = re.compile(r"gauge_live[a-z]+_(\d+)\.db")
_TRIES = 5
_ENDPOINT = ("method", "endpoint", "status", "service")

Record = Callable[[Outcome], None]


class Prometheus:
    """Where `Metrics` leaves what Prometheus asks for."""

    def __init__(self, parts: Parts, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self.is_shared = bool(values.ValueClass._multiprocess)
        """Whether the numbers are shared with other processes."""
        self._parts = parts
        self._lock = Lock()
        self.requests = self._counter(
            "http_requests", "Requests that have been answered.", _ENDPOINT
        )
        self.unfinished = self._counter(
            "http_requests_unfinished",
            "Requests among them whose answer did not reach its end.",
            (*_ENDPOINT, "outcome"),
        )
        self.duration = self._histogram(
            "http_request_duration_seconds", "Until the last byte.", _ENDPOINT, SECONDS
        )
        self.received = self._histogram(
            "http_request_size_bytes", "Bytes of the request's body.", _ENDPOINT, BYTES
        )
        self.sent = self._histogram(
            "http_response_size_bytes", "Bytes of the response's body.", _ENDPOINT, BYTES
        )
        self.attempts = self._histogram(
            "http_client_request_duration_seconds",
            "Attempts at an upstream, until the head.",
            ("method", "service", "destination", "status"),
            SECONDS,
        )
        self.overhead = self._histogram(
            "gatekit_overhead_seconds",
            "Until the head of an answer from an upstream, without the attempts.",
            ("endpoint", "service"),
            OVERHEAD,
        )
        self.decisions = self._counter(
            "gatekit_decisions", "What the policies decided.", ("policy", "decision")
        )
        self.active = self._gauge("http_active_connections", "Requests under way.", ())
        self._measures = [_Reading(measure, self) for measure in MEASURES]

    def bind(self, series: Series) -> Record:
        """What records a request of this kind; its lookups are done here, once."""
        labels = (series.method, series.route, str(series.status), series.service)
        count = self.requests.labels(*labels).inc
        duration = self.duration.labels(*labels).observe
        received = self.received.labels(*labels).observe
        sent = self.sent.labels(*labels).observe

        def record(outcome: Outcome) -> None:
            count()
            duration(outcome.duration)
            received(outcome.received)
            sent(outcome.sent)
            if outcome.ended != "complete":
                self.unfinished.labels(*labels, ending(outcome)).inc()

        return record

    def bind_attempt(self, tried: Tried) -> Callable[[float], None]:
        return self.attempts.labels(
            tried.method, tried.service, tried.destination, tried.result
        ).observe

    def bind_overhead(self, series: Series) -> Callable[[float], None]:
        return self.overhead.labels(series.route, series.service).observe

    def bind_ruling(self, ruled: Ruled) -> Callable[[], None]:
        return self.decisions.labels(*ruled).inc

    def refresh(self) -> None:
        """Reads what the other parts tell now."""
        with self._lock:
            for reading in self._measures:
                reading.refresh(self._parts)

    def text(self, accept: str, active: int) -> tuple[bytes, str]:
        """The numbers, of all workers where they are shared, and their media type."""
        self.refresh()
        registry = self.registry
        if self.is_shared:
            directory = os.environ[DIRECTORY]
            bury(Path(directory))
            registry = CollectorRegistry()
            collector: Any = multiprocess.MultiProcessCollector  # it has no types
            collector(registry, directory)
        else:
            self.active.set(active)
        encode, media_type = choose_encoder(preferred(accept))
        for left in reversed(range(_TRIES)):
            try:
                return encode(registry), media_type
            except (struct.error, FileNotFoundError):
                # A worker that begins has made a file and not filled it; one was just taken out.
                if not left:
                    raise
        raise AssertionError

    def _counter(self, name: str, help: str, labels: Labels) -> Counter:
        return Counter(name, help, labels, registry=self.registry)

    def _gauge(self, name: str, help: str, labels: Labels) -> Gauge:
        return Gauge(name, help, labels, registry=self.registry, multiprocess_mode="livesum")

    def _histogram(
        self, name: str, help: str, labels: Labels, buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(name, help, labels, registry=self.registry, buckets=buckets)


class _Reading:
    """One measure, and what is known of its labels."""

    def __init__(self, measure: Measure, into: Prometheus) -> None:
        self._measure = measure
        self._shared = into.is_shared
        self._before: dict[Labels, float] = {}
        make: Any = into._counter if measure.kind == "counter" else into._gauge
        self._metric: Any = make(measure.name, measure.help, measure.labels)

    def refresh(self, parts: Parts) -> None:
        now = dict(self._measure.read(parts))
        if self._measure.kind == "counter":
            for labels, value in now.items():
                # A part that was made anew begins at nothing.
                before = self._before.get(labels, 0.0)
                self._metric.labels(*labels).inc(value - before if value >= before else value)
        else:
            for labels, value in now.items():
                self._metric.labels(*labels).set(value)
            for labels in self._before.keys() - now.keys():
                if self._shared:  # a label cannot leave a file
                    self._metric.labels(*labels).set(0)
                else:
                    self._metric.remove(*labels)
        self._before = now


def preferred(accept: str) -> str:
    """The one of the two formats that the client likes better, with its parameters."""
    best, best_quality = "", 0.0
    for part in accept.split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        if media_type.lower() not in ("application/openmetrics-text", "text/plain"):
            continue
        quality = _quality(parameters)
        if quality > best_quality:
            kept = [each for each in parameters if not each.lower().startswith("q=")]
            best, best_quality = ";".join([media_type.lower(), *kept]), quality
    return best


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def bury(directory: Path) -> None:
    """Takes out the gauges of workers that have died; what they counted stays."""
    for path in directory.iterdir():
        found = _LIVE.fullmatch(path.name)
        if found is not None and not _lives(int(found[1])):
            path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's, and lives
        return True
    return True
