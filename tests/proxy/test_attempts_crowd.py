"""Many requests at once over destinations that fail as they like: nothing is lost or left over."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest

from gatekit import CircuitBreaker, Proxy, Response, asgi_app, wsgi_app
from gatekit.errors import UpstreamError
from gatekit.proxy.attempts.hedge import Hedge
from gatekit.proxy.attempts.retry import Retry
from gatekit.proxy.clusters.cluster import Cluster
from gatekit.testing import call_asgi, call_wsgi, upstream
from tests.proxy.loops import until
from tests.proxy.scripted import is_at_rest

NAMES = ["http://a", "http://b", "http://c"]
KEEN = Retry(2, backoff=0.0, max_backoff=0.0)


def moody(seed: int) -> Any:
    """Two in three answers are good; the others are bad, or none."""
    chance, lock = Random(seed), threading.Lock()

    def answer(sent: Any) -> Response:
        with lock:
            mood = chance.random()
        if mood < 0.1:
            raise UpstreamError("connect", "refused")
        if mood < 0.2:
            raise UpstreamError("reset", "gone")
        body: Any = [b"one", b"two"] if mood < 0.6 else b"onetwo"
        return Response(503 if mood < 0.33 else 200, None, body)

    return upstream(answer)


@pytest.mark.parametrize("options", [
    {},
    {"hedge": Hedge(1e-6)},
    {"breaker": CircuitBreaker("c", open_for=0.001, jitter=0.0, ramp=0.0)},
], ids=["retries", "hedges", "circuits"])  # fmt: skip
def test_threads(options: dict[str, Any]) -> None:
    """Under WSGI, eight at a time."""
    described = Cluster("c", destinations=NAMES, retry=KEEN, transport=moody(3), **options)
    app = wsgi_app(Proxy(described))

    def some(_: int) -> list[int]:
        return [call_wsgi(app).status for _ in range(25)]

    with ThreadPoolExecutor(8) as threads:
        statuses = [status for found in threads.map(some, range(8)) for status in found]
    assert len(statuses) == 200 and set(statuses) <= {200, 502, 503}
    assert statuses.count(200) > 150 or "breaker" in options
    asyncio.run(until(lambda: is_at_rest(described)))


@pytest.mark.parametrize("options", [{}, {"hedge": Hedge(1e-9)}], ids=["retries", "hedges"])
def test_tasks(options: dict[str, Any]) -> None:
    """Under ASGI, all at once; every third is cancelled on its way."""

    async def main() -> None:
        described = Cluster("c", destinations=NAMES, retry=KEEN, transport=moody(5), **options)
        app = asgi_app(Proxy(described))
        tasks = [asyncio.create_task(call_asgi(app)) for _ in range(300)]
        for number, task in enumerate(tasks):
            if number % 3 == 0:
                for _ in range(number % 4):
                    await asyncio.sleep(0)
                task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        cut = [one for one in found if isinstance(one, BaseException)]
        assert all(isinstance(one, asyncio.CancelledError) for one in cut)
        assert len(cut) <= 100
        await until(lambda: is_at_rest(described))
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
