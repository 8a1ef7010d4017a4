"""A limit that finds itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekit import ConfigurationError, Request, Response, Timeout
from gatekit.middleware._bulkhead import Rules
from gatekit.middleware._gradient import Gradient
from gatekit.middleware._turnstile import Turnstile
from gatekit.middleware.concurrency import AdaptiveLimit, ConcurrencyLimit
from gatekit.testing import FakeIO, exercise


def feed(gradient: Gradient, latency: float, windows: int, in_flight: int = 10_000) -> None:
    """So many windows of calls that all took as long."""
    options = gradient._options
    if gradient._ends is None:
        gradient.add(latency, in_flight, 0.0)
    for _ in range(windows):
        assert gradient._ends is not None
        end = gradient._ends
        for _ in range(options.min_samples):
            gradient.add(latency, in_flight, end)


def test_it_grows_while_latency_is_as_usual() -> None:
    """Up to its bound, by a part of the headroom at a time."""
    gradient = Gradient(AdaptiveLimit(20, most=50, smoothing=0.5, headroom=4))
    feed(gradient, 0.1, 1)
    assert gradient.limit == 22
    feed(gradient, 0.1, 50)
    assert gradient.limit == 50


def test_it_shrinks_when_latency_grows() -> None:
    """In proportion, and down to its bound."""
    gradient = Gradient(AdaptiveLimit(100, least=10, most=200))
    feed(gradient, 0.1, 20)
    before = gradient.limit
    feed(gradient, 1.0, 1)
    assert gradient.limit < before
    feed(gradient, 1.0, 30)
    assert gradient.limit < 30


def test_slow_is_not_overloaded() -> None:
    """A service that always takes a second is as good as one that takes a millisecond."""
    slow, quick = Gradient(AdaptiveLimit()), Gradient(AdaptiveLimit())
    feed(slow, 1.0, 40)
    feed(quick, 0.001, 40)
    assert slow.limit == quick.limit > 20


def test_an_idle_service_teaches_nothing() -> None:
    """With less than half of it in use there is no reason for more."""
    gradient = Gradient(AdaptiveLimit(20))
    feed(gradient, 0.1, 50, in_flight=9)
    assert gradient.limit == 20


def test_a_window_needs_time_and_samples() -> None:
    """A few calls, or a moment, are chance."""
    options = AdaptiveLimit(20, window=1.0, min_samples=3)
    few, early = Gradient(options), Gradient(options)
    assert not any(few.add(0.1, 20, now) for now in (0.0, 5.0))
    assert not any(early.add(0.1, 20, 0.0) for _ in range(100))
    assert [few._windows, early._windows] == [0, 0]
    few.add(0.1, 20, 6.0)
    assert few._windows == 1


def test_it_recovers_from_bad_times() -> None:
    """The average of an hour of overload does not pass for usual for another hour."""
    options = AdaptiveLimit(100, least=10)
    gradient = Gradient(options)
    feed(gradient, 2.0, 50)
    feed(gradient, 0.1, 80)
    assert gradient._long < 0.25


def reference(latencies: list[float], options: AdaptiveLimit) -> float:
    """The algorithm as its paper of rules says it, one window at a time, all in use."""
    limit, usual = float(options.initial), 0.0
    for count, latency in enumerate(latencies, 1):
        if count <= 10:
            usual = (usual * (count - 1) + latency) / count
        else:
            weight = 2 / (options.long_window + 1)
            usual = usual * (1 - weight) + latency * weight
        ratio = options.tolerance * usual / latency
        limit = (1 - options.smoothing) * limit + options.smoothing * (
            min(1.0, max(0.5, ratio)) * limit + options.headroom
        )
        limit = min(options.most, max(options.least, limit))
        if usual / latency > 2:
            usual *= 0.95
    return limit


@given(st.lists(st.floats(0.001, 10.0), max_size=60))
def test_it_follows_the_algorithm(latencies: list[float]) -> None:
    """Step by step the same as an independent account of Gradient2."""
    options = AdaptiveLimit(50, least=5, most=500, min_samples=1)
    gradient = Gradient(options)
    for latency in latencies:
        feed(gradient, latency, 1)
    expected = reference(latencies, options)
    assert gradient._exact == pytest.approx(expected, rel=1e-6)
    assert 5 <= gradient.limit <= 500


def latency_of(io: FakeIO, seconds: float, status: int = 200) -> Any:
    def app(_: Request) -> Response:
        io.advance(seconds)
        return Response(status)

    return app


def observe(limit: ConcurrencyLimit, seconds: float, windows: int, status: int = 200) -> None:
    io = FakeIO()
    for _ in range(windows):
        for _ in range(10):
            exercise(limit, io=io, app=latency_of(io, seconds, status))
        io.advance(1.0)


def test_the_limit_moves_with_what_the_app_takes() -> None:
    """Through the whole middleware: one at a time, so a limit of 2 is half in use."""
    limit = ConcurrencyLimit(AdaptiveLimit(2, least=1, most=9, headroom=9))
    observe(limit, 0.1, 3)
    assert limit.status()[0].limit > 2


@pytest.mark.parametrize("status", [500, 503])
def test_failures_are_not_fast_answers(status: int) -> None:
    """An app that fails at once does not make all else look slow."""
    limit = ConcurrencyLimit(AdaptiveLimit(2, least=1, most=9, headroom=9))
    observe(limit, 0.1, 3, status)
    assert limit.status()[0].limit == 2
    gradient = limit._here()._gradient
    assert gradient is not None and gradient._windows == 0


def test_a_timeout_is_a_slow_answer() -> None:
    """What was cut off took that long at least."""
    limit = ConcurrencyLimit(AdaptiveLimit(2, least=1, most=9))
    io = FakeIO()

    def late(_: Request) -> Response:
        io.advance(2.0)
        raise TimeoutError

    for _ in range(10):
        assert exercise(Timeout(1), limit, io=io, app=late).status == 504
    gradient = limit._here()._gradient
    assert gradient is not None and gradient._long == pytest.approx(2.0)


def test_a_higher_limit_lets_in_who_waits() -> None:
    """At once, without anybody having to leave first."""

    class Standing:
        woken = False

        def is_late(self) -> bool:
            return False

        def wake(self) -> bool:
            self.woken = True
            return True

    options = AdaptiveLimit(1, least=1, most=9, headroom=9, min_samples=1)
    turnstile = Turnstile(Rules(1, queue=5), options)
    waiter = Standing()
    first = turnstile.enter(None, 0)
    assert first is not None
    second = turnstile.arrive(None, 0, 0.0, lambda _place, _seconds: waiter, forced=False)
    assert (second.is_inside, waiter.woken) == (False, False)
    turnstile.sample(first, 0.1, 0.0)
    turnstile.sample(first, 0.1, options.window)
    assert (second.is_inside, waiter.woken) == (True, True)
    [status] = turnstile.status("it")
    assert (status.limit, status.in_flight, status.waiting) == (2, 2, 0)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"initial": 0}, "initial"),
        ({"initial": 300}, "initial"),
        ({"initial": 5}, "initial"),
        ({"least": 300}, "least"),
        ({"most": 0}, "most"),
        ({"tolerance": 0.9}, "tolerance"),
        ({"tolerance": float("inf")}, "tolerance"),
        ({"tolerance": float("nan")}, "tolerance"),
        ({"headroom": 0}, "headroom"),
        ({"smoothing": 0}, "smoothing"),
        ({"smoothing": 1.1}, "smoothing"),
        ({"smoothing": "0.2"}, "smoothing"),
        ({"window": 0}, "window"),
        ({"min_samples": 0}, "min_samples"),
        ({"long_window": 0}, "long_window"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], named: str) -> None:
    """Bounds that contradict each other, too."""
    with pytest.raises(ConfigurationError) as caught:
        AdaptiveLimit(**options)
    assert list(caught.value.problems) == [named]
