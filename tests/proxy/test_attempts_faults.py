"""Destinations that die, hang, lie and come back, on real sockets and through both doors."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gatekit import Proxy, Timeouts, asgi_app, wsgi_app
from gatekit.errors import UpstreamError
from gatekit.proxy.attempts.retry import Retry
from gatekit.proxy.clusters.cluster import Cluster
from gatekit.proxy.transport import HTTPTransport, Origin
from gatekit.testing import Answer, call_asgi, call_wsgi
from tests.proxy.handlers import Send
from tests.proxy.loops import HELLO
from tests.proxy.scripted import is_at_rest
from tests.proxy.upstream import Peer, Script, Upstream, answer, hang_up, silent

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nX-From: one\r\n\r\nbusy"
KEEN = Retry(backoff=0.0, max_backoff=0.0)


@contextlib.contextmanager
def pair(*scripts: Script, **options: Any) -> Iterator[tuple[Cluster, list[Upstream]]]:
    """A cluster of upstreams asked in turns, which leaks nothing."""
    transport = HTTPTransport()
    with contextlib.ExitStack() as stack:
        upstreams = [stack.enter_context(Upstream(script)) for script in scripts]
        options.setdefault("retry", KEEN)
        described = Cluster(
            "c",
            destinations=[upstream.url for upstream in upstreams],
            balance="round_robin",
            transport=transport,
            **options,
        )
        yield described, upstreams
        assert is_at_rest(described)
        for upstream in upstreams:
            assert transport.usage(Origin(upstream.url))[0::2] == (0, 0)
        transport.close()


def reset(peer: Peer) -> None:
    peer.read_request()
    peer.reset()


@pytest.mark.parametrize("script", [reset, hang_up], ids=["reset", "closed"])
def test_one_that_is_killed_in_mid_attempt(send: Send, script: Script) -> None:
    """The request is answered by the other one."""
    with pair(script, answer(HELLO)) as (orders, upstreams):
        got = send(Proxy(orders))
        assert (got.status, got.body) == (200, b"hello")
        assert [len(upstream.requests) for upstream in upstreams][1] == 1


def test_one_that_hangs(send: Send) -> None:
    """`per_try_timeout` ends the attempt, and the request goes on."""
    retry = Retry(per_try_timeout=0.05, backoff=0.0, max_backoff=0.0)
    with pair(silent, answer(HELLO), retry=retry) as (orders, _):
        assert send(Proxy(orders)).body == b"hello"


def test_one_that_hangs_in_the_middle_of_its_head(send: Send) -> None:
    """A slow head is not an answer, however long it grows."""

    def dribble(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nX-Slow")
        peer.read_to_end()

    retry = Retry(per_try_timeout=0.05, backoff=0.0, max_backoff=0.0)
    with pair(dribble, answer(HELLO), retry=retry) as (orders, _):
        assert send(Proxy(orders)).body == b"hello"


def test_one_that_is_not_there(send: Send) -> None:
    """A refused connection is no matter, for a POST either."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with Upstream(answer(HELLO)) as there:
        orders = Cluster("c", destinations=[f"http://127.0.0.1:{port}", there.url], retry=KEEN,
                         balance="round_robin", timeouts=Timeouts(connect=5.0))  # fmt: skip
        got = send(Proxy(orders), method="POST", body=b"pay")
        assert (got.status, there.requests[0].body) == (200, b"pay")
        assert is_at_rest(orders)
        orders.close()


def test_half_of_them_gone_and_back(send: Send) -> None:
    """Not one request is lost on the way, and who is back is asked again."""
    with Upstream(answer(*[HELLO] * 50)) as stays:
        with Upstream(answer(*[HELLO] * 50)) as leaves:
            port = leaves.port
            orders = Cluster(
                "c",
                destinations=[stays.url, leaves.url],
                retry=KEEN,
                balance="round_robin",
                outliers=False,
                transport=HTTPTransport(),
            )
            proxy = Proxy(orders)
            assert [send(proxy).status for _ in range(4)] == [200] * 4
            assert len(leaves.requests) == 2
        assert [send(proxy).status for _ in range(4)] == [200] * 4
        with _again(port) as back:
            assert [send(proxy).status for _ in range(4)] == [200] * 4
            assert len(back) == 2
        assert is_at_rest(orders)


