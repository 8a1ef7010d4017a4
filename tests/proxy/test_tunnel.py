"""The connection after a 101: bytes both ways, until either side has had enough."""

from __future__ import annotations

import asyncio
import linecache
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatekit.errors import UpstreamError
from gatekit.proxy.transport import AsyncTunnel, HTTPTransport, Origin, Tunnel, UpstreamRequest
from tests.proxy.clients import PATIENCE, until
from tests.proxy.conftest import Dial
from tests.proxy.loops import Run
from tests.proxy.upstream import Peer, Upstream, answer, silent

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
FIELDS = [(b"connection", b"upgrade"), (b"upgrade", b"echo")]
REQUEST = UpstreamRequest(b"GET", b"/socket", FIELDS, upgrade=True)
LARGE = b"x" * 5_000_000


def echo(peer: Peer) -> None:
    """Say hello together with the head, then send back all that comes."""
    peer.read_request()
    peer.send(SWITCH + b"hello")
    while data := peer.socket.recv(65536):
        peer.send(data)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(echo) as upstream:
        yield upstream


def test_bytes_go_both_ways_in_a_loop(run: Run, upstream: Upstream) -> None:
    """What came with the head comes first; the limits of the exchange are over."""

    async def main() -> None:
        response = await transport.asend(origin, REQUEST, replace(PATIENCE, total=0.05))
        assert (response.status, response.headers) == (101, FIELDS)
        tunnel = response.body
        assert isinstance(tunnel, AsyncTunnel)
        assert await anext(tunnel) == b"hello"
        assert transport.usage(origin) == (0, 0, 0)
        with pytest.raises(UpstreamError, match="first_byte_timeout"):
            await transport.asend(Origin(mute.url), REQUEST, replace(PATIENCE, first_byte=0.1))
        for data in (b"x", LARGE):
            writing = asyncio.create_task(tunnel.write(data))
            received = 0
            while received < len(data):
                received += len(await anext(tunnel))
            await writing
        await tunnel.aclose()
        assert transport.usage(origin) == (0, 0, 0)
        with pytest.raises(UpstreamError, match="the tunnel is closed"):
            await tunnel.write(b"x")

    transport, origin = HTTPTransport(), Origin(upstream.url)
    with Upstream(silent) as mute:
        run(main())


def test_bytes_go_both_ways_in_threads(upstream: Upstream) -> None:
    """One thread reads while another writes; closing wakes the one that reads."""
    transport, origin = HTTPTransport(), Origin(upstream.url)
    tunnel = transport.send(origin, REQUEST, PATIENCE).body
    assert isinstance(tunnel, Tunnel)
    assert next(tunnel) == b"hello"
    assert transport.usage(origin) == (0, 0, 0)
    writer = threading.Thread(target=tunnel.write, args=(LARGE,))
    writer.start()
    received = 0
    while received < len(LARGE):
        received += len(next(tunnel))
    writer.join()
    ends: list[bytes] = []
    reader = threading.Thread(target=lambda: ends.extend([*tunnel, b"end"]))
    reader.start()
    until(lambda: "poll" in line_of(reader))
    tunnel.close()
    reader.join(10)
    assert ends == [b"end"]
    assert transport.usage(origin) == (0, 0, 0)
    with pytest.raises(UpstreamError):
        tunnel.write(b"x")


def line_of(thread: threading.Thread) -> str:
    """The line of source that a thread is at."""
    frame = sys._current_frames().get(thread.ident or 0)
    return "" if frame is None else linecache.getline(frame.f_code.co_filename, frame.f_lineno)


def test_the_upstream_may_end_it(dial: Dial) -> None:
    """Its end is the end of what is read, and the place is free."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(SWITCH + b"bye")

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        response = client.send(REQUEST)
        assert client.read(response) == b"bye"
        client.close_body(response)
        assert client.usage == (0, 0, 0)


def test_an_upgrade_may_be_declined(dial: Dial) -> None:
    """RFC 9110 §7.8: then it is an answer like any other, and the connection is kept."""
    with Upstream(answer(b"HTTP/1.1 426 X\r\nContent-Length: 2\r\n\r\nno")) as upstream:
        client = dial(upstream.url)
        response = client.send(REQUEST)
        assert (response.status, response.body) == (426, b"no")
        assert client.usage == (0, 1, 0)


def test_a_tunnel_that_is_dropped_is_closed(dial: Dial) -> None:
    """Found by the garbage collector, like any body."""
    closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(SWITCH)
        peer.read_to_end()
        closed.set()

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        response = client.send(REQUEST)
        del response
        client.settle(closed.is_set)
        assert client.usage == (0, 0, 0)


def test_a_tunnel_takes_no_place_in_the_pool(dial: Dial) -> None:
    """However long tunnels last, those who ask and are answered do not wait for them."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(SWITCH)
        peer.read_to_end()

    with Upstream(
        script, script, answer(b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok")
    ) as upstream:
        client = dial(upstream.url, HTTPTransport(max_connections=1, max_pending=0))
        tunnels = [client.send(REQUEST), client.send(REQUEST)]
        assert client.read(client.send(REQUEST)) == b"ok"
        assert client.usage == (0, 1, 0)
        for tunnel in tunnels:
            client.close_body(tunnel)
        assert client.usage == (0, 1, 0)
