"""A Starlette app becomes a gateway: it keeps its own pages, and a service stands behind `/api`.

    $ python -m examples.starlette_app

A page of the app itself, with a correlation id that the gateway made:

    $ curl -i http://127.0.0.1:8000/hello
    # → 200 {"hello":"world","request":"…"}
    #   x-correlation-id: …

A request to the service, which is told `/users/1`:

    $ curl -i 'http://127.0.0.1:8000/api/users/1?full=yes'
    # → 200 {"service":"users","method":"GET","path":"/users/1?full=yes","received":""}

An exception in a view. Starlette answers it outside of its own middlewares; the gateway is
further out still, so a page of the shop may read the answer:

    $ curl -i http://127.0.0.1:8000/broken -H 'Origin: https://shop.example'
    # → 500 Internal Server Error
    #   access-control-allow-origin: https://shop.example

A path of the service that could be read in two ways:

    $ curl -i http://127.0.0.1:8000/api/users/..%2Fadmin
    # → 400 {"type":"urn:gatekit:ambiguous-path",…}
"""

from __future__ import annotations

import logging

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Page

from examples.service import port, service
from gatekit import CORS, AccessLog, CorrelationId, Gateway, Proxy, Route, SecurityHeaders
from gatekit.typing import ASGIApp


async def hello(request: Request) -> Response:
    # What gatekit knows of a request is in the scope.
    return JSONResponse({"hello": "world", "request": request.scope["gatekit"].correlation_id})


async def broken(request: Request) -> Response:
    raise RuntimeError("a bug in the view")


def build(users: str) -> ASGIApp:
    """What a server is given; `users` is the URL of the service."""
    app = Starlette(routes=[Page("/hello", hello), Page("/broken", broken)])
    gateway = Gateway(
        CorrelationId(),
        AccessLog(),
        CORS(allow_origins=["https://shop.example"]),
        SecurityHeaders(),
        routes=[Route("/api/users/*", Proxy(users, strip_prefix="/api"))],
    )
    return gateway.asgi(app)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with service("users") as url:
        # Without proxy_headers=False, uvicorn takes any local client's word for its address.
        uvicorn.run(build(url), port=port(), proxy_headers=False, access_log=False)
