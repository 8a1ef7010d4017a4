"""Streams under every server: nothing waits for an end, and every end is where it belongs."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator

import pytest

from tests.net import connect
from tests.proxy.sites import ASGI, WSGI, Site, site
from tests.proxy.upstream import Peer

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PIECE = {True: b"first", False: b"x" * 70_000}
"""A piece of an upload that goes up at once: a WSGI server's input gives 64 KiB or the end."""


@pytest.fixture(scope="module", params=ASGI + WSGI)
def here(request: pytest.FixtureRequest) -> Iterator[Site]:
    with site(request.param) as running:
        yield running


def test_events_are_passed_on_one_by_one(here: Site) -> None:
    """Each reaches the client before the upstream sends the next; `Last-Event-ID` goes up."""
    seen, heads = threading.Semaphore(0), list[bytes]()

    def events(peer: Peer, head: bytes) -> None:
        heads.append(head)
        peer.send(CHUNKED + b"Content-Type: text/event-stream\r\n\r\n")
        for number in range(3):
            event = b"id: %d\ndata: x\n\n" % number
            peer.send(b"%x\r\n%b\r\n" % (len(event), event))
            assert seen.acquire(timeout=10)
        peer.send(b"0\r\n\r\n")

    here.upstream_does("/events", events)
    with connect(here.address) as client:
        client.send(b"GET /events HTTP/1.1\r\nHost: t\r\nLast-Event-ID: 41\r\n\r\n")
        head = client.read_head()
        assert head.header("content-type") == "text/event-stream"
        assert head.header("content-length") is None
        for number in range(3):
            client.read_until(b"id: %d\ndata: x\n\n" % number)
            seen.release()
        client.read_until(b"0\r\n\r\n")
    assert b"\r\nlast-event-id: 41\r\n" in heads[0].lower()


def test_an_upload_of_unknown_length_streams(here: Site) -> None:
    """The first bytes are with the upstream before the client has sent the last."""
    if here.kind == "waitress":
        pytest.skip("it reads a whole request before it calls the app")
    arrived = threading.Event()
    first = PIECE[here.is_async]

    def upload(peer: Peer, head: bytes) -> None:
        assert b"\r\ntransfer-encoding: chunked\r\n" in head.lower()
        assert b"content-length" not in head.lower()
        body = peer.read_chunk()
        arrived.set()
        while piece := peer.read_chunk():
            body += piece
        assert body == first + b"last"
        peer.send(OK)

    here.upstream_does("/upload", upload)
    with connect(here.address) as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"%x\r\n%b\r\n" % (len(first), first))
        assert arrived.wait(10)
        client.send(b"4\r\nlast\r\n0\r\n\r\n")
        assert client.read("POST").body == b"ok"


def test_a_client_that_waits_for_100_gets_it(here: Site) -> None:
    """The server answers `Expect`, which does not go on; then the body is sent, and goes up."""
    heads: list[bytes] = []

    def reads(peer: Peer, head: bytes) -> None:
        heads.append(head.lower())
        assert peer.read_exactly(5) == b"hello"
        peer.send(OK)

    here.upstream_does("/expect", reads)
    with connect(here.address) as client:
        client.send(b"PUT /expect HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n")
        client.send(b"Expect: 100-continue\r\n\r\n")
        assert client.read_head().status == 100
        client.send(b"hello")
        assert client.read("PUT").status == 200
    assert b"expect:" not in heads[0]


def test_an_answer_before_the_end_of_the_upload(here: Site) -> None:
    """An upstream that has seen enough is heard, and its connection is not used again."""
    if here.kind == "waitress":
        pytest.skip("it reads a whole request before it calls the app")
    gone = threading.Event()
    piece = PIECE[here.is_async]

    def refuses(peer: Peer, head: bytes) -> None:
        assert peer.read_chunk()
        peer.send(b"HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig")
        peer.read_to_end()
        gone.set()

    here.upstream_does("/early", refuses)
    with connect(here.address) as client:
        client.send(b"POST /early HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        # A thread that waits for the client sees the answer when there is more to send on.
        while not here.is_async and not select.select([client.socket], [], [], 0.01)[0]:
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        answer = client.read("POST")
        assert (answer.status, answer.body) == (413, b"big")
    assert gone.wait(10)


BODILESS = {
    "HEAD": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "205": b"HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n",
    "304": b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 1000\r\n\r\n',
}


@pytest.mark.parametrize("kind", BODILESS)
def test_what_has_no_body(here: Site, kind: str) -> None:
    """The next answer on the client's connection begins where it should, and on the upstream's."""

    def bodiless(peer: Peer, head: bytes) -> None:
        peer.send(BODILESS[kind])

    def plain(peer: Peer, head: bytes) -> None:
        peer.send(OK)

    here.upstream_does("/bodiless", bodiless)
    here.upstream_does("/plain", plain)
    method = "HEAD" if kind == "HEAD" else "GET"
    with connect(here.address) as client:
        client.send(f"{method} /bodiless HTTP/1.1\r\nHost: t\r\n\r\n".encode())
        answer = client.read(method)
        assert answer.status == (200 if kind == "HEAD" else int(kind))
        assert answer.body == b""
        if kind == "HEAD":
            assert answer.header("content-length") == "1000"
        if kind == "204":
            assert answer.header("content-length") is None
        if here.kind == "waitress" and kind in ("204", "304"):
            assert client.is_closed_by_peer()
            return
        client.send(b"GET /plain HTTP/1.1\r\nHost: t\r\n\r\n")
        assert client.read().body == b"ok"


def test_where_there_are_no_trailers_they_are_dropped(here: Site) -> None:
    """These servers cannot send them in HTTP/1.1: the body is whole, and nothing announces them."""

    def trailing(peer: Peer, head: bytes) -> None:
        assert b"\r\nte:" not in head.lower()
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        peer.send(early + CHUNKED + b"Trailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")

    here.upstream_does("/trailing", trailing)
    with connect(here.address) as client:
        client.send(b"GET /trailing HTTP/1.1\r\nHost: t\r\nTE: trailers\r\n\r\n")
        answer = client.read()
        assert (answer.status, answer.body) == (200, b"hello")
        assert answer.header("trailer") is None
        assert client.trailers == []
        assert client.informational == []


def test_no_other_protocol_is_switched_to(here: Site) -> None:
    """An `Upgrade` that is no WebSocket stays here, and the request is a plain one."""
    if here.kind == "hypercorn":
        pytest.skip("it upgrades to HTTP/2 by itself")
    heads: list[bytes] = []

    def plain(peer: Peer, head: bytes) -> None:
        heads.append(head.lower())
        peer.send(OK)

    here.upstream_does("/plainly", plain)
    with connect(here.address) as client:
        client.send(b"GET /plainly HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings\r\n")
        client.send(b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
        assert client.read().body == b"ok"
    assert b"upgrade" not in heads[0]
    assert b"http2" not in heads[0]
