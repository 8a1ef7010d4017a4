"""What closing a proxy, or a description that was replaced, ends, and what it lets go on."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from gatekit import CircuitBreaker, Cluster, ConfigurationError, Proxy, Response, asgi_app, wsgi_app
from gatekit.testing import call_asgi, call_wsgi
from tests.proxy.loops import HELLO, Run
from tests.proxy.upstream import Upstream, answer

PATIENCE = 10.0


class Standby:
    """A fallback that holds something."""

    closed = 0

    async def __call__(self, request: Any) -> Response:
        return Response.text("standing by")

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.close()


def test_a_door_closes_what_the_breaker_of_a_cluster_holds() -> None:
    """Once, also where two proxies share the cluster."""
    standby = Standby()
    breaker = CircuitBreaker("c", fallback=standby)
    shared = Cluster("c", destinations=["http://a"], breaker=breaker)
    door = wsgi_app(Proxy(shared), CircuitBreaker("outer", fallback=Proxy(shared)))
    door.close()
    assert standby.closed == 1


def test_a_door_looks_into_the_breaker_of_a_cluster() -> None:
    """An async callback in it is refused under WSGI, as that of any breaker is."""

    async def classify(result: object) -> bool:
        return True

    class Trips:
        def __init__(self) -> None:
            self.classify = classify

        async def __call__(self, request: Any) -> Response:
            return Response.text("never")

    breaker = CircuitBreaker("c", fallback=Trips())
    proxy = Proxy(Cluster("c", destinations=["http://a"], breaker=breaker))
    asgi_app(proxy)
    with pytest.raises(ConfigurationError, match="classify"):
        wsgi_app(proxy)


def test_connections_outlive_the_description_that_made_them(run: Run) -> None:
    """Whoever took over goes on with them when the old one is closed; closing that ends them."""

    async def main() -> None:
        with Upstream(answer(HELLO, HELLO, HELLO)) as server:
            old, new = (Cluster("c", destinations=[server.url]) for _ in range(2))
            before, after = asgi_app(Proxy(old)), asgi_app(Proxy(new))
            assert (await call_asgi(before)).text == "hello"
            new.take_over(old)
            await old.aclose()
            assert (await call_asgi(after)).text == "hello"
            assert (await call_asgi(before)).text == "hello"
            assert server.connections == 1
            await new.aclose()

    run(main())


class App:
    """An ASGI app that answers when it is let."""

    def __init__(self, *, streams: bool = False) -> None:
        self.inside, self.go = threading.Event(), threading.Event()
        self._streams = streams

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": []}
        if self._streams:
            await send(start)
            await send({"type": "http.response.body", "body": b"wait ", "more_body": True})
        self.inside.set()
        await asyncio.to_thread(self.go.wait, PATIENCE)
        if not self._streams:
            await send(start)
        await send({"type": "http.response.body", "body": b"for it"})


@pytest.mark.parametrize(("streams", "text"), [(False, "for it"), (True, "wait for it")])
def test_an_app_in_process_ends_its_answer_asgi(run: Run, streams: bool, text: str) -> None:
    """As an exchange with any other destination does: closing ends what is idle."""

    async def main() -> None:
        app = App(streams=streams)
        cluster = Cluster("c", destinations=[app])
        asking = asyncio.create_task(call_asgi(asgi_app(Proxy(cluster))))
        await asyncio.to_thread(app.inside.wait, PATIENCE)
        await cluster.aclose()
        app.go.set()
        answered = await asking
        assert (answered.status, answered.text) == (200, text)
        assert cluster.state.active == 0

    run(main())


@pytest.mark.parametrize(("streams", "text"), [(False, "for it"), (True, "wait for it")])
def test_an_app_in_process_ends_its_answer_wsgi(streams: bool, text: str) -> None:
    """Its loop runs until then, and is gone with its thread afterwards."""
    app = App(streams=streams)
    cluster = Cluster("c", destinations=[app])
    before = set(threading.enumerate())
    answers: list[Any] = []
    door = wsgi_app(Proxy(cluster))
    asking = threading.Thread(target=lambda: answers.append(call_wsgi(door)))
    asking.start()
    assert app.inside.wait(PATIENCE)
    loops = [thread for thread in threading.enumerate() if thread.name == "gatekit app loop"]
    cluster.close()
    app.go.set()
    asking.join(PATIENCE)
    assert [(found.status, found.text) for found in answers] == [(200, text)]
    for thread in loops:
        thread.join(PATIENCE)
    assert set(threading.enumerate()) <= before
