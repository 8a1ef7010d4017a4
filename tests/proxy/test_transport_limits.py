"""Limits of time: each wait ends with its own stage, and gives back what it held."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic

import pytest

from gatekit.errors import ConfigurationError, UpstreamError
from gatekit.proxy.transport import HTTPTransport, Origin, Timeouts, UpstreamRequest
from tests.proxy.clients import PATIENCE, Client
from tests.proxy.conftest import Dial
from tests.proxy.upstream import Peer, Upstream, answer, silent

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = UpstreamRequest(b"GET", b"/", [])
SHORT = 0.1


def stage_of(client: Client, timeouts: Timeouts, request: UpstreamRequest = GET) -> str:
    """The stage at which an exchange fails, when it has left nothing behind."""
    started = monotonic()
    with pytest.raises(UpstreamError) as error:
        client.read(client.send(request, timeouts))
    assert SHORT - 0.002 <= monotonic() - started < 5
    assert client.usage == (0, 0, 0)
    return error.value.stage


def test_a_connection_that_is_not_answered(dial: Dial) -> None:
    """A full backlog drops the SYN, as a firewall does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(address)
        client = dial(f"http://127.0.0.1:{address[1]}")
        assert stage_of(client, replace(PATIENCE, connect=SHORT)) == "connect_timeout"
        assert stage_of(client, replace(PATIENCE, total=SHORT)) == "total_timeout"
        for sock in waiting:
            sock.close()


