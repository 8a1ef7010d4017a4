"""Uploads that outlive their exchange by a moment: the connection is another one's by then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gatekit.proxy.transport import HTTPTransport, Origin, UpstreamRequest
from tests.proxy.clients import PATIENCE
from tests.proxy.loops import Run
from tests.proxy.upstream import Peer, Upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Ends:
    """How a stream of `hello` goes on after its last byte, when its sender says no more."""

    @staticmethod
    async def never() -> None:
        await asyncio.Event().wait()

    @staticmethod
    async def with_an_error() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionError("the client is gone")

    @staticmethod
    async def at_once() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return


async def _hello(number: int, end: str) -> AsyncIterator[bytes]:
    yield b"hello %d" % number
    await getattr(Ends, end)()
    yield b"evil"


@pytest.mark.parametrize("end", ["never", "with_an_error", "at_once"])
def test_the_next_upload_is_not_disturbed(run: Run, end: str) -> None:
    """A connection is back in the pool as soon as the answer is whole, and goes to who waits; what
    the first upload still has to say then is not said of the second, nor in the midst of it.
    """

    def answers(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.send(OK)

    with Upstream(answers) as upstream:

        async def exchanges() -> None:
            transport = HTTPTransport(max_connections=1)
            origin = Origin(upstream.url)

            async def upload(number: int) -> bytes:
                request = UpstreamRequest(b"POST", b"/", [], (_hello(number, end), 7))
                answer = await transport.asend(origin, request, PATIENCE)
                assert isinstance(answer.body, bytes)
                return answer.body

            bodies = await asyncio.gather(*(upload(number) for number in range(5)))
            assert bodies == [b"ok"] * 5
            assert transport.usage(origin) == (0, 1, 0)
            await transport.aclose()

        run(exchanges())
    assert sorted(request.body for request in upstream.requests) == [
        b"hello %d" % number for number in range(5)
    ]
    assert upstream.connections == 1
