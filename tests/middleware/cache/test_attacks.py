"""What an ill-meaning client, a purge at a bad moment or a full disk must not bring about."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import pytest

from gatekit import Cache, CacheKey, Request, Response, asgi_app
from gatekit.middleware.cache import CacheStore, MemoryCache, SQLiteCache, TieredCache
from gatekit.middleware.cache.entry import Entry, pack
from gatekit.middleware.cache.store import Found
from gatekit.testing import FakeIO, call_asgi, exercise
from gatekit.typing import Handler
from tests.middleware.cache.clients import LONG, Client, Slow, settle
from tests.middleware.cache.origin import Bench, in_loop, is_hit


def test_somebody_known_does_not_change_what_all_get() -> None:
    """A 304 or an error to a request with credentials leaves the answer for everybody alone."""
    bench = Bench(("cache-control", "max-age=10"), ("etag", '"1"'))
    bench.get()
    bench.pass_time(11)

    def answer(request: Request) -> Response:
        if "if-none-match" in request.headers:
            return Response(304, [("etag", '"1"'), ("x-user", "ann"), LONG])
        return Response(200, [LONG, ("etag", '"1"')], b"for ann")

    bench.origin.answer = answer
    assert bench.get(authorization="Bearer ann").body == b"for ann"
    bench.origin.answer = lambda _: Response(503)
    assert bench.get(authorization="Bearer ann").status == 503
    assert "x-user" not in bench.get().headers


def test_a_question_mark_in_a_path_is_no_query() -> None:
    """`/a%3Fb` and `/a?b` are two resources where a server gives the decoded path alone, too."""
    key = CacheKey()
    path = Request("GET", "/a?b", io=FakeIO())
    query = Request("GET", "/a", io=FakeIO(), query=b"b")
    assert key.url(path, b"h") != key.url(query, b"h")
    assert key.url(query, b"h") in key.of_url("http://h/a?b", "http", "h")
    assert key.url(path, b"h") in key.of_url("http://h/a%3Fb", "http", "h")


def test_a_second_cookie_of_a_name_counts() -> None:
    """Apps differ in which of two they believe, so both are in the key."""
    bench = Bench(LONG, key=CacheKey(cookies=["currency"]))
    bench.get(cookie="currency=EUR; currency=USD")
    assert not is_hit(bench.get(cookie="currency=EUR"))
    assert is_hit(bench.get(cookie="other=1; currency=EUR"))


def test_a_field_that_is_added_inside_selects_no_variant() -> None:
    """What counts for `Vary` is what the client sent, not what a middleware adds later."""
    cache, asked = Cache(), []

    async def outside(request: Request, call_next: Handler) -> Response:
        request.headers.add("x-outside", "1")
        return await cache(request, inner(call_next))

    def inner(call_next: Handler) -> Handler:
        async def handler(request: Request) -> Response:
            request.headers.add("x-tenant", "a")
            return await call_next(request)

        return handler

    def app(request: Request) -> Response:
        asked.append(request)
        return Response(200, [LONG, ("vary", "x-tenant")], b"a's")

    exercise(outside, app=app)
    assert not is_hit(exercise(outside, app=app, headers={"x-tenant": "a"}))
    assert is_hit(exercise(outside, app=app))


@in_loop
async def test_who_comes_after_a_purge_does_not_join_what_began_before() -> None:
    """Its answer may be older than the purge."""
    slow = Slow([b"x"])
    cache = Cache()
    app = asgi_app(slow, cache)
    first = Client(app)
    await settle()
    assert slow.asked == 1
    await cache.ainvalidate(url="http://a/")
    second = Client(app)
    await settle()
    assert slow.asked == 2
    slow.let(2)
    await asyncio.gather(first.task, second.task)
    assert (first.body, second.body) == (b"x", b"x")
    third = Client(app)
    await third.task
    assert slow.asked == 2


@in_loop
async def test_a_variant_fetched_before_a_purge_does_not_replace_one_fetched_after() -> None:
    """The index of variants is new by then, and the old answer has a place in it."""
    cache = Cache(coalesce=False)
    gates: list[asyncio.Future[bytes]] = []

    async def origin(request: Request) -> Response:
        gate: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        gates.append(gate)
        return Response(200, [LONG, ("vary", "x-kind")], await gate)

    app = asgi_app(origin, cache)
    old = asyncio.create_task(call_asgi(app))
    await settle()
    await cache.ainvalidate(url="http://testserver/")
    new = asyncio.create_task(call_asgi(app))
    await settle()
    gates[1].set_result(b"new")
    await new
    gates[0].set_result(b"old")
    await old
    assert (await call_asgi(app)).body == b"new"


def test_a_full_disk_is_over_when_there_is_room(tmp_path: Path) -> None:
    """A write that fails leaves no transaction open behind it."""
    store = SQLiteCache(tmp_path / "cache.db")
    assert store.put(b"a" * 16, b"x", 60.0, (), 0)
    [connection] = store._file._idle
    pages = connection.execute("pragma page_count").fetchone()[0]
    connection.execute(f"pragma max_page_count = {pages + 1}")
    with pytest.raises(sqlite3.OperationalError):
        store.put(b"b" * 16, b"x" * 1_000_000, 60.0, (), 0)
    assert store.get(b"a" * 16).record == b"x"
    connection.execute("pragma max_page_count = 100000")
    assert store.put(b"b" * 16, b"x" * 1_000_000, 60.0, (), 0)
    store.close()


def test_threads_that_end_leave_no_connection(tmp_path: Path) -> None:
    """A server with a thread for each request opens no file for each of them."""
    store = SQLiteCache(tmp_path / "cache.db")
    for _ in range(20):
        thread = threading.Thread(target=store.get, args=(b"a" * 16,))
        thread.start()
        thread.join()
    assert len(store._file._idle) == 1
    store.close()


class Held:
    """A far store in which something happens while it is being read."""

    def __init__(self, far: MemoryCache) -> None:
        self.far = far
        self.meanwhile: Callable[[], object] = lambda: None

    def __getattr__(self, name: str) -> object:
        return getattr(self.far, name)

    def get(self, key: bytes) -> Found:
        found = self.far.get(key)
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return found


def test_what_is_read_while_it_is_purged_does_not_stay_near() -> None:
    """A purge in this process counts at once, also for what is on its way from the far tier."""
    held = Held(MemoryCache())
    store = TieredCache(cast("CacheStore", held))
    entry = Entry(200, [], b"old", born=0.0, lifetime=60.0)
    assert store.put(b"a" * 16, pack(entry), 60.0, (), 0)
    held.meanwhile = lambda: store.delete([b"a" * 16])
    assert store.get(b"a" * 16).record is not None
    assert store.get(b"a" * 16).record is None


@pytest.mark.parametrize("url", ["sqlite:///cache.db", "redis://localhost"])
def test_the_deadline_of_the_store_is_that_of_the_cache(url: str) -> None:
    """Under WSGI only the store's own client can keep it."""
    assert Cache(store=url, timeout=0.02).store.timeout == 0.02
    assert Cache(store=url).store.timeout > 0.02


