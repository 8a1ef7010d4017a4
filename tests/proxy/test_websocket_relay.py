"""What passes between the two sides of a WebSocket, and how either's end reaches the other."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from gatekit import ConcurrencyLimit, Proxy, asgi_app
from tests.proxy.loops import Run, until
from tests.proxy.sockets import (
    BINARY,
    CLOSE,
    CONTINUED,
    PING,
    PONG,
    TEXT,
    Client,
    accept,
    closing,
    echo,
    frame,
    read_frame,
)
from tests.proxy.upstream import Peer, Upstream
from tests.proxy.watch import Watch, through


def test_messages_cross_both_ways(run: Run) -> None:
    """Text stays text and bytes stay bytes, the empty ones too, and each is counted."""

    async def play(client: Client) -> None:
        for message in ("hello", b"\x00\xff", "", b"", "κόσμε", "x" * 70_000):
            client.say(message)
            heard = await client.heard()
            assert heard == message and type(heard) is type(message)
        client.leave(1000, "bye")

    watch, _ = through(run, echo, play)
    assert watch.end == ("client", "closed", 1000, "bye", "complete")
    close = watch.request.websocket_close
    size = 5 + 2 + 10 + 70_000
    assert close is not None and close[4:8] == (6, size, 6, size)
    assert (watch.outcome.status, watch.outcome.sent, watch.outcome.received) == (101, size, size)


def test_fragments_become_one_message(run: Run) -> None:
    """With pings between them, which are answered while the message is not whole yet."""

    def script(peer: Peer) -> None:
        accept(peer, also=frame(TEXT, b"one ", fin=False) + frame(PING, b"now?"))
        assert read_frame(peer) == (PONG, b"now?")
        peer.send(frame(CONTINUED, b"two ", fin=False) + frame(CONTINUED, b"three"))
        assert read_frame(peer) == (CLOSE, b"\x03\xe8")

    async def play(client: Client) -> None:
        assert await client.heard() == "one two three"
        client.leave()

    through(run, script, play)


def test_what_comes_with_the_head_of_the_101(run: Run) -> None:
    """Frames in the same packet are the first messages."""

    def script(peer: Peer) -> None:
        accept(peer, also=frame(TEXT, b"early") + closing(1000))
        assert read_frame(peer) == (CLOSE, b"\x03\xe8")

    async def play(client: Client) -> None:
        assert await client.heard() == "early"
        assert await client.closed() == (1000, "")

    through(run, script, play)


def test_a_slow_client_slows_the_upstream(run: Run) -> None:
    """While the client has not taken a message, neither the next one nor the socket is read."""
    sent = 0
    stuck = threading.Event()

    def script(peer: Peer) -> None:
        nonlocal sent
        accept(peer)
        peer.socket.settimeout(0.2)
        try:
            while sent < 100_000_000:
                peer.send(frame(BINARY, bytes(60_000)))
                sent += 60_000
        except TimeoutError:
            stuck.set()
        peer.socket.settimeout(10)
        peer.read_to_end()

    watch = Watch()

    async def main() -> None:
        async with Client(asgi_app(Proxy(upstream.url), watch), slow=True) as client:
            await client.accepted()
            assert await asyncio.to_thread(stuck.wait, 10)
            assert client._out.qsize() == 1
            client.leave(1006)
            while not client.task.done():
                if client._out.qsize():
                    await client.said()
                await asyncio.sleep(0)

    with Upstream(script) as upstream:
        run(main())
    assert 60_000 < sent < 20_000_000
    assert watch.end[:2] == ("client", "lost")


def test_a_slow_upstream_slows_the_client(run: Run) -> None:
    """While the upstream does not read, no more is received of the client than fits on its way."""

    def script(peer: Peer) -> None:
        accept(peer)
        assert unread.wait(10)
        peer.read_to_end()

    unread = threading.Event()
    received: list[int] = []

    async def main() -> None:
        proxy = Proxy(upstream.url)
        async with Client(asgi_app(proxy)) as client:
            await client.accepted()
            for _ in range(1000):
                client.say(bytes(100_000))
            before = -1
            while before != client._in.qsize():
                before = client._in.qsize()
                for _ in range(100):
                    await asyncio.sleep(0)
            received.append(1000 - before)
            client.leave(1006)
            client.task.cancel()
            unread.set()
            with pytest.raises(asyncio.CancelledError):
                await client.task
            client.task = asyncio.create_task(asyncio.sleep(0))
        assert proxy._switchboard.open == 0

    with Upstream(script) as upstream:
        run(main())
    assert 0 < received[0] < 200


def test_cancellation_leaves_nothing(run: Run) -> None:
    """Whoever cancels the app takes both directions and the upstream with it."""
    watch = Watch()

    async def main() -> None:
        proxy = Proxy(upstream.url)
        async with Client(asgi_app(proxy, watch)) as client:
            await client.accepted()
            client.say("hello")
            await client.heard()
            client.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await client.task
            assert asyncio.all_tasks() == {asyncio.current_task()}
            client.task = asyncio.create_task(asyncio.sleep(0))
        assert proxy._switchboard.open == 0

    with Upstream(echo) as upstream:
        run(main())
    assert watch.end == ("gateway", "cancelled", 1006, "", "abandoned")


def test_a_permit_is_held_until_the_end(run: Run) -> None:
    """`ConcurrencyLimit` counts a WebSocket for as long as it is open, and not a moment longer."""
    limit = ConcurrencyLimit(1, key=lambda request: "one")

    async def main() -> None:
        app = asgi_app(Proxy(upstream.url), limit)
        async with Client(app) as first:
            await first.accepted()
            first.say("hello")
            await first.heard()
            async with Client(app) as second:
                assert (await second.denied())[0] == 429
            first.leave()
        async with Client(app) as third:
            await third.accepted()
            third.leave()

    with Upstream(echo) as upstream:
        run(main())


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("closed")])
def test_a_server_that_takes_no_more(run: Run, error: Exception) -> None:
    """Its error is how the client's leaving shows first; the code it then tells is passed on."""
    told: list[tuple[int, bytes]] = []

    def script(peer: Peer) -> None:
        accept(peer)
        peer.send(frame(TEXT, b"into the void"))
        told.append(read_frame(peer))
        peer.send(frame(*told[0]))

    watch = Watch()

    async def main() -> None:
        client = Client(None)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async def broken(message: Any) -> None:
                if message["type"] == "websocket.send":
                    client.leave(4000, "bored")
                    raise error
                await send(message)

            await asgi_app(Proxy(upstream.url), watch)(scope, receive, broken)

        client._app = app
        async with client:
            await client.accepted()

    with Upstream(script) as upstream:
        run(main())
    assert told == [(CLOSE, (4000).to_bytes(2, "big") + b"bored")]
    assert watch.end[:4] == ("client", "closed", 4000, "bored")


def test_many_at_once_leave_nothing(run: Run) -> None:
    """A hundred, ended in every way, and each was its own."""

    async def one(app: Any, number: int) -> None:
        async with Client(app) as client:
            await client.accepted()
            client.say(f"hello {number}")
            assert await client.heard() == f"hello {number}"
            client.leave((1000, 1005, 1006, 4000)[number % 4])

    async def main() -> None:
        proxy = Proxy(upstream.url)
        app = asgi_app(proxy)
        await asyncio.gather(*(one(app, number) for number in range(100)))
        assert proxy._switchboard.open == 0
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    with Upstream(echo) as upstream:
        run(main())
