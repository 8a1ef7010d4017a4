"""`python -m tests.benchmarks.pace URL RATE SECONDS`: a load that does not wait for its answers.

It prints `{"answers": …, "errors": …, "p50": …, "p99": …}`, latencies in ms. Each request has its
moment, and its latency begins there: one that finds no connection free waits in line, and the
waiting counts. A load that asks again when it is answered would leave it out.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from contextlib import suppress
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

from tests.benchmarks.loader import is_whole, loop_factory

CONNECTIONS = 64
TICK = 0.001
"""Seconds: the timers of an event loop are no finer. Requests due in one tick leave together."""


class Pace:
    """Which connections are free, which requests wait for one, and how long each has taken."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.latencies: list[float] = []
        self.errors = 0
        self.free: list[Client] = []
        self.waiting: deque[float] = deque()
        self.asked = 0
        self.answered_all = asyncio.Event()

    def ask(self, due: float) -> None:
        if self.free:
            self.free.pop().ask(due)
        else:
            self.waiting.append(due)

    def answered(self, client: Client, due: float, is_good: bool) -> None:
        self.latencies.append(perf_counter() - due)
        self.errors += not is_good
        if self.waiting:
            client.ask(self.waiting.popleft())
            return
        self.free.append(client)
        if len(self.latencies) == self.asked:
            self.answered_all.set()

    async def run(self, rate: float, seconds: float) -> None:
        """Every request at its moment; those that are under way at the end are waited for."""
        began = perf_counter()
        while self.asked < rate * seconds:
            now = perf_counter() - began
            for _ in range(int(now * rate) - self.asked):
                self.asked += 1
                self.ask(began + now)
            await asyncio.sleep(TICK)
        self.answered_all.clear()
        if len(self.latencies) < self.asked:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.answered_all.wait(), seconds)

    def percentile(self, part: float) -> float:
        """In ms."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(int(part * len(ordered)), len(ordered) - 1)]


class Client(asyncio.Protocol):
    """One connection with one request at a time."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._buffer = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._pace.free.append(self)

    def ask(self, due: float) -> None:
        self._due = due
        self._transport.write(self._pace.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if is_whole(self._buffer):
            is_good = self._buffer.startswith(b"HTTP/1.1 200")
            self._buffer = b""
            self._pace.answered(self, self._due, is_good)


async def main(url: str, rate: float, seconds: float) -> dict[str, float]:
    parts = urlsplit(url)
    pace = Pace(f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
    loop = asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Client(pace), parts.hostname or "", parts.port or 80)
    await pace.run(rate, seconds)
    return {
        "answers": len(pace.latencies),
        "errors": pace.errors,
        "p50": pace.percentile(0.5),
        "p99": pace.percentile(0.99),
    }


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(json.dumps(runner.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))))
