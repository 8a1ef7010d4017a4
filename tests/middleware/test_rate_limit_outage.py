"""A Redis that is killed, stopped or restarted: no hang, no 500, and the stated policy holds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Generator
from itertools import pairwise
from typing import Any

import pytest
from redis.exceptions import ResponseError

from gatekit import Request, Response, asgi
from gatekit._core.io import AsyncIO
from gatekit.limits import RedisStore
from gatekit.limits.guard import Guard
from gatekit.limits.limit_set import LimitSet
from gatekit.limits.store import StoreUnavailable
from gatekit.middleware.rate_limit import RateLimit
from gatekit.testing import Answer, FakeIO, call_asgi, exercise, make_request
from tests.hammer import bare_asgi
from tests.redis_server import RedisServer, executable, redis_server

pytestmark = pytest.mark.skipif(executable() is None, reason="there is no Redis")

DEADLINE = 0.1
SLACK = 0.4
"""Seconds by which a busy machine may be late on top."""


@pytest.fixture
def own() -> Generator[RedisServer]:
    """One that a test may kill."""
    with redis_server() as server:
        yield server


def timed(policy: RateLimit, io: FakeIO) -> tuple[float, Answer]:
    before = time.monotonic()
    answer = exercise(policy, io=io)
    return time.monotonic() - before, answer


@pytest.mark.parametrize(
    ("fallback", "statuses", "degraded"),
    [
        ("allow", [200] * 5, "allow"),
        ("deny", [503] * 5, "deny"),
        ("local", [200, 200, 429, 429, 429], "local"),
    ],
)
def test_killed_and_restarted(
    own: RedisServer,
    fallback: Any,
    statuses: list[int],
    degraded: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The stated policy holds, nobody waits beyond the deadline, and it recovers by itself.

    Each of the two changes is logged once, whatever the number of requests.
    """
    caplog.set_level(logging.WARNING, "gatekit")
    io = FakeIO()
    store = RedisStore(own.url, timeout=DEADLINE)
    policy = RateLimit("2/hour", store=store, on_store_error=fallback)
    assert exercise(policy, io=io).status == 200
    own.kill()
    outage = [timed(policy, io) for _ in range(5)]
    assert [answer.status for _, answer in outage] == statuses
    assert {answer.headers["x-ratelimit-degraded"] for _, answer in outage} == {degraded}
    assert max(waited for waited, _ in outage) < DEADLINE + SLACK
    assert outage[0][1].request.decisions[0].outcome == "error"
    own.start()
    assert exercise(policy, io=io).headers["x-ratelimit-degraded"] == degraded  # it is left alone
    io.advance(1.0)
    answers = [exercise(policy, io=io) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]  # the counts died with it
    assert not any("x-ratelimit-degraded" in answer.headers for answer in answers)
    store.close()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "does not answer" in lines[0]
    assert "answers again" in lines[1]


def test_a_refusal_while_degraded_is_a_503(own: RedisServer) -> None:
    """It is not the client's fault, and it is told when to come back."""
    own.kill()
    policy = RateLimit("2/hour", store=own.url, on_store_error="deny")
    answer = exercise(policy, io=FakeIO())
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "urn:gatekit:limits-unavailable" in answer.text


@pytest.mark.parametrize("colour", ["wsgi", "asgi"])
def test_a_server_that_does_not_answer(own: RedisServer, colour: str) -> None:
    """Connections are accepted and nothing comes: each of the first waits, the rest do not."""
    io, store = FakeIO(), RedisStore(own.url, timeout=DEADLINE)
    policy = RateLimit("100/hour", store=store, on_store_error="allow")

    async def main() -> list[float]:
        application = asgi(bare_asgi, policy)
        await call_asgi(application)
        waits = []
        with own.paused():
            for _ in range(20):
                before = time.monotonic()
                assert (await call_asgi(application)).status == 200
                waits.append(time.monotonic() - before)
        await policy.aclose()
        return waits

    if colour == "asgi":
        waits = asyncio.run(main())
    else:
        exercise(policy, io=io)
        with own.paused():
            waits = [timed(policy, io)[0] for _ in range(20)]
        store.close()
    assert max(waits) < DEADLINE + SLACK
    assert sum(wait > DEADLINE / 4 for wait in waits) <= 4


def test_it_recovers_under_an_event_loop(own: RedisServer) -> None:
    """Killed and started again under a running app: a request that comes later is counted again."""
    policy = RateLimit("1000/hour", store=RedisStore(own.url, timeout=1), on_store_error="local")

    async def main() -> None:
        application = asgi(bare_asgi, policy)

        async def degraded() -> bool:
            answer = await call_asgi(application)
            assert answer.status == 200
            return "x-ratelimit-degraded" in answer.headers

        assert not await degraded()
        own.kill()
        assert await degraded()
        own.start()
        until = time.monotonic() + 10
        while await degraded():
            assert time.monotonic() < until
        await policy.aclose()

    asyncio.run(main())
    assert own.calls("evalsha") > 0


class SteppedIO(AsyncIO):
    """Real waits, and a clock that stands."""

    moment = 1_000.0

    def now(self) -> float:
        return self.moment


def is_open(guard: Guard) -> bool:
    return guard.is_open


