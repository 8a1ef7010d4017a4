"""Attempts side by side without an event loop: who lost is woken, and its connection closed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from gatekit import Proxy, wsgi_app
from gatekit.proxy.attempts.hedge import Hedge
from gatekit.proxy.clusters.cluster import Cluster
from gatekit.proxy.transport import HTTPTransport, Origin
from gatekit.testing import call_wsgi
from tests.proxy.loops import HELLO, until
from tests.proxy.scripted import asked, cluster, is_at_rest, scripted
from tests.proxy.upstream import Peer, Upstream, answer


def test_a_late_destination_is_overtaken() -> None:
    """On real connections."""
    closed = threading.Event()

    def silent(peer: Peer) -> None:
        peer.read_request()
        peer.read_to_end()
        closed.set()

    transport = HTTPTransport()
    with Upstream(silent) as slow, Upstream(answer(HELLO, HELLO)) as quick:
        orders = Cluster("c", destinations=[slow.url, quick.url], balance="round_robin",
                         hedge=Hedge(0.01), transport=transport)  # fmt: skip
        got = call_wsgi(wsgi_app(Proxy(orders)))
        assert (got.status, got.body) == (200, b"hello")
        assert closed.wait(10)
        _wait_until(lambda: is_at_rest(orders))
        assert transport.usage(Origin(slow.url))[:2] == (0, 0)
        _wait_until(lambda: not _hedges())
        transport.close()


def test_a_reused_connection_is_not_tried_anew() -> None:
    """Giving up an attempt on an idle connection must not look like an idle one that was closed."""
    closed = threading.Event()

    def once(peer: Peer) -> None:
        peer.read_request()
        peer.send(HELLO)
        peer.read_request()
        peer.read_to_end()
        closed.set()

    transport = HTTPTransport()
    with Upstream(once) as slow, Upstream(answer(HELLO, HELLO)) as quick:
        orders = Cluster("c", destinations=[slow.url, quick.url], balance="round_robin",
                         hedge=Hedge(0.05), transport=transport)  # fmt: skip
        app = wsgi_app(Proxy(orders))
        for _ in range(3):
            assert call_wsgi(app).status == 200
        assert closed.wait(10)
        _wait_until(lambda: is_at_rest(orders))
        assert slow.connections == 1
        transport.close()


def test_what_is_bad_does_not_win() -> None:
    """And an error that is nobody's failure is raised in the request's own thread."""
    transport = scripted(a=[503], b=[200])
    orders = cluster(transport, hedge=Hedge(60.0))
    assert call_wsgi(wsgi_app(Proxy(orders))).status == 200
    assert asked(transport) == "ab" and is_at_rest(orders)
    broken = scripted(a=[ZeroDivisionError("mine")], b=[200])
    orders = cluster(broken, hedge=Hedge(60.0))
    assert call_wsgi(wsgi_app(Proxy(orders))).status == 500
    assert asked(broken) == "a" and is_at_rest(orders)


def _hedges() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gatekit hedge"]


def _wait_until(claim: Callable[[], bool]) -> None:
    asyncio.run(until(claim))