@contextlib.contextmanager
def _again(port: int) -> Iterator[list[bytes]]:
    """Another server at the same port."""
    heads: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                heads.append(sock.recv(65536))
                sock.sendall(HELLO.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield heads
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        listener.close()


def test_an_answer_that_is_thrown_away_leaves_no_connection(send: Send) -> None:
    """Its body had not come: the connection is closed, and not used for anything else."""
    closed = threading.Event()

    def busy(peer: Peer) -> None:
        peer.read_request()
        peer.send(BUSY.replace(b"Length: 4", b"Length: 4000"))
        peer.read_to_end()
        closed.set()

    with pair(busy, answer(HELLO)) as (orders, _):
        assert send(Proxy(orders)).body == b"hello"
        assert closed.wait(10)


def test_an_answer_that_came_whole_gives_its_connection_back() -> None:
    """Thrown away it costs nothing: the next request goes out on it."""
    with pair(answer(BUSY, HELLO), answer(HELLO, HELLO)) as (orders, upstreams):
        app = wsgi_app(Proxy(orders))
        assert [call_wsgi(app).status for _ in range(3)] == [200] * 3
        assert [upstream.connections for upstream in upstreams] == [1, 1]


def test_both_busy(send: Send) -> None:
    """The last one's own words reach the client, streamed body and all."""
    told = (
        BUSY.replace(b"one", b"two").replace(b"4\r", b"100000\r").replace(b"busy", b"b" * 100_000)
    )
    with pair(answer(BUSY), answer(told)) as (orders, _):
        got = send(Proxy(orders))
        assert (got.status, got.headers["x-from"], got.body) == (503, "two", b"b" * 100_000)


def test_nothing_is_tried_again_after_the_head(send: Send) -> None:
    """An answer that breaks off is cut off for the client too, and the other is not asked."""

    def half(peer: Peer) -> None:
        peer.read_request()
        peer.send(HELLO[:-2])

    with pair(half, answer(HELLO)) as (orders, upstreams):
        with pytest.raises(UpstreamError):
            send(Proxy(orders))
        assert len(upstreams[1].requests) == 0


def upload(proxy: Proxy, pieces: list[bytes]) -> Answer:
    headers = {"transfer-encoding": "chunked"}
    call = call_asgi(asgi_app(proxy), method="PUT", body=pieces, headers=headers)
    return asyncio.run(call)


def test_an_upload_is_replayed(send: Send) -> None:
    """A connection that was lost in the midst of it: the other one gets it from the beginning."""

    def greedy(peer: Peer) -> None:
        peer.read_head()
        peer.read_exactly(4)
        peer.reset()

    pieces = [b"x" * 1000] * 20
    with pair(greedy, answer(HELLO)) as (orders, upstreams):
        if send.__name__ == "through_asgi":
            got = upload(Proxy(orders), pieces)
        else:
            body = b"".join(pieces)
            got = send(Proxy(orders), method="PUT", body=body)
        assert got.status == 200
        assert upstreams[1].requests[0].body == b"".join(pieces)


def test_a_large_upload_streams_through_once() -> None:
    """More than the buffer has been sent: the answer is given on, and the rest is not read."""

    def refuse(peer: Peer) -> None:
        peer.read_head()
        peer.read_exactly(200_000)
        peer.send(BUSY)
        peer.read_to_end()

    with pair(refuse, answer(HELLO)) as (orders, upstreams):
        got = upload(Proxy(orders), [b"x" * 50_000] * 20)
        assert (got.status, got.headers["x-from"]) == (503, "one")
        assert len(upstreams[1].requests) == 0


def test_a_large_upload_to_a_refusing_port() -> None:
    """Nothing of it was read: any size goes to the next one."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    pieces = [b"x" * 50_000] * 20
    with Upstream(answer(HELLO)) as there:
        orders = Cluster("c", destinations=[f"http://127.0.0.1:{port}", there.url], retry=KEEN,
                         balance="round_robin")  # fmt: skip
        assert upload(Proxy(orders), pieces).status == 200
        assert there.requests[0].body == b"".join(pieces)
