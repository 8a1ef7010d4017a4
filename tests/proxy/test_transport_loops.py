"""What an event loop does to a transport: drop, hold back, run many at once, and end."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from unittest.mock import Mock

import pytest

from gatekit.errors import UpstreamError
from gatekit.proxy.transport import HTTPTransport, Origin, Timeouts, UpstreamRequest
from gatekit.proxy.transport.aio_connection import Connection
from gatekit.proxy.transport.aio_upload import Upload
from tests.proxy.clients import PATIENCE
from tests.proxy.loops import GET, HELLO, Run, cancelled, holding, start, until
from tests.proxy.upstream import Peer, Upstream, answer


def test_a_response_that_is_dropped_costs_its_connection(run: Run) -> None:
    """Without a warning; found by the garbage collector, in whatever thread that runs."""
    closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        peer.read_to_end()
        closed.set()

    async def main() -> None:
        response = await transport.asend(origin, GET, PATIENCE)
        assert transport.usage(origin) == (1, 0, 0)
        cycle: list[object] = [response]
        cycle.append(cycle)
        del response, cycle
        await asyncio.get_running_loop().run_in_executor(None, gc.collect)
        await until(closed.is_set)
        assert transport.usage(origin) == (0, 0, 0)

    with Upstream(script) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        run(main())


def test_a_slow_reader_holds_the_upstream_back(run: Run) -> None:
    """What is not read stays in the upstream's hands, not in our memory."""
    total = 64 * 1024 * 1024
    sent = 0

    def script(peer: Peer) -> None:
        nonlocal sent
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        piece = b"x" * 65536
        while sent < total:
            # A full socket is the signal that the other side has stopped reading.
            peer.socket.settimeout(0.2)
            try:
                peer.socket.sendall(piece)
            except TimeoutError:
                stalled.set()
                return
            sent += len(piece)

    async def main() -> None:
        response = await transport.asend(origin, GET, PATIENCE)
        assert not isinstance(response.body, bytes)
        await until(stalled.is_set)
        first = await anext(response.body)
        assert len(first) < 1024 * 1024
        await response.body.aclose()

    stalled = threading.Event()
    with Upstream(script) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        run(main())
    assert sent < 32 * 1024 * 1024


def test_waiters_are_served_in_order(run: Run) -> None:
    """First come, first served, on one connection."""

    async def main() -> None:
        async def exchange(number: int) -> None:
            request = UpstreamRequest(b"GET", b"/%d" % number, [])
            assert (await transport.asend(origin, request, PATIENCE)).body == b"hello"

        await asyncio.gather(*map(exchange, range(20)))
        assert transport.usage(origin) == (0, 1, 0)

    with Upstream(answer(*[HELLO] * 20)) as upstream:
        transport, origin = HTTPTransport(max_connections=1), Origin(upstream.url)
        run(main())
    assert [r.head.split()[1] for r in upstream.requests] == [b"/%d" % n for n in range(20)]


def test_the_line_has_an_end_and_a_limit_of_time(run: Run) -> None:
    """`pool_full` at once, `pool_timeout` after the time for it, `total_timeout` before that."""
    release = threading.Event()

    async def main() -> None:
        first = start(transport, origin)
        await until(lambda: upstream.requests)
        waiting = start(transport, origin)
        await until(lambda: transport.usage(origin).pending == 1)
        with pytest.raises(UpstreamError) as full:
            await transport.asend(origin, GET, PATIENCE)
        assert full.value.stage == "pool_full"
        await cancelled(waiting)
        for timeouts, stage in (
            (Timeouts(pool=0.02), "pool_timeout"),
            (Timeouts(total=0.02), "total_timeout"),
        ):
            with pytest.raises(UpstreamError) as late:
                await transport.asend(origin, GET, timeouts)
            assert late.value.stage == stage
        assert transport.usage(origin) == (1, 0, 0)
        release.set()
        await first

    with Upstream(holding(release)) as upstream:
        transport = HTTPTransport(max_connections=1, max_pending=1)
        origin = Origin(upstream.url)
        run(main())


def test_every_loop_has_its_own_connections(run: Run) -> None:
    """One loop after another; what the last one left is gone without a warning or a socket."""

    async def main() -> None:
        assert transport.usage(origin) == (0, 0, 0)
        assert (await transport.asend(origin, GET, PATIENCE)).body == b"hello"
        assert transport.usage(origin) == (0, 1, 0)

    with Upstream(answer(HELLO)) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        for number in range(3):
            run(main())
            gc.collect()
            assert upstream.connections == number + 1
            assert transport.usage(origin) == (0, 0, 0)


def test_closing_leaves_nothing_to_the_loop(run: Run) -> None:
    """After `aclose` the loop ends with no connection and no generator of ours."""

    async def main() -> None:
        await transport.asend(origin, GET, PATIENCE)
        await transport.aclose()
        assert transport.usage(origin) == (0, 0, 0)
        await transport.aclose()
        await transport.asend(origin, GET, PATIENCE)
        await transport.aclose()

    with Upstream(answer(HELLO)) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        run(main())
    assert upstream.connections == 2


def test_a_transport_that_is_dropped_leaves_no_socket(run: Run) -> None:
    """Its idle connections are closed in the loop's next turn, wherever it was dropped."""
    closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(HELLO)
        peer.read_to_end()
        closed.set()

    async def main() -> None:
        transports = [HTTPTransport()]
        await transports[0].asend(Origin(upstream.url), GET, PATIENCE)

        def drop() -> None:
            transports.clear()
            gc.collect()

        await asyncio.to_thread(drop)
        await until(closed.is_set)

    with Upstream(script) as upstream:
        run(main())


def test_a_stream_that_ends_the_program_ends_the_exchange_first() -> None:
    """What is no `Exception` passes through the task of the upload, but the sink hears of it."""

    class Sink:
        error: Exception | None = None

        async def put(self, upload: Upload, data: bytes | memoryview) -> bool:
            return True

        def uploaded(self, upload: Upload, error: Exception | None) -> None:
            self.error = error

    def stream() -> Iterator[bytes]:
        yield b"first"
        raise KeyboardInterrupt

    sink = Sink()
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(Upload(sink, stream(), None).run())
    assert isinstance(sink.error, UpstreamError)
    assert sink.error.stage == "body_client"


def test_a_stream_that_never_waits_lets_others_run(run: Run) -> None:
    """Between two of its pieces the loop has a turn for everybody else."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def main() -> None:
        counter = asyncio.create_task(count())
        request = UpstreamRequest(b"PUT", b"/", [], ([b"x"] * 1000, None))
        assert (await transport.asend(origin, request, PATIENCE)).body == b"hello"
        counter.cancel()

    with Upstream(answer(HELLO)) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        run(main())
    assert turns >= 1000


def test_a_connection_that_is_over_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that come while connecting are no answer, and nobody waits for one."""

    async def main() -> None:
        async def connect(factory: Callable[[], Connection], *_: object, **__: object) -> object:
            connection = factory()
            connection.connection_made(Mock(spec=asyncio.Transport))
            connection.data_received(b"SSH-2.0-x")
            return None, connection

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", connect)
        with pytest.raises(UpstreamError, match="before it was asked"):
            await transport.asend(origin, GET, PATIENCE)
        assert transport.usage(origin) == (0, 0, 0)

    transport, origin = HTTPTransport(), Origin("http://127.0.0.1:1")
    asyncio.run(main())
