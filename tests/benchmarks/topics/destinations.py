"""A thousand destinations against one: µs a request through a proxy that needs no socket."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

from gatekit import Cluster, Proxy, Retry, Timeouts, asgi_app
from gatekit.proxy.transport import AsyncBody, Body, Origin, UpstreamRequest, UpstreamResponse
from gatekit.typing import ASGIApp
from tests.benchmarks.harness import Bench
from tests.benchmarks.inprocess import Caller
from tests.benchmarks.report import Line, at_most

COUNTS = (1, 10, 1_000)
Balance = Literal["p2c", "round_robin", "random"]


class Instant:
    """A transport whose answer is there already."""

    async def asend(
        self,
        origin: Origin,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None = None,
    ) -> UpstreamResponse[AsyncBody]:
        return UpstreamResponse(204, [])

    def send(
        self,
        origin: Origin,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None = None,
    ) -> UpstreamResponse[Body]:
        return UpstreamResponse(204, [])


def proxied(count: int, balance: Balance) -> ASGIApp:
    """The same but for the number of destinations."""
    cluster = Cluster(
        "bench",
        destinations=[f"http://orders-{number}:8002" for number in range(count)],
        balance=balance,
        retry=Retry(),
        transport=Instant(),
    )
    return asgi_app(Proxy(cluster))


def measure(bench: Bench) -> Iterator[Line]:
    balances: tuple[Balance, ...] = ("p2c", "round_robin", "random")
    with Caller() as call:
        for balance in balances:
            apps = {str(count): proxied(count, balance) for count in COUNTS}
            for count, app in apps.items():
                if call.status(app) != 204:
                    raise AssertionError(f"nobody answers of {count}")
            contenders = {count: partial(call.measure, app) for count, app in apps.items()}
            samples = bench.alternate(contenders)
            for count in ("10", "1000"):
                yield Line(
                    f"{int(count):,} destinations, {balance}",
                    ours=samples.median(count),
                    peer=samples.median("1"),
                    against="one destination",
                    ratio=samples.ratio(count, "1"),
                    budget=at_most(1.3),
                )
