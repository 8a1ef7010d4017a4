"""What is wrong with the options of a `CircuitBreaker`, or None; and how long it stays open."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast

from gatekit._core.options import function_problem, integer_problem, seconds_problem

Wait: TypeAlias = float | Callable[[int], float]

# Trips in a row for which a wait is worked out; those beyond wait as long as the last of them.
_TRIPS = 32


def rate_problem(rate: object) -> str | None:
    """Of a part of the calls."""
    if isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate <= 1:
        return None
    return f"must be a part above 0 and up to 1, not {rate!r}"


def failure_rate_problem(rate: object, *others: object) -> str | None:
    """It may be left out where something else opens the circuit."""
    if rate is not None:
        return rate_problem(rate)
    if all(other is None for other in others):
        return (
            "None leaves nothing that opens it; give consecutive_failures, slow_threshold or trip"
        )
    return None


def consecutive_problem(value: object) -> str | None:
    return None if value is None else integer_problem(value, 1)


def min_calls_problem(value: object, window_calls: object) -> str | None:
    """A window of calls has to hold as many as are needed to judge."""
    problem = integer_problem(value, 1)
    if problem is not None or not isinstance(window_calls, int):
        return problem
    if cast("int", value) > window_calls:
        return f"{value} calls are more than the {window_calls} that window_calls remembers"
    return None


def number_problem(value: object, least: float) -> str | None:
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not least <= value < float("inf")
    ):
        return f"must be a number of at least {least:g}, not {value!r}"
    return None


def shape_problem(shape: object) -> str | None:
    if shape in ("linear", "exponential"):
        return None
    return f'must be "linear" or "exponential", not {shape!r}'


def wait_problem(open_for: object) -> str | None:
    if not callable(open_for):
        return seconds_problem(open_for)
    problem = function_problem(open_for)
    if problem is not None:
        return problem
    for trip in range(1, _TRIPS + 1):
        try:
            seconds = open_for(trip)
        except Exception as error:
            return f"raised {error!r} for trip {trip}"
        if (wrong := seconds_problem(seconds)) is not None:
            return f"gave {seconds!r} for trip {trip}, and it {wrong}"
    return None


def max_open_problem(max_open: object, open_for: object) -> str | None:
    problem = seconds_problem(max_open)
    if problem is not None or callable(open_for) or seconds_problem(open_for) is not None:
        return problem
    if cast("float", max_open) < cast("float", open_for):
        return f"{max_open!r} is less than the first wait, open_for={open_for!r}"
    return None


def waits(open_for: Wait, growth: float, max_open: float) -> tuple[float, ...]:
    """Seconds for the first trip, the second in a row, and so on."""
    found: list[float] = []
    for trip in range(_TRIPS):
        if callable(open_for):
            seconds = open_for(trip + 1)
        else:
            seconds = min(open_for * growth**trip, max_open)
        found.append(min(seconds, max_open))
    return tuple(found)
