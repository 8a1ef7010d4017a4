"""What a middleware costs: the onion, nested pure ASGI and BaseHTTPMiddleware, µs a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response as StarletteResponse

from gatekit import Request, Response, asgi
from gatekit.typing import ASGIApp, Handler, Message, Receive, Scope, Send
from tests.benchmarks.harness import Bench
from tests.benchmarks.inprocess import Caller, noop
from tests.benchmarks.report import Line, at_most


async def passing(request: Request, call_next: Handler) -> Response:
    return await call_next(request)


class Nested:
    """A pure ASGI middleware as it is written by hand: it wraps `send` to see the head."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def wrapped(message: Message) -> None:
            await send(message)

        await self.app(scope, receive, wrapped)


class Based(BaseHTTPMiddleware):
    async def dispatch(
        self, request: StarletteRequest, call_next: RequestResponseEndpoint
    ) -> StarletteResponse:
        return await call_next(request)


def onion(count: int) -> ASGIApp:
    return asgi(noop, *[passing] * count)


def wrap(layer: Callable[[ASGIApp], ASGIApp], count: int) -> ASGIApp:
    app: ASGIApp = noop
    for _ in range(count):
        app = layer(app)
    return app


def measure(bench: Bench) -> Iterator[Line]:
    apps: dict[str, ASGIApp] = {
        "raw": noop,
        "onion 7": onion(7),
        "nested 7": wrap(Nested, 7),
        "based 7": wrap(Based, 7),
        "onion 15": onion(15),
        "nested 15": wrap(Nested, 15),
        "based 15": wrap(Based, 15),
    }
    with Caller() as call:
        for name, app in apps.items():
            if call.status(app) != 200:
                raise AssertionError(f"{name} does not answer")
        samples = bench.alternate({name: partial(call.measure, app) for name, app in apps.items()})
    yield Line("no middleware", ours=samples.median("raw"))
    for count, budget in ((7, at_most(1.25)), (15, None)):
        ours = samples.median(f"onion {count}")
        for peer, label in (("nested", "nested pure ASGI"), ("based", "BaseHTTPMiddleware")):
            yield Line(
                f"{count} middlewares",
                ours=ours,
                peer=samples.median(f"{peer} {count}"),
                against=f"{count} {label}",
                ratio=samples.ratio(f"onion {count}", f"{peer} {count}"),
                budget=budget if peer == "nested" else None,
            )
    yield Line(
        "one more middleware",
        ours=samples.added("onion 15", "onion 7") / 8,
        peer=samples.added("nested 15", "nested 7") / 8,
        against="one nested pure ASGI",
        budget=at_most(0.6 / 0.8),
    )
