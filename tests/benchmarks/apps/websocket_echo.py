"""An echo of WebSocket messages on bare asyncio: the upstream of the relays that are compared.

    python -m tests.benchmarks.apps.websocket_echo 127.0.0.1 9000

It trusts its clients: whole frames of up to 64 KiB, masked, each sent back as it came. What it does
not do costs nothing, so that the relay before it is the slower one.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

from gatekit.proxy.websocket.handshake import accept_of
from tests.benchmarks.loader import loop_factory

KEY = re.compile(rb"\r\nsec-websocket-key:[ \t]*(\S+)", re.IGNORECASE)


class Echo(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = b""
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        if not self._upgraded and b"\r\n\r\n" in buffer:
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            key = KEY.search(head)
            assert key is not None
            self._upgraded = True
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept_of(key[1]) + b"\r\n\r\n"
            )
        while self._upgraded and len(buffer) >= 6:
            start, length = 2, buffer[1] & 127
            if length == 126:
                start, length = 4, int.from_bytes(buffer[2:4], "big")
            if len(buffer) < start + 4 + length:
                break
            end = start + 4 + length
            payload = unmasked(buffer[start : start + 4], buffer[start + 4 : end])
            head, buffer = buffer[:start], buffer[end:]
            if head[0] & 15 == 9:
                head = bytes([0x8A]) + head[1:]
            self._transport.write(head[:1] + bytes([head[1] & 127]) + head[2:] + payload)
            if head[0] & 15 == 8:
                self._transport.close()
        self._buffer = buffer


def unmasked(mask: bytes, data: bytes) -> bytes:
    """RFC 6455 §5.3, on all bytes at once."""
    size = len(data)
    repeated = (mask * (size // 4 + 1))[:size]
    number = int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")
    return number.to_bytes(size, "little")


async def main(host: str, port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, host, port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2])))
