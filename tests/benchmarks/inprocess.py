"""Microseconds that an ASGI application takes for a request, without a server around it.

    with Caller() as call:
        microseconds = call.measure(app)

The application is awaited in a running loop with a scope of its own each time; nothing else runs.
What the caller itself costs is in every figure, so it cancels out in differences, not in ratios.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Self

from gatekit.typing import ASGIApp, Message, Receive, Scope, Send

HEADERS = [(b"host", b"gateway.test"), (b"accept", b"*/*"), (b"user-agent", b"bench/1")]


class Caller:
    """Holds one event loop for all measurements of a topic."""

    def __init__(self, *, seconds: float = 0.05) -> None:
        self.seconds = seconds
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()

    def measure(self, app: ASGIApp, scope: Scope | None = None) -> float:
        """Microseconds a request, over as many requests as fit into `seconds`."""
        return self._runner.run(measure(app, scope or http_scope(), self.seconds))

    def status(self, app: ASGIApp, scope: Scope | None = None) -> int:
        """One request; its status. A benchmark of an error page would be a lie."""
        return self._runner.run(answer(app, scope or http_scope()))


async def measure(app: ASGIApp, scope: Scope, seconds: float) -> float:
    count = 20
    while True:
        elapsed = await repeat(app, scope, count)
        if elapsed >= seconds:
            return elapsed / count * 1e6
        count = max(count * 2, int(count * seconds / elapsed * 1.1))


async def repeat(app: ASGIApp, scope: Scope, count: int) -> float:
    """Seconds for `count` requests, one after another."""
    before = time.perf_counter()
    for _ in range(count):
        await app(dict(scope), empty, discard)
    return time.perf_counter() - before


async def answer(app: ASGIApp, scope: Scope) -> int:
    statuses: list[int] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(dict(scope), empty, send)
    [status] = statuses
    return status


async def empty() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def discard(message: Message) -> None:
    pass


async def noop(scope: Scope, receive: Receive, send: Send) -> None:
    """The smallest application: a head, and an empty body."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def http_scope(path: str = "/", headers: Sequence[tuple[bytes, bytes]] = ()) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [*HEADERS, *headers],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
    }