def claims(key: str = "key") -> Any:
    return LimitSet.of("100/hour", "gcra", scope="s").claims([key])


def test_a_cancelled_call_leaves_nothing_behind(own: RedisServer) -> None:
    """Neither a failure that counts, nor a trial that nobody ends, nor another's answer."""
    store = RedisStore(own.url, timeout=5)
    guard, io = store.guard, SteppedIO()

    async def cancelled() -> None:
        with own.paused():
            task = asyncio.ensure_future(guard.take(io, claims("other"), 1))
            for _ in range(5):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def main() -> None:
        await guard.take(io, claims(), 1)
        for _ in range(5):
            await cancelled()
        assert not is_open(guard)
        # An answer that belongs to a cancelled call would tell another number.
        assert (await guard.take(io, claims(), 1))[0].remaining == 98
        store.timeout = guard.timeout = 0.05
        with own.paused():
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await guard.take(io, claims(), 0)
        assert is_open(guard)
        guard.timeout = 5
        io.moment += 1
        await cancelled()
        assert is_open(guard)
        # The trial that was cancelled is another request's at once, and it succeeds.
        assert (await guard.take(io, claims(), 1))[0].remaining == 97
        assert not is_open(guard)
        await store.aclose()

    asyncio.run(main())


class Broken:
    """A store whose every call fails, and which counts them."""

    timeout = 0.05

    def __init__(self) -> None:
        self.calls = 0
        self.works = False

    def take(self, claims: Any, cost: int, now: float, forced: bool = False) -> Any:
        self.calls += 1
        if not self.works:
            raise RuntimeError("a password is hush")
        return []

    async def atake(self, claims: Any, cost: int, now: float, forced: bool = False) -> Any:
        return self.take(claims, cost, now, forced)

    def clear(self, claims: Any) -> None: ...

    async def aclear(self, claims: Any) -> None: ...

    def clear_scope(self, scope: str) -> None: ...

    async def aclear_scope(self, scope: str) -> None: ...


def test_the_breaker(caplog: pytest.LogCaptureFixture) -> None:
    """Three failures open it, each failed trial doubles its time up to a bound, one success closes.

    While it is open the store is asked once each time, and the log tells neither trial nor message.
    """
    store, io = Broken(), FakeIO(0.0)
    guard = Guard(store)

    def call() -> bool:
        try:
            guard.take(io, [], 1).send(None)
        except StopIteration:
            return True
        except StoreUnavailable:
            return False
        raise AssertionError

    asked = []
    for _ in range(4_000):
        before = store.calls
        assert not call()
        if store.calls > before:
            asked.append(io.now())
        io.advance(0.01)
    gaps = [round(after - before, 1) for before, after in pairwise(asked[2:])]
    assert asked[:3] == pytest.approx([0.0, 0.01, 0.02])
    assert gaps == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    store.works = True
    io.advance(10.0)
    assert call()
    assert call()
    assert len(caplog.records) == 2
    assert "hush" not in caplog.text


@pytest.mark.parametrize("colour", ["wsgi", "asgi"])
def test_a_primary_that_became_a_replica_is_let_go_of(own: RedisServer, colour: str) -> None:
    """Its connections are closed: the name may lead to another server by now."""
    store = RedisStore(own.url, timeout=5)

    def connected() -> int:
        return int(own.ask("INFO", "clients").partition("connected_clients:")[2].split()[0]) - 1

    async def main() -> None:
        await store.atake(claims(), 1, 0.0)
        assert connected() == 1
        own.ask("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(ResponseError):
            await store.atake(claims(), 1, 0.0)
        while connected():  # noqa: ASYNC110 — the server signals nothing
            await asyncio.sleep(0)
        own.ask("REPLICAOF", "NO", "ONE")
        assert (await store.atake(claims(), 1, 0.0))[0].remaining == 98
        await store.aclose()

    if colour == "asgi":
        asyncio.run(main())
        return
    store.take(claims(), 1, 0.0)
    own.ask("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(ResponseError):
        store.take(claims(), 1, 0.0)
    until = time.monotonic() + 10
    while connected():
        assert time.monotonic() < until
    own.ask("REPLICAOF", "NO", "ONE")
    assert store.take(claims(), 1, 0.0)[0].remaining == 98
    store.close()


class Hanging(Broken):
    """A store that never answers."""

    timeout = 1e6

    async def atake(self, claims: Any, cost: int, now: float, forced: bool = False) -> Any:
        self.calls += 1
        await asyncio.Event().wait()


def test_a_call_draws_on_the_deadline_of_the_request() -> None:
    """It ends no later, and says nothing of the store; with no time left it is not even made."""
    store = Hanging()
    policy = RateLimit("1/hour", store=store, on_store_error="allow")
    io = AsyncIO()

    async def ask(left: float) -> str:
        request = make_request(io=io)
        request.deadline = io.now() + left
        await policy(request, answers)
        return request.decisions[0].outcome

    async def answers(request: Request) -> Response:
        return Response.text("ok")

    async def main() -> list[str]:
        async with asyncio.timeout(20):
            return [await ask(left) for left in (0.001, 0.001, 0.001, 0.001, 0.0)]

    assert asyncio.run(main()) == ["error"] * 5
    assert store.calls == 4
    assert not policy._limiter._guard.is_open
