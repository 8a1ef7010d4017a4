"""What the tests of the asyncio driver share: exchanges as tasks, and claims that come true."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Protocol

import pytest

from gatekit.proxy.transport import (
    AsyncBody,
    HTTPTransport,
    Origin,
    UpstreamRequest,
    UpstreamResponse,
)
from tests.proxy.clients import PATIENCE
from tests.proxy.upstream import Peer, Script

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = UpstreamRequest(b"GET", b"/", [])


class Run(Protocol):
    """Runs a coroutine on a loop of its own, which is closed after it."""

    def __call__(self, coroutine: Coroutine[None, None, None], /) -> None: ...


async def until(claim: Callable[[], object]) -> None:
    """Let the loop run until the claim is true."""
    end = monotonic() + 10
    while not claim():
        assert monotonic() < end, "the claim did not come true"
        await asyncio.sleep(0)


async def cancelled(task: asyncio.Task[UpstreamResponse[AsyncBody]] | asyncio.Task[bytes]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def holding(release: threading.Event, response: bytes = HELLO) -> Script:
    """Read requests, and answer each when it is let."""

    def play(peer: Peer) -> None:
        while True:
            peer.read_request()
            assert release.wait(10)
            peer.send(response)

    return play


def start(transport: HTTPTransport, origin: Origin) -> asyncio.Task[UpstreamResponse[AsyncBody]]:
    async def exchange() -> UpstreamResponse[AsyncBody]:
        return await transport.asend(origin, GET, PATIENCE)

    return asyncio.create_task(exchange())
