"""A thousand rules of authorisation against ten, and what a requirement adds, µs a request."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import gatekit
from gatekit import Request, Response
from gatekit.middleware.auth.identity import Identity
from gatekit.middleware.auth.require import Require, Rule
from gatekit.typing import ASGIApp, Handler
from tests.benchmarks.harness import Bench
from tests.benchmarks.inprocess import Caller, http_scope, noop
from tests.benchmarks.report import Line, at_most

WHO = Identity("ada", roles=frozenset({"admin"}), scopes=frozenset({"read"}), method="bearer")


async def signed_in(request: Request, call_next: Handler) -> Response:
    request.identity = WHO
    return await call_next(request)


def app(require: Require) -> ASGIApp:
    return gatekit.asgi(noop, signed_in, require)


def rules(count: int) -> Require:
    return Require(
        rules=[
            Rule(f"/api/v1/service{n}/*", methods=["GET"], roles=["admin"]) for n in range(count)
        ]
    )


def measure(bench: Bench) -> Iterator[Line]:
    few, many = app(rules(10)), app(rules(1000))
    with Caller() as call:
        for place, of_few, of_many, status in (
            ("the first", 0, 0, 200),
            ("the last", 9, 999, 200),
            ("none", 10, 1000, 403),
        ):
            contenders = {}
            for name, contender, number in (("few", few, of_few), ("many", many, of_many)):
                scope = http_scope(f"/api/v1/service{number}/items/42")
                if call.status(contender, scope) != status:
                    raise AssertionError(f"{scope['path']} is not a {status}")
                contenders[name] = partial(call.measure, contender, scope)
            samples = bench.alternate(contenders)
            yield Line(
                f"1,000 rules, {place} fits",
                ours=samples.median("many"),
                peer=samples.median("few"),
                against="10 rules",
                ratio=samples.ratio("many", "few"),
                budget=at_most(1.5),
            )
        scope = http_scope("/api/v1/service5/items/42")
        samples = bench.alternate(
            {
                "base": partial(call.measure, gatekit.asgi(noop, signed_in), scope),
                "roles": partial(call.measure, app(Require(roles=["admin"])), scope),
                "rules": partial(call.measure, many, scope),
            }
        )
        yield Line("roles=[...]", ours=samples.added("roles", "base"))
        yield Line("one of 1,000 rules", ours=samples.added("rules", "base"))
