"""Upstreams and clients that fail at every stage: nobody hangs, and nothing is left behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from typing import TypeAlias

import pytest

from tests.net import Connection, TruncatedError, connect, request
from tests.proxy.sites import ASGI, WSGI, Site, site
from tests.proxy.upstream import Peer

Fault: TypeAlias = Callable[[Site], None]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
GET = b"GET /fault HTTP/1.1\r\nHost: t\r\n\r\n"


@pytest.fixture(scope="module", params=ASGI + WSGI)
def here(request: pytest.FixtureRequest) -> Iterator[Site]:
    def plain(peer: Peer, head: bytes) -> None:
        peer.send(OK)

    with site(request.param, "tests.proxy.faults_app") as running:
        running.upstream_does("/plain", plain)
        yield running


def cut_off(here: Site) -> None:
    """What the client is sent is no whole answer."""
    if here.kind == "granian-wsgi":
        # This server ends chunks in good order whatever the iterable raises.
        assert request(here.address, "GET", "/fault").body == b"half"
        return
    with pytest.raises((TruncatedError, ConnectionError)):
        request(here.address, "GET", "/fault")


def killed_in_the_body(here: Site) -> None:
    def dies(peer: Peer, head: bytes) -> None:
        peer.send(CHUNKS)
        peer.socket.close()
        raise ConnectionResetError

    here.upstream_does("/fault", dies)
    cut_off(here)


def reset_in_the_body(here: Site) -> None:
    def resets(peer: Peer, head: bytes) -> None:
        peer.send(CHUNKS)
        assert client_has_it.wait(10)
        peer.reset()
        raise ConnectionResetError

    client_has_it = threading.Event()
    here.upstream_does("/fault", resets)
    with connect(here.address) as client:
        client.send(GET)
        client.read_until(b"half")
        client_has_it.set()
        if here.kind == "granian-wsgi":
            client.read_until(b"0\r\n\r\n")
        else:
            with suppress(ConnectionResetError):
                assert b"0\r\n\r\n" not in client.read_to_end()


def reset_before_the_head(here: Site) -> None:
    def resets(peer: Peer, head: bytes) -> None:
        peer.reset()
        raise ConnectionResetError

    here.upstream_does("/fault", resets)
    assert request(here.address, "POST", "/fault", body=b"x").status == 502


def never_answered(here: Site) -> None:
    here.upstream_does("/fault", lambda peer, head: void(peer.read_to_end()))
    assert request(here.address, "GET", "/fault").status == 504


def byte_by_byte(here: Site) -> None:
    def dribbles(peer: Peer, head: bytes) -> None:
        for byte in CHUNKS + b"0\r\n\r\n":
            peer.send(bytes((byte,)))

    here.upstream_does("/fault", dribbles)
    assert request(here.address, "GET", "/fault").body == b"half"


def unknown_name(here: Site) -> None:
    assert request(here.address, "GET", "/lost").status == 502


def client_leaves_before_the_head(here: Site) -> None:
    arrived = threading.Event()

    def silent(peer: Peer, head: bytes) -> None:
        arrived.set()
        peer.read_to_end()

    here.upstream_does("/fault", silent)
    with connect(here.address) as client:
        client.send(GET)
        assert arrived.wait(10)
        client.reset()


def client_leaves_in_its_head(here: Site) -> None:
    with connect(here.address) as client:
        client.send(GET[:20])


def client_leaves_in_the_body(here: Site) -> None:
    def endless(peer: Peer, head: bytes) -> None:
        peer.send(CHUNKS)
        while True:
            peer.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    here.upstream_does("/fault", endless)
    with connect(here.address) as client:
        client.send(GET)
        client.read_until(b"half")
        client.reset()


def client_leaves_in_its_upload(here: Site) -> None:
    here.upstream_does("/fault", lambda peer, head: void(peer.read_to_end()))
    for framing, body in (
        (b"Content-Length: 100000", b"x" * 1000),
        (b"Transfer-Encoding: chunked", b"3e8\r\n" + b"x" * 1000 + b"\r\n"),
    ):
        with connect(here.address) as client:
            client.send(b"POST /fault HTTP/1.1\r\nHost: t\r\n" + framing + b"\r\n\r\n" + body)
            leave(client)


def client_stalls_in_its_upload(here: Site) -> None:
    if not here.is_async:
        return
    here.upstream_does("/fault", lambda peer, head: void(peer.read_to_end()))
    with connect(here.address) as client:
        client.send(b"POST /fault HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nhell")
        assert client.read("POST").status == 408


FAULTS: list[Fault] = [
    killed_in_the_body,
    reset_in_the_body,
    reset_before_the_head,
    never_answered,
    byte_by_byte,
    unknown_name,
    client_leaves_before_the_head,
    client_leaves_in_its_head,
    client_leaves_in_the_body,
    client_leaves_in_its_upload,
    client_stalls_in_its_upload,
]


def void(_: object) -> None:
    """A script has no value; what it read stays read."""
    raise ConnectionResetError


def leave(client: Connection) -> None:
    client.reset()


def settled(here: Site, claim: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    """What the gateway holds, as soon as the claim is true of it; it is asked again and again."""
    end = monotonic() + 10
    while True:
        with connect(here.address) as client:
            for _ in range(500):
                client.send(b"GET /-/held HTTP/1.1\r\nHost: t\r\n\r\n")
                found: dict[str, int] = json.loads(client.read().body)
                if claim(found):
                    return found
                assert monotonic() < end, f"it still holds {found}"


def is_at_rest(found: dict[str, int]) -> bool:
    return found["in_use"] == found["pending"] == found["in_flight"] == 0


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_over_when_it_is_over(here: Site, fault: Fault) -> None:
    """The client is told, nothing stays in use or in flight, and the next one gets its answer."""
    for _ in range(2):
        fault(here)
    assert request(here.address, "GET", "/plain").body == b"ok"
    settled(here, is_at_rest)


def test_nothing_is_left_behind(here: Site) -> None:
    """After all the faults as many tasks, threads and open files as before them."""
    before = settled(here, is_at_rest)
    for fault in FAULTS:
        fault(here)

    # Pools of threads, for names and for WSGI, grow with use, to a size of their own.
    limit = before["threads"] + (0 if here.kind == "waitress" else 8)
    settled(
        here,
        lambda now: (
            is_at_rest(now)
            and now["tasks"] <= before["tasks"]
            and now["files"] <= before["files"]
            and now["threads"] <= limit
        ),
    )
