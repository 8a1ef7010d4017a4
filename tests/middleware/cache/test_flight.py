"""One request asks for many: coroutines, threads, a leader that fails, leaves or is too long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gatekit import Cache, Request, Response, asgi_app, wsgi_app
from gatekit.testing import Answer, call_asgi, call_wsgi
from tests.middleware.cache.clients import LONG, settle
from tests.middleware.cache.origin import in_loop


class Gate:
    """A handler that answers when it is let, and counts who asked."""

    def __init__(self, answer: Callable[[int], Response]) -> None:
        self.answer = answer
        self.asked = 0
        self.entered = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, request: Request) -> Response:
        self.asked += 1
        self.entered.set()
        await self.open.wait()
        return self.answer(self.asked)


async def crowd(app: Any, count: int, **headers: str) -> list[asyncio.Task[Answer]]:
    tasks = [asyncio.create_task(call_asgi(app, headers=headers)) for _ in range(count)]
    await settle()
    return tasks


@in_loop
async def test_a_thousand_ask_once() -> None:
    """One cold key, a thousand coroutines: the origin is asked once, and all get the answer."""
    gate = Gate(lambda _: Response(200, [LONG], b"x" * 2000))
    cache = Cache()
    app = asgi_app(gate, cache)
    tasks = await crowd(app, 1000)
    gate.open.set()
    answers = await asyncio.gather(*tasks)
    assert gate.asked == 1
    assert {answer.body for answer in answers} == {b"x" * 2000}
    assert cache.stats().collapsed == 999
    assert sum("collapsed" in answer.headers["cache-status"] for answer in answers) == 999


@in_loop
async def test_a_leader_that_leaves_hands_over() -> None:
    """With the first one cancelled the origin is asked twice, and everybody else is served."""
    gate = Gate(lambda _: Response(200, [LONG], b"x"))
    app = asgi_app(gate, Cache())
    tasks = await crowd(app, 1000)
    tasks[0].cancel()
    await settle()
    gate.open.set()
    answers = await asyncio.gather(*tasks[1:])
    assert gate.asked == 2
    assert {answer.body for answer in answers} == {b"x"}


@in_loop
async def test_a_leader_that_fails_hands_over_once() -> None:
    """The second one tries; if it fails as well, nobody queues behind the third."""

    def failing(number: int) -> Response:
        return Response(503 if number == 1 else 200, [LONG] if number > 1 else [], b"x")

    gate = Gate(failing)
    app = asgi_app(gate, Cache())
    tasks = await crowd(app, 10)
    gate.open.set()
    answers = await asyncio.gather(*tasks)
    assert gate.asked == 2
    assert sorted(answer.status for answer in answers) == [200] * 9 + [503]
    down = Gate(lambda _: Response(503, [], b"x"))
    tasks = await crowd(asgi_app(down, Cache()), 10)
    down.open.set()
    assert {answer.status for answer in await asyncio.gather(*tasks)} == {503}
    assert down.asked == 10


@in_loop
async def test_what_is_not_to_be_stored_queues_nobody() -> None:
    """All are let go at once, and the next ones do not wait at all."""
    gate = Gate(lambda _: Response(200, [("cache-control", "private")], b"x"))
    app = asgi_app(gate, Cache())
    tasks = await crowd(app, 20)
    assert gate.asked == 1
    gate.open.set()
    await asyncio.gather(*tasks)
    assert gate.asked == 20
    gate.open.clear()
    tasks = await crowd(app, 20)
    assert gate.asked == 40
    gate.open.set()
    await asyncio.gather(*tasks)


@in_loop
async def test_each_variant_is_asked_for_once() -> None:
    """Who wants another one goes on to queue for that."""
    seen: list[str] = []

    async def handler(request: Request) -> Response:
        seen.append(request.headers["lang"])
        for _ in range(5):
            await asyncio.sleep(0)
        return Response(200, [LONG, ("vary", "lang")], request.headers["lang"])

    app = asgi_app(handler, Cache())
    tasks = [await crowd(app, 10, lang=lang) for lang in ("en", "de")]
    for lang, group in zip(("en", "de"), tasks, strict=True):
        assert {answer.text for answer in await asyncio.gather(*group)} == {lang}
    assert sorted(seen) == ["de", "en"]


def test_threads_ask_once() -> None:
    """Under WSGI: one thread asks, the others wait for its head and read along."""
    asked: list[int] = []
    waiting, go = threading.Event(), threading.Event()

    async def handler(request: Request) -> Response:
        asked.append(1)
        waiting.set()
        go.wait(10)
        return Response(200, [LONG], b"x" * 5000)

    cache = Cache()
    app = wsgi_app(handler, cache)
    with ThreadPoolExecutor(16) as threads:
        answers = [threads.submit(call_wsgi, app) for _ in range(16)]
        assert waiting.wait(10)
        go.set()
        assert {answer.result(10).body for answer in answers} == {b"x" * 5000}
    assert len(asked) == 1


def test_a_thread_that_fails_hands_over() -> None:
    """The next thread asks."""
    asked: list[int] = []
    go = threading.Event()

    async def handler(request: Request) -> Response:
        asked.append(1)
        go.wait(10)
        if len(asked) == 1:
            raise OSError("gone")
        return Response(200, [LONG], b"x")

    app = wsgi_app(handler, Cache())
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(call_wsgi, app) for _ in range(8)]
        go.set()
        statuses = sorted(answer.result(10).status for answer in answers)
    assert statuses[0] == 200
    assert statuses.count(500) <= 1
    assert len(asked) <= 2


@pytest.mark.parametrize("coalesce", [True, False])
@in_loop
async def test_coalescing_can_be_switched_off(coalesce: bool) -> None:
    """Then everybody asks for himself."""
    gate = Gate(lambda _: Response(200, [LONG], b"x"))
    tasks = await crowd(asgi_app(gate, Cache(coalesce=coalesce)), 5)
    gate.open.set()
    await asyncio.gather(*tasks)
    assert gate.asked == (1 if coalesce else 5)


@in_loop
async def test_an_error_of_the_caches_own_leaves_nobody_waiting() -> None:
    """A normaliser that raises is a 500 for the one, and no queue for the others."""

    def raising(value: str) -> str:
        raise OSError(value)

    async def handler(request: Request) -> Response:
        return Response(200, [LONG, ("vary", "x-a")], b"x")

    app = asgi_app(handler, Cache(normalise={"x-a": raising}, wait=600))
    assert (await call_asgi(app, headers={"x-a": "1"})).status == 500
    async with asyncio.timeout(5):
        assert (await call_asgi(app, headers={"x-a": "1"})).status == 500
