"""Counting in memory and in a file: exact among threads and processes, bounded, never forgetful."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gatekit import ConfigurationError
from gatekit.limits import MemoryStore, SQLiteStore
from gatekit.limits.limit_set import LimitSet
from gatekit.limits.store import Claim, Store, StoreUnavailable
from gatekit.middleware.rate_limit import RateLimit
from gatekit.testing import FakeIO, exercise
from tests.benchmarks.resident import is_available
from tests.hammer import hammer
from tests.servers import ROOT


def claims(key: str, text: str = "1/minute", algorithm: Any = "gcra") -> list[Claim]:
    return LimitSet.of(text, algorithm, scope="test").claims([key])


def admitted(store: Store, key: str, now: float, text: str = "1/minute") -> bool:
    return not any(one.retry_after for one in store.take(claims(key, text), 1, now))


def test_threads_admit_exactly_the_limit() -> None:
    """Sixteen of them on one key, two limits at once."""
    store = MemoryStore()

    def work(_: int) -> int:
        return sum(admitted(store, "key", 0.0, "500/day;400/month") for _ in range(100))

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(work, range(16))) == 400


def test_threads_on_several_keys_never_wait_for_each_other_for_ever() -> None:
    """Limits with keys of their own lock in one order, whatever order they are written in."""
    store = MemoryStore()
    [(_, meter)] = claims("x", "1000000/day")

    def work(number: int) -> int:
        names = ("a", "b", "c") if number % 2 else ("c", "b", "a")
        pairs = [(name, meter) for name in names]
        return sum(not store.take(pairs, 1, 0.0)[0].retry_after for _ in range(300))

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(work, range(8))) == 2400
    assert store.take([("a", meter)], 0, 0.0)[0].remaining == 1_000_000 - 2400


def test_expired_buckets_go_while_new_keys_come() -> None:
    """Under new keys all the time the store holds the live ones and few more."""
    store = MemoryStore()
    for number in range(20_000):
        assert admitted(store, f"key {number}", number * 0.1)
    # Sixty seconds of them are alive.
    assert 600 <= len(store) < 1_000


def test_an_active_bucket_is_never_lost() -> None:
    """However many other keys arrive, who is over the limit stays over it."""
    store = MemoryStore(max_keys=100)
    assert admitted(store, "victim", 0.0, "1/day")
    for number in range(10_000):
        admitted(store, f"key {number}", number * 0.001, "1/day")
        assert len(store) <= 100
    assert not admitted(store, "victim", 11.0, "1/day")


def test_a_full_store_refuses_newcomers_or_lets_them_pass() -> None:
    """As was said, until a place is free."""
    for when_full, passes in (("deny", False), ("allow", True)):
        store = MemoryStore(max_keys=2, when_full=when_full)  # type: ignore[arg-type]
        assert admitted(store, "a", 0.0)
        assert admitted(store, "b", 0.0)
        assert admitted(store, "c", 0.0) is passes
        assert admitted(store, "c", 120.0)
        assert not admitted(store, "c", 120.0)


def test_places_of_a_limit_that_nobody_uses_any_more_are_found() -> None:
    """What is left of another limit does not keep a full store full."""
    store = MemoryStore(max_keys=10)
    for number in range(10):
        assert admitted(store, f"key {number}", 0.0, "1/second")
    assert admitted(store, "new", 100.0, "1/day")
    assert len(store) < 10


MILLION = """
import os

from gatekit.limits import MemoryStore
from gatekit.limits.limit_set import LimitSet
from tests.benchmarks.resident import kib

[(_, meter)] = LimitSet.of("100/hour", "gcra", scope="s").claims(["x"])
store = MemoryStore(max_keys=1_000_000)
before = kib(os.getpid(), "VmRSS")
for number in range(1_100_000):
    store.take([(f"{number >> 16}.{number >> 8 & 255}.{number & 255}.1", meter)], 1, 0.0)
print(len(store), kib(os.getpid(), "VmRSS") - before)
"""


@pytest.mark.skipif(not is_available(), reason="there is no /proc here")
def test_memory_of_a_million_keys() -> None:
    """However many come, there are a million at most, and they take less than 250 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", MILLION], cwd=ROOT, capture_output=True, text=True, check=True
    )
    count, grown = map(int, done.stdout.split())
    assert count == 1_000_000
    assert grown < 250 * 1024


def test_a_fork_with_a_held_lock_does_not_hang() -> None:
    """A child whose parent was counting at that moment counts on, from what was there."""
    store = MemoryStore()
    assert admitted(store, "key", 0.0, "2/day")
    locks = [latch.lock for latch in store._latches]
    for lock in locks:
        lock.acquire()
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(
        target=lambda: answers.put([admitted(store, "key", 0.0, "2/day") for _ in range(2)])
    )
    child.start()
    try:
        assert answers.get(timeout=20) == [True, False]
    finally:
        for lock in locks:
            lock.release()
        child.join()


