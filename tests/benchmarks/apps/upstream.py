"""A source and a sink of any size: `GET /bytes/N` answers N bytes, anything sent is counted.

    python -m tests.benchmarks.apps.upstream 127.0.0.1 9000

`/stall` reads no body and closes the connection after `PATIENCE` seconds.
It is as simple as a test server can be: blocking sockets, a thread a connection, requests trusted.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from typing import BinaryIO

BLOCK = bytes(256 * 1024)
PATIENCE = 5.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"


def main(host: str, port: int) -> None:
    with socket.create_server((host, port), backlog=64) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


def serve(connection: socket.socket) -> None:
    """Exchanges on one connection until the peer leaves."""
    with connection, connection.makefile("rb") as stream:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while line := stream.readline():
            target = line.split(b" ")[1]
            fields: dict[bytes, bytes] = {}
            while (field := stream.readline()) not in (b"\r\n", b""):
                name, _, value = field.partition(b":")
                fields[name.lower()] = value.strip()
            if target == b"/stall":
                time.sleep(PATIENCE)
                return
            count = sink_chunks(stream) if b"transfer-encoding" in fields else 0
            count += skip(stream, int(fields.get(b"content-length", b"0")))
            if target.startswith(b"/bytes/"):
                source(connection, int(target[7:]))
            else:
                answer = b"%d" % count
                connection.sendall(HEAD % len(answer) + answer)


def sink_chunks(stream: BinaryIO) -> int:
    """Read a chunked body and its trailers away; its size."""
    total = 0
    while size := int(stream.readline().split(b";")[0], 16):
        total += skip(stream, size)
        stream.readline()
    while stream.readline() not in (b"\r\n", b""):
        pass
    return total


def skip(stream: BinaryIO, size: int) -> int:
    """Read `size` bytes away; how many there were."""
    left = size
    while left and (data := stream.read(min(left, len(BLOCK)))):
        left -= len(data)
    return size - left


def source(connection: socket.socket, size: int) -> None:
    connection.sendall(HEAD % size)
    while size:
        block = BLOCK[:size]
        connection.sendall(block)
        size -= len(block)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
