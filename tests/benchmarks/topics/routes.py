"""A thousand routes against ten: µs a request through a gateway whose handler does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from gatekit import Gateway, Request, Response, Route
from gatekit.typing import ASGIApp
from tests.benchmarks.harness import Bench
from tests.benchmarks.inprocess import Caller, http_scope
from tests.benchmarks.report import Line, at_most


async def nothing(request: Request) -> Response:
    return Response(204)


def gateway(count: int) -> ASGIApp:
    """Routes as a gateway has them: a fixed part for each service, and the rest of the path."""
    return Gateway(routes=[Route(f"/api/v1/service{n}/*", nothing) for n in range(count)]).asgi()


def measure(bench: Bench) -> Iterator[Line]:
    few, many = gateway(10), gateway(1000)
    with Caller() as call:
        for place, of_few, of_many in (("first", 0, 0), ("middle", 5, 500), ("last", 9, 999)):
            contenders = {}
            for name, app, number in (("few", few, of_few), ("many", many, of_many)):
                scope = http_scope(f"/api/v1/service{number}/items/42")
                if call.status(app, scope) != 204:
                    raise AssertionError(f"no route answers {scope['path']}")
                contenders[name] = partial(call.measure, app, scope)
            samples = bench.alternate(contenders)
            yield Line(
                f"1,000 routes, the {place} one",
                ours=samples.median("many"),
                peer=samples.median("few"),
                against="10 routes",
                ratio=samples.ratio("many", "few"),
                budget=at_most(1.5),
            )
        scope = http_scope("/none/of/them")
        contenders = {
            "many": partial(call.measure, many, scope),
            "few": partial(call.measure, few, scope),
        }
        samples = bench.alternate(contenders)
        yield Line(
            "1,000 routes, none matches",
            ours=samples.median("many"),
            peer=samples.median("few"),
            against="10 routes",
            ratio=samples.ratio("many", "few"),
            budget=at_most(1.5),
        )
