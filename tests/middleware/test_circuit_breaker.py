"""The circuit breaker as a middleware, through every door."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from gatekit import Request, Response, Timeout, asgi, wsgi
from gatekit.errors import BodyTooLarge, ClientDisconnected, Rejected
from gatekit.middleware.circuit_breaker import CircuitBreaker, CircuitChange
from gatekit.middleware.correlation import CorrelationId
from gatekit.testing import FakeIO, call_asgi, call_wsgi, exercise
from gatekit.typing import Handler
from tests.conftest import AppRaised, Door
from tests.doors.spec import Spec
from tests.middleware.circuits import EXACT, service


def test_it_works_without_arguments(door: Door) -> None:
    """After 20 calls of which half failed, the app is not asked any more."""
    breaker = CircuitBreaker()
    good, bad = Spec(), Spec(status=500)
    assert [door(good, breaker).status for _ in range(10)] == [200] * 10
    assert [door(bad, breaker).status for _ in range(10)] == [500] * 10
    assert door(good, breaker).status == 503
    assert len(good.seen) == 10
    assert breaker.state() == "open"


def test_a_refusal_says_when_to_come_back(door: Door) -> None:
    """503 with `Retry-After`, rounded up, `Proxy-Status` and a problem of its own type."""
    breaker = CircuitBreaker(**EXACT, open_for=10.0, via="edge")
    for _ in range(4):
        door(Spec(status=503), breaker)
    answer = door(Spec(), CorrelationId(generate=lambda: "abc"), breaker)
    assert answer.status == 503
    assert answer.headers["retry-after"] == "10"
    assert answer.headers["proxy-status"] == "edge; error=destination_unavailable"
    assert answer.headers["content-type"] == "application/problem+json"
    assert '"type":"urn:gatekit:circuit-open"' in answer.text
    assert '"instance":"abc"' in answer.text


def test_an_error_of_the_app_is_a_failure_and_stays_one(door: Door) -> None:
    """What the app raises passes unchanged, and is counted."""
    breaker = CircuitBreaker(consecutive_failures=2)
    broken = Spec(error=RuntimeError("boom"))
    assert [door(broken, breaker).status for _ in range(3)] == [500, 500, 503]


def test_a_body_that_breaks_off_is_a_failure(door: Door) -> None:
    """The head was good, but an answer of unknown length died half-way."""
    breaker = CircuitBreaker(**EXACT, failure_rate=1.0)
    dying = Spec(headers=[("content-type", "text/plain")], late_error=RuntimeError("gone"))
    for _ in range(4):
        with pytest.raises(AppRaised):
            door(dying, breaker)
    assert breaker.state() == "open"
    [status] = breaker.status()
    assert status.reason == "4 of 4 calls failed"


def test_a_deadline_that_passes_is_a_failure() -> None:
    """Whoever set it further out: under ASGI the call is cut off, under WSGI it comes too late."""

    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    breaker = CircuitBreaker(**EXACT)
    answer = asyncio.run(call_asgi(asgi(hangs, Timeout(0.01), breaker)))
    assert (answer.status, breaker.status()[0].stats.failures) == (504, 1)
    answer = call_wsgi(wsgi(Spec().wsgi(), Timeout(1e-9), breaker))
    assert (answer.status, breaker.status()[0].stats.failures) == (504, 2)


def test_probes_then_ramp_then_closed() -> None:
    """After its time three probes, then a ramp, then all is as before."""
    it = service(open_for=10.0, probes=3, ramp=5.0)
    assert it.calls(500, 500, 500, 500, 200) == [500, 500, 500, 500, 503]
    it.io.advance(9.5)
    assert it.call().headers["retry-after"] == "1"
    it.io.advance(0.5)
    assert it.calls(200, 200) == [200, 200]
    assert it.breaker.state() == "half_open"
    assert it.calls(200) == [200]
    it.io.advance(5.0)
    assert it.breaker.state() == "closed"


def test_without_a_ramp_it_closes_at_once() -> None:
    """`ramp=0`: the last probe closes it."""
    it = service(ramp=0, probes=2)
    it.calls(500, 500, 500, 500)
    it.io.advance(10.0)
    it.calls(200, 200)
    assert it.breaker.state() == "closed"


def test_failed_probes_open_it_for_longer() -> None:
    """Each time in a row twice as long, up to `max_open`, and anew after a good while."""
    it = service(open_for=10.0, max_open=25.0, probes=1, ramp=0)
    it.calls(500, 500, 500, 500)
    waits = []
    for _ in range(4):
        wait = int(it.call(200).headers["retry-after"])
        waits.append(wait)
        it.io.advance(wait)
        it.call(500)
    assert waits == [10, 20, 25, 25]
    it.io.advance(25.0)
    it.call(200)
    it.io.advance(25.0)
    it.calls(500, 500, 500, 500)
    assert it.call().headers["retry-after"] == "10"


def test_a_function_says_how_long() -> None:
    """`open_for` of the number of trips in a row."""
    it = service(open_for=lambda trip: trip * 7.0, probes=1)
    it.calls(500, 500, 500, 500)
    assert it.call().headers["retry-after"] == "7"
    it.io.advance(7.0)
    it.call(500)
    assert it.call().headers["retry-after"] == "14"


def test_chance_lengthens_the_wait() -> None:
    """Up to a part of `jitter` more, never less: many workers do not knock at once."""

    class Dice:
        def random(self) -> float:
            return 0.5

    it = service(open_for=100.0, jitter=0.2, chance=Dice())
    it.calls(500, 500, 500, 500)
    assert it.call().headers["retry-after"] == "110"


def test_slow_answers_open_it() -> None:
    """Enough calls that took `slow_threshold` to their head, although none failed."""
    it = service(slow_threshold=2.0, slow_rate=0.5)
    it.calls(200, 200)
    it.seconds = 2.0
    it.calls(200, 200)
    assert it.call().status == 503
    assert it.breaker.status()[0].reason == "2 of 4 calls were slow"


def test_a_window_of_calls() -> None:
    """`window_calls` looks at the last ones, whenever they were."""
    it = service(window_calls=4)
    it.calls(500, 200, 200, 200)
    it.io.advance(3600)
    assert it.calls(500, 200) == [500, 200]
    assert it.calls(500, 200) == [500, 503]


def test_old_failures_are_forgotten() -> None:
    """What lies further back than `window` does not count."""
    it = service(window=60.0)
    it.calls(500, 500, 500)
    it.io.advance(60.0)
    assert it.calls(200, 500, 200, 200) == [200, 500, 200, 200]
    assert it.breaker.state() == "closed"


def test_a_predicate_opens_it() -> None:
    """`trip` is asked from `min_calls` calls on, of what the window holds."""
    it = service(failure_rate=None, trip=lambda stats: stats.failures >= 2 and stats.calls < 9)
    it.calls(500, 500, 200)
    assert it.breaker.state() == "closed"
    it.calls(200)
    assert it.breaker.state() == "open"


def test_a_predicate_that_raises_opens_nothing(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    """Its error is logged and the answer passes."""
    breaker = CircuitBreaker(min_calls=1, failure_rate=None, trip=lambda stats: 1 / 0 > 0)
    assert [door(Spec(status=500), breaker).status for _ in range(3)] == [500] * 3
    assert caplog.text.count("the trip predicate of a circuit breaker raised") == 3


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(404, id="the client asked for nothing"),
        pytest.param(501, id="a method nobody knows"),
        pytest.param(Rejected(403), id="a refusal of the app's own"),
    ],
)
def test_what_is_no_failure(result: Any) -> None:
    """The service did its work."""
    it = service()
    it.calls(*[result] * 8)
    assert it.breaker.status()[0].stats[:2] == (8, 0)


@pytest.mark.parametrize(
    "result", [408, 499, ClientDisconnected("left"), BodyTooLarge(1)], ids=repr
)
def test_what_counts_neither_way(result: Any) -> None:
    """The client's own doing says nothing of the service."""
    it = service()
    it.calls(*[result] * 8)
    assert it.breaker.status()[0].stats.calls == 0


