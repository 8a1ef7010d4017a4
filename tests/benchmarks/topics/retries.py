"""What retries, hedges and a breaker add to a request that needs none of them: µs, in process."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from gatekit import CircuitBreaker, Cluster, Hedge, Proxy, Retry, Timeouts, asgi_app
from gatekit.typing import ASGIApp
from tests.benchmarks.harness import Bench
from tests.benchmarks.inprocess import Caller
from tests.benchmarks.report import Line, at_most
from tests.benchmarks.topics.destinations import Instant

TWO = ["http://orders-1:8002", "http://orders-2:8002"]

# A proxied request takes some 25 µs in process on the machine of the budgets; 3 to 4 µs are a
# seventh of it.
SMALL = at_most(1.25)


def proxied(**options: Any) -> ASGIApp:
    return asgi_app(Proxy(Cluster("bench", destinations=TWO, transport=Instant(), **options)))


def measure(bench: Bench) -> Iterator[Line]:
    patient = Retry(2, per_try_timeout=1.0)
    plain = asgi_app(Proxy(TWO[0], transport=Instant()))
    cases = {
        "two destinations, retries": (proxied(), SMALL),
        "and limits for each and all": (
            proxied(retry=patient, timeouts=Timeouts(total=5.0)),
            SMALL,
        ),
        "and a circuit for each": (proxied(breaker=CircuitBreaker("bench")), None),
        "and a hedge": (proxied(hedge=Hedge(1.0)), None),
    }
    with Caller() as call:
        for name, (app, budget) in cases.items():
            for one in (app, plain):
                if call.status(one) != 204:
                    raise AssertionError(f"nobody answers: {name}")
            samples = bench.alternate(
                {"ours": partial(call.measure, app), "plain": partial(call.measure, plain)}
            )
            yield Line(
                name,
                ours=samples.median("ours"),
                peer=samples.median("plain"),
                against="one destination and nothing else",
                ratio=samples.ratio("ours", "plain"),
                budget=budget,
            )