def test_a_clock_that_is_put_back_keeps_nothing_fresh() -> None:
    """An answer of tomorrow is asked for anew; it is not good for a day and its lifetime."""
    bench = Bench(LONG)
    bench.get()
    bench.pass_time(-86_400)
    assert not is_hit(bench.get())
    assert is_hit(bench.get())


@pytest.mark.parametrize(("one", "other"), [("/%7Ea", "/~a"), ("/%c3%a9", "/%C3%A9")])
def test_a_path_in_two_spellings_is_one(one: str, other: str) -> None:
    """Percent-encoding in another case or without need is found, and is invalidated."""
    bench = Bench(LONG)
    bench.get(one)
    assert is_hit(bench.get(other))
    bench.get(other, method="PUT")
    assert not is_hit(bench.get(one))
    assert not is_hit(bench.get("/%2Fa")) and not is_hit(bench.get("//a"))
    bench.cache.invalidate(url=f"http://testserver{other}")
    assert not is_hit(bench.get(one))


@pytest.mark.parametrize(
    ("purges", "asked"),
    [
        ({"url": "http://a/"}, 2), ({"url": "http://a/other"}, 1), ({"tags": "its"}, 2),
        ({"tags": "another's"}, 1),
    ],
)  # fmt: skip
@in_loop
async def test_a_purge_of_something_else_does_not_part_those_who_wait(
    purges: dict[str, str], asked: int
) -> None:
    """Only what may have been purged is asked for anew by who comes later."""
    go = asyncio.Event()
    count = 0

    async def origin(request: Request) -> Response:
        nonlocal count
        count += 1

        async def body() -> AsyncIterator[bytes]:
            yield b"one"
            await go.wait()

        return Response(200, [LONG, ("surrogate-key", "its")], body())

    cache = Cache()
    app = asgi_app(origin, cache)
    clients = [Client(app)]
    await settle()
    await cache.ainvalidate(**purges)  # type: ignore[arg-type]
    clients += [Client(app), Client(app)]
    await settle()
    go.set()
    await asyncio.gather(*(client.task for client in clients))
    assert {client.body for client in clients} == {b"one"}
    assert count == asked
