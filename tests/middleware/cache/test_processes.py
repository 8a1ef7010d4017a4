"""Processes that share nothing but a store: one of all of them asks."""

from __future__ import annotations

import time
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path

import pytest

from gatekit import Cache, Request, Response, wsgi_app
from gatekit.middleware.cache import CacheStore, RedisCache, SQLiteCache
from gatekit.testing import call_wsgi
from tests.redis_server import executable, redis_server

WORKERS = 8
PATIENCE = 20.0
"""Seconds for eight interpreters to start on a busy machine."""


def work(where: str, folder: str, answers: Queue[tuple[bytes, bool]]) -> None:
    """One request, in a process of its own."""
    mine = False

    async def slow(request: Request) -> Response:
        nonlocal mine
        mine = True
        wait_for_all(Path(folder))
        return Response(200, [("cache-control", "max-age=600")], b"hello")

    store: CacheStore
    if where.startswith("redis"):
        store = RedisCache(where, timeout=5.0)
    else:
        store = SQLiteCache(where, timeout=5.0)
    cache = Cache(store=store, wait=PATIENCE)
    Path(folder, f"here-{id(cache)}-{time.monotonic_ns()}").touch()
    answers.put((call_wsgi(wsgi_app(slow, cache)).body, mine))
    cache.close()


def wait_for_all(folder: Path) -> None:
    """Until all the others are here and may be told to wait, however slow the machine is."""
    deadline = time.monotonic() + PATIENCE
    while len(list(folder.glob("here-*"))) < WORKERS and time.monotonic() < deadline:
        time.sleep(0.01)


def asked_by(where: str, folder: Path) -> int:
    """How many of eight processes asked the origin."""
    context = get_context("spawn")
    answers: Queue[tuple[bytes, bool]] = context.Queue()
    processes = [
        context.Process(target=work, args=(where, str(folder), answers)) for _ in range(WORKERS)
    ]
    for process in processes:
        process.start()
    given = [answers.get(timeout=2 * PATIENCE) for _ in processes]
    for process in processes:
        process.join(PATIENCE)
    assert {body for body, _ in given} == {b"hello"}
    return sum(mine for _, mine in given)


def test_eight_processes_on_a_redis_ask_once(tmp_path: Path) -> None:
    """The lease is one process's, and the others find what it has stored."""
    if executable() is None:
        pytest.skip("there is no Redis here")
    with redis_server() as server:
        assert asked_by(server.url, tmp_path) == 1


def test_eight_processes_on_a_file_ask_once(tmp_path: Path) -> None:
    """The same on one host, without a server."""
    assert asked_by(str(tmp_path / "cache.db"), tmp_path) == 1
