"""The stores: the same behaviour of all, bounds, broken records, and trouble that is a miss."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from gatekit import Cache, Request, Response, asgi_app, wsgi_app
from gatekit.middleware.cache import (
    CacheStore,
    Found,
    MemoryCache,
    RedisCache,
    SQLiteCache,
    TieredCache,
)
from gatekit.middleware.cache.entry import SOFT, Entry, Index, Pass, pack, soften, unpack
from gatekit.testing import call_asgi, call_wsgi
from tests.middleware.cache.origin import Bench, Clock, Origin, in_loop, is_hit
from tests.redis_server import RedisServer, executable, redis_server

LONG = ("cache-control", "max-age=600")
KEY, OTHER = b"k" * 16, b"o" * 16


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A real server."""
    if executable() is None:
        pytest.skip("there is no Redis here")
    with redis_server() as server:
        yield server


@pytest.fixture(params=["memory", "sqlite", "redis", "tiered"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CacheStore]:
    """Each store in turn, empty."""
    made: CacheStore
    if request.param == "memory":
        made = MemoryCache()
    elif request.param == "sqlite":
        made = SQLiteCache(tmp_path / "cache.db", timeout=2.0)
    else:
        server: RedisServer = request.getfixturevalue("redis")
        server.ask("FLUSHALL")
        far = RedisCache(server.url, timeout=2.0)
        made = far if request.param == "redis" else TieredCache(far)
    yield made
    made.close()


def entry(body: bytes = b"hello", *tags: str) -> bytes:
    made = Entry(200, [(b"a", b"1")], body, born=5.0, lifetime=9.0, keep=9.0, tags=tags)
    return pack(made)


def test_what_a_store_does(store: CacheStore) -> None:
    """Get, put, delete, purge and lease, blocking."""
    assert store.get(KEY) == Found(None, 0)
    assert store.put(KEY, entry(b"1", "a", "b"), 60.0, ("a", "b"), 0)
    assert store.put(OTHER, entry(b"2", "b"), 60.0, ("b",), 0)
    assert store.get(KEY).record == entry(b"1", "a", "b")
    assert store.purge(["b"], True) == 2
    softened = unpack(store.get(KEY).record or b"")
    assert isinstance(softened, Entry)
    assert softened.flags & SOFT
    assert store.purge(["a"], False) == 1
    assert store.get(KEY).record is None
    assert store.get(OTHER).record is not None
    store.delete([OTHER])
    found = store.get(OTHER)
    assert found.record is None
    assert found.epoch == 3
    # What was fetched before a purge is refused after it, what was fetched after it is not.
    assert not store.put(OTHER, entry(), 60.0, (), found.epoch - 1)
    assert not store.put(b"n" * 16, entry(b"", "a"), 60.0, ("a",), 1)
    assert store.put(OTHER, entry(), 60.0, (), found.epoch)
    store.clear()
    assert store.get(OTHER).record is None
    assert not store.put(OTHER, entry(), 60.0, (), found.epoch)
    assert store.put(OTHER, entry(), 60.0, (), store.get(OTHER).epoch)
    assert store.lease(KEY, b"me", 60.0)
    assert store.lease(KEY, b"you", 60.0) is not store.shared
    store.release(KEY, b"you")
    assert store.lease(KEY, b"you", 60.0) is not store.shared
    store.release(KEY, b"me")
    assert store.lease(KEY, b"you", 60.0)


def test_what_a_store_does_in_a_loop(store: CacheStore) -> None:
    """The same, awaited."""

    async def run() -> None:
        assert await store.aput(KEY, entry(b"1", "a"), 60.0, ("a",), 0)
        assert (await store.aget(KEY)).record == entry(b"1", "a")
        assert await store.apurge(["a"], True) == 1
        assert await store.apurge(["a"], False) == 1
        await store.adelete([KEY])
        assert (await store.aget(KEY)).record is None
        assert await store.alease(KEY, b"me", 60.0)
        await store.arelease(KEY, b"me")
        await store.aclear()
        await store.aclose()

    asyncio.run(run())


def test_a_cache_on_each_store(store: CacheStore) -> None:
    """Hits, variants, validation and purges are the same whatever keeps the answers."""
    bench = Bench(LONG, ("vary", "foo"), ("cache-tag", "t"), ("etag", '"a"'), store=store)
    for foo in ("1", "2"):
        assert not is_hit(bench.get(foo=foo))
    for foo in ("1", "2"):
        assert is_hit(bench.get(foo=foo))
    assert bench.cache.invalidate(tags="t") == 2
    assert not is_hit(bench.get(foo="1"))
    bench.pass_time(601)
    bench.origin.answer = lambda _: Response(304, [LONG, ("etag", '"a"'), ("vary", "foo")])
    assert bench.get(foo="1").body == b"hello"
    assert is_hit(bench.get(foo="1"))
    bench.origin.answer = None
    bench.get(method="POST")
    assert not is_hit(bench.get(foo="1"))
    assert bench.cache.stats().failures == 0


def test_streams_are_stored_whole(store: CacheStore) -> None:
    """A body in pieces is one record, and one that breaks off is none."""
    pieces: list[Any] = [b"one ", b"two"]

    async def handler(request: Request) -> Response:
        def body() -> Iterator[bytes]:
            for piece in pieces:
                if isinstance(piece, Exception):
                    raise piece
                yield piece

        return Response(200, [LONG], body())

    app = wsgi_app(handler, Cache(store=store))
    pieces.append(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        call_wsgi(app)
    pieces.pop()
    assert "hit" not in call_wsgi(app).headers["cache-status"]
    answer = call_wsgi(app)
    assert "hit" in answer.headers["cache-status"]
    assert answer.body == b"one two"


RECORD = entry(b"hello", "x")


@pytest.mark.parametrize("cut", range(0, len(RECORD), 7))
def test_a_broken_record_is_a_miss(cut: int) -> None:
    """One byte changed, or the end missing: nothing is made of it. The flags alone may change."""
    assert unpack(RECORD[:cut]) is None
    changed = RECORD[:cut] + bytes([RECORD[cut] ^ 255]) + RECORD[cut + 1 :]
    item = unpack(changed)
    assert item is None or cut == 5


def test_records_of_every_kind() -> None:
    """What was packed comes back."""
    index = Index((b"a", b"b"), b"gen", ((b"d1", b"de"), (b"d2", b"")))
    assert unpack(pack(index)) == index
    assert unpack(pack(Index((), b"", ()))) == Index((), b"", ())
    assert unpack(pack(Pass(7.0))) == Pass(7.0)
    softened = unpack(soften(RECORD))
    assert isinstance(softened, Entry)
    assert (softened.body, softened.tags, softened.flags) == (b"hello", ("x",), SOFT)
    assert unpack(b"gkc\x02" + RECORD[4:]) is None
    assert unpack(b"") is None


def test_memory_is_bounded_by_bytes() -> None:
    """The least recently used go; what is used stays; one that is too large is not taken."""
    store = MemoryCache(100_000)
    bench = Bench(origin=Origin(LONG, body=b"x" * 5_000), store=store)
    for number in range(200):
        bench.get(f"/{number}")
        bench.get("/0")
        assert store.bytes <= 100_000
    assert 10 < len(store) < 20
    assert is_hit(bench.get("/0"))
    assert is_hit(bench.get("/199"))
    assert not is_hit(bench.get("/1"))
    bench.origin.body = b"x" * 200_000
    assert len(bench.get("/big").body) == 200_000
    assert not is_hit(bench.get("/big"))
    bench.cache.clear()
    assert (store.bytes, len(store)) == (0, 0)


def test_a_file_is_bounded_by_bytes(tmp_path: Path) -> None:
    """What was used longest ago is deleted, what has expired first."""
    clock = Clock()
    store = SQLiteCache(tmp_path / "c.db", max_bytes=100_000, timeout=2.0, clock=clock)
    bench = Bench(origin=Origin(LONG, body=b"x" * 9_000), store=store)
    for number in range(30):
        clock.now += 61
        bench.get(f"/{number}")
        bench.get("/0")
    with sqlite3.connect(tmp_path / "c.db") as file:
        [size] = file.execute("select sum(size) from records").fetchone()
    file.close()
    assert size <= 100_000
    assert is_hit(bench.get("/0"))
    assert is_hit(bench.get("/29"))
    assert not is_hit(bench.get("/1"))
    store.close()


def test_a_file_outlives_its_process(tmp_path: Path) -> None:
    """Another cache on the same file has the answers."""
    first = Bench(LONG, store=f"sqlite:///{tmp_path}/c.db")
    first.get()
    first.cache.close()
    second = Bench(LONG, store=f"sqlite:///{tmp_path}/c.db")
    assert is_hit(second.get())
    second.cache.close()


class Broken:
    """A store in trouble: it raises, or does not answer."""

    shared = True
    timeout = 0.02

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "gatekit_parts":
            raise AttributeError(name)
        if name in {"close", "aclose"}:
            return (lambda: asyncio.sleep(0)) if name == "aclose" else (lambda: None)

        def call(*arguments: object) -> object:
            self.calls += 1
            assert self.error is not None
            raise self.error

        async def acall(*arguments: object) -> object:
            self.calls += 1
            if self.error is not None:
                raise self.error
            await asyncio.Event().wait()
            return None

        return acall if name.startswith("a") else call


async def hello(request: Request) -> Response:
    return Response(200, [LONG], b"hello")


def test_a_store_that_is_down_is_a_miss() -> None:
    """No error, no wait: after three failures it is left alone for a while."""
    store = Broken(OSError("down"))
    app = wsgi_app(hello, Cache(store=cast("CacheStore", store)))
    for _ in range(20):
        assert call_wsgi(app).body == b"hello"
    assert store.calls == 3


@in_loop
async def test_a_store_that_hangs_is_a_miss() -> None:
    """The deadline of the store ends the wait."""
    store = Broken(None)
    cache = Cache(store=cast("CacheStore", store))
    app = asgi_app(hello, cache)
    for _ in range(5):
        assert (await call_asgi(app)).body == b"hello"
    assert store.calls == 3
    assert cache.stats().failures == 3


def test_redis_dies_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    """Killed in mid-run: every request is answered, and later it is used again."""
    if executable() is None:
        pytest.skip("there is no Redis here")
    with redis_server() as server:
        cache = Cache(store=RedisCache(server.url, timeout=1.0))
        app = wsgi_app(hello, cache)
        call_wsgi(app)
        assert "hit" in call_wsgi(app).headers["cache-status"]
        server.kill()
        for _ in range(10):
            assert call_wsgi(app).body == b"hello"
        failures = cache.stats().failures
        assert failures >= 3
        server.start()
        guard = cache._shelf.guard
        guard._until = 0.0
        while "hit" not in call_wsgi(app).headers["cache-status"]:
            guard._until = 0.0
        cache.close()
    assert "answers again" in caplog.text


def test_a_hit_in_redis_is_one_round_trip(redis: RedisServer) -> None:
    """One `MGET`, and nothing else."""
    redis.ask("FLUSHALL")
    app = wsgi_app(hello, Cache(store=RedisCache(redis.url, timeout=5.0)))
    call_wsgi(app)
    redis.ask("CONFIG", "RESETSTAT")
    for _ in range(10):
        assert "hit" in call_wsgi(app).headers["cache-status"]
    assert redis.calls("mget") == 10
    assert [redis.calls(name) for name in ("get", "set", "eval")] == [0, 0, 0]


def test_two_tiers_ask_the_far_one_seldom() -> None:
    """What was just read is not read again until its time is over; a purge here counts at once."""
    clock = Clock()
    far = MemoryCache()
    near = TieredCache(far, seconds=5.0, clock=clock)
    near.put(KEY, entry(b"1", "a"), 60.0, ("a",), 0)
    assert near.get(KEY).record is not None
    far.delete([KEY])
    assert near.get(KEY).record is not None
    clock.now += 5.0
    assert near.get(KEY).record is None
    epoch = near.get(KEY).epoch
    near.put(KEY, entry(b"1", "a"), 60.0, ("a",), epoch)
    near.get(KEY)
    near.purge(["a"], False)
    assert near.get(KEY).record is None
