"""A proxy behind each door, and upstreams that are functions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gatekit import Proxy, Response, asgi_app, wsgi_app
from gatekit.testing import Answer, FunctionTransport, call_asgi, call_wsgi, upstream
from gatekit.typing import Middleware

Send = Callable[..., Answer]


def through_asgi(proxy: Proxy, *middlewares: Middleware, mount: str = "", **call: Any) -> Answer:
    return asyncio.run(call_asgi(asgi_app(proxy, *middlewares), root_path=mount, **call))


def through_wsgi(proxy: Proxy, *middlewares: Middleware, mount: str = "", **call: Any) -> Answer:
    return call_wsgi(wsgi_app(proxy, *middlewares), script_name=mount, **call)


def echo(**headers: str) -> FunctionTransport:
    return upstream(lambda sent: Response.text(sent.target, headers=headers))


def failing(error: Exception) -> FunctionTransport:
    def fail(sent: Any) -> Response:
        raise error

    return upstream(fail)
