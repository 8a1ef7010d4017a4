"""Real servers and clients that break off: nothing is left in flight or in line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.net import Address, connect, request
from tests.servers import Kind, serve

ASGI = """
import json
from gatekit import asgi
from gatekit.middleware.concurrency import ConcurrencyLimit

limit = ConcurrencyLimit(2, queue=2, max_wait=30.0)

async def works(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass

inside = asgi(works, limit)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["path"] == "/work":
        await inside(scope, receive, send)
        return
    [status] = limit.status()
    body = json.dumps([status.in_flight, status.waiting, limit.refused]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""

WSGI = """
import json
from gatekit import wsgi
from gatekit.middleware.concurrency import ConcurrencyLimit

limit = ConcurrencyLimit(2, queue=2, max_wait=30.0)

def works(environ, start_response):
    start_response("200 OK", [])
    while True:
        yield b"half" * 10_000

inside = wsgi(works, limit)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/work":
        return inside(environ, start_response)
    [status] = limit.status()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([status.in_flight, status.waiting, limit.refused]).encode()]
"""

WORK = b"GET /work HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "asgi_limit.py").write_text(ASGI)
    (tmp_path / "wsgi_limit.py").write_text(WSGI)
    return tmp_path


def until(address: Address, expected: list[Any]) -> None:
    """Asks again and again: each answer takes the server some time of its own."""
    found: list[Any] = []
    for _ in range(2_000):
        found = json.loads(request(address, "GET", "/status").body)
        if found[:2] == expected:
            return
    raise AssertionError(f"{found} never was {expected}")


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("uvicorn", "asgi_limit:app"),
        ("hypercorn", "asgi_limit:app"),
        ("granian", "asgi_limit:app"),
        ("gunicorn", "wsgi_limit:app"),
    ],
)
def test_clients_that_break_off_leave_nothing(kind: Kind, target: str, folder: Path) -> None:
    """Two in mid-body and two in line are reset: those inside make room, and all is free again."""
    with serve(kind, target, cwd=folder, threads=6) as server:
        clients = []
        for expected in ([1, 0], [2, 0], [2, 1], [2, 2]):
            client = connect(server.address)
            client.send(WORK)
            clients.append(client)
            until(server.address, expected)
        refused = request(server.address, "GET", "/work")
        assert refused.status == 503
        assert refused.header("retry-after") == "1"
        clients[0].reset()
        until(server.address, [2, 1])
        for client in clients[1:]:
            client.reset()
        until(server.address, [0, 0])
