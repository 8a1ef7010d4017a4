"""Cancellation at every point of an exchange: no connection, place or waiter is left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Coroutine

import pytest

from gatekit.errors import UpstreamError
from gatekit.proxy.transport import (
    AsyncBody,
    HTTPTransport,
    Origin,
    UpstreamRequest,
    UpstreamResponse,
)
from gatekit.proxy.transport.aio_body import BodyReader
from gatekit.proxy.transport.aio_connection import Connection
from tests.proxy.clients import PATIENCE
from tests.proxy.loops import GET, HELLO, Run, cancelled, holding, start, until
from tests.proxy.upstream import Peer, Upstream, answer, silent


def test_cancelled_while_waiting_for_the_head(run: Run) -> None:
    """The connection is closed, for its answer would be the next exchange's, and its place free."""
    closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.read_to_end()
        closed.set()

    async def main() -> None:
        task = start(transport, origin)
        await until(lambda: upstream.requests)
        await cancelled(task)
        assert transport.usage(origin) == (0, 0, 0)
        await until(closed.is_set)

    with Upstream(script) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        run(main())


def test_cancelled_while_connecting(run: Run) -> None:
    """In the TLS handshake, the longest part of it."""

    async def main() -> None:
        task = start(transport, origin)
        await until(lambda: upstream.connections)
        assert transport.usage(origin) == (1, 0, 0)
        await cancelled(task)
        assert transport.usage(origin) == (0, 0, 0)

    with Upstream(silent) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url.replace("http:", "https:"))
        run(main())


def test_cancelled_in_line(run: Run) -> None:
    """It leaves the line, and the next one in it is served."""
    release = threading.Event()

    async def main() -> None:
        first = start(transport, origin)
        await until(lambda: upstream.requests)
        second, third = start(transport, origin), start(transport, origin)
        await until(lambda: transport.usage(origin).pending == 2)
        await cancelled(second)
        assert transport.usage(origin) == (1, 0, 1)
        release.set()
        await asyncio.gather(first, third)
        assert transport.usage(origin) == (0, 1, 0)

    with Upstream(holding(release)) as upstream:
        transport, origin = HTTPTransport(max_connections=1), Origin(upstream.url)
        run(main())
    assert upstream.connections == 1


