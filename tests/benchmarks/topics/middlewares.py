"""What each middleware of the catalogue adds to a request, µs, and the peers' four together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import gatekit
from gatekit import Request, Response
from gatekit.typing import ASGIApp, Handler, Middleware
from tests.benchmarks import peers
from tests.benchmarks.harness import Bench, Samples
from tests.benchmarks.inprocess import Caller, http_scope, noop
from tests.benchmarks.report import Line, at_most

OPTIONS: Mapping[str, tuple[tuple[Any, ...], Mapping[str, Any]]] = {
    "CorrelationId": ((), {}),
    "ClientIP": ((), {"trusted": ["127.0.0.1"]}),
    "SecurityHeaders": ((), {}),
    "CORS": ((), {"allow_origins": [peers.ORIGIN]}),
    "BodyLimit": ((1_000_000,), {}),
    "BearerAuth": (
        (),
        {
            "key": peers.KEY,
            "algorithms": ["HS256"],
            "issuer": peers.ISSUER,
            "audience": peers.AUDIENCE,
        },
    ),
    "RateLimit": (("1000000000/hour",), {}),
    "ConcurrencyLimit": ((100,), {}),
    "CircuitBreaker": ((), {}),
    "Cache": ((), {}),
    "Compress": ((), {}),
    "AccessLog": ((), {}),
}
"""Name: arguments. What does not exist yet is left out of the table."""

STACK = ("CorrelationId", "CORS", "BearerAuth", "RateLimit", "CircuitBreaker", "Cache", "AccessLog")
"""What the budget is about; the access log has its logger switched off."""


def measure(bench: Bench) -> Iterator[Line]:
    logging.getLogger("gatekit.access").disabled = True
    ours = {name: build for name in OPTIONS if (build := factory(name)) is not None}
    headers = [
        (b"origin", peers.ORIGIN.encode()),
        (b"authorization", b"Bearer " + peers.TOKEN.encode()),
    ]
    apps: dict[str, ASGIApp] = {"base": noop, "route": peers.starlette()}
    apps["nothing"] = gatekit.asgi(noop, nothing)
    apps |= {name: gatekit.asgi(noop, build()) for name, build in ours.items()}
    apps |= {label: wrap(noop) for label, wrap in peers.ROUND_NOOP.values()}
    apps["slowapi"] = peers.limited()
    apps["four"] = peers.four()
    apps["stack"] = gatekit.asgi(noop, *(ours[name]() for name in STACK if name in ours))
    scope = http_scope(headers=headers)
    with Caller() as call:
        for name, app in apps.items():
            if (status := call.status(app, scope)) != 200:
                raise AssertionError(f"{name} answers {status}")
        samples = bench.alternate(
            {name: partial(call.measure, app, scope) for name, app in apps.items()}
        )
    yield from lines(samples, list(ours))


def lines(samples: Samples, ours: list[str]) -> Iterator[Line]:
    labels = {name: (label, "base") for name, (label, _) in peers.ROUND_NOOP.items()}
    labels["RateLimit"] = ("slowapi", "route")
    yield Line("one that does nothing", ours=samples.added("nothing", "base"))
    for name in ours:
        added = samples.added(name, "base")
        if name in labels:
            label, base = labels[name]
            yield Line(name, ours=added, peer=samples.added(label, base), against=label)
        else:
            note = "with its logger off" if name == "AccessLog" else ""
            yield Line(name, ours=added, note=note)
    missing = [name for name in STACK if name not in ours]
    yield Line(
        "all seven of the budget" if not missing else f"{len(STACK) - len(missing)} of the seven",
        ours=samples.added("stack", "base"),
        peer=samples.added("four", "route"),
        against="the peers' four",
        budget=None if missing else at_most(1 / 6),
        note=f"without {', '.join(missing)}" if missing else "",
    )


async def nothing(request: Request, call_next: Handler) -> Response:
    return await call_next(request)


def factory(name: str) -> Callable[[], Middleware] | None:
    build = getattr(gatekit, name, None)
    if build is None:
        return None
    arguments, options = OPTIONS[name]
    return partial(build, *arguments, **options)