def test_a_tls_handshake_that_is_not_answered(dial: Dial) -> None:
    """It counts as part of connecting."""
    with Upstream(silent) as upstream:
        client = dial(upstream.url.replace("http:", "https:"))
        assert stage_of(client, replace(PATIENCE, connect=SHORT)) == "connect_timeout"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_an_answer_that_does_not_come(dial: Dial, said: bytes) -> None:
    """Until the end of its head it has not come."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(said)
        peer.read_to_end()

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        assert stage_of(client, replace(PATIENCE, first_byte=SHORT)) == "first_byte_timeout"
        assert stage_of(client, replace(PATIENCE, first_byte=None, total=SHORT)) == "total_timeout"


def test_an_informational_head_asks_for_more_time(dial: Dial) -> None:
    """An upstream that says it is still at work is waited for as long again."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.socket.settimeout(0.2)
        for said in (b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 100 X\r\n\r\n", HELLO):
            # The client says nothing for so long: that is the clock.
            with pytest.raises(TimeoutError):
                peer.socket.recv(1)
            peer.send(said)
        peer.socket.settimeout(10)
        peer.read_to_end()

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        assert client.send(GET, replace(PATIENCE, first_byte=0.45)).body == b"hello"


def test_a_body_that_stops(dial: Dial) -> None:
    """Silence within a body is `idle_timeout`, after what came was delivered."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        peer.read_to_end()

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        response = client.send(GET, replace(PATIENCE, idle=SHORT))
        assert client.next(response) == b"hello"
        with pytest.raises(UpstreamError) as error:
            client.next(response)
        assert error.value.stage == "idle_timeout"
        assert client.usage == (0, 0, 0)
        assert stage_of(client, replace(PATIENCE, total=SHORT)) == "total_timeout"


def test_an_upstream_that_does_not_read(dial: Dial) -> None:
    """An upload that makes no progress is `idle_timeout` too."""
    done = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        assert done.wait(10)

    def stream() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        request = UpstreamRequest(b"POST", b"/", [], (stream(), None))
        assert stage_of(client, replace(PATIENCE, idle=SHORT), request) == "idle_timeout"
        request = UpstreamRequest(b"POST", b"/", [], b"x" * 50_000_000)
        assert stage_of(client, replace(PATIENCE, idle=SHORT), request) == "idle_timeout"
        request = UpstreamRequest(b"POST", b"/", [], (stream(), None))
        assert stage_of(client, replace(PATIENCE, total=SHORT), request) == "total_timeout"
        done.set()


def test_a_deadline_is_a_moment(dial: Dial) -> None:
    """On the clock of `time.monotonic`; the earlier of it and `total` holds."""
    with Upstream(silent) as upstream:
        client = dial(upstream.url)
        for timeouts in (PATIENCE, replace(PATIENCE, total=10.0)):
            with pytest.raises(UpstreamError) as error:
                client.send(GET, timeouts, monotonic() + SHORT)
            assert error.value.stage == "total_timeout"
        with pytest.raises(UpstreamError) as error:
            client.send(GET, replace(PATIENCE, total=SHORT), monotonic() + 10.0)
        assert error.value.stage == "total_timeout"
        assert upstream.connections == 3
        with pytest.raises(UpstreamError, match="no time was left") as error:
            client.send(GET, PATIENCE, monotonic())
        assert error.value.stage == "total_timeout"
        assert upstream.connections == 3
        assert client.usage == (0, 0, 0)


def test_a_deadline_ends_with_the_head(dial: Dial) -> None:
    """The body is bound by `idle` and `total` alone."""
    late = threading.Event()

    def slow(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha")
        late.wait(10)
        peer.send(b"lf")
        peer.read_to_end()

    with Upstream(slow) as upstream:
        client = dial(upstream.url)
        deadline = monotonic() + SHORT
        response = client.send(GET, PATIENCE, deadline)
        client.settle(lambda: monotonic() > deadline)
        late.set()
        assert client.read(response) == b"half"


def test_a_slow_reader_is_not_the_upstreams_fault(dial: Dial) -> None:
    """While nobody asks for the body its `idle` does not run; `total` does."""

    def script(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
            assert go.wait(10)
            peer.send(b"world")

    with Upstream(silent) as clock, Upstream(script) as upstream:
        client = dial(upstream.url)
        origin, elsewhere = client.origin, Origin(clock.url)
        for total in (None, SHORT):
            go = threading.Event()
            response = client.send(GET, replace(PATIENCE, idle=SHORT, total=total))
            client.origin = elsewhere
            stage_of(client, replace(PATIENCE, first_byte=3 * SHORT))
            client.origin = origin
            go.set()
            if total is None:
                assert client.read(response) == b"helloworld"
            else:
                with pytest.raises(UpstreamError, match="total_timeout"):
                    client.read(response)


def test_a_slow_sender_is_not_the_upstreams_fault(dial: Dial) -> None:
    """While the stream of the request waits, neither `first_byte` nor `idle` runs."""
    with Upstream(silent) as clock, Upstream(answer(HELLO)) as upstream:
        client, waste = dial(upstream.url), HTTPTransport()

        def stream() -> Iterator[bytes]:
            yield b"first"
            with pytest.raises(UpstreamError, match="first_byte_timeout"):
                waste.send(Origin(clock.url), GET, replace(PATIENCE, first_byte=3 * SHORT))
            yield b"second"

        request = UpstreamRequest(b"POST", b"/", [], (stream(), None))
        response = client.send(request, replace(PATIENCE, first_byte=2 * SHORT, idle=SHORT))
        assert response.body == b"hello"
    assert upstream.requests[0].body == b"firstsecond"


def test_limits_of_one_exchange_do_not_hold_for_the_next(dial: Dial) -> None:
    """A timer that was set by a short one does not ring for a long one."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(HELLO)
        peer.read_request()
        assert go.wait(10)
        peer.send(HELLO)
        peer.read_to_end()

    go = threading.Event()
    with Upstream(silent) as clock, Upstream(script) as upstream:
        client, waste = dial(upstream.url), HTTPTransport()

        def late() -> None:
            with pytest.raises(UpstreamError):
                waste.send(Origin(clock.url), GET, Timeouts(first_byte=3 * SHORT))
            go.set()

        client.send(GET, replace(PATIENCE, first_byte=SHORT, total=2 * SHORT))
        timer = threading.Thread(target=late)
        timer.start()
        assert client.send(GET, PATIENCE).body == b"hello"
        timer.join()
        assert upstream.connections == 1


@pytest.mark.parametrize("name", ["connect", "pool", "first_byte", "idle", "total"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused(name: str, value: float) -> None:
    """At construction, by its name."""
    with pytest.raises(ConfigurationError, match=name):
        Timeouts(**{name: value})


def test_options_out_of_range_are_refused_together() -> None:
    """One error names them all."""
    with pytest.raises(ConfigurationError) as error:
        HTTPTransport(max_connections=0, max_pending=-1, idle_ttl=-1.0, max_head=1, max_fields=0)
    assert set(error.value.problems) == {
        "max_connections",
        "max_pending",
        "idle_ttl",
        "max_head",
        "max_fields",
    }


class GreenSocket(socket.socket):
    """What a library of green threads puts in place: it never really blocks."""

    def setblocking(self, flag: bool) -> None:
        super().setblocking(False)


def test_a_socket_that_only_seems_to_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is waited for with the same limits, and serves the next exchange too."""
    monkeypatch.setattr("gatekit.proxy.transport.blocking.socket.socket", GreenSocket)

    def script(peer: Peer) -> None:
        for _ in range(2):
            peer.read_request()
            peer.send(HELLO)
        peer.read_to_end()

    with Upstream(script) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        assert transport.send(origin, GET, PATIENCE).body == b"hello"
        assert transport.send(origin, GET, PATIENCE).body == b"hello"
        with pytest.raises(UpstreamError, match="first_byte_timeout"):
            transport.send(origin, GET, replace(PATIENCE, first_byte=SHORT))
        transport.close()
