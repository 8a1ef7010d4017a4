"""Hostile upstreams behind both doors: a 502 or an exact cut, and the next answer is its own."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from gatekit import HTTPTransport, Proxy, Timeouts
from gatekit.errors import UpstreamError
from gatekit.proxy.transport import Origin
from tests.proxy.gateways import COLOURS, gateway
from tests.proxy.hostile import BODIES, CUT, EVIL, HEADS, ODD, Broken
from tests.proxy.upstream import Peer, Script, Upstream

PATIENT = Timeouts(connect=10, pool=10, first_byte=10, idle=10)
OWN = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown"


def plays(broken: Broken) -> Script:
    """The broken answer on the first connection; on every other one, good ones."""

    def play(peer: Peer) -> None:
        first = peer.upstream.connections == 1
        while True:
            peer.read_request()
            if first:
                peer.send(broken.answer)
                return
            peer.send(OWN)

    return play


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("broken", HEADS + BODIES + ODD, ids=lambda broken: broken.name)
def test_a_broken_answer_poisons_nothing(colour: str, broken: Broken) -> None:
    """A status as the table says; and whoever asks next gets an answer to what was asked."""
    with Upstream(plays(broken)) as upstream:
        transport = HTTPTransport()
        proxy = Proxy(upstream.url, transport=transport, timeouts=PATIENT)
        with gateway(colour, proxy) as call:
            if broken.ends == CUT:
                # All of it may have come in one piece: then there is still time for a 502.
                with suppress(UpstreamError):
                    assert call(broken.method).status == 502
            else:
                answer = call(broken.method)
                assert answer.status == broken.ends
                if broken.ends == 502:
                    assert answer.headers["content-type"] == "application/problem+json"
                    assert answer.headers["proxy-status"].startswith("gatekit; error=")
                else:
                    assert answer.body == broken.body
                    assert "transfer-encoding" not in answer.headers
            assert transport.usage(Origin(upstream.url)).in_use == 0
            assert [call().body for _ in range(2)] == [b"own", b"own"]
            transport.close()
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("colour", COLOURS)
def test_what_follows_an_answer_late_is_nobodys(colour: str) -> None:
    """An answer that nobody asked for waits on an idle connection: it is not given to the next."""
    answered, arrived = threading.Event(), threading.Event()

    def plays(peer: Peer) -> None:
        first = peer.upstream.connections == 1
        while True:
            peer.read_request()
            peer.send(OWN)
            if first:
                assert answered.wait(10)
                peer.send(EVIL)
                arrived.set()

    with Upstream(plays) as upstream, gateway(colour, Proxy(upstream.url)) as call:
        assert call().body == b"own"
        answered.set()
        assert arrived.wait(10)
        assert [call("POST", body=b"x").body for _ in range(3)] == [b"own"] * 3


@pytest.mark.parametrize("colour", COLOURS)
def test_an_answer_byte_by_byte(colour: str) -> None:
    """Slow is not broken."""
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n"

    def dribbles(peer: Peer) -> None:
        while True:
            peer.read_request()
            for byte in whole:
                peer.send(bytes((byte,)))

    with Upstream(dribbles) as upstream, gateway(colour, Proxy(upstream.url)) as call:
        assert [call().body for _ in range(2)] == [b"hello", b"hello"]
    assert upstream.connections == 1
