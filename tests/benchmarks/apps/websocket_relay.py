"""What a team writes without gatekit: two tasks and the library `websockets` on either side.

python -m tests.benchmarks.apps.websocket_relay 127.0.0.1 9000
"""

from __future__ import annotations

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection, serve

from tests.benchmarks.loader import loop_factory

UPSTREAM = os.environ.get("UPSTREAM", "").replace("http", "ws", 1)


async def pump(source: Connection, sink: Connection) -> None:
    async for message in source:
        await sink.send(message)
    await sink.close()


async def relay(client: ServerConnection) -> None:
    async with connect(UPSTREAM, compression=None, proxy=None) as upstream:
        await asyncio.gather(pump(client, upstream), pump(upstream, client))


async def main(host: str, port: int) -> None:
    async with serve(relay, host, port, compression=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2])))
