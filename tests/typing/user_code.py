# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What users write, as their type checker sees it: `make lint` checks it, nothing runs it.

An ignored error is part of what is proved: mypy and pyright both refuse the line, and would report
the comment if either did not.
"""

from __future__ import annotations

from typing import assert_type

from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Mount

from gatekit import (
    Cluster,
    CookieAffinity,
    Destination,
    Headers,
    Outcome,
    Proxy,
    Request,
    Response,
    RingHash,
    Split,
    asgi,
    asgi_app,
    chain,
    problem,
    when,
    wsgi,
    wsgi_app,
)
from gatekit.testing import FakeIO, exercise
from gatekit.typing import ASGIApp, Handler, Middleware, WSGIApp


async def hello(request: Request) -> Response:
    return Response.text("hello")


async def stamp(request: Request, call_next: Handler) -> Response:
    response = await call_next(request)
    assert_type(response, Response)
    assert_type(response.headers, Headers)
    response.headers["x-stamp"] = "1"
    return response


class Stamp:
    """A middleware is a class with this call, and inherits from nothing."""

    def __init__(self, name: str, *, loud: bool = False) -> None:
        self.name = name.upper() if loud else name

    async def __call__(self, request: Request, call_next: Handler, /) -> Response:
        def finished(outcome: Outcome) -> None:
            assert_type(outcome.duration, float)

        request.on_finish(finished)
        if request.headers.get("x-stamp") is not None:
            return problem(403, "Already stamped.")
        return await call_next(request)


def with_any_framework() -> None:
    """Applications of every framework fit the doors."""
    middleware: Middleware = Stamp("a")
    around: ASGIApp = asgi(FastAPI(), stamp, middleware)
    mounted: ASGIApp = asgi(Starlette(routes=[Mount("/api", asgi_app(hello, stamp))]), stamp)
    blocking: WSGIApp = wsgi(Flask("shop").wsgi_app, stamp, Stamp("b", loud=True))
    alone: WSGIApp = wsgi_app(hello)
    assert all(map(callable, (around, mounted, blocking, alone)))
    wsgi_app(hello).close()
    FastAPI().add_middleware(asgi, stamp, Stamp("c"))


def composed() -> None:
    """Groups and conditions are middlewares."""
    group: Middleware = chain(stamp, Stamp("a"))
    some: Middleware = when(lambda request: request.method == "POST", group)
    asgi(asgi_app(hello), some)


def tested() -> None:
    """What a test of one's own middleware needs."""
    result = exercise(Stamp("a"), io=FakeIO())
    assert_type(result.status, int)


def clusters() -> None:
    """Destinations of every kind in one list, and versions of a service by weight."""
    stable = Cluster(
        "stable",
        destinations=["http://a", Destination("http://b", weight=2), Flask("shop")],
        affinity=CookieAffinity(b"k" * 32),
    )
    canary = Cluster("canary", destinations=["http://c"], balance=RingHash("client"))
    assert_type(Split({stable: 95, canary: 5}).weights(), dict[str, float])
    Proxy([Flask("shop"), "http://d"])
    Cluster("x", destinations=["http://a"], balance="fastest")  # type: ignore[arg-type]


async def without_next(request: Request) -> Response:
    return Response(204)


async def answers_text(request: Request) -> str:
    return "hello"


def blocks(request: Request, call_next: Handler) -> Response:
    return Response(204)


def refused() -> None:
    """Mistakes that a checker finds before the constructor does."""
    app = asgi_app(hello)
    asgi(app, "Stamp")  # type: ignore[arg-type]
    asgi(app, Stamp)  # type: ignore[arg-type]
    asgi(app, without_next)  # type: ignore[arg-type]
    asgi(app, blocks)  # type: ignore[arg-type]
    asgi_app(answers_text)  # type: ignore[arg-type]
    asgi_app(stamp)  # type: ignore[arg-type]
    wsgi(app, stamp)  # type: ignore[arg-type]
    asgi(Flask("shop").wsgi_app, stamp)  # type: ignore[arg-type]
