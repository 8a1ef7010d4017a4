"""What one circuit stands for: a key, an upstream, a destination, a block of code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gatekit import Proxy, Request, Response, wsgi_app
from gatekit.errors import UpstreamError
from gatekit.middleware.circuit_breaker import CircuitBreaker
from gatekit.testing import Answer, FakeIO, call_wsgi, exercise, upstream
from tests.middleware.circuits import EXACT, service


def test_one_circuit_for_each_key() -> None:
    """One tenant's failures do not shut out another; a key of None goes without."""
    io = FakeIO()
    breaker = CircuitBreaker(**EXACT, key=lambda r: r.headers.get("x-tenant"), clock=io.now)

    def call(tenant: str | None, status: int) -> Answer:
        fields = {} if tenant is None else {"x-tenant": tenant}
        return exercise(breaker, app=lambda _: Response(status), headers=fields, io=io)

    for _ in range(4):
        call("a", 500)
        call(None, 500)
    assert [call(tenant, 200).status for tenant in ("a", "b", None)] == [503, 200, 200]
    assert {status.key: status.state for status in breaker.status()} == {"a": "open", "b": "closed"}


def test_the_balancer_asks_without_a_ticket() -> None:
    """`allows` takes no probe away and counts no refusal."""
    it = service(probes=1)
    assert it.breaker.allows()
    it.calls(500, 500, 500, 500)
    assert not it.breaker.allows()
    it.io.advance(10.0)
    assert [it.breaker.allows() for _ in range(3)] == [True] * 3
    assert it.call(200).status == 200
    assert it.breaker.status()[0].rejected == 0


def test_keys_are_bounded() -> None:
    """Beyond `max_keys` one is forgotten that nobody misses: a closed one, never the open one."""
    io = FakeIO()
    breaker = CircuitBreaker(**EXACT, max_keys=3, key=lambda r: r.path, clock=io.now)

    def call(path: str, make: Callable[[Request], Response]) -> int:
        return exercise(breaker, app=make, target=path, io=io).status

    for _ in range(4):
        call("/bad", lambda _: Response(500))
    for number in range(50):
        call(f"/{number}", lambda _: Response(200))
    assert len(breaker.status()) == 3
    assert call("/bad", lambda _: Response(200)) == 503


def replaced() -> Exception:
    """An error of a framework's own that took the place of the server's."""
    try:
        try:
            raise BrokenPipeError
        except OSError:
            raise RuntimeError("the client disconnected")  # noqa: B904 — as it is done there
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "state"),
    [
        pytest.param(UpstreamError("reset", "gone"), "open", id="the upstream broke off"),
        pytest.param(UpstreamError("body_client", "short"), "closed", id="the client's body did"),
        pytest.param(BrokenPipeError(), "closed", id="the client left"),
        pytest.param(replaced(), "closed", id="the client left, as Starlette says it"),
    ],
)
def test_who_broke_it_off(error: Exception, state: str) -> None:
    """An upstream that dies in mid-answer is counted, a client that leaves is not."""
    io = FakeIO()
    breaker = CircuitBreaker(**EXACT, clock=io.now)

    class Streams:
        def __iter__(self) -> Iterator[bytes]:
            yield b"half"
            raise error

    async def handler(request: Request) -> Response:
        return Response(200, body=Streams())

    app = wsgi_app(handler, breaker)
    for _ in range(4):
        with pytest.raises(type(error)):
            call_wsgi(app)
    assert breaker.state() == state


@pytest.mark.parametrize(
    ("stage", "calls"), [("connect", 4), ("first_byte_timeout", 4), ("pool_full", 0)]
)
def test_a_proxy_behind_it(stage: Any, calls: int) -> None:
    """A 502 or 504 of the proxy is a failure; a wait for a connection of our own is none."""

    def fails(sent: Any) -> Response:
        raise UpstreamError(stage, "seen")

    breaker = CircuitBreaker(min_calls=10)
    app = wsgi_app(Proxy("http://users:8001", transport=upstream(fails)), breaker)
    for _ in range(4):
        assert call_wsgi(app).status in (502, 503, 504)
    stats = breaker.status()[0].stats
    assert (stats.calls, stats.failures) == (calls, calls)
