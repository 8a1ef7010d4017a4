"""Followers read along from the leader; who leaves, breaks off or is too long hurts nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from gatekit import Cache, Request, Response, asgi, asgi_app
from gatekit.testing import call_asgi
from gatekit.typing import Message
from tests.middleware.cache.clients import LONG, Client, Slow, settle
from tests.middleware.cache.origin import in_loop


@in_loop
async def test_followers_read_along() -> None:
    """The first byte of a follower is there long before the last one of the leader."""
    slow = Slow([b"one ", b"two ", b"three"])
    app = asgi_app(slow, Cache())
    leader = Client(app)
    await settle()
    slow.let(1)
    await settle()
    follower = Client(app)
    await settle()
    assert (leader.body, follower.body) == (b"one ", b"one ")
    slow.let(2)
    await asyncio.gather(leader.task, follower.task)
    assert (leader.body, follower.body) == (b"one two three", b"one two three")
    assert slow.asked == 1


@in_loop
async def test_a_leader_that_leaves_does_not_hurt_who_reads_along() -> None:
    """What was begun is read to its end beside the requests, and stored."""
    slow = Slow([b"one ", b"two ", b"three"])
    cache = Cache()
    app = asgi_app(slow, cache)
    leader, follower = Client(app), Client(app)
    await settle()
    slow.let(1)
    await settle()
    await leader.leave()
    slow.let(2)
    await asyncio.wait_for(follower.task, 5)
    assert follower.body == b"one two three"
    assert (await call_asgi(app, headers={"host": "a"})).body == b"one two three"
    assert slow.asked == 1
    await cache.aclose()


@in_loop
async def test_a_leader_that_leaves_at_its_head_does_not_hurt_who_reads_along() -> None:
    """Not one chunk had been asked for: the body is read for the others all the same."""

    async def handler(request: Request) -> Response:
        return Response(200, [LONG], (piece for piece in (b"one ", b"two")))

    class Stuck(Client):
        async def _send(self, message: Message) -> None:
            await asyncio.Event().wait()

    cache = Cache()
    app = asgi_app(handler, cache)
    leader = Stuck(app)
    await settle()
    follower = Client(app)
    await settle()
    await leader.leave()
    await asyncio.wait_for(follower.task, 5)
    assert follower.body == b"one two"
    await cache.aclose()


@in_loop
async def test_a_leader_that_leaves_alone_stores_nothing() -> None:
    """Nothing partial is kept, and the origin's stream is closed."""
    slow = Slow([b"one ", b"two "])
    app = asgi_app(slow, Cache())
    leader = Client(app)
    await settle()
    slow.let(1)
    await settle()
    await leader.leave()
    assert slow.closed
    slow.let(2)
    assert (await call_asgi(app, headers={"host": "a"})).body == b"one two "
    assert slow.asked == 2


@in_loop
async def test_a_body_that_breaks_off_breaks_off_for_all() -> None:
    """A follower must not take a part for the whole."""

    async def broken(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"one"
            await settle()
            raise OSError("gone")

        return Response(200, [LONG], body())

    app = asgi_app(broken, Cache())
    clients = [Client(app) for _ in range(3)]
    ended = await asyncio.gather(*(client.task for client in clients), return_exceptions=True)
    assert all(isinstance(error, Exception) for error in ended)
    assert not any(message.get("more_body") is False for c in clients for message in c.got)


@in_loop
async def test_a_body_that_outgrows_the_cache_reaches_who_reads_along() -> None:
    """Nobody new joins, those who did get all of it, and nothing is stored."""
    chunks = [bytes([number]) * 100 for number in range(20)]
    slow = Slow(chunks, length=False)
    cache = Cache(max_object=1000)
    app = asgi_app(slow, cache)
    first, second = Client(app), Client(app)
    await settle()
    for _ in range(20):
        slow.let(1)
        await settle()
    await asyncio.gather(first.task, second.task)
    assert first.body == second.body == b"".join(chunks)
    assert (slow.asked, cache.stats().stored) == (1, 0)


@in_loop
async def test_an_event_stream_is_never_shared() -> None:
    """Each client has its own."""
    asked = 0

    async def events(request: Request) -> Response:
        nonlocal asked
        asked += 1
        fields = [LONG, ("content-type", "text/event-stream")]
        return Response(200, fields, b"data: x\n\n")

    app = asgi_app(events, Cache())
    await asyncio.gather(*(call_asgi(app) for _ in range(5)))
    assert asked == 5


@in_loop
async def test_an_app_of_ones_own_is_asked_once() -> None:
    """Followers read along from an app that pushes its body, too."""
    asked = 0
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal asked
        asked += 1
        fields = [(b"cache-control", b"max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await go.wait()
        await send({"type": "http.response.body", "body": b"two"})

    door = asgi(app, Cache())
    clients = [Client(door) for _ in range(50)]
    await settle()
    assert {client.body for client in clients} == {b"one "}
    go.set()
    await asyncio.gather(*(client.task for client in clients))
    assert {client.body for client in clients} == {b"one two"}
    assert asked == 1


@in_loop
async def test_a_file_that_the_server_would_send(tmp_path: Path) -> None:
    """What an app only names is read, stored and sent."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100_000)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        fields = [(b"cache-control", b"max-age=60"), (b"content-length", b"100000")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.pathsend", "path": str(path)})

    cache = Cache()
    door = asgi(app, cache)
    for _ in range(2):
        client = Client(door)
        await client.task
        assert client.body == b"x" * 100_000
    assert (cache.stats().stored, cache.stats().hits) == (1, 1)
