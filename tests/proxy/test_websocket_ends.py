"""How a WebSocket ends: either side's close, loss or mistake reaches the other one."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import pytest

from gatekit import AccessLog, Proxy, asgi_app
from tests.proxy.loops import Run
from tests.proxy.sockets import (
    BINARY,
    CLOSE,
    TEXT,
    Client,
    accept,
    closing,
    echo,
    frame,
    read_frame,
)
from tests.proxy.upstream import Peer, Script, Upstream
from tests.proxy.watch import through

CODES = [*range(1000, 1004), *range(1007, 1015), 3000, 4999]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("reason", ["", "é" * 61 + "x"], ids=["no reason", "123 bytes"])
def test_the_upstreams_close_reaches_the_client(code: int, reason: str) -> None:
    """With its code and reason, after the messages before it; the upstream is answered."""

    def script(peer: Peer) -> None:
        accept(peer, also=frame(TEXT, b"last") + closing(code, reason.encode()))
        assert read_frame(peer) == (CLOSE, code.to_bytes(2, "big") + reason.encode())

    async def play(client: Client) -> None:
        assert await client.heard() == "last"
        assert await client.closed() == (code, reason)

    watch, _ = through(asyncio.run, script, play)
    assert watch.end == ("upstream", "closed", code, reason, "complete")


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("reason", ["", "é" * 61 + "x"], ids=["no reason", "123 bytes"])
def test_the_clients_close_reaches_the_upstream(code: int, reason: str) -> None:
    """With its code and reason, after the messages before it."""
    frames: list[tuple[int, bytes]] = []

    def script(peer: Peer) -> None:
        accept(peer)
        frames.extend((read_frame(peer), read_frame(peer)))
        peer.send(frame(*frames[1]))

    async def play(client: Client) -> None:
        client.say("last")
        client.leave(code, reason)

    watch, _ = through(asyncio.run, script, play)
    assert frames == [(TEXT, b"last"), (CLOSE, code.to_bytes(2, "big") + reason.encode())]
    assert watch.end == ("client", "closed", code, reason, "complete")


def test_a_close_without_a_code(run: Run) -> None:
    """The upstream gets one as empty as the client's; ASGI's closes always have one, so 1000."""

    def reads(peer: Peer) -> None:
        accept(peer)
        assert read_frame(peer) == (CLOSE, b"")

    def closes(peer: Peer) -> None:
        accept(peer, also=frame(CLOSE))
        assert read_frame(peer) == (CLOSE, b"")

    async def leaves(client: Client) -> None:
        client.leave(1005)

    async def stays(client: Client) -> None:
        assert await client.closed() == (1000, "")

    watch, _ = through(run, reads, leaves)
    assert watch.end == ("client", "closed", 1005, "", "complete")
    watch, _ = through(run, closes, stays)
    assert watch.end == ("upstream", "closed", 1005, "", "complete")


def test_a_client_that_is_lost(run: Run) -> None:
    """The upstream loses its connection just so: there is no close frame to pass on."""
    rest: list[bytes] = []

    def script(peer: Peer) -> None:
        accept(peer)
        rest.append(peer.read_to_end())

    async def play(client: Client) -> None:
        client.leave(1006)

    watch, _ = through(run, script, play)
    assert rest == [b""]
    assert watch.end == ("client", "lost", 1006, "", "abandoned")


def half_close(peer: Peer) -> None:
    accept(peer)
    peer.half_close()
    peer.read_to_end()


def reset(peer: Peer) -> None:
    accept(peer)
    peer.reset()


def within(peer: Peer) -> None:
    accept(peer, also=frame(TEXT, b"cut off")[:-1])


@pytest.mark.parametrize("script", [accept, half_close, reset, within])
def test_an_upstream_that_is_lost(run: Run, script: Script) -> None:
    """The client is told 1011, and the exchange counts as failed."""

    async def play(client: Client) -> None:
        assert await client.closed() == (1011, "")

    watch, _ = through(run, script, play)
    assert watch.end == ("upstream", "lost", 1006, "", "failed")
    assert watch.request.upstream_error is not None
    assert watch.request.upstream_error.stage in ("closed", "reset")


@pytest.mark.parametrize(
    ("wire", "code", "by", "cause", "ended"),
    [
        (frame(TEXT, b"\xff"), 1007, "upstream", "protocol", "failed"),
        (frame(TEXT, b"x", mask=b"abcd"), 1002, "upstream", "protocol", "failed"),
        (frame(TEXT, b"x", reserved=4), 1002, "upstream", "protocol", "failed"),
        (closing(1005), 1002, "upstream", "protocol", "failed"),
        (frame(BINARY, b"x" * 101), 1009, "gateway", "too_big", "complete"),
    ],
    ids=["not UTF-8", "masked", "reserved", "close code", "too large"],
)
def test_a_mistake_of_the_upstream_ends_both_sides(
    run: Run, wire: bytes, code: int, by: str, cause: str, ended: str
) -> None:
    """With the same code, after the messages that came before."""
    told: list[tuple[int, bytes]] = []

    def script(peer: Peer) -> None:
        accept(peer, also=frame(TEXT, b"fine") + wire + frame(TEXT, b"late"))
        told.append(read_frame(peer))

    async def play(client: Client) -> None:
        assert await client.heard() == "fine"
        assert (await client.closed())[0] == code

    watch, _ = through(run, script, play, max_message=100)
    assert told[0][0] == CLOSE and told[0][1][:2] == code.to_bytes(2, "big")
    assert (*watch.end[:3], watch.end[4]) == (by, cause, code, ended)


@pytest.mark.parametrize("message", ["x" * 101, b"x" * 101, "é" * 51])
def test_a_message_of_the_client_that_is_too_large(run: Run, message: str | bytes) -> None:
    """1009 on both sides; text is measured as it is on the wire."""
    told: list[tuple[int, bytes]] = []

    def script(peer: Peer) -> None:
        accept(peer)
        told.append(read_frame(peer))
        peer.send(frame(*told[0]))

    async def play(client: Client) -> None:
        client.say(message)
        client.say("late")
        assert (await client.closed())[0] == 1009

    watch, _ = through(run, script, play, max_message=100)
    assert told[0][0] == CLOSE and told[0][1][:2] == b"\x03\xf1"
    assert watch.end[:3] == ("gateway", "too_big", 1009)


def test_half_of_a_surrogate_pair(run: Run) -> None:
    """A server that takes such text for text: 1007 on both sides."""
    told: list[tuple[int, bytes]] = []

    def script(peer: Peer) -> None:
        accept(peer)
        told.append(read_frame(peer))

    async def play(client: Client) -> None:
        client.say("\ud800")
        assert (await client.closed())[0] == 1007

    watch, _ = through(run, script, play)
    assert told[0][1][:2] == b"\x03\xef"
    assert watch.end[:3] == ("gateway", "protocol", 1007)


def test_the_log_says_how_it_ended(caplog: pytest.LogCaptureFixture) -> None:
    """One record, at the end; what a peer wrote as its reason cannot begin a new line."""

    async def play(client: Client) -> None:
        client.say("hello")
        await client.heard()
        client.leave(4000, "bored\nGET / 200")

    with caplog.at_level(logging.INFO, "gatekit.access"):
        through(asyncio.run, echo, play, AccessLog())
    [record] = caplog.records
    members = cast("Any", record).gatekit
    close = members["websocket_close"]
    assert close.pop("duration") >= 0
    assert close == {
        "by": "client",
        "cause": "closed",
        "code": 4000,
        "reason": "bored\\nGET / 200",
        "messages_received": 1,
        "bytes_received": 5,
        "messages_sent": 1,
        "bytes_sent": 5,
    }
    assert (members["status"], members["bytes_sent"], members["websocket"]) == (101, 5, True)


def test_a_destination_counts_it_until_its_end(run: Run) -> None:
    """In a cluster a handshake goes to one that is there, which is busy for as long as it lasts."""

    async def main() -> None:
        proxy = Proxy(["http://127.0.0.1:1", upstream.url])
        for _ in range(5):
            async with Client(asgi_app(proxy)) as client:
                await client.accepted()
                assert proxy.cluster.state.active == 1
                client.leave()
            assert proxy.cluster.state.active == 0

    with Upstream(echo) as upstream:
        run(main())
