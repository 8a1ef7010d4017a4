"""Whose answer it is: thousands of requests of several tenants and people at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest

from gatekit import Cache, Identity, Request, Response, asgi_app, wsgi_app
from gatekit.testing import Answer, call_asgi, call_wsgi
from gatekit.typing import Handler
from tests.middleware.cache.origin import in_loop, is_hit

TENANTS, PEOPLE = ("north", "south"), ("ada", "bob")
PATHS = ("/a", "/b", "/c")
KINDS: dict[str, dict[str, Any]] = {
    "identity": {"vary_by_identity": True},
    "tenant": {"partition": lambda request: request.identity.tenant},
    "unasked": {},
    "vary": {},
}


async def authenticate(request: Request, call_next: Handler) -> Response:
    """Takes the client at its word, as a test may."""
    tenant, _, subject = request.headers["x-who"].partition("/")
    request.identity = Identity(subject, tenant=tenant)
    return await call_next(request)


def answered(kind: str, request: Request) -> tuple[list[tuple[str, str]], str]:
    """What an origin says: to a tenant where that is who counts, to a person else."""
    who = request.headers["x-who"]
    assert kind == "vary" or (request.identity is not None and request.identity.subject in who)
    fields = [("cache-control", "max-age=0, stale-while-revalidate=60, public")]
    if kind == "unasked":
        fields = [("cache-control", "max-age=60")]
    elif kind == "vary":
        fields.append(("vary", "x-who"))
    return fields, f"{owner(kind, who)} {request.path} "


def owner(kind: str, who: str) -> str:
    return who.partition("/")[0] if kind == "tenant" else who


def requests(kind: str) -> Iterator[tuple[str, str]]:
    chance = Random(11)
    for _ in range(2000):
        yield f"{chance.choice(TENANTS)}/{chance.choice(PEOPLE)}", chance.choice(PATHS)


def is_right(kind: str, who: str, path: str, answer: Answer) -> bool:
    return answer.text == f"{owner(kind, who)} {path} " * 3


@pytest.mark.parametrize("kind", KINDS)
@in_loop
async def test_coroutines_never_cross(kind: str) -> None:
    """Leaders, those who read along, those who leave, stale answers and purges, all at once."""

    async def origin(request: Request) -> Response:
        fields, line = answered(kind, request)
        await asyncio.sleep(0)

        async def body() -> AsyncIterator[bytes]:
            for _ in range(3):
                await asyncio.sleep(0)
                yield line.encode()

        return Response(200, fields, body())

    cache = Cache(**KINDS[kind])
    app = asgi_app(origin, *([] if kind == "vary" else [authenticate]), cache)
    hits, tasks = 0, list[tuple[str, str, asyncio.Task[Answer]]]()
    for number, (who, path) in enumerate(requests(kind)):
        task = asyncio.create_task(call_asgi(app, target=path, headers={"x-who": who}))
        tasks.append((who, path, task))
        if number % 7 == 0:
            await asyncio.sleep(0)
        if number % 11 == 0:
            tasks[-5:][0][2].cancel()
        if number % 50 == 0:
            await cache.ainvalidate(url=f"http://testserver{path}")
        if number % 40 == 0:
            for name, where, earlier in tasks:
                try:
                    answer = await earlier
                except asyncio.CancelledError:
                    continue
                assert is_right(kind, name, where, answer), answer.text
                hits += is_hit(answer) or "collapsed" in answer.headers["cache-status"]
            tasks.clear()
    await asyncio.gather(*(task for *_, task in tasks), return_exceptions=True)
    await cache.aclose()
    assert hits == 0 if kind == "unasked" else hits > 500


@pytest.mark.parametrize("kind", KINDS)
def test_threads_never_cross(kind: str) -> None:
    """The same under WSGI, where eight threads ask."""

    async def handler(request: Request) -> Response:
        fields, line = answered(kind, request)
        return Response(200, fields, iter([line.encode()] * 3))

    cache = Cache(**KINDS[kind])
    app = wsgi_app(handler, *([] if kind == "vary" else [authenticate]), cache)

    def ask(each: tuple[str, str]) -> tuple[str, str, Answer]:
        who, path = each
        return who, path, call_wsgi(app, target=path, headers={"x-who": who})

    with ThreadPoolExecutor(8) as threads:
        for who, path, answer in threads.map(ask, requests(kind)):
            assert is_right(kind, who, path, answer), answer.text
    assert (cache.stats().hits + cache.stats().stale > 500) is (kind != "unasked")
    cache.close()
