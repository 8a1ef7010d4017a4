"""Windows of the calendar, where days and months are not all alike."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekit import ConfigurationError
from gatekit.limits import Calendar

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia"]
BERLIN = Calendar("day", "Europe/Berlin")
KOLKATA = Calendar("hour", "Asia/Kolkata")


@given(
    moment=st.floats(0, 4e9),
    zone=st.sampled_from(ZONES),
    period=st.sampled_from(["hour", "day", "week", "month", "year"]),
    day=st.integers(1, 31),
)
def test_windows_cover_all_of_time(moment: float, zone: str, period: Any, day: int) -> None:
    """Every moment lies in exactly one window, and the next one begins where it ends."""
    calendar = Calendar(period, zone, day=day if period == "month" else 1)
    start, end = calendar.bounds(moment)
    assert start <= moment < end
    assert calendar.bounds(start) == (start, end)
    assert calendar.bounds(end)[0] == end


@pytest.mark.parametrize(
    ("calendar", "moment", "start", "end"),
    [
        pytest.param(BERLIN, "03-29 12:00", "03-28 23:00", "03-29 22:00", id="a day of 23 hours"),
        pytest.param(BERLIN, "10-25 12:00", "10-24 22:00", "10-25 23:00", id="a day of 25 hours"),
        pytest.param(Calendar("week"), "11-22 12:00", "11-16 00:00", "11-23 00:00", id="Monday"),
        pytest.param(Calendar("month"), "02-10 00:00", "02-01 00:00", "03-01 00:00", id="28 days"),
        pytest.param(
            Calendar("month", day=31), "03-01 00:00", "02-28 00:00", "03-31 00:00", id="no 31st"
        ),
        pytest.param(
            Calendar("month", day=15), "02-14 23:59", "01-15 00:00", "02-15 00:00", id="the 15th"
        ),
        pytest.param(KOLKATA, "01-14 00:10", "01-13 23:30", "01-14 00:30", id="half an hour off"),
    ],
)
def test_windows_of_the_calendar(calendar: Calendar, moment: str, start: str, end: str) -> None:
    """Where the clocks change, months are short, and zones are off by half an hour."""
    expected = tuple(seconds(text) for text in (start, end))
    assert calendar.bounds(seconds(moment)) == expected


def seconds(text: str) -> float:
    """Of a moment of 2026 in UTC."""
    return datetime.fromisoformat(f"2026-{text}+00:00").timestamp()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("fortnight",), ["period"]),
        (("day", "Mars/Olympus"), ["timezone"]),
        (("eon", 5), ["period", "timezone"]),
    ],
    ids=str,
)
def test_a_wrong_option_is_named(arguments: Any, named: list[str]) -> None:
    """At construction, all of them at once."""
    with pytest.raises(ConfigurationError) as caught:
        Calendar(*arguments)
    assert list(caught.value.problems) == named


def test_a_day_of_the_month_is_for_months() -> None:
    """An anniversary of a week is not what anybody means."""
    with pytest.raises(ConfigurationError, match="is for months"):
        Calendar("week", day=3)
