"""A service fails, and its clients get the last good answer, a plain one, or a quick refusal.

    $ python -m examples.circuit_breaker

The catalog is well. What it answers is remembered:

    $ curl -i http://127.0.0.1:8000/catalog/teapot
    # → 200 {"item":"teapot","price":19}
    $ curl -i http://127.0.0.1:8000/search
    # → 200 {"hits":["teapot","kettle"]}

It breaks. Who asks for what is known gets an old answer, and its age:

    $ curl -i -X POST http://127.0.0.1:8000/break
    # → 200 broken
    $ curl -i http://127.0.0.1:8000/catalog/teapot
    # → 200 {"item":"teapot","price":19}
    #   age: …
    #   proxy-status: gatekit; error=destination_unavailable

Who asks for something else, or says who he is, is told when to come back, without a wait:

    $ curl -i http://127.0.0.1:8000/catalog/kettle
    # → 503 {"type":"urn:gatekit:circuit-open",…}
    #   retry-after: …
    $ curl -i http://127.0.0.1:8000/catalog/teapot -H 'Authorization: Bearer ada'
    # → 503 {"type":"urn:gatekit:circuit-open",…}

The search has a circuit of its own, and nothing found is better than nothing:

    $ curl -i http://127.0.0.1:8000/search
    # → 200 {"hits":[]}

Both circuits can be looked at, and closed by hand:

    $ curl -i http://127.0.0.1:8000/circuits
    # → 200 [{"name":"catalog","state":"open","reason":"…","rejected":…},{"name":"search",…}]
    $ curl -i -X POST http://127.0.0.1:8000/mend
    # → 200 mended
    $ curl -i http://127.0.0.1:8000/catalog/kettle
    # → 200 {"item":"kettle","price":19}
"""

from __future__ import annotations

import logging

import uvicorn

from examples.service import port
from gatekit import CircuitBreaker, Gateway, LastGood, Request, Response, Route


class Shop:
    """Two services that can be broken. In place of these handlers stands a `Proxy` in real life."""

    def __init__(self) -> None:
        self.is_broken = False

    async def catalog(self, request: Request) -> Response:
        if self.is_broken:
            raise ConnectionError("the catalog does not answer")
        item = {"item": request.params["item"], "price": 19}
        # LastGood keeps only what announces its length: a stream may never end.
        response = Response.json(item)
        response.headers["content-length"] = str(len(await response.read()))
        return response

    async def search(self, request: Request) -> Response:
        if self.is_broken:
            return Response.text("out of memory", 500)
        return Response.json({"hits": ["teapot", "kettle"]})


def build() -> Gateway:
    """`gateway.wsgi()` works as well."""
    shop = Shop()
    # One failure is enough here, so that a few curl lines show it; in earnest take the defaults.
    catalog = CircuitBreaker(
        "catalog", consecutive_failures=1, fallback=LastGood(), fallback_on_failure=True
    )
    search = CircuitBreaker(
        "search",
        consecutive_failures=1,
        fallback=Response.json({"hits": []}),
        fallback_on_failure=True,
    )

    async def circuits(request: Request) -> Response:
        fields = ("name", "state", "reason", "rejected")
        found = [*catalog.status(), *search.status()]
        return Response.json([{field: getattr(one, field) for field in fields} for one in found])

    async def break_it(request: Request) -> Response:
        shop.is_broken = True
        return Response.text("broken")

    async def mend(request: Request) -> Response:
        shop.is_broken = False
        catalog.reset()
        search.reset()
        return Response.text("mended")

    return Gateway(
        routes=[
            Route("/catalog/{item}", shop.catalog, catalog),
            Route("/search", shop.search, search),
            Route("/circuits", circuits),
            Route("/break", break_it, methods=["POST"]),
            Route("/mend", mend, methods=["POST"]),
        ]
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    uvicorn.run(build().asgi(), port=port(), proxy_headers=False, access_log=False)
