"""Attempts side by side: the first good answer wins, and nothing is left of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from gatekit import Proxy, Request, Response, Timeouts, asgi_app
from gatekit._core.io import AsyncIO
from gatekit.errors import UpstreamError
from gatekit.proxy.attempts.hedge import Hedge
from gatekit.proxy.attempts.retry import Retry
from gatekit.proxy.clusters.cluster import Cluster
from gatekit.proxy.transport import Origin
from gatekit.proxy.transport.exchange import UpstreamRequest, UpstreamResponse
from gatekit.testing import call_asgi, make_request
from tests.proxy.loops import until
from tests.proxy.scripted import NoChance, is_at_rest

SOON = Hedge(0.001)
Answer = Callable[[], Awaitable[UpstreamResponse[Any]]]


class Body:
    """The rest of an answer, of which it is known whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True

    def abandon(self) -> None:
        self.closed = True


class Tasks:
    """A transport whose destinations answer as coroutines do; `given_up` were cancelled."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.asked = ""
        self.given_up = ""

    async def asend(
        self, origin: Origin, request: UpstreamRequest, timeouts: Any, deadline: Any = None
    ) -> UpstreamResponse[Any]:
        self.asked += origin.host
        try:
            return await self.answers[origin.host]()
        except asyncio.CancelledError:
            self.given_up += origin.host
            raise

    def send(self, *arguments: Any) -> Any:
        raise NotImplementedError


def described(transport: Tasks, names: str = "ab", **options: Any) -> Cluster:
    options.setdefault("hedge", SOON)
    options.setdefault("retry", Retry(chance=NoChance()))
    return Cluster("c", destinations=[f"http://{name}" for name in names], balance="round_robin",
                   transport=transport, **options)  # fmt: skip


async def never() -> UpstreamResponse[Any]:
    await asyncio.Event().wait()
    raise AssertionError


def after(event: asyncio.Event, status: int = 200, body: Any = b"") -> Answer:
    async def play() -> UpstreamResponse[Any]:
        await event.wait()
        return UpstreamResponse(status, [], body)

    return play


def at_once(status: int = 200, body: Any = b"") -> Answer:
    async def play() -> UpstreamResponse[Any]:
        return UpstreamResponse(status, [], body)

    return play


async def send(orders: Cluster, **call: Any) -> tuple[Response, Request]:
    request = make_request(io=AsyncIO(), **call)
    return await Proxy(orders)(request), request


def test_a_late_destination_is_overtaken() -> None:
    """The second one's answer is the client's, and the first attempt is over by then."""

    async def main() -> None:
        transport = Tasks(a=never, b=at_once())
        orders = described(transport)
        response, request = await send(orders)
        assert (response.status, transport.asked, transport.given_up) == (200, "ab", "a")
        assert is_at_rest(orders)
        assert [attempt.destination for attempt in request.attempts] == ["http://b"]
        assert [(d.policy, d.outcome) for d in request.decisions] == [("hedge", "allow")]
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_an_answer_in_time_is_left_alone() -> None:
    """No second request."""

    async def main() -> None:
        transport = Tasks(a=at_once(), b=at_once())
        response, _ = await send(described(transport, hedge=Hedge(60.0)))
        assert (response.status, transport.asked) == (200, "a")

    asyncio.run(main())


def test_the_first_may_still_win() -> None:
    """A hedge that is slower still is given up."""

    async def main() -> None:
        go = asyncio.Event()

        async def second() -> UpstreamResponse[Any]:
            go.set()
            return await never()

        transport = Tasks(a=after(go), b=second)
        orders = described(transport)
        await send(orders)
        assert (transport.asked, transport.given_up) == ("ab", "b") and is_at_rest(orders)

    asyncio.run(main())


def test_a_bad_answer_does_not_win() -> None:
    """A 503 in the meantime is kept back while the other one may do better."""

    async def main() -> None:
        go = asyncio.Event()
        late = Body()

        async def bad() -> UpstreamResponse[Any]:
            asyncio.get_running_loop().call_soon(go.set)
            return UpstreamResponse(503, [], late)

        transport = Tasks(a=after(go), b=bad)
        orders = described(transport)
        response, _ = await send(orders)
        assert (response.status, transport.asked, late.closed) == (200, "ab", True)
        assert is_at_rest(orders)

    asyncio.run(main())


def test_a_failure_before_the_hedge_is_a_matter_of_retries() -> None:
    """Which goes to another destination, after its pause."""

    async def main() -> None:
        async def fail() -> UpstreamResponse[Any]:
            raise UpstreamError("reset", "gone")

        transport = Tasks(a=fail, b=at_once())
        orders = described(transport, hedge=Hedge(60.0))
        response, request = await send(orders)
        assert (response.status, transport.asked) == (200, "ab")
        assert [attempt.result for attempt in request.attempts] == ["reset", 200]

    asyncio.run(main())


def test_all_of_them_bad() -> None:
    """A retry follows, to somebody else than all who were asked; an answer is better than none."""

    async def main() -> None:
        go = asyncio.Event()

        async def fail() -> UpstreamResponse[Any]:
            go.set()
            raise UpstreamError("reset", "gone")

        transport = Tasks(a=after(go, 503), b=fail, c=at_once())
        orders = described(transport, "abc")
        response, _ = await send(orders)
        assert (response.status, transport.asked) == (200, "abc") and is_at_rest(orders)
        go.clear()
        transport = Tasks(a=after(go, 503), b=fail)
        orders = described(transport, retry=False)
        response, _ = await send(orders)
        assert (response.status, transport.asked) == (503, "ab") and is_at_rest(orders)

    asyncio.run(main())


def test_as_many_as_it_may() -> None:
    """`max` beside the first, one after the other."""

    async def main() -> None:
        transport = Tasks(a=never, b=never, c=at_once(), d=never)
        orders = described(transport, "abcd", hedge=Hedge(0.001, max=2))
        response, _ = await send(orders)
        assert (response.status, transport.asked) == (200, "abc")
        assert sorted(transport.given_up) == ["a", "b"] and is_at_rest(orders)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("call", "retry", "reason"),
    [
        ({"method": "POST", "body": b"x", "headers": {"content-length": "1"}}, Retry(), None),
        ({"body": [b"a", b"b"], "headers": {"transfer-encoding": "chunked"}}, Retry(), None),
        ({}, Retry(budget=0.0, min_budget=0), "the budget is spent"),
    ],
    ids=["unsafe", "streamed", "over budget"],
)
def test_what_is_not_hedged(call: dict[str, Any], retry: Retry, reason: str | None) -> None:
    """Unsafe methods, streamed bodies, and what the budget does not allow."""

    async def main() -> None:
        go = asyncio.Event()
        transport = Tasks(a=after(go), b=at_once())
        orders = described(transport, hedge=Hedge(1e-9), retry=retry)
        task = asyncio.create_task(send(orders, **call))
        await until(lambda: transport.asked)
        for _ in range(20):
            await asyncio.sleep(0)  # a hedge would have been sent in the very next turn
        go.set()
        response, request = await task
        assert (response.status, transport.asked) == (200, "a")
        assert [decision.reason for decision in request.decisions] == ([reason] if reason else [])

    asyncio.run(main())


def test_a_handshake_is_not_hedged() -> None:
    """A WebSocket is not opened twice in order to close one of them."""

    async def main() -> None:
        go = asyncio.Event()
        transport = Tasks(a=after(go), b=at_once())
        attempts = Proxy(described(transport, hedge=Hedge(1e-9)))._attempts
        handshake = UpstreamRequest(b"GET", b"/", [], upgrade=True)
        task = asyncio.create_task(attempts.run(make_request(io=AsyncIO()), handshake))
        await until(lambda: transport.asked)
        for _ in range(20):
            await asyncio.sleep(0)
        go.set()
        await task
        assert transport.asked == "a"

    asyncio.run(main())


def test_cancelled_while_both_are_under_way() -> None:
    """The client leaves: both attempts are cancelled, and nothing is counted any more."""

    async def main() -> None:
        transport = Tasks(a=never, b=never)
        orders = described(transport)
        task = asyncio.create_task(send(orders))
        await until(lambda: transport.asked == "ab")
        assert orders.state.active == 2 and len(orders.state.retrying) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert transport.given_up in ("ab", "ba") and is_at_rest(orders)

    asyncio.run(main())


def test_cancelled_in_every_turn() -> None:
    """However far it has come, nothing is left: no task, no count, no open body."""

    async def main() -> None:
        for turns in range(12):
            bodies = [Body(), Body()]
            gates = [asyncio.Event(), asyncio.Event()]
            transport = Tasks(a=after(gates[0], 200, bodies[0]), b=after(gates[1], 200, bodies[1]))
            orders = described(transport)
            task = asyncio.create_task(send(orders))
            if turns > 3:
                await until(partial(_are_asked, transport))
            for gate in gates if turns > 5 else ():
                gate.set()
            for _ in range(turns % 6):
                await asyncio.sleep(0)
            task.cancel()
            try:
                _, request = await task
            except asyncio.CancelledError:
                await until(lambda: len(asyncio.all_tasks()) == 1)
                assert is_at_rest(orders), turns
                assert turns <= 5 or all(b.closed for b in bodies), turns
            else:
                assert orders.state.active == 1  # the answer is the client's, and still open
                assert len(request._finish or ()) == 1

    asyncio.run(main())


def test_two_answers_in_one_turn() -> None:
    """One of them is the client's; the other one's body is closed."""

    async def main() -> None:
        go = asyncio.Event()
        bodies = [Body(), Body()]
        transport = Tasks(a=after(go, 200, bodies[0]), b=after(go, 200, bodies[1]))
        orders = described(transport)
        task = asyncio.create_task(send(orders))
        await until(lambda: transport.asked == "ab")
        go.set()
        await task
        assert [body.closed for body in bodies].count(True) == 1
        assert orders.state.active == 1

    asyncio.run(main())


def test_a_percentile_learns_from_the_answers() -> None:
    """Nothing is hedged before enough is known; then what takes longer than most is."""

    async def main() -> None:
        slow = asyncio.Event()
        hang = False

        async def first() -> UpstreamResponse[Any]:
            if hang:
                await slow.wait()
            return UpstreamResponse(200, [])

        transport = Tasks(a=first, b=first)
        orders = described(transport, hedge=Hedge("p95", min_samples=10))
        app = asgi_app(Proxy(orders))
        for _ in range(10):
            await call_asgi(app)
        assert len(transport.asked) == 10
        hang = True
        task = asyncio.create_task(call_asgi(app))
        await until(lambda: len(transport.asked) == 12)
        slow.set()
        assert (await task).status == 200 and is_at_rest(orders)

    asyncio.run(main())


def _are_asked(transport: Tasks) -> bool:
    return transport.asked == "ab"


def test_a_hedge_has_what_is_left_of_the_whole_time() -> None:
    """`total` is that of the request: an attempt that begins later does not begin it anew."""
    totals: list[float | None] = []
    gone = asyncio.Event()

    class Watched(Tasks):
        async def asend(
            self, origin: Origin, request: UpstreamRequest, timeouts: Any, deadline: Any = None
        ) -> UpstreamResponse[Any]:
            totals.append(timeouts.total)
            if len(totals) == 1:
                await gone.wait()
            return UpstreamResponse(200, [])

    async def main() -> None:
        described = Cluster(
            "c",
            destinations=["http://a", "http://b"],
            transport=Watched(),
            hedge=SOON,
            timeouts=Timeouts(total=60.0),
        )
        assert (await call_asgi(asgi_app(Proxy(described)))).status == 200

    asyncio.run(main())
    first, second = totals
    assert first == 60.0 and second is not None and second < 60.0
