"""The transport in each colour behind one blocking face, so that each fact is proved in both.

    response = client.send(UpstreamRequest(b"GET", b"/", []))
    assert client.read(response) == b"..."
    client.settle(lambda: client.usage.idle == 0)

`settle` lets the event loop run until a claim is true: what a socket's end does to a pool takes a
turn of the loop there, and is found by the next exchange in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from time import monotonic
from typing import Protocol, TypeAlias

import uvloop

from gatekit.proxy.transport import (
    AsyncBody,
    Body,
    HTTPTransport,
    Origin,
    Timeouts,
    UpstreamRequest,
    UpstreamResponse,
    Usage,
)

Response: TypeAlias = UpstreamResponse[AsyncBody] | UpstreamResponse[Body]
PATIENCE = Timeouts(connect=10.0, pool=10.0, first_byte=10.0, idle=10.0)
"""No test waits this long for anything but its own failure."""


class Client(Protocol):
    """One transport and one origin."""

    transport: HTTPTransport
    origin: Origin

    @property
    def usage(self) -> Usage:
        """The state of the pool."""
        return self.transport.usage(self.origin)

    def send(
        self,
        request: UpstreamRequest,
        timeouts: Timeouts = PATIENCE,
        deadline: float | None = None,
    ) -> Response: ...

    def next(self, response: Response) -> bytes:
        """The next piece of a body that is not whole; empty at its end."""
        ...

    def close_body(self, response: Response) -> None: ...

    def settle(self, claim: Callable[[], bool]) -> None: ...

    def close(self) -> None:
        """Close the transport, when all that was in use has been given back."""
        ...

    def read(self, response: Response) -> bytes:
        """The whole body."""
        if isinstance(response.body, bytes):
            return response.body
        data = b""
        while piece := self.next(response):
            data += piece
        return data

    def get(self, target: bytes = b"/") -> Response:
        return self.send(UpstreamRequest(b"GET", target, []))


class LoopClient(Client):
    """`asend` on an event loop that runs only while a method of this runs."""

    def __init__(
        self,
        transport: HTTPTransport,
        origin: Origin,
        loop_factory: Callable[[], asyncio.AbstractEventLoop],
    ) -> None:
        self.transport = transport
        self.origin = origin
        self.runner = asyncio.Runner(loop_factory=loop_factory)

    def send(
        self,
        request: UpstreamRequest,
        timeouts: Timeouts = PATIENCE,
        deadline: float | None = None,
    ) -> Response:
        async def run() -> Response:
            return await self.transport.asend(self.origin, request, timeouts, deadline)

        return self.runner.run(run())

    def next(self, response: Response) -> bytes:
        async def run() -> bytes:
            assert isinstance(response.body, AsyncIterator)
            return await anext(response.body, b"")

        return self.runner.run(run())

    def close_body(self, response: Response) -> None:
        async def run() -> None:
            assert not isinstance(response.body, bytes)
            await response.body.aclose()  # type: ignore[union-attr]

        self.runner.run(run())

    def settle(self, claim: Callable[[], bool]) -> None:
        async def run() -> None:
            end = monotonic() + 10.0
            while not claim():
                assert monotonic() < end, "the claim did not come true"
                await asyncio.sleep(0)

        self.runner.run(run())

    def close(self) -> None:
        self.settle(lambda: (self.usage.in_use, self.usage.pending) == (0, 0))
        self.runner.run(self.transport.aclose())
        self.runner.close()


class ThreadClient(Client):
    """`send` in the thread of the test."""

    def __init__(self, transport: HTTPTransport, origin: Origin) -> None:
        self.transport = transport
        self.origin = origin

    def send(
        self,
        request: UpstreamRequest,
        timeouts: Timeouts = PATIENCE,
        deadline: float | None = None,
    ) -> Response:
        return self.transport.send(self.origin, request, timeouts, deadline)

    def next(self, response: Response) -> bytes:
        assert isinstance(response.body, Iterator)
        return next(response.body, b"")

    def close_body(self, response: Response) -> None:
        assert not isinstance(response.body, bytes)
        response.body.close()  # type: ignore[union-attr]

    def settle(self, claim: Callable[[], bool]) -> None:
        until(claim)

    def close(self) -> None:
        assert (self.usage.in_use, self.usage.pending) == (0, 0)
        self.transport.close()


def until(claim: Callable[[], object]) -> None:
    """Look until the claim is true."""
    end = monotonic() + 10
    while not claim():
        assert monotonic() < end, "the claim did not come true"


COLOURS = ["asyncio", "uvloop", "threads"]


def make_client(colour: str, url: str, transport: HTTPTransport | None = None) -> Client:
    """A client of `url`; `transport` is one with the defaults where it is None."""
    transport = HTTPTransport() if transport is None else transport
    origin = Origin(url)
    if colour == "threads":
        return ThreadClient(transport, origin)
    factory = uvloop.new_event_loop if colour == "uvloop" else asyncio.new_event_loop
    return LoopClient(transport, origin, factory)
