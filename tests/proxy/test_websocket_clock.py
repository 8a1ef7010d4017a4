"""The times of a WebSocket: idle, lifetime, pings, the closing handshake, and the drain of all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any, Self

import pytest

from gatekit import Proxy, Request, Response, WebSockets, asgi_app
from gatekit.errors import UpstreamError
from gatekit.proxy.transport import UpstreamRequest, UpstreamResponse
from gatekit.proxy.websocket.handshake import accept_of
from gatekit.typing import Handler
from tests.proxy.loops import until
from tests.proxy.sockets import CLOSE, PING, PONG, TEXT, Client, closing, frame
from tests.proxy.test_websocket_frames import parsed
from tests.proxy.warp import WarpLoop

AGES = 10.0**9
"""Seconds of a clock that jumps."""


class Tunnel:
    """An upstream in memory; `frames` are those that it was sent, each with its time."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, int, bytes]] = []
        self.closed_at: float | None = None
        self.reads = asyncio.Event()
        self.reads.set()
        self.answers_pings = self.answers_close = True
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()

    def push(self, data: bytes) -> None:
        self._chunks.put_nowait(data)

    def end(self) -> None:
        self._chunks.put_nowait(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data = await self._chunks.get()
        if data is None and self.closed_at is not None:
            raise UpstreamError("closed", "the body was closed by its reader")
        if data is None:
            raise StopAsyncIteration
        return data

    async def write(self, data: bytes) -> None:
        for opcode, payload in parsed(data):
            self.frames.append((now(), opcode, payload))
            if opcode == PING and self.answers_pings:
                self.push(frame(PONG, payload))
            if opcode == CLOSE and self.answers_close:
                self.push(frame(CLOSE, payload))
                self.end()
        await self.reads.wait()

    async def aclose(self) -> None:
        if self.closed_at is None:
            self.closed_at = now()
            self.end()


class Wire:
    """A transport whose every tunnel is kept."""

    def __init__(self) -> None:
        self.tunnels: list[Tunnel] = []

    async def asend(self, origin: Any, request: UpstreamRequest, *rest: Any) -> Any:
        fields = dict(request.headers)
        self.tunnels.append(Tunnel())
        head = [
            (b"upgrade", b"websocket"),
            (b"connection", b"upgrade"),
            (b"sec-websocket-accept", accept_of(fields[b"sec-websocket-key"])),
        ]
        return UpstreamResponse(101, head, self.tunnels[-1])

    def send(self, *rest: Any) -> Any:
        raise NotImplementedError


def now() -> float:
    """Seconds since the beginning."""
    return asyncio.get_running_loop().time() - 1000


class Last(Random):
    """Chance that always gives the same."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def random(self) -> float:
        return self._value


def run(main: Coroutine[None, None, None]) -> None:
    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        runner.run(main)


class Link:
    """A client connected to a tunnel; `request` is that of the first handshake."""

    def __init__(self, *, slow: bool = False, chance: float = 0.0, **options: Any) -> None:
        self.line = Wire()
        self.requests: list[Request] = []

        async def watch(request: Request, call_next: Handler) -> Response:
            self.requests.append(request)
            return await call_next(request)

        websockets = WebSockets(chance=Last(chance), **{"ping_interval": None, **options})
        self.proxy = Proxy("http://chat", transport=self.line, websockets=websockets)
        self.app = asgi_app(self.proxy, watch)
        self.client = Client(self.app, slow=slow, patience=AGES)

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        await self.client.accepted()
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.client.__aexit__(*details)  # type: ignore[arg-type]
        assert self.proxy._switchboard.open == 0

    @property
    def request(self) -> Request:
        return self.requests[0]

    @property
    def tunnel(self) -> Tunnel:
        return self.line.tunnels[0]

    @property
    def cause(self) -> tuple[Any, ...]:
        close = self.request.websocket_close
        assert close is not None
        return close[:3]


def test_an_idle_connection_is_closed() -> None:
    """1001 on both sides, so long after the last message of either; pings are none."""

    async def main() -> None:
        async with Link(idle=60, ping_interval=7) as link:
            await asyncio.sleep(50)
            link.client.say("hello")
            await asyncio.sleep(50)
            link.tunnel.push(frame(TEXT, b"hello") + frame(PING))
            assert await link.client.heard() == "hello"
            await asyncio.sleep(50)
            link.tunnel.push(frame(PING))
            assert await link.client.closed() == (1001, "the connection was idle")
            assert now() == pytest.approx(160, abs=0.01)
        assert link.cause == ("gateway", "idle", 1001)
        at, opcode, data = link.tunnel.frames[-1]
        assert (opcode, data[:2], round(at)) == (CLOSE, b"\x03\xe9", 160)

    run(main())


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 3600), (0.5, 3420), (1.0, 3240)])
def test_a_lifetime_is_never_exceeded(chance: float, seconds: float) -> None:
    """1001 after it or, so that not all end together, up to a tenth of it earlier."""

    async def main() -> None:
        async with Link(max_lifetime=3600, chance=chance) as link:
            assert (await link.client.closed())[0] == 1001
            assert now() == pytest.approx(seconds, abs=0.01)
        assert link.cause == ("gateway", "lifetime", 1001)

    run(main())


def test_the_upstream_is_pinged() -> None:
    """So often that no network on the way forgets the connection, for as long as it is open."""

    async def main() -> None:
        async with Link(ping_interval=20) as link:
            await asyncio.sleep(70)
            link.client.leave()
        times = [at for at, opcode, _ in link.tunnel.frames if opcode == PING]
        assert times == pytest.approx([20, 40, 60], abs=0.1)

    run(main())


def test_an_upstream_that_answers_no_ping_is_lost() -> None:
    """By the next one, when it has said nothing else either."""

    async def main() -> None:
        async with Link(ping_interval=20) as link:
            link.tunnel.answers_pings = False
            await asyncio.sleep(30)
            link.tunnel.push(frame(TEXT, b"alive"))
            assert await link.client.heard() == "alive"
            assert await link.client.closed() == (1011, "")
            assert now() == pytest.approx(60, abs=0.1)
        assert link.cause == ("upstream", "lost", 1006)
        assert link.request.upstream_error is not None
        assert link.request.upstream_error.stage == "idle_timeout"

    run(main())


def test_an_upstream_that_we_do_not_listen_to_is_not_lost() -> None:
    """Its pong may lie behind a message that the client does not take."""

    async def main() -> None:
        async with Link(ping_interval=20, slow=True) as link:
            link.tunnel.answers_pings = False
            link.tunnel.push(frame(TEXT, b"large"))
            await asyncio.sleep(100)
            link.tunnel.push(frame(PONG))
            assert await link.client.heard() == "large"
            await asyncio.sleep(10)
            link.client.leave()
        assert link.cause == ("client", "closed", 1000)

    run(main())


def test_without_limits_nothing_ever_ends() -> None:
    """No timer is set."""

    async def main() -> None:
        async with Link() as link:
            await asyncio.sleep(10**7)
            link.client.leave()
        assert [opcode for _, opcode, _ in link.tunnel.frames] == [CLOSE]

    run(main())


def test_an_upstream_that_does_not_answer_a_close() -> None:
    """It is dropped after two seconds."""

    async def main() -> None:
        async with Link() as link:
            link.tunnel.answers_close = False
            link.client.leave(4000)
        assert (link.tunnel.closed_at, link.cause) == (2.0, ("client", "closed", 4000))

    run(main())


def test_an_upstream_that_closes_and_stays() -> None:
    """The client is told at once; the connection is dropped after two seconds."""

    async def main() -> None:
        async with Link() as link:
            link.tunnel.answers_close = False
            link.tunnel.push(closing(4000))
            assert (await link.client.closed(), now()) == ((4000, ""), 0.0)
        assert link.tunnel.closed_at == 2.0

    run(main())


def test_a_client_that_takes_nothing_when_it_is_idle() -> None:
    """Neither the message that it does not take nor the close holds the connection any longer."""

    async def main() -> None:
        async with Link(idle=60, slow=True) as link:
            link.tunnel.push(frame(TEXT, b"1") + frame(TEXT, b"2"))
            link.tunnel.answers_close = False
        assert (link.tunnel.closed_at, link.cause) == (62.0, ("gateway", "idle", 1001))

    run(main())


def test_an_upstream_that_takes_nothing_when_it_is_idle() -> None:
    """The client is told at once, whatever the upstream does."""

    async def main() -> None:
        async with Link(idle=60) as link:
            link.tunnel.answers_close = False
            link.tunnel.reads.clear()
            link.client.say("1")
            assert ((await link.client.closed())[0], round(now())) == (1001, 60)
        assert link.tunnel.closed_at == 62.0

    run(main())


def test_an_upstream_that_pings_and_does_not_read() -> None:
    """The pong waits alone: whoever reads nothing before it has written would wait for ever."""

    async def main() -> None:
        async with Link() as link:
            link.tunnel.reads.clear()
            link.client.say("stuck")
            link.tunnel.push(frame(PING, b"1") + frame(TEXT, b"heard"))
            assert await link.client.heard() == "heard"
            link.tunnel.push(frame(PING, b"2") + frame(TEXT, b"too soon"))
            await asyncio.sleep(10)
            assert link.client._out.empty()
            link.tunnel.reads.set()
            assert await link.client.heard() == "too soon"
            link.client.leave()
        sent = [(opcode, data) for _, opcode, data in link.tunnel.frames]
        assert sent[:3] == [(TEXT, b"stuck"), (PONG, b"1"), (PONG, b"2")]

    run(main())


def test_a_drain_closes_all_over_its_time() -> None:
    """1012 for each, at a moment of its own; `aclose` returns when the last one has ended."""

    async def main() -> None:
        websockets = WebSockets(drain=10, ping_interval=None, chance=Random(7))
        line = Wire()
        proxy = Proxy("http://chat", transport=line, websockets=websockets)
        app = asgi_app(proxy)
        times: list[float] = []

        async def one() -> None:
            async with Client(app) as client:
                await client.accepted()
                assert await client.closed() == (1012, "the gateway restarts")
                times.append(now())

        tasks = [asyncio.create_task(one()) for _ in range(1000)]
        await until(lambda: proxy._switchboard.open == 1000)
        await app.aclose()
        assert proxy._switchboard.open == 0
        await asyncio.gather(*tasks)
        assert 0 <= times[0] < 0.5 and 9.5 < times[-1] <= 10
        halves = sum(at < 5 for at in times)
        assert 400 < halves < 600
        assert all(tunnel.frames[-1][2][:2] == b"\x03\xf4" for tunnel in line.tunnels)

    run(main())


def test_few_are_drained_at_once() -> None:
    """Ten need no ten seconds; who comes meanwhile is told 503, and afterwards it goes on."""

    async def main() -> None:
        async with Link(drain=10, chance=1.0) as link:
            link.tunnel.answers_close = False
            closing = asyncio.create_task(link.proxy.aclose())
            await asyncio.sleep(0.02)
            assert (await link.client.closed())[0] == 1012
            async with Client(link.app) as late:
                status, body = await late.denied()
                assert status == 503 and b"urn:gatekit:restarting" in body
            await closing
            assert now() == pytest.approx(2.01, abs=0.02)
        assert link.cause == ("gateway", "drain", 1012)
        async with Client(link.app) as next_one:
            await next_one.accepted()
            next_one.leave()

    run(main())
