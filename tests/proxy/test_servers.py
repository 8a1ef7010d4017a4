"""The proxy under every server, with raw sockets on both sides."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.net import TruncatedError, connect, request
from tests.proxy.upstream import Peer, Upstream, answer, answer_and_close
from tests.servers import Server, serve

ASGI = ["uvicorn", "hypercorn", "granian"]
WSGI = ["gunicorn", "waitress", "granian-wsgi"]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@contextmanager
def gateway(kind: str, upstream: str, **env: str) -> Iterator[Server]:
    target = "tests.proxy.gateway_app:" + ("app" if kind in ASGI else "wsgi")
    with serve(kind, target, env={"UPSTREAM": upstream, **env}) as server:  # type: ignore[arg-type]
        yield server


@pytest.fixture(params=ASGI + WSGI)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_requests_and_answers_cross(kind: str) -> None:
    """Target, fields and bodies arrive as they were sent, several on one upstream connection."""
    cookies = b"set-cookie: a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\nset-cookie: b=2\r\n"
    first = b"HTTP/1.1 201 Made\r\n" + cookies + b"content-length: 5\r\n\r\nhello"
    with Upstream(answer(first, OK, OK)) as upstream, gateway(kind, upstream.url) as server:
        target = "/caf%C3%A9/%7Ea?x=1&x=%2F"
        made = request(server.address, "POST", target, headers=[("X-A", "1")], body=b"some body")
        assert (made.status, made.body) == (201, b"hello")
        assert made.values("set-cookie") == [
            "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
            "b=2",
        ]
        assert request(server.address, "GET", "/").status == 200
        assert request(server.address, "HEAD", "/").body == b""
    sent = upstream.requests
    # This one server does not tell WSGI the target as it came; it is encoded anew.
    path = b"/caf%C3%A9/~a" if kind == "granian-wsgi" else b"/caf%C3%A9/%7Ea"
    assert sent[0].head.startswith(b"POST " + path + b"?x=1&x=%2F HTTP/1.1\r\n")
    assert sent[0].body == b"some body"
    assert sent[0].values(b"x-a") == [b"1"]
    assert sent[0].values(b"x-forwarded-for") == [b"127.0.0.1"]
    assert b"transfer-encoding" not in sent[0].head
    assert b"content-length" not in sent[1].head
    assert upstream.connections == 1


def test_a_chunked_upload_is_streamed(kind: str) -> None:
    """An upload of unknown length reaches the upstream whole."""
    with Upstream(answer(OK)) as upstream, gateway(kind, upstream.url) as server:
        pieces = [b"x" * 70_000, b"y" * 10]
        with connect(server.address) as client:
            client.send(b"POST /up HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n")
            for piece in pieces:
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            client.send(b"0\r\n\r\n")
            assert client.read("POST").status == 200
    assert upstream.requests[0].body == b"".join(pieces)


def test_a_large_body_crosses_both_ways(kind: str) -> None:
    """Megabytes, byte for byte."""
    data = bytes(range(256)) * 12_000
    echo = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(data) + data
    with Upstream(answer(echo)) as upstream, gateway(kind, upstream.url) as server:
        assert request(server.address, "PUT", "/", body=data).body == data
    assert upstream.requests[0].body == data


def test_an_answer_streams(kind: str) -> None:
    """What the upstream has sent reaches the client while the rest is still to come."""
    released = threading.Event()

    def play(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfirst \r\n")
        released.wait(10)
        peer.send(b"6\r\nsecond\r\n0\r\n\r\n")
        peer.read_to_end()

    with (
        Upstream(play) as upstream,
        gateway(kind, upstream.url) as server,
        connect(server.address) as client,
    ):
        client.send(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n")
        assert b"second" not in client.read_until(b"first")
        released.set()
        client.read_until(b"second")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_short_answer_never_looks_whole(kind: str, framing: str) -> None:
    """An upstream that dies in mid-body: the client's connection is cut, the length unmet."""
    head = {
        "length": b"content-length: 100\r\n\r\nhalf",
        "chunked": b"transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    }[framing]
    broken = b"HTTP/1.1 200 OK\r\n" + head
    with (
        Upstream(answer_and_close(broken), answer(OK)) as upstream,
        gateway(kind, upstream.url) as server,
    ):
        if (kind, framing) == ("granian-wsgi", "chunked"):
            # This server ends the chunks in good order whatever the iterable raises.
            assert request(server.address, "GET", "/").body == b"half"
        else:
            with pytest.raises((TruncatedError, ConnectionError)):
                request(server.address, "GET", "/")
        assert request(server.address, "GET", "/").status == 200


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nx-a: 1\r\n folded\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nx-a: \x00\r\ncontent-length: 0\r\n\r\n",
    ],
    ids=["nothing", "two framings", "two lengths", "folded", "another protocol", "NUL"],
)
def test_a_broken_upstream_is_a_502(broken: bytes) -> None:
    """Its connection is discarded; the next request is not affected."""
    for kind in ("uvicorn", "waitress"):
        with (
            Upstream(answer_and_close(broken), answer(OK)) as upstream,
            gateway(kind, upstream.url) as server,
        ):
            failed = request(server.address, "POST", "/", body=b"x")
            assert failed.status == 502
            assert failed.header("content-type") == "application/problem+json"
            assert (failed.header("proxy-status") or "").startswith("gatekit; error=")
            assert request(server.address, "GET", "/").body == b"ok"


