"""A client that leaves, or a server that stops, at any moment between two attempts."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from gatekit import Proxy, asgi_app
from gatekit._core.io import AsyncIO
from gatekit.errors import UpstreamError
from gatekit.proxy.attempts.retry import Retry
from gatekit.proxy.clusters.cluster import Cluster
from gatekit.proxy.transport import HTTPTransport, Origin
from gatekit.proxy.transport.exchange import UpstreamRequest, UpstreamResponse
from gatekit.testing import make_request
from tests.doors.messages import Server, http_scope
from tests.proxy.loops import HELLO, Run, until
from tests.proxy.scripted import NoChance, is_at_rest
from tests.proxy.test_hedging import Body
from tests.proxy.upstream import Peer, Upstream, answer

LONG = Retry(backoff=60.0, max_backoff=60.0, chance=NoChance())
TWO = ["http://a", "http://b"]
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1000\r\n\r\nbusy"


class Turns:
    """A transport whose attempts take some turns of the loop each, and then fail or answer."""

    def __init__(self, *results: int | UpstreamError) -> None:
        self.results = list(results)
        self.bodies: list[Body] = []

    async def asend(
        self, origin: Any, request: UpstreamRequest, timeouts: Any, deadline: Any = None
    ) -> UpstreamResponse[Any]:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        result = self.results.pop(0)
        if isinstance(result, UpstreamError):
            raise result
        self.bodies.append(Body())
        return UpstreamResponse(result, [], self.bodies[-1])

    def send(self, *arguments: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("turns", range(14))
@pytest.mark.parametrize("first", [503, UpstreamError("reset", "gone")], ids=["busy", "reset"])
def test_cancelled_in_every_turn(first: int | UpstreamError, turns: int) -> None:
    """Before, in and after each attempt and in the pause: nothing is counted, no body is open."""

    async def main() -> None:
        transport = Turns(first, first, 200)
        described = Cluster("c", destinations=TWO, transport=transport,
                            retry=Retry(2, backoff=0.0, max_backoff=0.0))  # fmt: skip
        request = make_request(io=AsyncIO())
        task = asyncio.create_task(Proxy(described)(request))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            response = await task
        except asyncio.CancelledError:
            assert is_at_rest(described)
            assert all(body.closed for body in transport.bodies)
        else:
            assert response.status == 200 and turns > 8
            assert [body.closed for body in transport.bodies][-1] is False
            assert described.state.active == 1 and not len(described.state.retrying)

    asyncio.run(main())


def test_an_onion_that_is_thrown_away() -> None:
    """A loop that ends in the middle of a pause: what was counted is not counted any more."""
    transport = Turns(503)
    described = Cluster("c", destinations=TWO, transport=transport,
                        retry=LONG)  # fmt: skip
    coroutine = Proxy(described)(make_request(io=AsyncIO()))
    loop = asyncio.new_event_loop()
    task = loop.create_task(coroutine)
    while not (transport.bodies and len(described.state.retrying)):
        loop.run_until_complete(asyncio.sleep(0))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    assert is_at_rest(described) and transport.bodies[0].closed


def test_a_client_that_leaves_in_the_pause(run: Run) -> None:
    """The busy answer's connection is closed, and nobody else is asked."""
    closed = threading.Event()

    def busy(peer: Peer) -> None:
        peer.read_request()
        peer.send(BUSY)
        peer.read_to_end()
        closed.set()

    async def main() -> None:
        server = Server(http_scope())
        task = asyncio.create_task(app(server.scope, server.receive, server.send))
        await until(lambda: len(described.state.retrying))
        server.leave()
        await task
        await until(lambda: is_at_rest(described))
        await until(closed.is_set)
        assert transport.usage(Origin(one.url)) == (0, 0, 0)

    with Upstream(busy) as one, Upstream(answer(HELLO)) as two:
        transport = HTTPTransport()
        described = Cluster("c", destinations=[one.url, two.url], transport=transport,
                            balance="round_robin", retry=LONG)  # fmt: skip
        app = asgi_app(Proxy(described))
        run(main())
        assert two.connections == 0
