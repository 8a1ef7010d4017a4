"""A FastAPI app with single policies, the framework's own way, and a proxy that is mounted.

    $ python -m examples.fastapi_app          # needs FastAPI: pip install fastapi

The app's own route; the middleware `stamp` below is ten lines long:

    $ curl -i http://127.0.0.1:8000/items/7
    # → 200 {"item":7,"request":"…"}
    #   x-served-by: examples

FastAPI's documentation is not in the way:

    $ curl -i http://127.0.0.1:8000/openapi.json
    # → 200 {"openapi":…

A body beyond the limit is stopped before any route sees it:

    $ curl -i http://127.0.0.1:8000/items -d '{"name": "a name that is far longer than allowed"}'
    # → 413 {"type":"urn:gatekit:body-too-large",…}

Everything below `/partner` is the service's:

    $ curl -i -X PUT http://127.0.0.1:8000/partner/prices/7 -d price=3
    # → 200 {"service":"prices","method":"PUT","path":"/prices/7","received":"price=3"}
"""

from __future__ import annotations

import logging
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI
from fastapi import Request as FastAPIRequest

from examples.service import port, service
from gatekit import BodyLimit, CorrelationId, Proxy, Request, Response, Timeout, asgi, asgi_app
from gatekit.typing import Handler


async def stamp(request: Request, call_next: Handler) -> Response:
    """A middleware of one's own is a function like this one."""
    response = await call_next(request)
    response.headers["x-served-by"] = "examples"
    return response


def correlation_id(request: FastAPIRequest) -> str:
    """A dependency: what gatekit knows of a request is in the scope."""
    return str(request.scope["gatekit"].correlation_id)


KnownAs = Annotated[str, Depends(correlation_id)]


def build(prices: str) -> FastAPI:
    """What a server is given; `prices` is the URL of the service."""
    app = FastAPI()

    @app.get("/items/{item}")
    async def read(item: int, known_as: KnownAs) -> dict[str, object]:
        return {"item": item, "request": known_as}

    @app.post("/items")
    async def create(item: dict[str, object]) -> dict[str, object]:
        return item

    app.mount("/partner", asgi_app(Proxy(prices), Timeout(5)))
    # One call, outermost first. Two calls of add_middleware would run in the opposite order.
    app.add_middleware(asgi, CorrelationId(), BodyLimit(40), stamp)
    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with service("prices") as url:
        # Without proxy_headers=False, uvicorn takes any local client's word for its address.
        uvicorn.run(build(url), port=port(), proxy_headers=False)