def test_an_upstream_that_is_not_there(kind: str) -> None:
    """A refused connection is a 502 at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with gateway(kind, f"http://127.0.0.1:{port}") as server:
        refused = request(server.address, "GET", "/")
    assert refused.status == 502
    assert refused.header("proxy-status") == "gatekit; error=connection_refused"


def test_a_silent_upstream_is_a_504(kind: str) -> None:
    """It accepts and never answers."""

    def silent(peer: Peer) -> None:
        peer.read_request()
        peer.read_to_end()

    with (
        Upstream(silent) as upstream,
        gateway(kind, upstream.url, FIRST_BYTE="0.2") as server,
    ):
        assert request(server.address, "GET", "/").status == 504


@pytest.mark.parametrize("kind", ASGI)
def test_a_client_that_leaves_cancels_the_upstream_call(kind: str) -> None:
    """Before the head already: the upstream sees its connection close."""
    arrived, gone = threading.Event(), threading.Event()

    def waits(peer: Peer) -> None:
        peer.read_request()
        arrived.set()
        peer.read_to_end()
        gone.set()

    with Upstream(waits) as upstream, gateway(kind, upstream.url, FIRST_BYTE="60") as server:
        with connect(server.address) as client:
            client.send(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n")
            assert arrived.wait(10)
            client.reset()
        assert gone.wait(10)


def test_a_client_that_leaves_in_mid_body_stops_the_upstream(kind: str) -> None:
    """An endless answer does not go on for nobody."""
    stopped = threading.Event()

    def endless(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        try:
            while True:
                peer.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        except OSError:
            stopped.set()

    with Upstream(endless) as upstream, gateway(kind, upstream.url) as server:
        with connect(server.address) as client:
            client.send(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n")
            client.socket.recv(65_536)
            client.reset()
        assert stopped.wait(15)


def test_an_oversized_upload_is_a_413(kind: str) -> None:
    """`BodyLimit` in front of the proxy, by the declared length: nothing is forwarded."""
    with (
        Upstream(answer(OK)) as upstream,
        gateway(kind, upstream.url, LIMIT="1000") as server,
        connect(server.address) as client,
    ):
        # One server reads a whole body before it calls the app, so it gets the whole body.
        head = b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 1001\r\n\r\n"
        client.send(head + (b"x" * 1001 if kind == "waitress" else b""))
        assert client.read("POST").status == 413
    assert upstream.requests == []


@pytest.mark.parametrize("kind", [*ASGI, "gunicorn"])
def test_an_oversized_chunked_upload_is_a_413(kind: str) -> None:
    """Counted as it streams: the client gets its answer, the upstream never a whole request."""

    def reads(peer: Peer) -> None:
        peer.read_to_end()

    with (
        Upstream(reads) as upstream,
        gateway(kind, upstream.url, LIMIT="1000") as server,
        connect(server.address) as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n")
        client.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        client.send(b"1\r\ny\r\n0\r\n\r\n")
        assert client.read("POST").status == 413
