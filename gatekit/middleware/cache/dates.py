"""The dates of HTTP in their three formats (RFC 9110 §5.6.7), as seconds since 1970.

parse_date(b"Sun, 06 Nov 1994 08:49:37 GMT")     # 784111777
format_date(784111777)                            # b"Sun, 06 Nov 1994 08:49:37 GMT"
"""

from __future__ import annotations

import calendar
import re
import time
from functools import lru_cache

_MONTHS = {
    name: number + 1
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
    )
}
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
# The longest date there is has 33 characters, white space around it aside.
_LONGEST = 64
# RFC 9111 §4.2: "Although all date formats are specified to be case-sensitive, a cache recipient
# SHOULD match the field value case-insensitively", and only GMT is a zone.
_FORMATS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"[a-z]{{3}}, (?P<day>[0-9]{{2}}) (?P<month>[a-z]{{3}}) (?P<year>[0-9]{{4}}) {_TIME} GMT",
        (
            rf"[a-z]{{6,9}}, (?P<day>[0-9]{{2}})-(?P<month>[a-z]{{3}})-(?P<year>[0-9]{{2}})"
            rf" {_TIME} GMT"
        ),
        rf"[a-z]{{3}} (?P<month>[a-z]{{3}}) (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
)


def parse_date(value: bytes) -> float | None:
    """None for what is no date."""
    return _parse(value) if len(value) <= _LONGEST else None


@lru_cache(maxsize=1024)
def _parse(value: bytes) -> float | None:
    text = value.decode("latin-1").strip(" \t")
    for pattern in _FORMATS:
        if match := pattern.fullmatch(text):
            break
    else:
        return None
    month = _MONTHS.get(match["month"].lower())
    if month is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        # RFC 9110 §5.6.7: more than 50 years in the future is "the most recent year in the past
        # that had the same last two digits".
        this = time.gmtime().tm_year
        year += this - this % 100
        year -= 100 if year > this + 50 else 0
    day, hour, minute = int(match["day"]), int(match["hour"]), int(match["minute"])
    second = int(match["second"])
    if not 1 <= day <= 31 or hour > 23 or minute > 59 or second > 60 or year < 1:
        return None
    if day > calendar.monthrange(year, month)[1]:
        return None
    return float(calendar.timegm((year, month, day, hour, minute, second)))


def format_date(moment: float) -> bytes:
    """The preferred format, whatever the locale."""
    parts = time.gmtime(moment)
    month = next(name for name, number in _MONTHS.items() if number == parts.tm_mon).title()
    day = _DAYS[parts.tm_wday]
    clock = f"{parts.tm_hour:02}:{parts.tm_min:02}:{parts.tm_sec:02}"
    return f"{day}, {parts.tm_mday:02} {month} {parts.tm_year:04} {clock} GMT".encode("ascii")
