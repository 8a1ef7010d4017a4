"""A real server that dies or falls silent while requests with keys come in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator

import pytest

from gatekit import asgi
from gatekit._core.io import BlockingIO
from gatekit.keys import KeyManager, RedisKeys
from gatekit.middleware.auth.api_key import ApiKeyAuth
from gatekit.testing import call_asgi, exercise
from tests.hammer import bare_asgi
from tests.keys.stubs import SECRET
from tests.redis_server import RedisServer, executable, redis_server

pytestmark = pytest.mark.skipif(executable() is None, reason="there is no Redis")

TIMEOUT = 0.1
"""Seconds; what is asserted leaves a busy machine ten times as long."""


@pytest.fixture
def server() -> Generator[RedisServer]:
    with redis_server() as running:
        yield running


def statuses(auth: ApiKeyAuth, *texts: str) -> list[int]:
    """In one event loop, one after another."""

    async def ask() -> list[int]:
        app = asgi(bare_asgi, auth)
        found = [await call_asgi(app, headers={"x-api-key": text}) for text in texts]
        await auth.aclose()
        return [answer.status for answer in found]

    return asyncio.run(ask())


def test_a_server_that_dies(server: RedisServer) -> None:
    """In either colour: what is known goes on for `stale_for`, what is not is a 503."""
    keys = KeyManager(RedisKeys(server.url, timeout=5), secret=SECRET)
    known, unknown = keys.create("acme").text, keys.create("acme").text
    io = BlockingIO()
    auth = ApiKeyAuth(keys, ttl=1e-6, stale_for=3600, track_use=False)
    assert exercise(auth, headers={"x-api-key": known}, io=io).status == 200
    server.kill()
    assert exercise(auth, headers={"x-api-key": known}, io=io).status == 200
    assert exercise(auth, headers={"x-api-key": unknown}, io=io).status == 503
    assert statuses(auth, known, unknown) == [200, 503]
    auth.close()


def test_a_server_that_falls_silent(server: RedisServer) -> None:
    """It is waited for as long as `timeout`, in either colour, and then left alone."""
    keys = KeyManager(RedisKeys(server.url, timeout=TIMEOUT), secret=SECRET)
    texts = [keys.create("acme").text for _ in range(20)]
    keys.close()
    with server.paused():
        began = time.monotonic()
        assert set(statuses(ApiKeyAuth(keys, track_use=False), *texts)) == {503}
        blocking = ApiKeyAuth(keys, track_use=False)
        io = BlockingIO()
        for text in texts:
            assert exercise(blocking, headers={"x-api-key": text}, io=io).status == 503
        # Three waits in each colour, and not forty.
        assert time.monotonic() - began < 20 * TIMEOUT
        blocking.close()


def test_uses_get_to_the_server(server: RedisServer) -> None:
    """And a key that was used is listed with the moment."""
    keys = KeyManager(RedisKeys(server.url, timeout=5), secret=SECRET)
    made = keys.create("acme")
    auth = ApiKeyAuth(keys)

    async def use() -> float | None:
        answer = await call_asgi(asgi(bare_asgi, auth), headers={"x-api-key": made.text})
        assert answer.status == 200
        tasks = list(auth._lookup._background._tasks)  # type: ignore[union-attr]
        await asyncio.gather(*tasks)
        record = await keys.aget(made.record.id)
        await auth.aclose()
        return record.last_used_at

    used = asyncio.run(use())
    assert used is not None
    assert used >= made.record.created_at
