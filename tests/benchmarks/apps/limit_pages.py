"""The pages of one KiB that limits are put before, the same for every contender."""

from __future__ import annotations

from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

BODY = "x" * 1024


async def page(request: Request) -> Response:
    return PlainTextResponse(BODY)


def starlette(*middlewares: Middleware) -> Starlette:
    return Starlette(routes=[Route("/", page)], middleware=middlewares)


def flask() -> Flask:
    app = Flask("pages")
    app.add_url_rule("/", "page", lambda: BODY)
    return app