def test_an_answer_from_further_in_says_nothing() -> None:
    """What never reached the app, such as a rate limit's 429 or a cache's hit, does not count."""

    async def answers(request: Request, call_next: Handler) -> Response:
        return Response(503)

    io = FakeIO()
    breaker = CircuitBreaker(**EXACT, clock=io.now)
    for _ in range(8):
        assert exercise(breaker, answers, io=io).status == 503
    assert breaker.status()[0].stats.calls == 0
    assert breaker.state() == "closed"


def test_shadow_refuses_nothing_and_tells() -> None:
    """Calls that would have been refused pass, and the decision says so."""
    it = service(shadow=True)
    it.calls(500, 500, 500, 500)
    answer = it.call(200)
    assert answer.status == 200
    [decision] = answer.request.decisions
    assert (decision.policy, decision.outcome) == ("circuit-breaker", "shadow_deny")
    assert decision.reason == "open: 4 of 4 calls failed"
    assert it.breaker.status()[0].rejected == 1
    it.breaker.metrics_only(on=False)
    assert it.call().status == 503
    it.breaker.metrics_only()
    assert it.call().status == 200


def test_every_decision_has_a_reason() -> None:
    """Let in, let in as a probe, refused."""
    it = service()

    def ruling() -> tuple[str, str]:
        [decision] = it.call().request.decisions
        return decision.outcome, decision.reason.partition(":")[0]

    assert ruling() == ("allow", "closed")
    it.calls(500, 500, 500, 500)
    assert ruling() == ("deny", "open")
    it.io.advance(10.0)
    assert ruling() == ("allow", "half-open")


