"""What happens, in numbers: for OpenTelemetry, and for Prometheus.

    metrics = Metrics(prometheus=True)
    Gateway(
        metrics,
        routes=[
            Route("/metrics", PrometheusEndpoint(metrics)),
            Route("/orders/*", Proxy("http://orders:8002"), CircuitBreaker()),
        ],
    )

Requests by method, route, status and service, with their duration to the last byte; attempts of the
proxies; what the gateway adds to these; decisions of the policies; and what pools, balancers,
breakers, bulkheads and caches that stand in the same door tell of themselves.

**Labels are few.** A route's template is one and a path never is; what matches no route is
`<unmatched>`, a method that nobody knows `_OTHER`. Beyond `max_series` all else is `_other`.

Put it outermost: what stands further out is not in the durations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gatekit._core.background import Background
from gatekit._core.io import IO
from gatekit._core.labels import METHODS, UNMATCHED, route_of
from gatekit._core.messages import Request, Response
from gatekit._core.options import integer_problem, known_keywords, string_problem
from gatekit._core.outcome import Outcome
from gatekit.errors import ConfigurationError, check
from gatekit.metrics.gauges import Parts
from gatekit.metrics.otel import OpenTelemetry
from gatekit.metrics.series import (
    CLIENT_CLOSED,
    Guard,
    Ruled,
    Series,
    Tried,
    other_attempt,
    other_ruling,
    other_series,
)
from gatekit.typing import Handler

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from prometheus_client import CollectorRegistry

    from gatekit.metrics.prometheus import Prometheus

# Seconds between two looks at the parts, where another worker may be the one that is asked.
_PACE = 5.0


class _Requests:
    """What one kind of request is counted with."""

    __slots__ = ("overhead", "record")

    def __init__(
        self,
        record: list[Callable[[Outcome], None]],
        overhead: Callable[[], list[Callable[[float], None]]],
    ) -> None:
        self.record = record
        self.overhead = overhead


@known_keywords
class Metrics:
    """Counts every request that comes through, and looks at the parts around it.

    With `prometheus=True`, or a registry of `prometheus_client`, the numbers are kept for a
    `PrometheusEndpoint` too. `meter_provider` is OpenTelemetry's global one unless it is given.
    `max_series` bounds the kinds of requests, and those of attempts, that are told apart.
    `service` is what answers are counted under that no proxy gave: the host app's, and refusals.
    """

    def __init__(
        self,
        *,
        prometheus: bool | CollectorRegistry = False,
        meter_provider: MeterProvider | None = None,
        max_series: int = 1000,
        service: str = "local",
    ) -> None:
        check(
            "Metrics",
            prometheus=_prometheus_problem(prometheus),
            meter_provider=_provider_problem(meter_provider),
            max_series=integer_problem(max_series, 1),
            service=string_problem(service),
        )
        self._service = service
        # To append to a list and to take from its end are one step each, for all threads.
        self._under_way: list[None] = []
        self._parts = Parts()
        under_way = self._under_way
        self._otel = OpenTelemetry(self._parts, lambda: len(under_way), meter_provider)
        self.prometheus: Prometheus | None = None
        """What `PrometheusEndpoint` answers with."""
        if prometheus is not False:
            from gatekit.metrics.prometheus import Prometheus

            registry = None if prometheus is True else prometheus
            self.prometheus = Prometheus(self._parts, registry)
        self._sinks = [sink for sink in (self.prometheus, self._otel) if sink is not None]
        self._requests = Guard("requests", self._new_requests, most=max_series, other=other_series)
        self._attempts = Guard("attempts", self._new_attempts, most=max_series, other=other_attempt)
        self._rulings = Guard("decisions", self._new_ruling, most=max_series, other=other_ruling)
        self._background: Background | None = None
        if self.prometheus is not None and self.prometheus.is_shared:
            self._background = Background("metrics")

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        self._under_way.append(None)
        if self._background is not None:
            self._enter(request.io, self._background)
        request.on_finish(partial(self._finish, request))
        return await call_next(request)

    def watch(self, *parts: object) -> None:
        """Looks at these as well, which stand in another door or in none."""
        from gatekit._core.compose import walk

        self._parts.add(walk(parts))

    def gatekit_meet(self, parts: Iterable[object]) -> None:
        """What stands in the same door."""
        self._parts.add(parts)

    def prometheus_text(self, accept: str = "") -> tuple[bytes, str]:
        """What `GET /metrics` answers, and its media type."""
        if self.prometheus is None:
            raise ConfigurationError("Metrics", {"prometheus": "is not on"})
        return self.prometheus.text(accept, len(self._under_way))

    def close(self) -> None:
        """Looks at nothing beside the requests any more."""
        if self._background is not None:
            self._background.close()

    async def aclose(self) -> None:
        """The same on the running event loop."""
        if self._background is not None:
            await self._background.aclose()

    def _finish(self, request: Request, outcome: Outcome) -> None:
        under_way = self._under_way
        if under_way:  # the child of a fork has forgotten what its parent has under way
            under_way.pop()
        if self._background is not None and self.prometheus is not None:
            self.prometheus.active.dec()
        method = request.method
        if method not in METHODS:
            method = "_OTHER"
        service = request.service or self._service
        status = outcome.status or (CLIENT_CLOSED if outcome.ended == "abandoned" else 500)
        route = route_of(request) or UNMATCHED
        found = self._requests.find(Series(method, route, status, service, request.scheme))
        if status == 101 and outcome.first_byte is not None:
            # Hours of an open WebSocket say nothing of how fast the handshake was.
            outcome = _handshake(outcome, outcome.first_byte)
        for record in found.record:
            record(outcome)
        decisions = request._decisions
        if decisions is not None:
            for decision in decisions:
                for count in self._rulings.find(Ruled(decision.policy, decision.outcome)):
                    count()
        if request.attempts:
            self._tell_attempts(request, outcome, method, service, found)

    def _tell_attempts(
        self, request: Request, outcome: Outcome, method: str, service: str, found: _Requests
    ) -> None:
        spent = 0.0
        for destination, result, seconds in request.attempts:
            spent += seconds
            for observe in self._attempts.find(Tried(method, service, destination, str(result))):
                observe(seconds)
        if outcome.first_byte is not None:
            # Attempts that ran side by side took less time than they did together.
            added = max(outcome.first_byte - spent, 0.0)
            for observe in found.overhead():
                observe(added)

    def _enter(self, io: IO, background: Background) -> None:
        assert self.prometheus is not None
        self.prometheus.active.inc()
        background.keep(io, self._look)

    async def _look(self, io: IO) -> None:
        """What others ask for is in files, where each worker writes its own."""
        assert self.prometheus is not None
        while True:
            self.prometheus.refresh()
            await io.sleep(_PACE)

    def _new_requests(self, series: Series) -> _Requests:
        made: list[list[Callable[[float], None]]] = []

        def overhead() -> list[Callable[[float], None]]:
            # Made when first needed: most kinds of request ask nobody.
            if not made:
                made.append([sink.bind_overhead(series) for sink in self._sinks])
            return made[0]

        return _Requests([sink.bind(series) for sink in self._sinks], overhead)

    def _new_attempts(self, tried: Tried) -> list[Callable[[float], None]]:
        return [sink.bind_attempt(tried) for sink in self._sinks]

    def _new_ruling(self, ruled: Ruled) -> list[Callable[[], None]]:
        return [sink.bind_ruling(ruled) for sink in self._sinks]

    def __repr__(self) -> str:
        return f"Metrics(prometheus={self.prometheus is not None})"


def _handshake(outcome: Outcome, seconds: float) -> Outcome:
    return Outcome(
        outcome.ended,
        status=outcome.status,
        duration=seconds,
        first_byte=seconds,
        sent=outcome.sent,
        received=outcome.received,
        error=outcome.error,
    )


def _prometheus_problem(value: Any) -> str | None:
    if value is False:
        return None
    if find_spec("prometheus_client") is None:
        return "needs prometheus-client: install the extra `gatekit-middleware[prometheus]`"
    if value is True or hasattr(value, "register"):
        return None
    return f"must be True, False or a CollectorRegistry, not {value!r}"


def _provider_problem(provider: Any) -> str | None:
    if provider is None or hasattr(provider, "get_meter"):
        return None
    return f"must be a MeterProvider, not {provider!r}"
