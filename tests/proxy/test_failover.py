"""A list of URLs, one of which is gone, under load: with no option at all nothing is lost."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gatekit import Cluster, Outliers, Proxy, Response, Retry, UpstreamError, asgi_app, wsgi_app
from gatekit.testing import FakeIO, call_asgi, call_wsgi, exercise, make_request, upstream
from tests.proxy.loops import HELLO, Run
from tests.proxy.scripted import NoChance, ask, asked, cluster, is_at_rest, scripted
from tests.proxy.upstream import Upstream, answer


@pytest.fixture
def gone() -> Iterator[str]:
    """Where nobody listens: the port is bound, so that nobody else will."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


def test_nothing_is_lost_asgi(run: Run, gone: str) -> None:
    """Twenty at a time; the one that is gone fails fast, and would look the least busy."""

    async def main() -> None:
        proxy = Proxy([gone, server.url])
        app, line = asgi_app(proxy), asyncio.Semaphore(20)

        async def one() -> int:
            async with line:
                return (await call_asgi(app, method="POST", body=b"pay")).status

        assert set(await asyncio.gather(*[one() for _ in range(400)])) == {200}
        [lost, _] = proxy.cluster.status()
        assert lost.ejected_for > 0 and "3 attempts in a row" in lost.reason
        assert is_at_rest(proxy.cluster)
        await proxy.aclose()

    with Upstream(*[answer(*[HELLO] * 400)] * 20) as server:
        run(main())


def test_nothing_is_lost_wsgi() -> None:
    """The same for eight threads."""
    barrier = threading.Barrier(8)

    def one_is_gone(sent: Any) -> Response:
        if sent.origin.host == "gone":
            raise UpstreamError("connect", "refused")
        return Response.text("ok")

    destinations = ["http://gone", "http://b"]
    described = Cluster("c", destinations=destinations, transport=upstream(one_is_gone))
    app = wsgi_app(Proxy(described))

    def some(_: int) -> list[int]:
        barrier.wait(10)
        return [call_wsgi(app, method="POST", body=b"pay").status for _ in range(25)]

    with ThreadPoolExecutor(8) as threads:
        assert {status for found in threads.map(some, range(8)) for status in found} == {200}
    assert is_at_rest(described)


def test_what_reached_nobody_costs_no_budget() -> None:
    """But another attempt at the same destination does, and so does one that was begun."""
    retry = Retry(2, min_budget=0, budget=0.0, chance=NoChance())
    transport = scripted(a=["connect"], b=["dns"], c=[200])
    assert ask(cluster(transport, names="abc", retry=retry)).status == 200
    assert asked(transport) == "abc"
    transport = scripted(a=["connect"], b=["connect"])
    found = ask(cluster(transport, retry=retry))
    assert (found.status, asked(transport)) == (502, "ab")
    assert found.request.decisions[-1].reason == "the budget is spent"
    transport = scripted(a=["connect_timeout"], b=[200])
    assert (ask(cluster(transport, retry=retry)).status, asked(transport)) == (504, "a")


@pytest.mark.parametrize(
    ("options", "ejected"),
    [({}, True), ({"outliers": False}, False), ({"outliers": Outliers(max_ejected=0.01)}, False)],
)
def test_by_default_who_does_not_answer_is_left_alone(
    options: dict[str, Any], ejected: bool
) -> None:
    """Three times in a row, for ten seconds or a little more; statuses eject nobody."""
    io = FakeIO(1_000.0)
    transport = scripted(a=["reset", "reset", "reset", 200], b=[503])
    orders = cluster(transport, retry=False, **options)
    for _ in range(6):
        ask(orders, io=io)
    assert orders.status(clock=io.now)[0].available is not ejected
    assert orders.status(clock=io.now)[1].available
    io.advance(11.1)
    assert orders.state.pick(make_request(), io.now()) is not None
    assert orders.status(clock=io.now)[0].available


def test_a_single_destination_is_never_ejected() -> None:
    """There is nobody else to ask."""
    proxy = Proxy("http://a", transport=scripted(a=["connect"]))
    for _ in range(10):
        assert exercise(app=proxy, io=FakeIO()).status == 502
    assert proxy.cluster.status()[0].available


@pytest.mark.parametrize(("seconds", "counts"), [(0.01, False), (1.0, True)])
def test_a_short_deadline_says_nothing_of_a_destination(seconds: float, counts: bool) -> None:
    """A client that may set it could have others ejected."""
    orders = cluster(scripted(a=[200], b=[200]), outliers=Outliers(unanswered_consecutive=3))
    [a, _] = orders.state.members
    for _ in range(3):
        orders.state.report(a, UpstreamError("total_timeout", "late"), seconds, 1_000.0)
    assert a.is_available(1_000.0) is not counts
