"""Many at once: a gateway told to stop while it works, and a thousand slow clients."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import ExitStack

import pytest

from tests.net import connect
from tests.proxy.upstream import Peer, Upstream
from tests.servers import Kind, serve

DRAINING: list[Kind] = ["uvicorn", "hypercorn", "granian", "gunicorn", "granian-wsgi"]
"""waitress has no notion of it: told to stop, it stops."""
IN_FLIGHT = 8
CLIENTS = 1000
BODY = b"x" * 1000
PATIENCE = 30.0


@pytest.mark.parametrize("kind", DRAINING)
def test_told_to_stop_it_answers_what_it_has_accepted(kind: Kind) -> None:
    """Half of the requests wait for a head, half are in the middle of a body; all end well."""
    arrived, release = threading.Semaphore(0), threading.Event()

    def play(peer: Peer) -> None:
        head = peer.read_head()
        if head.startswith(b"GET /body "):
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        arrived.release()
        assert release.wait(10)
        if not head.startswith(b"GET /body "):
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        peer.send(b"rest")

    name = "app" if kind in ("uvicorn", "hypercorn", "granian") else "wsgi"
    with Upstream(play) as upstream, ExitStack() as stack:
        target = f"tests.proxy.gateway_app:{name}"
        server = stack.enter_context(serve(kind, target, env={"UPSTREAM": upstream.url}))
        clients = [stack.enter_context(connect(server.address)) for _ in range(IN_FLIGHT)]
        for number, client in enumerate(clients):
            path = b"/body" if number % 2 else b"/head"
            client.send(b"GET " + path + b" HTTP/1.1\r\nHost: t\r\n\r\n")
        for _ in clients:
            assert arrived.acquire(timeout=10)
        os.kill(server.pid, signal.SIGTERM)
        refused(server.port)
        release.set()
        for client in clients:
            answer = client.read()
            assert (answer.status, answer.body) == (200, b"halfrest")


def refused(port: int) -> None:
    """Wait until it takes no new connections, the sign that it has heard."""
    while True:
        try:
            with connect(port, timeout=0.05) as client:
                client.send(b"GET /new HTTP/1.1\r\nHost: t\r\n\r\n")
        except OSError:
            return


async def _slow(port: int, half_way: asyncio.Barrier) -> bytes:
    """Half of a request, and when all others have come as far, the rest; then a slow reader."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
    try:
        writer.write(b"POST /slow HTTP/1.1\r\nHost: t\r\nContent-Le")
        await half_way.wait()
        writer.write(b"ngth: 5\r\n\r\nhel")
        await asyncio.sleep(0)
        writer.write(b"lo")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        data = b""
        while len(data) < len(BODY):
            data += await reader.read(100)
        return data
    finally:
        writer.close()
        await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(5) == b"hello"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        writer.close()


async def _thousand(kind: Kind) -> None:
    upstream = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=CLIENTS)
    url = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
    with serve(kind, "tests.proxy.gateway_app:app", env={"UPSTREAM": url}) as server:
        half_way = asyncio.Barrier(CLIENTS + 1)
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            tasks = [group.create_task(_slow(server.port, half_way)) for _ in range(CLIENTS)]
            while half_way.n_waiting < CLIENTS:  # noqa: ASYNC110 — a barrier tells nobody
                await asyncio.sleep(0)
            # They hold nobody up: while all of them dawdle, another one is served.
            alone = asyncio.Barrier(1)
            assert await _slow(server.port, alone) == BODY
            await half_way.wait()
        assert all(task.result() == BODY for task in tasks)
    upstream.close()
    await upstream.wait_closed()


@pytest.mark.parametrize("kind", ["uvicorn", "granian"])
def test_a_thousand_slow_clients(kind: Kind) -> None:
    """Each gets its answer, over the hundred connections that there may be to the upstream."""
    asyncio.run(_thousand(kind))
