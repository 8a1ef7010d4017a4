"""One cache for several workers: what one of them has fetched, the others find in Redis.

    $ python -m examples.cache_redis

It starts a Redis of its own if `redis-server` or `valkey-server` is installed; `REDIS_URL` names
another one. Two workers take turns; whichever is asked, the page was made by one:

    $ curl -i http://127.0.0.1:8000/
    # → 200 {"made by":…}

    $ curl -i http://127.0.0.1:8000/
    # → 200 {"made by":…}
    #   cache-status: gatekit; hit; ttl=…

Kill the Redis and ask again: the answer comes as fast as the page can be made, and nobody sees an
error. Start it again, and within seconds it is used again.
"""

from __future__ import annotations

import os

import uvicorn

from examples.rate_limit_redis import redis
from examples.service import port
from gatekit import Cache, Gateway, Request, Response, Route
from gatekit.middleware.cache import RedisCache


async def page(_: Request) -> Response:
    response = Response.json({"made by": os.getpid()})
    response.headers["cache-control"] = "max-age=60"
    return response


def build(url: str) -> Gateway:
    # The first call of a process imports and connects, which may take longer than 50 ms.
    store = RedisCache(url, prefix="example", timeout=1.0)
    return Gateway(Cache(store=store), routes=[Route("/", page)])


app = build(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")).asgi()


if __name__ == "__main__":
    with redis() as url:
        # Each worker imports this module anew.
        os.environ["REDIS_URL"] = url
        uvicorn.run(
            "examples.cache_redis:app",
            port=port(),
            workers=2,
            proxy_headers=False,
            access_log=False,
        )
