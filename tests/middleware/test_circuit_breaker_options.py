"""What is wrong with a `CircuitBreaker` is said when it is made, all of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gatekit import ConfigurationError, Response, wsgi
from gatekit.middleware.circuit_breaker import CircuitBreaker, CircuitChange
from tests.doors.spec import Spec


def once() -> Iterator[bytes]:
    yield b"once"


async def asynchronous(*_: Any) -> Any:
    raise AssertionError


def negative(trip: int) -> float:
    return -1.0 if trip == 5 else 1.0


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": 7}, "is not a string"),
    ({"failure_rate": 0}, "above 0 and up to 1"),
    ({"failure_rate": 50}, "above 0 and up to 1"),
    ({"failure_rate": None}, "nothing that opens it"),
    ({"slow_threshold": 0}, "seconds above 0"),
    ({"slow_rate": 1.5}, "above 0 and up to 1"),
    ({"min_calls": 0}, "at least 1"),
    ({"consecutive_failures": 0}, "at least 1"),
    ({"trip": "failures > 3"}, "must be a function"),
    ({"trip": asynchronous}, "plain function"),
    ({"window": -1}, "seconds above 0"),
    ({"failures": [500]}, "a Failures or a function"),
    ({"open_for": 0}, "seconds above 0"),
    ({"open_for": negative}, "for trip 5"),
    ({"open_for": lambda trip: 1 / (trip - 3)}, "for trip 1"),
    ({"growth": 0.5}, "at least 1"),
    ({"max_open": 5}, "less than the first wait"),
    ({"jitter": -0.1}, "at least 0"),
    ({"probes": 0}, "at least 1"),
    ({"probe_timeout": 0}, "seconds above 0"),
    ({"ramp": -1}, "at least 0"),
    ({"ramp_shape": "steep"}, "exponential"),
    ({"key": "tenant"}, "must be a function"),
    ({"key": asynchronous}, "plain function"),
    ({"max_keys": 0}, "at least 1"),
    ({"fallback": "sorry"}, "a Response or a handler"),
    ({"fallback": Response}, "a Response or a handler"),
    ({"fallback": Response(200, body=once())}, "once only"),
    ({"on_change": 7}, "must be a function"),
    ({"via": "my gateway"}, "is not a token"),
    ({"clock": 7}, "must be a function"),
    ({"min_call": 7}, "did you mean min_calls"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    """The parameter, and what is allowed in its place."""
    with pytest.raises(ConfigurationError) as caught:
        CircuitBreaker(**options)
    [(name, problem)] = caught.value.problems.items()
    assert name == next(iter(options))
    assert message in problem


def test_all_problems_are_told_together() -> None:
    """One error for the whole call."""
    with pytest.raises(ConfigurationError) as caught:
        CircuitBreaker(probes=0, ramp=-1, window_calls=10, min_calls=20, fallback_on_failure=True)
    assert set(caught.value.problems) == {"probes", "ramp", "min_calls", "fallback"}


def test_an_async_callback_is_refused_under_wsgi() -> None:
    """A WSGI door has nothing to await it with; an async fallback is a handler like any other."""

    async def on_change(change: CircuitChange) -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError) as caught:
        wsgi(Spec().wsgi(), CircuitBreaker(on_change=on_change))
    assert list(caught.value.problems) == ["on_change"]
    wsgi(Spec().wsgi(), CircuitBreaker(fallback=asynchronous))


@pytest.mark.parametrize(
    "options",
    [
        {"failure_rate": None, "consecutive_failures": 5},
        {"failure_rate": None, "slow_threshold": 1.0},
        {"failure_rate": None, "trip": lambda stats: stats.failures > 3},
        {"open_for": 5, "max_open": 5},
        {"window_calls": 20},
        {"ramp": 0, "jitter": 0, "probes": 1},
    ],
    ids=str,
)
def test_what_is_allowed(options: dict[str, Any]) -> None:
    """Each way to open it may stand alone, and the bounds themselves are allowed."""
    assert repr(CircuitBreaker("orders", **options)) == "CircuitBreaker('orders')"
