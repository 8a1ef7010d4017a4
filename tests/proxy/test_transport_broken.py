"""Upstreams that break the protocol or the connection: an error says how, and nothing leaks."""

from __future__ import annotations

import socket
import threading

import pytest

from gatekit.errors import UpstreamError
from gatekit.proxy.transport import HTTPTransport, UpstreamRequest
from tests.proxy.conftest import Dial
from tests.proxy.upstream import Peer, Upstream, answer, answer_and_close

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", id="both"),
        pytest.param(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", id="two lengths"),
        pytest.param(OK + b"Content-Length: +1\r\n\r\nx", id="a signed length"),
        pytest.param(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="gzip, chunked"),
        pytest.param(OK + b"A: b\r\n c\r\n\r\n", id="a folded line"),
        pytest.param(OK + b"A: b\x00\r\n\r\n", id="NUL"),
        pytest.param(OK + b"A: " + b"b" * 5000 + b"\r\n\r\n", id="a large head"),
        pytest.param(OK + b"A: " + b"b" * 5000, id="a head without an end"),
        pytest.param(OK + b"A: b\r\n" * 300 + b"\r\n", id="many fields"),
        pytest.param(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", id="101"),
        pytest.param(b"HTTP/1.1 600 X\r\n\r\n", id="status 600"),
        pytest.param(b"HTTP/2.0 200 OK\r\n\r\n", id="HTTP/2.0"),
        pytest.param(b"hello, world\r\n", id="HTTP/0.9"),
    ],
)
def test_a_head_against_the_protocol(dial: Dial, response: bytes) -> None:
    """The exchange fails at once, though the connection stays open, and is then closed."""
    closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(response)
        peer.read_to_end()
        closed.set()

    with Upstream(script) as upstream:
        client = dial(upstream.url, HTTPTransport(max_head=4096))
        with pytest.raises(UpstreamError) as error:
            client.get()
        assert error.value.stage == "protocol"
        assert client.usage == (0, 0, 0)
        client.settle(closed.is_set)


@pytest.mark.parametrize("chunks", [b"zz\r\n", b"1\r\nxx\r\n", b"1;" + b"a" * 30_000])
def test_a_body_against_the_protocol(dial: Dial, chunks: bytes) -> None:
    """What came before is delivered, then the error is raised: never a silent end."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert first.wait(10)
        peer.send(chunks)
        peer.read_to_end()

    first = threading.Event()
    with Upstream(script) as upstream:
        client = dial(upstream.url)
        response = client.get()
        assert client.next(response) == b"hello"
        first.set()
        with pytest.raises(UpstreamError) as error:
            client.read(response)
        assert error.value.stage == "protocol"
        assert client.usage == (0, 0, 0)


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    ("response", "head_only"),
    [
        pytest.param(b"HTTP/1.1 20", True, id="within the head"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", True, id="after 100"),
        pytest.param(OK + b"Content-Length: 6\r\n\r\nhello", False, id="a byte short"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", False, id="chunks"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", False, id="0"),
        pytest.param(OK + b"\r\nhello", False, id="until the close"),
    ],
)
def test_a_response_cut_short(dial: Dial, response: bytes, head_only: bool, end: str) -> None:
    """By FIN or by RST; only FIN may end a body that has no other end."""
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(response)
        if end == "reset":
            assert go.wait(10)
            peer.reset()

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        if head_only:
            go.set()
            with pytest.raises(UpstreamError) as error:
                client.get()
        else:
            answered = client.get()
            data = client.next(answered)
            while len(data) < 5:
                data += client.next(answered)
            assert data == b"hello"
            go.set()
            if response == OK + b"\r\nhello" and end == "close":
                assert client.read(answered) == b""
                return
            with pytest.raises(UpstreamError) as error:
                client.read(answered)
        assert error.value.stage == {"close": "closed", "reset": "reset"}[end]
        assert client.usage == (0, 0, 0)


def test_an_error_of_a_body_is_not_forgotten(dial: Dial) -> None:
    """Who asks again hears it again, and not an end."""
    with Upstream(answer_and_close(OK + b"Content-Length: 6\r\n\r\nhello")) as upstream:
        client = dial(upstream.url)
        response = client.get()
        assert client.next(response) == b"hello"
        for _ in range(2):
            with pytest.raises(UpstreamError, match="1 bytes short"):
                client.next(response)


def test_nobody_listens(dial: Dial) -> None:
    """A refused connection is stage `connect`, in each family."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", "unix:/nowhere/app.sock"):
        client = dial(url)
        with pytest.raises(UpstreamError) as error:
            client.get()
        assert error.value.stage == "connect"
        assert client.usage == (0, 0, 0)


def test_a_name_that_is_unknown(dial: Dial) -> None:
    """RFC 6761 §6.4: `invalid` never resolves."""
    client = dial("http://upstream.invalid:80")
    with pytest.raises(UpstreamError) as error:
        client.get()
    assert error.value.stage == "dns"
    assert client.usage == (0, 0, 0)


def test_an_upstream_that_speaks_first(dial: Dial) -> None:
    """A banner is no answer: it was sent before anything was asked."""

    def script(peer: Peer) -> None:
        peer.send(b"SSH-2.0-x\r\n")
        peer.read_to_end()

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        with pytest.raises(UpstreamError) as error:
            client.get()
        assert error.value.stage in {"protocol", "closed", "reset"}
        assert client.usage == (0, 0, 0)


def test_a_body_closed_by_its_reader_costs_the_connection(dial: Dial) -> None:
    """The rest of it will not be read, so no other answer can be found behind it."""
    closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(OK + b"Content-Length: 10\r\n\r\nhello")
        peer.read_to_end()
        closed.set()

    with Upstream(script, answer(OK + b"Content-Length: 0\r\n\r\n")) as upstream:
        client = dial(upstream.url)
        response = client.get()
        assert client.next(response) == b"hello"
        client.close_body(response)
        client.close_body(response)
        assert client.usage == (0, 0, 0)
        client.settle(closed.is_set)
        with pytest.raises(UpstreamError, match="closed by its reader"):
            client.next(response)
        assert client.send(UpstreamRequest(b"POST", b"/", [])).status == 200


def test_closing_a_body_after_its_end_costs_nothing(dial: Dial) -> None:
    """The connection is back in the pool already."""
    data = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(data)
        assert go.wait(10)
        peer.send(b"2\r\nok\r\n0\r\n\r\n")
        peer.read_to_end()

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        response = client.get()
        go.set()
        assert client.read(response) == b"ok"
        client.close_body(response)
        assert client.next(response) == b""
        assert client.usage == (0, 1, 0)