def test_by_hand() -> None:
    """Forced open refuses, forced closed lets through and never opens, reset forgets it all."""
    it = service()
    it.breaker.force_open()
    answer = it.call(200)
    assert answer.status == 503
    assert "retry-after" not in answer.headers
    it.io.advance(1e6)
    assert it.call().status == 503
    it.breaker.force_close()
    assert it.calls(*[500] * 9) == [500] * 9
    assert it.breaker.status()[0].stats.failures == 9
    it.breaker.reset()
    assert it.calls(500, 500, 500, 200) == [500, 500, 500, 200]
    assert it.breaker.state() == "open"


def test_by_hand_for_every_key() -> None:
    """Without a key it is all of them, and those that are yet to come."""
    breaker = CircuitBreaker(key=lambda r: r.path)
    exercise(breaker, target="/a")
    breaker.force_open()
    assert [exercise(breaker, target=path).status for path in ("/a", "/new")] == [503, 503]
    breaker.reset("/a")
    assert [exercise(breaker, target=path).status for path in ("/a", "/new")] == [200, 503]
    breaker.reset()
    assert [exercise(breaker, target=path).status for path in ("/b", "/new")] == [200, 200]


def test_changes_are_told_once_the_request_is_over(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    """The callback and the log line have key, reason and counts, and nobody waited for them."""
    told: list[CircuitChange] = []
    order: list[str] = []

    async def outermost(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        order.append("answered")
        return response

    def on_change(change: CircuitChange) -> None:
        told.append(change)
        order.append("told")

    caplog.set_level(logging.INFO, "gatekit")
    breaker = CircuitBreaker("orders", consecutive_failures=1, on_change=on_change, jitter=0)
    door(Spec(status=502), outermost, breaker)
    assert order == ["answered", "told"]
    [change] = told
    assert (change.name, change.key, change.previous, change.state) == (
        "orders", None, "closed", "open",
    )  # fmt: skip
    assert (change.reason, change.stats.failures, change.seconds) == (
        "failures in a row: 1",
        1,
        10.0,
    )
    [record] = [r for r in caplog.records if r.message.startswith("circuit ")]
    assert record.levelno == logging.WARNING
    assert record.message == (
        "circuit orders: closed → open: failures in a row: 1; half-open in 10.0 s"
    )


def test_every_change_is_told() -> None:
    """Opened, half-open, closed, by hand: each with what it was before."""
    seen: list[str] = []
    it = service(on_change=lambda change: seen.append(change.state), ramp=0, probes=1)
    it.calls(500, 500, 500, 500)
    it.io.advance(10.0)
    it.call(200)
    it.breaker.force_open()
    it.breaker.reset()
    assert seen == ["open", "half_open", "closed", "forced_open", "closed"]


def test_status_is_readable() -> None:
    """For metrics: state, reason, counts, trips, refusals and when a call has a chance."""
    it = service()
    it.calls(500, 500, 500, 500, 200, 200)
    [status] = it.breaker.status()
    assert (status.name, status.key, status.state, status.trips, status.rejected) == (
        "svc", None, "open", 1, 2,
    )  # fmt: skip
    assert status.retry_after == 10.0
    it.breaker.reset()
    it.calls(500, 200)
    stats = it.breaker.status()[0].stats
    assert (stats.failure_rate, stats.slow_rate, stats.streak) == (0.5, 0.0, 0)
