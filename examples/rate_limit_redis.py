"""One limit for several workers: two processes count in one Redis, and neither admits too many.

    $ python -m examples.rate_limit_redis

It starts a Redis of its own if `redis-server` or `valkey-server` is installed; `REDIS_URL` names
another one. Ask several times: the workers take turns, and what is left goes down by one each time.

    $ curl -i http://127.0.0.1:8000/
    # → 200 {"worker":…}
    #   ratelimit-policy: "100-per-minute";q=100;w=60
    #   ratelimit: "100-per-minute";r=…;t=…

A request may cost more than one, and more than there is:

    $ curl -i 'http://127.0.0.1:8000/?cost=101'
    # → 429 {"type":"urn:gatekit:rate-limited",…}

Kill the Redis and ask again: the answer comes as fast as before, each worker counts for itself, and
`X-RateLimit-Degraded: local` says so. Start it again, and within seconds they count together.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs

import uvicorn

from examples.service import port
from gatekit import Gateway, Request, Response, Route
from gatekit.limits import RedisStore
from gatekit.middleware.rate_limit import RateLimit


def cost(request: Request) -> int:
    [text] = parse_qs(request.query.decode("latin-1")).get("cost", ["1"])
    return int(text) if text.isdecimal() else 1


async def worker(_: Request) -> Response:
    return Response.json({"worker": os.getpid()})


def build(url: str) -> Gateway:
    """`secret` makes the keys in Redis unreadable for whoever does not have it."""
    store = RedisStore(url, timeout=0.05, secret=b"the same for all of the workers")
    limit = RateLimit("100/minute", store=store, on_store_error="local", cost=cost)
    return Gateway(limit, routes=[Route("/", worker)])


@contextmanager
def redis() -> Iterator[str]:
    """The URL of a Redis that runs as long as the block."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if "REDIS_URL" in os.environ or program is None:
        yield os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    words = [program, "--port", str(free), "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{free}/0"
    finally:
        process.terminate()
        process.wait()


app = build(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")).asgi()


if __name__ == "__main__":
    with redis() as url:
        # Each worker imports this module anew.
        os.environ["REDIS_URL"] = url
        uvicorn.run(
            "examples.rate_limit_redis:app",
            port=port(),
            workers=2,
            proxy_headers=False,
            access_log=False,
        )
