"""The circuit breaker of a cluster: one circuit for each destination, told of each attempt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gatekit import CircuitBreaker, Failures, Proxy, Response, wsgi_app
from gatekit.errors import UpstreamError
from gatekit.proxy.attempts.hedge import Hedge
from gatekit.proxy.attempts.retry import Retry
from gatekit.proxy.transport import InvalidMessage
from gatekit.testing import FakeIO, call_wsgi, exercise
from tests.proxy.scripted import NoChance, ask, asked, cluster, is_at_rest, scripted


def breaker(io: FakeIO, **options: Any) -> CircuitBreaker:
    return CircuitBreaker(
        "orders", consecutive_failures=2, clock=io.now, jitter=0.0, ramp=0.0, **options
    )


def state_of(circuits: CircuitBreaker) -> dict[str, str]:
    return {status.key: status.state for status in circuits.status() if status.key}


def test_each_destination_has_a_circuit_of_its_own() -> None:
    """One that fails is left out, by retries as well; the other one goes on."""
    io = FakeIO()
    circuits = breaker(io)
    transport = scripted(a=[503], b=[200])
    orders = cluster(transport, breaker=circuits)
    assert [ask(orders, io=io).status for _ in range(6)] == [200] * 6
    assert (asked(transport).count("a"), asked(transport).count("b")) == (2, 6)
    assert state_of(circuits) == {"http://a": "open", "http://b": "closed"}


def test_every_attempt_counts() -> None:
    """Not requests: two attempts at the one destination open its circuit."""
    io = FakeIO()
    circuits = breaker(io)
    transport = scripted(a=["reset"])
    orders = cluster(transport, names="a", retry=Retry(chance=NoChance()), breaker=circuits)
    assert ask(orders, io=io).status == 502
    assert state_of(circuits) == {"http://a": "open"}


def test_no_attempt_into_an_open_circuit() -> None:
    """A retry with nobody else to ask gives the last answer on."""
    io = FakeIO()
    circuits = breaker(io)
    transport = scripted(a=[503])
    orders = cluster(transport, names="a", retry=Retry(5, chance=NoChance()), breaker=circuits)
    assert (ask(orders, io=io).text, asked(transport)) == ("503 of a", "aa")
    answer = ask(orders, io=io)
    assert (answer.status, asked(transport)) == (503, "aa")
    assert "urn:gatekit:no-destination" in answer.text


def test_it_comes_back_by_probes() -> None:
    """After its time one attempt is let in, and closes it."""
    io = FakeIO()
    circuits = breaker(io, open_for=10.0, probes=1)
    transport = scripted(a=[503, 503, 200])
    orders = cluster(transport, names="a", breaker=circuits)
    ask(orders, io=io)
    io.advance(10.1)
    assert ask(orders, io=io).status == 200
    assert state_of(circuits) == {"http://a": "closed"}


def test_what_never_began_gives_its_place_back() -> None:
    """A request that cannot be written tells nothing of the destination, and frees the probe."""
    io = FakeIO()
    circuits = breaker(io, open_for=10.0, probes=1)
    transport = scripted(a=[503, 503, InvalidMessage("no"), 200])
    orders = cluster(transport, names="a", breaker=circuits)
    ask(orders, io=io)
    io.advance(10.1)
    assert ask(orders, io=io).status == 400
    assert ask(orders, io=io).status == 200


def test_an_answer_that_breaks_off_is_a_failure_after_all() -> None:
    """The head was a success; the end of the body decides."""

    def broken() -> Response:
        def body() -> Iterator[bytes]:
            yield b"half"
            raise UpstreamError("reset", "the upstream died")

        return Response(200, None, body())

    transport = scripted(a=[broken])
    circuits = CircuitBreaker("orders", min_calls=2, failure_rate=0.5)
    orders = cluster(transport, names="a", breaker=circuits)
    for _ in range(2):
        with pytest.raises(UpstreamError):
            call_wsgi(wsgi_app(Proxy(orders)))
    assert state_of(circuits) == {"http://a": "open"}
    assert is_at_rest(orders)


def test_the_fields_may_tell() -> None:
    """A `Failures` with gRPC codes looks at the head of each attempt."""
    io = FakeIO()
    circuits = breaker(io, failures=Failures(grpc=[14]))
    bad = Response(200, {"grpc-status": "14"})
    transport = scripted(a=[bad])
    orders = cluster(transport, names="a", breaker=circuits)
    ask(orders, io=io)
    ask(orders, io=io)
    assert state_of(circuits) == {"http://a": "open"}


def test_in_shadow_nothing_is_refused() -> None:
    """It only tells."""
    io = FakeIO()
    circuits = breaker(io, shadow=True)
    transport = scripted(a=[503])
    orders = cluster(transport, names="a", retry=False, breaker=circuits)
    for _ in range(4):
        ask(orders, io=io)
    assert asked(transport) == "aaaa"


def test_a_change_is_told() -> None:
    """`on_change` hears of a circuit that an attempt has opened."""
    io = FakeIO()
    changes: list[tuple[str | None, str]] = []
    circuits = breaker(io, on_change=lambda change: changes.append((change.key, change.state)))
    orders = cluster(scripted(a=[503]), names="a", breaker=circuits)
    exercise(app=Proxy(orders), io=io)
    assert changes == [("http://a", "open")]


def test_hedges_ask_the_breaker_too() -> None:
    """With the only other circuit open the first attempt is left alone."""
    io = FakeIO()
    circuits = breaker(io)
    circuits.force_open("http://b")
    transport = scripted(a=[200], b=[200])
    orders = cluster(transport, breaker=circuits, hedge=Hedge(0.001))
    assert ask(orders, io=io).status == 200
    assert asked(transport) == "a" and is_at_rest(orders)
