"""A gateway that stands alone: no framework, routes by path, host, header field and method.

    $ python -m examples.standalone           # under ASGI
    $ python -m examples.standalone --wsgi    # the same gateway under WSGI

A handler of the gateway's own, which is left out of the log:

    $ curl -i http://127.0.0.1:8000/health
    # → 200 {"status":"up"}

One path, two services; a header field decides:

    $ curl -i http://127.0.0.1:8000/search
    # → 200 {"service":"search","method":"GET","path":"/search","received":""}
    $ curl -i http://127.0.0.1:8000/search -H 'X-Preview: yes'
    # → 200 {"service":"preview","method":"GET","path":"/search","received":""}

A host of its own:

    $ curl -i http://127.0.0.1:8000/anything -H 'Host: preview.shop.example'
    # → 200 {"service":"preview","method":"GET","path":"/anything","received":""}

A parameter of the path, in a handler:

    $ curl -i http://127.0.0.1:8000/hello/Ada
    # → 200 Hello, Ada.

A service that is down:

    $ curl -i http://127.0.0.1:8000/old
    # → 502 {"type":"urn:gatekit:upstream-unreachable",…}
    #   proxy-status: gatekit; error=connection_refused

A method that the route does not take, and a path that no route takes:

    $ curl -i -X POST http://127.0.0.1:8000/hello/Ada
    # → 405 {"type":"urn:gatekit:method-not-allowed",…}
    #   allow: GET, HEAD
    $ curl -i http://127.0.0.1:8000/nowhere
    # → 404 {"type":"urn:gatekit:no-route",…}
"""

from __future__ import annotations

import logging
import sys

import uvicorn
import waitress

from examples.service import port, service
from gatekit import (
    AccessLog,
    CorrelationId,
    Gateway,
    JSONFormatter,
    Proxy,
    Request,
    Response,
    Route,
    Timeout,
)


async def health(request: Request) -> Response:
    return Response.json({"status": "up"})


async def hello(request: Request) -> Response:
    return Response.text(f"Hello, {request.params['name']}.\n")


def build(search: str, preview: str) -> Gateway:
    """`gateway.asgi()` or `gateway.wsgi()` is what a server is given."""
    candidate = Proxy(preview)
    return Gateway(
        CorrelationId(),
        AccessLog(),
        Timeout(10),
        routes=[
            Route("/health", health, without=[AccessLog]),
            Route("/hello/{name}", hello, methods=["GET"]),
            Route("/search/*", Proxy(search), Timeout(2)),
            Route("/search/*", candidate, headers={"X-Preview": "yes"}),
            Route("/*", candidate, hosts=["preview.shop.example"]),
            Route("/old/*", Proxy("http://127.0.0.1:1")),
        ],
    )


if __name__ == "__main__":
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    with service("search") as first, service("preview") as second:
        gateway = build(first, second)
        if "--wsgi" in sys.argv:
            sys.argv.remove("--wsgi")
            waitress.serve(gateway.wsgi(), host="127.0.0.1", port=port())
        else:
            # Without proxy_headers=False, uvicorn takes any local client's word for its address.
            uvicorn.run(gateway.asgi(), port=port(), proxy_headers=False, access_log=False)
