"""`python -m tests.benchmarks.websocket_loader PORT SECONDS CONNECTIONS`: messages of one KiB.

Each connection sends the same frame again as soon as it has come back. It prints `{"messages": …,
"errors": …, "seconds": …}`. With SECONDS 0 it opens the connections, says `open` and holds them
until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import cast

from tests.benchmarks.loader import loop_factory

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)
KIB = 1024
# FIN and text, masked, a length of 16 bits; a mask of nought leaves the text readable.
FRAME = b"\x81\xfe\x04\x00" + bytes(4) + b"x" * KIB
ANSWER = b"\x81\x7e\x04\x00" + b"x" * KIB
AT_ONCE = 100


class Client(asyncio.Protocol):
    """One connection; `messages` and `errors` grow until the loader stops."""

    def __init__(self, *, speaks: bool) -> None:
        self.messages = 0
        self.errors = 0
        self.opened = asyncio.get_running_loop().create_future()
        self._speaks = speaks
        self._upgraded = False
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._upgraded:
            if len(self._buffer) < len(ANSWER):
                return
            self.errors += self._buffer != ANSWER
            self.messages += 1
        elif b"\r\n\r\n" in self._buffer:
            self._upgraded = True
            self.errors += not self._buffer.startswith(b"HTTP/1.1 101")
            self.opened.set_result(None)
        else:
            return
        self._buffer = b""
        if self._speaks and self._transport is not None:
            self._transport.write(FRAME)

    def connection_lost(self, exc: Exception | None) -> None:
        self.errors += self._transport is not None
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("lost in the handshake"))

    def stop(self) -> None:
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.abort()


async def opened(port: int, connections: int, *, speaks: bool) -> list[Client]:
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    while len(clients) < connections:
        some: list[Client] = []
        for _ in range(min(AT_ONCE, connections - len(clients))):
            _, client = await loop.create_connection(
                lambda: Client(speaks=speaks), "127.0.0.1", port
            )
            some.append(client)
        for client in some:
            await asyncio.wait_for(client.opened, 30)
        clients += some
    return clients


async def load(port: int, seconds: float, connections: int) -> dict[str, float]:
    clients = await opened(port, connections, speaks=True)
    before, started = sum(client.messages for client in clients), time.perf_counter()
    await asyncio.sleep(seconds)
    messages = sum(client.messages for client in clients) - before
    elapsed = time.perf_counter() - started
    for client in clients:
        client.stop()
    errors = sum(client.errors for client in clients)
    return {"messages": messages, "errors": errors, "seconds": elapsed}


async def hold(port: int, connections: int) -> None:
    clients = await opened(port, connections, speaks=False)
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for client in clients:
        client.stop()


def raise_limit() -> int:
    """As many open files as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


async def main(port: int, seconds: float, connections: int) -> None:
    if seconds:
        print(json.dumps(await load(port, seconds, connections)))
    else:
        await hold(port, connections)


if __name__ == "__main__":
    raise_limit()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
