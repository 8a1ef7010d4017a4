"""What a transport holds of a body that goes through it: little, however long it is."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

from gatekit.proxy.transport import UpstreamRequest
from tests.proxy.conftest import Dial
from tests.proxy.upstream import Peer, Upstream

PIECE = b"x" * 65536
PIECES = 4096
MIB = 1024 * 1024


def resident() -> int:
    """The bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_quarter_of_a_gibibyte_down(dial: Dial) -> None:
    """Grows memory by less than 16 MiB."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (PIECES * len(PIECE)))
        for _ in range(PIECES):
            peer.send(PIECE)

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        response = client.get()
        size, most, before = 0, 0, resident()
        while piece := client.next(response):
            size += len(piece)
            most = max(most, resident())
    assert size == PIECES * len(PIECE)
    assert most - before < 16 * MIB


def test_a_quarter_of_a_gibibyte_up(dial: Dial) -> None:
    """Grows memory by less than 16 MiB."""
    most = 0

    def stream() -> Iterator[bytes]:
        nonlocal most
        for _ in range(PIECES):
            yield PIECE
            most = max(most, resident())

    def script(peer: Peer) -> None:
        peer.read_head()
        for _ in range(PIECES):
            peer.read_exactly(len(PIECE))
        peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        peer.read_to_end()

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        before = resident()
        request = UpstreamRequest(b"PUT", b"/", [], (stream(), PIECES * len(PIECE)))
        assert client.send(request).status == 204
    assert most - before < 16 * MIB
