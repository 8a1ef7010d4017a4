"""An app that computes is asked for twice what it can: answers a second that come in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial

import gatekit
from gatekit.middleware.concurrency import ConcurrencyLimit
from gatekit.middleware.load_shed import LoadShed
from gatekit.typing import ASGIApp, Message, Receive, Scope, Send
from tests.benchmarks.harness import Bench
from tests.benchmarks.inprocess import Caller, empty, http_scope, noop
from tests.benchmarks.report import Line, at_least

WORK = 0.002
"""Seconds for which one request keeps the loop."""
PATIENCE = 0.25
"""Seconds after which its client has given up."""
OVERLOAD = 2.0


def measure(bench: Bench) -> Iterator[Line]:
    apps: dict[str, ASGIApp] = {
        "nothing": computes,
        "a limit of 8": gatekit.asgi(computes, ConcurrencyLimit(8)),
        "shed": gatekit.asgi(computes, LoadShed(0.05)),
    }
    seconds = 1.0 if bench.quick else 2.0
    samples = bench.alternate(
        {name: partial(goodput, app, seconds) for name, app in apps.items()},
        rounds=bench.load_rounds,
    )
    for peer in ("nothing", "a limit of 8"):
        yield Line(
            "in time at twice its capacity",
            unit="req/s",
            ours=samples.median("shed"),
            peer=samples.median(peer),
            against=peer,
            ratio=samples.ratio("shed", peer),
            budget=at_least(1.5),
            note=f"its capacity is {1 / WORK:.0f}",
        )
    idle: dict[str, ASGIApp] = {"base": noop, "shed": gatekit.asgi(noop, LoadShed())}
    with Caller() as call:
        added = bench.alternate({name: partial(call.measure, app) for name, app in idle.items()})
    yield Line("one that sheds nothing", ours=added.added("shed", "base"))


async def computes(scope: Scope, receive: Receive, send: Send) -> None:
    until = time.perf_counter() + WORK
    while time.perf_counter() < until:
        pass
    await noop(scope, receive, send)


def goodput(app: ASGIApp, seconds: float) -> float:
    return asyncio.run(offer(app, seconds))


async def offer(app: ASGIApp, seconds: float) -> float:
    """Requests come by the clock, whether others were answered or not."""
    loop = asyncio.get_running_loop()
    in_time = 0
    tasks: set[asyncio.Task[None]] = set()

    async def ask(came: float) -> None:
        nonlocal in_time
        statuses: list[int] = []

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await app(http_scope(), empty, send)
        in_time += statuses == [200] and loop.time() - came <= PATIENCE

    def come(moment: float) -> None:
        tasks.add(loop.create_task(ask(moment)))
        if len(tasks) == count:
            all_came.set()

    all_came = asyncio.Event()
    start = loop.time() + 0.01
    count = int(seconds * OVERLOAD / WORK)
    for position in range(count):
        moment = start + position * WORK / OVERLOAD
        loop.call_at(moment, come, moment)
    await all_came.wait()
    await asyncio.gather(*tasks)
    return in_time / seconds
