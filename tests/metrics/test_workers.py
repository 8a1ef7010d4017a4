"""With several worker processes: whichever is asked answers for all of them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from gatekit.metrics.prometheus import bury
from tests.metrics.exposition import Family, read, value
from tests.net import request
from tests.servers import Kind, Server, serve

ENOUGH = 5000
PATIENCE = 20.0


def workers_of(server: Server, most: int = 2) -> tuple[set[int], int]:
    """The workers that answer, and how many requests it took to see `most` of them."""
    seen: set[int] = set()
    for count in range(1, ENOUGH):
        answer = request(server.port, "GET", "/hello")
        seen.add(int(answer.header("x-worker") or 0))
        if len(seen) == most:
            return seen, count
    pytest.fail(f"only {len(seen)} worker has answered {ENOUGH} requests")


def scrape(server: Server, hellos: int, pages: int) -> dict[str, Family]:
    """What is told once the requests so far are over: a server counts them behind its answers."""
    until = time.monotonic() + PATIENCE
    while True:
        found = read(request(server.port, "GET", "/metrics").body.decode())
        told = [
            counted(found, "http_requests_total", endpoint="/hello"),
            counted(found, "http_request_duration_seconds_count", service="users"),
            counted(found, "http_active_connections"),  # the scrape's own
        ]
        if told == [hellos, pages, 1]:
            break
        assert time.monotonic() < until, f"{told}, not {[hellos, pages, 1]}"
    return found


def counted(found: dict[str, Family], sample: str, **labels: str) -> float:
    return value(found, sample, **labels) if sample_is_there(found, sample, labels) else 0


def sample_is_there(found: dict[str, Family], sample: str, labels: dict[str, str]) -> bool:
    wanted = set(labels.items())
    return any(
        name == sample and wanted <= given
        for family in found.values()
        for name, given in family.samples
    )


@pytest.mark.parametrize(
    ("kind", "target", "options"),
    [
        ("gunicorn", "tests.metrics.worker_app:app", []),
        ("gunicorn", "tests.metrics.worker_app:app", ["--preload"]),
        ("uvicorn", "tests.metrics.worker_app:asgi", []),
    ],
    ids=["gunicorn", "preloaded", "uvicorn"],
)
def test_workers_are_counted_together(
    kind: Kind, target: str, options: list[str], tmp_path: Path
) -> None:
    """Every scrape tells of all requests, whoever answered them; also after a worker has died."""
    env = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    with serve(kind, target, workers=2, env=env, options=options) as server:
        workers, count = workers_of(server)
        request(server.port, "GET", "/users/7")
        for _ in range(4):  # whichever is asked
            found = scrape(server, count, 1)
            assert value(found, "gatekit_upstream_available", service="users") >= 1
        if kind != "gunicorn":
            return
        dead = workers.pop()
        os.kill(dead, signal.SIGKILL)
        until = time.monotonic() + PATIENCE
        fresh: set[int] = set()
        while not fresh - workers - {dead}:  # until another has taken its place
            fresh, took = workers_of(server, 1)
            count += took
            assert time.monotonic() < until
        scrape(server, count, 1)
        assert not list(tmp_path.glob(f"gauge_live*_{dead}.db"))
        assert list(tmp_path.glob(f"counter_{dead}.db"))


def test_only_the_dead_are_buried(tmp_path: Path) -> None:
    """By their process id; what is no gauge of a live worker stays."""
    mine, gone = os.getpid(), 2**22 + 1  # above the highest number that Linux gives out
    names = [
        f"gauge_livesum_{mine}.db",
        f"gauge_livesum_{gone}.db",
        f"counter_{gone}.db",
        "gauge_livesum_x.db",
        "gauge_livesum_1.db",  # another user's, perhaps
    ]
    for name in names:
        (tmp_path / name).touch()
    bury(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        name for name in names if name != f"gauge_livesum_{gone}.db"
    )
