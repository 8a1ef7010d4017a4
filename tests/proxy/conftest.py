"""The `dial` fixture runs a test in every colour of the transport, `run` on every event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Protocol

import pytest
import uvloop

from gatekit.proxy.transport import HTTPTransport
from tests.proxy.clients import COLOURS, Client, make_client
from tests.proxy.handlers import Send, through_asgi, through_wsgi
from tests.proxy.loops import Run


class Dial(Protocol):
    """Makes a client of `url`, which is closed after the test and must have leaked nothing."""

    def __call__(self, url: str, transport: HTTPTransport | None = None) -> Client: ...


@pytest.fixture(params=COLOURS)
def dial(request: pytest.FixtureRequest) -> Iterator[Dial]:
    clients: list[Client] = []

    def make(url: str, transport: HTTPTransport | None = None) -> Client:
        clients.append(make_client(request.param, url, transport))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on a loop of its own, of each kind."""

    def run(coroutine: Coroutine[None, None, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(coroutine)

    return run


@pytest.fixture(params=[through_asgi, through_wsgi], ids=["asgi", "wsgi"])
def send(request: pytest.FixtureRequest) -> Send:
    return request.param  # type: ignore[no-any-return]
