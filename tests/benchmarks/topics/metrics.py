"""What counting costs, beside starlette-exporter and prometheus-fastapi-instrumentator, µs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import gatekit
from gatekit import Metrics
from gatekit.typing import ASGIApp
from tests.benchmarks.harness import Bench
from tests.benchmarks.inprocess import Caller, noop
from tests.benchmarks.report import Line, at_most


async def nothing(request: Request) -> Response:
    return Response()


def plain() -> Starlette:
    return Starlette(routes=[Route("/", nothing)])


def exporter() -> ASGIApp:
    from starlette_exporter import PrometheusMiddleware

    app = plain()
    app.add_middleware(PrometheusMiddleware, prefix="bench", group_paths=True)
    return app


def instrumentator() -> ASGIApp:
    from prometheus_fastapi_instrumentator import Instrumentator

    app = plain()
    Instrumentator(registry=CollectorRegistry()).instrument(app)
    return app


def measure(bench: Bench) -> Iterator[Line]:
    apps: dict[str, ASGIApp] = {
        "base": noop,
        "route": plain(),
        "Metrics": gatekit.asgi(noop, Metrics(prometheus=True)),
        "without": gatekit.asgi(noop, Metrics()),
        "around": gatekit.asgi(plain(), Metrics(prometheus=True)),
        "starlette-exporter": exporter(),
        "prometheus-fastapi-instrumentator": instrumentator(),
    }
    with Caller() as call:
        for name, app in apps.items():
            if (status := call.status(app)) != 200:
                raise AssertionError(f"{name} answers {status}")
        samples = bench.alternate({name: partial(call.measure, app) for name, app in apps.items()})
    for peer in ("starlette-exporter", "prometheus-fastapi-instrumentator"):
        yield Line(
            "Metrics(prometheus=True)",
            ours=samples.added("around", "route"),
            peer=samples.added(peer, "route"),
            against=peer,
            budget=at_most(1 / 2),
        )
    yield Line("the same around nothing", ours=samples.added("Metrics", "base"))
    yield Line("Metrics(), no SDK", ours=samples.added("without", "base"))
