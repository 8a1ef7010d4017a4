"""Those who read along go on when the one who reads leaves, breaks off or stands still."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gatekit import Cache, asgi, wsgi
from gatekit.typing import Message
from tests.middleware.cache.clients import Client, settle
from tests.middleware.cache.origin import in_loop

FIELDS = [(b"cache-control", b"max-age=60"), (b"etag", b'"1"')]


class Pushing:
    """An app of one's own that sends two chunks, the second when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()
        self.second = b"two"
        self.fails = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        await send({"type": "http.response.start", "status": 200, "headers": FIELDS})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await self.go.wait()
        if self.fails:
            raise OSError("gone")
        await send({"type": "http.response.body", "body": self.second})


@in_loop
async def test_a_leader_of_an_app_leaves() -> None:
    """The app is asked once more for all who read along, and each gets what it lacks."""
    app = Pushing()
    cache = Cache()
    door = asgi(app, cache)
    leader = Client(door)
    await settle()
    others = [Client(door) for _ in range(50)]
    await settle()
    assert {client.body for client in others} == {b"one "}
    await leader.leave()
    await settle()
    app.go.set()
    await asyncio.gather(*(client.task for client in others))
    assert {client.body for client in others} == {b"one two"}
    assert all(client.got[-1]["more_body"] is False for client in others)
    assert (app.asked, cache.stats().stored) == (2, 1)
    assert (await fetched(door)).body == b"one two"
    assert app.asked == 2


@in_loop
async def test_who_takes_over_leaves_as_well() -> None:
    """Then the next one asks."""
    app = Pushing()
    door = asgi(app, Cache())
    leader = Client(door)
    await settle()
    others = [Client(door) for _ in range(3)]
    await settle()
    await leader.leave()
    await settle()
    assert app.asked == 2
    await others[0].leave()
    await settle()
    app.go.set()
    await asyncio.wait_for(asyncio.gather(*(client.task for client in others[1:])), 5)
    assert [client.body for client in others[1:]] == [b"one two"] * 2
    assert app.asked == 3


@in_loop
async def test_an_answer_that_is_another_one_by_now() -> None:
    """What was passed on cannot be taken back: the body breaks off, nothing is mixed."""
    app = Pushing()
    door = asgi(app, Cache())
    leader = Client(door)
    await settle()
    other = Client(door)
    await settle()
    app.second = b"three"
    FIELDS[1] = (b"etag", b'"2"')
    try:
        await leader.leave()
        await settle()
        app.go.set()
        with pytest.raises(Exception, match="broke off"):
            await other.task
    finally:
        FIELDS[1] = (b"etag", b'"1"')
    assert other.body == b"one "


@in_loop
async def test_an_app_that_fails_is_asked_once_more_not_by_each() -> None:
    """Twenty who read along ask a broken app one more time between them."""
    app = Pushing()
    app.fails = True
    door = asgi(app, Cache())
    clients = [Client(door) for _ in range(20)]
    await settle()
    app.go.set()
    ended = await asyncio.gather(*(client.task for client in clients), return_exceptions=True)
    assert all(isinstance(error, Exception) for error in ended)
    assert app.asked == 2


@in_loop
async def test_a_leader_whose_client_does_not_read() -> None:
    """It holds up those who read along for `wait` seconds, and nobody who comes later."""

    class Stuck(Client):
        async def _send(self, message: Message) -> None:
            await asyncio.Event().wait()

    app = Pushing()
    app.go.set()
    cache = Cache(wait=0.02)
    door = asgi(app, cache)
    leader = Stuck(door)
    await settle()
    others = [Client(door) for _ in range(3)]
    await asyncio.wait_for(asyncio.gather(*(client.task for client in others)), 5)
    assert {client.body for client in others} == {b"one two"}
    assert (await fetched(door)).body == b"one two"
    assert app.asked == 2
    await leader.leave()


def test_a_leader_of_a_wsgi_app_leaves() -> None:
    """In threads one of those left asks, the others wait for it."""
    asked: list[int] = []
    go, joined = threading.Event(), threading.Semaphore(0)

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        asked.append(1)
        start_response("200 OK", [("cache-control", "max-age=60")])

        def body() -> Iterator[bytes]:
            yield b"one "
            go.wait(5)
            yield b"two"

        return body()

    door = wsgi(app, Cache())
    leader = iter(door(environ(), lambda *_: print))
    assert next(leader) == b"one "
    got: list[bytes] = []

    def follow() -> None:
        body = door(environ(), lambda *_: print)
        chunks = iter(body)
        first = next(chunks)
        joined.release()
        got.append(first + b"".join(chunks))
        body.close()  # type: ignore[attr-defined]

    threads = [threading.Thread(target=follow) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert joined.acquire(timeout=5)
    leader.close()  # type: ignore[attr-defined]
    go.set()
    for thread in threads:
        thread.join(5)
    assert got == [b"one two"] * 4
    assert len(asked) == 2


def environ() -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET", "PATH_INFO": "/", "SCRIPT_NAME": "", "QUERY_STRING": "",
        "SERVER_NAME": "a", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "a",
        "wsgi.url_scheme": "http",
    }  # fmt: skip


async def fetched(door: Any) -> Client:
    client = Client(door)
    await asyncio.wait_for(client.task, 5)
    return client
