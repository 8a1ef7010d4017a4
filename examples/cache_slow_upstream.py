"""A cache in front of a slow service: asked once, however many ask; stale while it is asked anew.

    $ python -m examples.cache_slow_upstream

The service takes a second for each page. The first request waits for it, the others do not:

    $ curl -i http://127.0.0.1:8000/reports/7
    # → 200 {"report":"7","made":…}
    #   cache-status: gatekit; …

    $ curl -i http://127.0.0.1:8000/reports/8
    # → 200 {"report":"8","made":…}

    $ curl -i 'http://127.0.0.1:8000/reports/7?utm_source=letter'
    # → 200 {"report":"7","made":…}
    #   cache-status: gatekit; hit; ttl=…

What the client has already is not sent again, and a part is cut from what is stored:

    $ curl -i http://127.0.0.1:8000/reports/7 -H 'If-None-Match: "7"'
    # → 304

    $ curl -i http://127.0.0.1:8000/reports/7 -H 'Range: bytes=0-8'
    # → 206 {"report"

After ten seconds it is stale, and for a minute more given out while a new one is fetched beside.
"""

from __future__ import annotations

import time

import uvicorn

from examples.service import port
from gatekit import Cache, CacheKey, Gateway, Request, Response, Route


async def report(request: Request) -> Response:
    """Stands for a service: `Proxy("http://reports:8001")` would be no other."""
    await request.io.sleep(1.0)
    number = request.params["number"]
    response = Response.json({"report": number, "made": int(time.time())})
    response.headers["cache-control"] = "max-age=10, stale-while-revalidate=60"
    response.headers["etag"] = f'"{number}"'
    return response


cache = Cache(key=CacheKey(ignore=["utm_*"]))
gateway = Gateway(routes=[Route("/reports/{number}", report, cache)])
app = gateway.asgi()


if __name__ == "__main__":
    uvicorn.run(app, port=port(), proxy_headers=False, access_log=False)
