"""One GiB streamed through, either way: by how much the gateway's resident memory grows, MiB.

The last two of each server are the hard ones: one end sends all it can, the other takes nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from tests.benchmarks.harness import Bench
from tests.benchmarks.report import Line, below
from tests.benchmarks.resident import growth, is_available, processes
from tests.net import connect
from tests.servers import Kind, Server, run, serve

BLOCK = bytes(256 * 1024)
PATIENCE = 1.0
"""Seconds in which a gateway without back-pressure takes gigabytes."""

SERVERS: tuple[tuple[Kind, str], ...] = (
    ("uvicorn", "gatekit_asgi"),
    ("granian", "gatekit_asgi"),
    ("gunicorn", "gatekit_wsgi"),
    ("granian-wsgi", "gatekit_wsgi"),
)


def measure(bench: Bench) -> Iterator[Line]:
    if not is_available():
        yield Line("resident memory", unit="MiB", note="there is no /proc here")
        return
    size = 2**27 if bench.quick else 2**30
    label = "128 MiB" if bench.quick else "1 GiB"
    module = "tests.benchmarks.apps.upstream"
    with run(lambda port: [sys.executable, "-m", module, "127.0.0.1", str(port)]) as upstream:
        for kind, app in SERVERS:
            target = f"tests.benchmarks.apps.{app}:app"
            with serve(kind, target, env={"UPSTREAM": upstream.url}) as server:
                for name, work in WORK.items():
                    bench.progress(f"{label} {name} through {kind}")
                    grown = grow(server, work, size)
                    what = f"{label} {name}, {kind}"
                    yield Line(what, unit="MiB", ours=grown, budget=below(16))


def grow(server: Server, work: Callable[[Server, int], None], size: int) -> float:
    """The first 16 MiB warm up: buffers, pools and code are there before anything is compared."""
    download(server, 2**24)
    upload(server, 2**24)
    return growth(processes(server), partial(work, server, size))


def download(server: Server, size: int) -> None:
    with connect(server.address, timeout=60) as client:
        client.send_request("GET", f"/bytes/{size}")
        client.read_head()
        buffer = bytearray(len(BLOCK))
        left = size - len(client.buffered())
        while left > 0 and (count := client.socket.recv_into(buffer)):
            left -= count
    if left > 0:
        raise AssertionError(f"{left} bytes of {size} are missing")


def upload(server: Server, size: int) -> None:
    with connect(server.address, timeout=60) as client:
        client.send_request("POST", "/", [("Content-Length", str(size))])
        for _ in range(size // len(BLOCK)):
            client.send(BLOCK)
        expect(size, client.read().body)


def chunks(server: Server, size: int) -> None:
    with connect(server.address, timeout=60) as client:
        client.send_request("POST", "/", body=(BLOCK for _ in range(size // len(BLOCK))))
        expect(size, client.read().body)


def unread(server: Server, size: int) -> None:
    """A client that asks for much and takes nothing: the gateway must stop reading."""
    with connect(server.address) as client:
        client.send_request("GET", f"/bytes/{size}")
        time.sleep(PATIENCE)
        client.reset()


def unwanted(server: Server, size: int) -> None:
    """An upstream that takes nothing of what is sent: the gateway must stop reading."""
    with connect(server.address, timeout=PATIENCE) as client:
        client.send_request("POST", "/stall", [("Content-Length", str(size))])
        try:
            for _ in range(size // len(BLOCK)):
                client.send(BLOCK)
        except TimeoutError:
            client.reset()
            return
    raise AssertionError(f"{size} bytes went into the gateway, and none came out")


WORK: Mapping[str, Callable[[Server, int], None]] = {
    "down": download,
    "up": upload,
    "up in chunks": chunks,
    "down, unread": unread,
    "up, unwanted": unwanted,
}


def expect(size: int, answer: bytes) -> None:
    if answer != b"%d" % size:
        raise AssertionError(f"the upstream counted {answer!r} of {size}")
