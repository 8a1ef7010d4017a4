"""Refuses what waited too long for its turn."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gatekit import ClientIP, ConfigurationError, Request, Response
from gatekit.middleware.load_shed import LoadShed
from gatekit.testing import FakeIO, exercise, make_request
from tests.conftest import Door
from tests.doors.spec import Spec

NOON = 1_700_000_000.0


class Clock(FakeIO):
    """Stands for the io of an ASGI door; time passes only in apps that compute."""

    is_async = True


async def ok(request: Request) -> Response:
    return Response.text("ok")


def ask(shed: LoadShed, io: Clock, takes: float) -> asyncio.Task[int]:
    """A request whose app keeps the loop for so many seconds."""

    async def computes(_: Request) -> Response:
        io.advance(takes)
        return Response.text("ok")

    async def run() -> int:
        return (await shed(make_request(io=io), computes)).status

    return asyncio.create_task(run())


def test_without_a_load_nobody_is_refused(door: Door) -> None:
    """Under every door, and nothing is left behind."""
    shed = LoadShed(0.001)
    for _ in range(3):
        assert door(Spec(), shed).status == 200
    assert shed._rounds == {}


def test_who_waited_behind_others_is_refused() -> None:
    """Of those that came together, the ones before the bound are answered, the others are not."""

    async def main() -> list[int]:
        shed, io = LoadShed(0.1), Clock()
        return await asyncio.gather(*(ask(shed, io, 0.04) for _ in range(6)))

    assert asyncio.run(main()) == [200, 200, 200, 503, 503, 503]


def test_the_next_round_begins_anew() -> None:
    """As soon as the loop has got through, all is well."""

    async def main() -> list[list[int]]:
        shed, io = LoadShed(0.1), Clock()
        return [
            await asyncio.gather(*(ask(shed, io, 0.2) for _ in range(2))),
            await asyncio.gather(*(ask(shed, io, 0.0) for _ in range(2))),
        ]

    assert asyncio.run(main()) == [[200, 503], [200, 200]]


def test_waiting_is_no_load() -> None:
    """An app that awaits something slow keeps nobody from theirs."""

    async def main() -> list[int]:
        shed, io, done = LoadShed(0.1), Clock(), asyncio.Event()

        async def waits(_: Request) -> Response:
            await done.wait()
            return Response.text("ok")

        async def run() -> int:
            return (await shed(make_request(io=io), waits)).status

        slow = asyncio.create_task(run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        io.advance(5.0)
        quick = await ask(shed, io, 0.0)
        done.set()
        return [quick, await slow]

    assert asyncio.run(main()) == [200, 200]


def test_the_refusal_is_a_503_that_says_when() -> None:
    """With a problem, and a decision that says why."""
    request = make_request(io=FakeIO(), headers={"x-request-start": f"t={NOON - 2}"})
    request.trusted_peer = True
    shed = LoadShed(0.5, header="X-Request-Start", retry_after=1.2, clock=lambda: NOON)
    answer = exercise(shed, request=request)
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert json.loads(answer.body)["type"] == "urn:gatekit:overloaded"
    assert request.decisions == [("load-shed", "deny", "waited too long for its turn")]


@pytest.mark.parametrize(
    ("field", "status"),
    [
        (f"t={NOON - 0.6}", 503),
        (f"t={NOON - 0.4}", 200),
        (f"{NOON - 0.6}", 503),
        (f"{(NOON - 0.6) * 1e3:.0f}", 503),
        (f"{(NOON - 0.4) * 1e3:.0f}", 200),
        (f"t={(NOON - 0.6) * 1e6:.0f}", 503),
        (f"t={NOON + 60}", 200),
        ("", 200),
        ("yesterday", 200),
        ("t=-5", 200),
        ("t=1", 200),
    ],
)
def test_a_proxy_says_when_it_came(field: str, status: int) -> None:
    """In seconds, milliseconds or microseconds; what is no such time says nothing."""
    shed = LoadShed(0.5, header="X-Request-Start", clock=lambda: NOON)
    headers = {"x-request-start": field} if field else {}
    answer = exercise(ClientIP(trusted=["127.0.0.1"]), shed, headers=headers)
    assert answer.status == status


def test_a_client_is_not_believed() -> None:
    """Nobody but a trusted peer says when a request came."""
    shed = LoadShed(0.5, header="X-Request-Start", clock=lambda: NOON)
    assert exercise(shed, headers={"x-request-start": "t=1600000000"}).status == 200


def test_shadow_only_tells() -> None:
    """Nobody is refused."""
    request = make_request(headers={"x-request-start": "t=1600000000"})
    request.trusted_peer = True
    shed = LoadShed(0.5, header="X-Request-Start", clock=lambda: NOON, shadow=True)
    assert exercise(shed, request=request).status == 200
    assert [decision.outcome for decision in request.decisions] == ["shadow_deny"]


def test_a_loop_that_stopped_in_mid_round_is_not_taken_for_another() -> None:
    """A new loop begins with a round of its own."""
    shed, io = LoadShed(0.1), Clock()

    async def stop_early() -> None:
        await shed(make_request(io=io), ok)
        asyncio.get_running_loop().stop()

    loop = asyncio.new_event_loop()
    task = loop.create_task(stop_early())
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert task.done()
    io.advance(60.0)

    async def main() -> int:
        return await ask(shed, io, 0.0)

    assert asyncio.run(main()) == 200


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_lag": 0}, "max_lag"),
        ({"header": "no name"}, "header"),
        ({"retry_after": -1}, "retry_after"),
        ({"name": 1}, "name"),
        ({"clock": 5}, "clock"),
        ({"shadow": 1}, "shadow"),
        ({"max_lags": 1}, "max_lags"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], named: str) -> None:
    """Before the first request."""
    with pytest.raises(ConfigurationError) as caught:
        LoadShed(**options)
    assert list(caught.value.problems) == [named]
