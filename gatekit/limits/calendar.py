"""Windows of the calendar: an hour, a day, a week, a month or a year, as they are in a time zone.

    month = Calendar("month", "Europe/Berlin")
    start, end = month.bounds(time.time())          # seconds since 1970

A day has 23 or 25 hours when the clocks change, and a month has its own length. Weeks begin on
Monday. An *anniversary* begins the windows elsewhere: `day=15` lets months begin on the 15th, and
on the last day of a month that is too short.
"""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta, tzinfo
from math import floor
from typing import Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gatekit._core.options import known_keywords
from gatekit.errors import check

Period: TypeAlias = Literal["hour", "day", "week", "month", "year"]

_PERIODS: tuple[Period, ...] = get_args(Period)


@known_keywords
class Calendar:
    """`period` after `period` in a time zone of the IANA database, such as `Europe/Berlin`.

    `day` is the day of the month on which months begin, from 1 to 31.
    """

    __slots__ = ("_zone", "day", "period", "timezone")

    def __init__(self, period: Period, timezone: str = "UTC", *, day: int = 1) -> None:
        check(
            "Calendar",
            period=None if period in _PERIODS else f"must be one of {', '.join(_PERIODS)}",
            timezone=zone_problem(timezone),
            day=day_problem(period, day),
        )
        self.period: Period = period
        self.timezone = timezone
        self.day = day
        self._zone: tzinfo = UTC if timezone == "UTC" else ZoneInfo(timezone)

    def bounds(self, moment: float) -> tuple[float, float]:
        """The beginning and the end of the window that a moment (seconds since 1970) lies in."""
        if self.period == "hour":
            # Hours pass alike when the clocks change; no zone is off by less than whole minutes.
            offset = datetime.fromtimestamp(moment, self._zone).utcoffset() or timedelta()
            start = floor(moment) - (floor(moment) + int(offset.total_seconds())) % 3600
            return float(start), float(start + 3600)
        today = datetime.fromtimestamp(moment, self._zone).date()
        first, after = self._dates(today)
        return self._midnight(first), self._midnight(after)

    def _dates(self, today: date) -> tuple[date, date]:
        if self.period == "day":
            return today, today + timedelta(days=1)
        if self.period == "week":
            monday = today - timedelta(days=today.weekday())
            return monday, monday + timedelta(days=7)
        if self.period == "year":
            return date(today.year, 1, 1), date(today.year + 1, 1, 1)
        first = self._first(today.year, today.month)
        if first > today:
            return self._month(today, -1), first
        return first, self._month(today, 1)

    def _month(self, today: date, step: int) -> date:
        months = today.year * 12 + today.month - 1 + step
        return self._first(months // 12, months % 12 + 1)

    def _first(self, year: int, month: int) -> date:
        return date(year, month, min(self.day, calendar.monthrange(year, month)[1]))

    def _midnight(self, day: date) -> float:
        return datetime(day.year, day.month, day.day, tzinfo=self._zone).timestamp()

    def __repr__(self) -> str:
        return f"Calendar({self.period!r}, {self.timezone!r}, day={self.day})"


def zone_problem(name: object) -> str | None:
    """Of a time zone's name."""
    if not isinstance(name, str):
        return f"must be the name of a time zone, not {name!r}"
    if name == "UTC":
        return None
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"{name!r} is no time zone that is known here; is the package tzdata installed?"
    return None


def day_problem(period: str, day: object) -> str | None:
    if not isinstance(day, int) or isinstance(day, bool) or not 1 <= day <= 31:
        return f"must be from 1 to 31, not {day!r}"
    if day != 1 and period != "month":
        return "is for months"
    return None
