"""Compressing an answer at the same level, µs: ours beside Starlette's and starlette-compress."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from starlette.middleware.gzip import GZipMiddleware
from starlette_compress import CompressMiddleware

import gatekit
from gatekit.typing import ASGIApp, Receive, Scope, Send
from tests.benchmarks.harness import Bench
from tests.benchmarks.inprocess import Caller, http_scope
from tests.benchmarks.report import Line, at_most

LEVEL = 4
SIZES = {"4 KiB": 4, "32 KiB": 32}


def measure(bench: Bench) -> Iterator[Line]:
    for size, kibibytes in SIZES.items():
        app = page(kibibytes * 1024)
        levels = dict.fromkeys(("gzip", "br", "zstd"), LEVEL)
        apps: dict[str, ASGIApp] = {
            "plain": app,
            "ours": gatekit.asgi(app, gatekit.Compress(levels=levels)),
            "starlette": GZipMiddleware(app, compresslevel=LEVEL),
            "starlette-compress": CompressMiddleware(
                app, gzip_level=LEVEL, brotli_quality=LEVEL, zstd_level=LEVEL
            ),
        }
        for coding, peers in (
            ("gzip", ("starlette", "starlette-compress")),
            ("br", ("starlette-compress",)),
            ("zstd", ("starlette-compress",)),
        ):
            scope = http_scope(headers=[(b"accept-encoding", coding.encode())])
            with Caller() as call:
                samples = bench.alternate(
                    {name: partial(call.measure, wrapped, scope) for name, wrapped in apps.items()}
                )
            for peer in peers:
                yield Line(
                    f"{coding} at level {LEVEL}, {size} of JSON",
                    ours=samples.added("ours", "plain"),
                    peer=samples.added(peer, "plain"),
                    against=peer,
                    budget=at_most(1.0),
                )


def page(size: int) -> ASGIApp:
    """JSON of about `size` bytes, its length told."""
    rows = [
        {"id": number, "name": f"name {number}", "on": number % 3 == 0} for number in range(size)
    ]
    body = json.dumps(rows).encode()[:size]
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    start = {"type": "http.response.start", "status": 200, "headers": fields}
    end = {"type": "http.response.body", "body": body, "more_body": False}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Each its own, for the peers change the list that they are given.
        await send({**start, "headers": list(fields)})
        await send(dict(end))

    return app
