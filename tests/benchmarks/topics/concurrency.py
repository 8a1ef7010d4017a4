"""What a bulkhead adds to a request, and what it costs to hand a place on in a long queue, µs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial

from interlock import Pipeline

import gatekit
from gatekit import Request, Response
from gatekit.limits import keys
from gatekit.middleware._bulkhead import Place, Rules
from gatekit.middleware._turnstile import Turnstile
from gatekit.middleware.concurrency import AdaptiveLimit, ConcurrencyLimit
from gatekit.typing import ASGIApp, Handler, Receive, Scope, Send
from tests.benchmarks.harness import Bench
from tests.benchmarks.inprocess import Caller, noop
from tests.benchmarks.report import Line, at_most

PLACES = 100


def measure(bench: Bench) -> Iterator[Line]:
    apps: dict[str, ASGIApp] = {
        "base": noop,
        "room": gatekit.asgi(noop, ConcurrencyLimit(PLACES)),
        "finish": gatekit.asgi(noop, finishing),
        "key": gatekit.asgi(noop, ConcurrencyLimit(PLACES, key=keys.address)),
        "adaptive": gatekit.asgi(noop, ConcurrencyLimit(AdaptiveLimit())),
        "semaphore": by_hand(noop),
        "interlock": by_interlock(noop),
    }
    with Caller() as call:
        for name, app in apps.items():
            if (status := call.status(app)) != 200:
                raise AssertionError(f"{name} answers {status}")
        samples = bench.alternate({name: partial(call.measure, app) for name, app in apps.items()})
    room = samples.added("room", "base")
    for name, label in [("interlock", "interlock-cb"), ("semaphore", "a semaphore by hand")]:
        yield Line("one with room", ours=room, peer=samples.added(name, "base"), against=label)
    yield Line(
        "being told of the end",
        ours=samples.added("finish", "base"),
        note="a part of each figure of ours",
    )
    yield Line("with a key", ours=samples.added("key", "base"))
    yield Line("adaptive", ours=samples.added("adaptive", "base"))
    queues = bench.alternate({str(long): partial(hand_on, long) for long in (10, 10_000)})
    yield Line(
        "handing a place on, 10,000 waiting",
        ours=queues.median("10000"),
        peer=queues.median("10"),
        against="10 waiting",
        ratio=queues.ratio("10000", "10"),
        budget=at_most(1.5),
    )


class Standing:
    """Whoever waits, without a loop or a thread."""

    def is_late(self) -> bool:
        return False

    def wake(self) -> bool:
        return True


def hand_on(waiting: int, times: int = 5_000) -> float:
    """Microseconds for one to leave, the next to be let in and another to stand in line."""
    turnstile = Turnstile(Rules(1, queue=waiting + 1))
    waiter = Standing()

    def queue(_place: Place, _seconds: float) -> Standing:
        return waiter

    line = [turnstile.arrive(None, 0, 0.0, queue, forced=False) for _ in range(waiting + 1)]
    before = time.perf_counter()
    for position in range(times):
        turnstile.leave(line[position])
        line.append(turnstile.arrive(None, 0, 0.0, queue, forced=False))
    elapsed = time.perf_counter() - before
    [status] = turnstile.status("queue")
    if (status.in_flight, status.waiting) != (1, waiting):
        raise AssertionError(f"{status} after {times} turns")
    return elapsed / times * 1e6


async def finishing(request: Request, call_next: Handler) -> Response:
    request.on_finish(lambda _: None)
    return await call_next(request)


def by_hand(app: ASGIApp) -> ASGIApp:
    """What is pasted into many apps: without a queue's bound, a deadline, or threads."""
    semaphore = asyncio.Semaphore(PLACES)

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        async with semaphore:
            await app(scope, receive, send)

    return limited


def by_interlock(app: ASGIApp) -> ASGIApp:
    pipeline = Pipeline.builder().bulkhead(PLACES).build()
    return pipeline(app)