@pytest.mark.parametrize("how", ["released", "closed"])
def test_cancelled_with_a_place_in_its_hands(run: Run, how: str) -> None:
    """A place given in the very turn of the loop in which its waiter is cancelled goes on."""
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell")
        go.wait(10)
        peer.send(b"o")
        peer.read_request()
        peer.send(HELLO)
        peer.read_to_end()

    async def main() -> None:
        response = await transport.asend(origin, GET, PATIENCE)
        assert not isinstance(response.body, bytes)
        second, third = start(transport, origin), start(transport, origin)
        await until(lambda: transport.usage(origin).pending == 2)
        if how == "closed":
            await response.body.aclose()
        else:
            go.set()
            await until(lambda: transport.usage(origin).pending == 1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert (await third).body == b"hello"
        assert transport.usage(origin) == (0, 1, 0)

    with Upstream(*([script] if how == "released" else [script, answer(HELLO)])) as upstream:
        transport, origin = HTTPTransport(max_connections=1), Origin(upstream.url)
        run(main())
        go.set()


def test_cancelled_with_the_answer_in_its_hands(run: Run) -> None:
    """The head has come in the same turn: the body that nobody will read is closed."""
    closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        peer.read_to_end()
        closed.set()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = start(transport, origin)
        await until(lambda: upstream.requests)
        # Ask before every turn of the loop whether the answer is there but its task has not run.
        while not any(isinstance(o, asyncio.Future) and o.done() for o in [_waiting_for(task)]):
            await asyncio.sleep(0)
            assert not task.done()
        await cancelled(task)
        assert transport.usage(origin) == (0, 0, 0)
        await until(closed.is_set)
        assert loop.is_running()

    with Upstream(script) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        run(main())


def _waiting_for(task: asyncio.Task[UpstreamResponse[AsyncBody]]) -> object:
    """The innermost thing that a suspended task awaits."""
    waiting: object = task.get_coro()
    while (inner := getattr(waiting, "cr_await", None)) is not None:
        waiting = inner
    return getattr(task, "_fut_waiter", None) or waiting


def test_cancelled_while_reading_the_body(run: Run) -> None:
    """The read ends; the body may be read on, or closed, by its owner."""
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        go.wait(10)
        peer.send(b"world")
        peer.read_to_end()

    async def main() -> None:
        response = await transport.asend(origin, GET, PATIENCE)
        body = response.body
        assert not isinstance(body, bytes)
        assert await anext(body) == b"hello"
        task = asyncio.create_task(_as_coroutine(body.__anext__()))
        await asyncio.sleep(0)
        await cancelled(task)
        go.set()
        assert await anext(body) == b"world"
        assert transport.usage(origin) == (0, 1, 0)

    with Upstream(script) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        run(main())


async def _as_coroutine(awaitable: Awaitable[bytes]) -> bytes:
    return await awaitable


def test_cancelled_while_uploading(run: Run) -> None:
    """The stream is cancelled where it waits, and has ended before the exchange has."""
    ended: list[str] = []

    async def stream() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            ended.append("stream")

    async def exchange() -> UpstreamResponse[AsyncBody]:
        request = UpstreamRequest(b"POST", b"/", [], (stream(), None))
        try:
            return await transport.asend(origin, request, PATIENCE)
        finally:
            ended.append("exchange")

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.read_exactly(10)
        arrived.set()
        peer.read_to_end()

    async def main() -> None:
        task = asyncio.create_task(exchange())
        await until(arrived.is_set)
        await cancelled(task)
        assert ended == ["stream", "exchange"]
        assert transport.usage(origin) == (0, 0, 0)

    arrived = threading.Event()
    with Upstream(script) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        run(main())


def test_cancelled_twice_while_uploading(run: Run) -> None:
    """Again while it waits for the stream to end: its place is given back all the same."""
    waits: list[str] = []

    async def stream() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            waits.append("to clean up")
            await asyncio.Event().wait()

    async def exchange() -> UpstreamResponse[AsyncBody]:
        request = UpstreamRequest(b"POST", b"/", [], (stream(), None))
        return await transport.asend(origin, request, PATIENCE)

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.read_exactly(10)
        arrived.set()
        peer.read_to_end()

    async def main() -> None:
        task = asyncio.create_task(exchange())
        await until(arrived.is_set)
        task.cancel()
        await until(lambda: waits)
        await cancelled(task)
        assert transport.usage(origin) == (0, 0, 0)

    arrived = threading.Event()
    with Upstream(script) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        run(main())


def test_an_early_answer_frees_a_stream_that_waits(run: Run) -> None:
    """The answer does not wait for the sender of the request, and the stream is over with it."""
    waiting, ended = threading.Event(), threading.Event()

    async def stream() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            waiting.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    def script(peer: Peer) -> None:
        peer.read_head()
        assert waiting.wait(10)
        peer.send(HELLO)
        peer.read_to_end()

    async def main() -> None:
        body = stream()
        request = UpstreamRequest(b"POST", b"/", [], (body, None))
        response = await transport.asend(origin, request, PATIENCE)
        assert (response.body, ended.is_set()) == (b"hello", True)
        assert transport.usage(origin) == (0, 0, 0)
        await body.aclose()  # type: ignore[attr-defined]

    with Upstream(script) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        run(main())


def test_a_stream_that_cancels_itself(run: Run) -> None:
    """It is the sender's failure, and no cancellation of the exchange."""

    async def stream() -> AsyncIterator[bytes]:
        yield b"first"
        raise asyncio.CancelledError

    async def main() -> None:
        request = UpstreamRequest(b"POST", b"/", [], (stream(), None))
        with pytest.raises(UpstreamError) as error:
            await transport.asend(origin, request, PATIENCE)
        assert error.value.stage == "body_client"
        assert transport.usage(origin) == (0, 0, 0)

    with Upstream(silent) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        run(main())


def test_a_connection_that_ends_on_its_way_to_a_waiter(run: Run) -> None:
    """Its place is good all the same: the waiter connects anew, and nothing was sent twice."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell")
        peer.read_to_end()

    async def main() -> None:
        response = await transport.asend(origin, GET, PATIENCE)
        assert isinstance(response.body, BodyReader)
        post = UpstreamRequest(b"POST", b"/", [])
        waiting = asyncio.ensure_future(transport.asend(origin, post, PATIENCE))
        await until(lambda: transport.usage(origin).pending)
        connection = response.body._stream._source
        assert isinstance(connection, Connection)
        connection.data_received(b"o")
        assert transport.usage(origin).pending == 0
        connection.eof_received()
        assert (await waiting).body == b"hello"
        assert transport.usage(origin) == (0, 1, 0)

    with Upstream(script, answer(HELLO)) as upstream:
        transport, origin = HTTPTransport(max_connections=1), Origin(upstream.url)
        run(main())


@pytest.mark.parametrize("where", ["in line", "at work", "uploading"])
def test_an_exchange_that_is_thrown_away(run: Run, where: str) -> None:
    """A coroutine that is closed instead of cancelled gives back its place like any other."""
    release = threading.Event()

    async def stream() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    async def main() -> None:
        body = (stream(), None) if where == "uploading" else None
        request = UpstreamRequest(b"PUT", b"/", [], body)
        first = start(transport, origin) if where == "in line" else None
        if first is not None:
            await until(lambda: upstream.requests)
        exchange = transport.asend(origin, request, PATIENCE)
        assert isinstance(exchange, Coroutine)
        while where == "in line" and not transport.usage(origin).pending:
            exchange.send(None)
        if where != "in line":
            await transport.asend(origin, GET, PATIENCE)
            exchange.send(None)
        exchange.close()
        release.set()
        if first is not None:
            await first
        await until(lambda: transport.usage(origin).in_use == 0)
        assert transport.usage(origin).pending == 0

    if where != "in line":
        release.set()
    with Upstream(holding(release)) as upstream:
        transport, origin = HTTPTransport(max_connections=1), Origin(upstream.url)
        run(main())