@pytest.mark.parametrize("colour", ["wsgi", "asgi"])
@pytest.mark.parametrize("algorithm", ["gcra", "fixed-window"])
def test_eight_processes_admit_exactly_the_limit(
    tmp_path: Path, algorithm: str, colour: Any
) -> None:
    """Through one file, in either colour: not one more and not one less."""
    path = str(tmp_path / "limits.db")
    assert hammer(path, "100/day;150/month", algorithm, colour, processes=8, each=30) == 100


def test_a_file_outlives_the_process(tmp_path: Path) -> None:
    """What was counted is there when another store opens the file; addresses are not."""
    path = tmp_path / "limits.db"
    for expected in (True, False):
        store = SQLiteStore(path, clock=lambda: 0.0, timeout=10)
        assert admitted(store, "203.0.113.9", 0.0) is expected
        store.close()
    assert b"203.0.113" not in path.read_bytes()


def test_a_fork_opens_the_file_itself(tmp_path: Path) -> None:
    """A child counts with its parent and leaves the parent's connection alone."""
    store = SQLiteStore(tmp_path / "limits.db", clock=lambda: 0.0, timeout=10)
    assert admitted(store, "key", 0.0, "2/day")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=lambda: answers.put(admitted(store, "key", 0.0, "2/day")))
    child.start()
    assert answers.get(timeout=20) is True
    child.join()
    assert not admitted(store, "key", 0.0, "2/day")
    store.close()


def test_a_busy_file_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    """While another process writes for long, the call fails in time; then it goes on."""
    path = tmp_path / "limits.db"
    store = SQLiteStore(path, timeout=0.05)
    admitted(SQLiteStore(path, timeout=10), "key", 0.0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        store.take(claims("key"), 1, 0.0)
    other.execute("ROLLBACK")
    other.close()
    assert SQLiteStore(path, timeout=10).take(claims("new"), 1, 0.0)[0].retry_after == 0


def test_expired_rows_are_deleted(tmp_path: Path) -> None:
    """The file does not grow with every client there ever was."""
    now = [0.0]
    store = SQLiteStore(tmp_path / "limits.db", clock=lambda: now[0], timeout=10)
    for number in range(1_500):
        now[0] = number * 1.0
        admitted(store, f"key {number}", 0.0)
    store.close()
    connection = sqlite3.connect(tmp_path / "limits.db")
    [count] = connection.execute("SELECT count(*) FROM buckets").fetchone()
    connection.close()
    assert count < 500


def test_clearing_a_file(tmp_path: Path) -> None:
    """One key, or a whole policy and no other."""
    store = SQLiteStore(tmp_path / "limits.db", clock=lambda: 0.0, timeout=10)
    first, second = (RateLimit("1/day", store=store, name=name) for name in ("one", "one-more"))
    for policy in (first, second):
        assert [exercise(policy).status for _ in range(2)] == [200, 429]
    first.reset()
    assert [exercise(policy).status for policy in (first, second)] == [200, 429]
    asyncio.run(second.areset("127.0.0.1"))
    assert [exercise(policy).status for policy in (first, second)] == [429, 200]
    store.close()


def test_a_file_that_cannot_be_written_does_not_stop_the_app(tmp_path: Path) -> None:
    """A folder that is gone is trouble of the store, met by `on_store_error`."""
    folder = tmp_path / "folder"
    folder.mkdir()
    policy = RateLimit("1/hour", store=f"sqlite:///{folder}/limits.db", on_store_error="allow")
    folder.rmdir()
    answers = [exercise(policy, io=FakeIO()) for _ in range(5)]
    assert [answer.status for answer in answers] == [200] * 5
    assert answers[0].headers["x-ratelimit-degraded"] == "allow"


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: MemoryStore(max_keys=0), "max_keys"),
        (lambda: MemoryStore(when_full="panic"), "when_full"),  # type: ignore[arg-type]
        (lambda: SQLiteStore(":memory:"), "path"),
        (lambda: SQLiteStore("/nowhere/at/all.db"), "path"),
        (lambda: SQLiteStore("limits.db", timeout=0), "timeout"),
        (lambda: SQLiteStore("limits.db", secret=b"short"), "secret"),
    ],
)
def test_a_wrong_option_of_a_store_is_named(build: Any, named: str) -> None:
    """At construction, by its parameter."""
    with pytest.raises(ConfigurationError) as caught:
        build()
    assert list(caught.value.problems) == [named]
