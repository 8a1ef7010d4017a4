"""`python -m tests.benchmarks.loader URL SECONDS CONNECTIONS`: a load, when `wrk` is not there.

It prints `{"answers": …, "errors": …, "seconds": …}`. Each connection sends the same bytes again as
soon as the answer is whole, and it knows two framings only: a Content-Length, and chunks. It takes
more of a core than `wrk` does, so ratios between fast servers come out closer to one.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


class Client(asyncio.Protocol):
    """One connection; `answers` and `errors` grow until the loader stops."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.answers = 0
        self.errors = 0
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not is_whole(self._buffer):
            return
        self.answers += 1
        self.errors += not self._buffer.startswith(b"HTTP/1.1 200")
        self._buffer = b""
        assert self._transport is not None
        self._transport.write(self.request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.errors += self._transport is not None

    def stop(self) -> None:
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.abort()


def is_whole(data: bytes) -> bool:
    """Whether `data` holds a complete answer."""
    head, mark, body = data.partition(b"\r\n\r\n")
    if not mark:
        return False
    if length := LENGTH.search(head):
        return len(body) >= int(length[1])
    return body.endswith(b"0\r\n\r\n")


async def main(url: str, seconds: float, connections: int) -> dict[str, float]:
    parts = urlsplit(url)
    head = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n"
    loop = asyncio.get_running_loop()
    clients = [Client(head.encode()) for _ in range(connections)]
    started = time.perf_counter()
    waiting = iter(clients)
    for _ in clients:
        await loop.create_connection(waiting.__next__, parts.hostname or "", parts.port or 80)
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - started
    for client in clients:
        client.stop()
    return {
        "answers": sum(client.answers for client in clients),
        "errors": sum(client.errors for client in clients),
        "seconds": elapsed,
    }


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """The faster loop where it is installed: what the loader takes is missing elsewhere."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(json.dumps(runner.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))))
