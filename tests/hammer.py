"""Processes that hammer one key of one store at the same moment, and how many were admitted.

admitted = hammer("redis://127.0.0.1:6379", "100/day", "gcra", "asgi", processes=8, each=40)
"""

from __future__ import annotations

import asyncio
import multiprocessing
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any, Literal

from gatekit import asgi, wsgi
from gatekit.limits import RedisStore, SQLiteStore
from gatekit.limits.store import Store
from gatekit.middleware.rate_limit import RateLimit
from gatekit.testing import call_asgi, call_wsgi

Colour = Literal["asgi", "wsgi"]

# Seconds: here the proof is exactness, and two cores serve eight processes.
_PATIENCE = 30.0


def open_patient(url: str) -> Store:
    if url.startswith("redis"):
        return RedisStore(url, timeout=_PATIENCE)
    return SQLiteStore(url, timeout=_PATIENCE)


def hammer(
    url: str, limit: str, algorithm: Any, colour: Colour, *, processes: int, each: int
) -> int:
    """How many of `processes × each` requests, all of one client, were admitted."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes), context.Queue()
    arguments = (url, limit, algorithm, colour, each, barrier, answers)
    workers = [context.Process(target=work, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    admitted: int = sum(answers.get(timeout=50) for _ in workers)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * processes
    return admitted


def work(
    url: str,
    limit: str,
    algorithm: Any,
    colour: Colour,
    each: int,
    barrier: Barrier,
    answers: Queue[int],
) -> None:
    """One worker: all that it sends is answered by 200 or 429, and nothing else."""
    policy = RateLimit(limit, algorithm=algorithm, store=open_patient(url), on_store_error="deny")
    if colour == "wsgi":
        application = wsgi(bare_wsgi, policy)
        barrier.wait()
        statuses = [call_wsgi(application).status for _ in range(each)]
        policy.close()
    else:
        statuses = asyncio.run(flood(policy, each, barrier))
    assert set(statuses) <= {200, 429}, statuses
    answers.put(statuses.count(200))


async def flood(policy: RateLimit, each: int, barrier: Barrier) -> list[int]:
    """Ten at a time."""
    application = asgi(bare_asgi, policy)
    barrier.wait()
    statuses: list[int] = []
    for _ in range(each // 10):
        done = await asyncio.gather(*(call_asgi(application) for _ in range(10)))
        statuses += [answer.status for answer in done]
    await policy.aclose()
    return statuses


async def bare_asgi(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def bare_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"ok"]
