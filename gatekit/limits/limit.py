"""A limit as a user writes it, and the meter that it becomes.

    Limit("100/minute")                                     # in the grammar of the library `limits`
    Limit("100/minute", burst=20)                           # at most 20 of them at once
    Limit("10000/hour", key=keys.tenant, name="tenant")     # counted by a key of its own
    Limit("1000", calendar=Calendar("day", "Europe/Berlin"))

The grammar is `[count] [per|/] [n] [second|minute|hour|day|month|year]`; a month has 30 days there
and a year 360.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias, assert_never, cast, get_args

from gatekit._core.options import integer_problem, known_keywords
from gatekit.errors import check
from gatekit.limits.calendar import Calendar
from gatekit.limits.calendar_window import CalendarWindow
from gatekit.limits.keys import Key, key_problem
from gatekit.limits.meters import FixedWindow, Meter, SlidingWindow, TokenBucket

Algorithm: TypeAlias = Literal["gcra", "fixed-window", "sliding-window"]
LimitLike: TypeAlias = "str | Limit | Sequence[str | Limit]"

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

# What may stand in a string of a structured field (RFC 9651 §3.3.3) without being escaped.
_NAME = re.compile(r"[ !#-\[\]-~]+")
# An integer of a structured field has 15 digits (RFC 9651 §3.3.1); Redis keeps nothing for ever.
_MOST = 10**15 - 1
_LONGEST = 1000 * 360 * 86400


class Rate(NamedTuple):
    """One item of the grammar; `period` is 0 for a bare count."""

    amount: int
    period: float
    text: str


@known_keywords
class Limit:
    """One limit, or several of one string, for `RateLimit`.

    `burst` is how many may come at once, for GCRA; `name` is what clients are told; `key` counts it
    by another key than the other limits of the same call. With a `calendar` the text is a bare
    count.
    """

    __slots__ = ("algorithm", "burst", "calendar", "key", "name", "rates", "text")

    def __init__(
        self,
        text: str,
        *,
        algorithm: Algorithm | None = None,
        burst: int | None = None,
        calendar: Calendar | None = None,
        key: Key | None = None,
        name: str | None = None,
    ) -> None:
        rates, wrong = parse(text, bare=calendar is not None)
        check(
            "Limit",
            text=wrong,
            algorithm=None if algorithm is None else algorithm_problem(algorithm),
            burst=_burst_problem(burst, algorithm),
            calendar=_calendar_problem(calendar, algorithm, burst),
            key=None if key is None else key_problem(key),
            name=None if name is None else policy_problem(name),
        )
        self.text = text
        self.rates = rates
        self.algorithm: Algorithm | None = algorithm
        self.burst = burst
        self.calendar = calendar
        self.key = key
        self.name = name

    def meters(
        self,
        algorithm: Algorithm,
        *,
        scope: str,
        share: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> list[Meter]:
        """`scope` names the policy in the store; `share` is the part of the limit that counts."""
        built: list[Meter] = []
        for rate in self.rates:
            count = max(1, int(rate.amount * share))
            name = self.name or scope
            if self.calendar is not None:
                name = self.name or f"{rate.amount}-per-{self.calendar.period}"
                built.append(CalendarWindow(name, count, self.calendar, scope=scope, clock=clock))
                continue
            name = rate.text if self.name is None else self.name
            if self.name is not None and len(self.rates) > 1:
                name = f"{self.name}-{rate.text}"
            burst = None if self.burst is None else max(1, int(self.burst * share))
            kind = algorithm if self.algorithm is None else self.algorithm
            built.append(_meter(kind, name, count, rate, burst, scope))
        return built

    def __repr__(self) -> str:
        return f"Limit({self.text!r})"


def _meter(
    algorithm: Algorithm, name: str, count: int, rate: Rate, burst: int | None, scope: str
) -> Meter:
    if algorithm == "gcra":
        return TokenBucket(name, count, rate.period, burst=burst, scope=scope)
    if algorithm == "fixed-window":
        return FixedWindow(name, count, rate.period, scope=scope)
    if algorithm == "sliding-window":
        return SlidingWindow(name, count, rate.period, scope=scope)
    assert_never(algorithm)


def parse(text: object, *, bare: bool = False) -> tuple[tuple[Rate, ...], str | None]:
    """The rates in a text, and what is wrong with it."""
    if not isinstance(text, str):
        return (), f"must be a string such as '100/minute', not {text!r}"
    if bare:
        if not (text.isascii() and text.isdecimal() and len(text) <= 15 and int(text)):
            return (), f"{text!r} is not a count; the calendar says the rest"
        return (Rate(int(text), 0.0, text),), None
    # Importing it takes longer than all of gatekit: only who limits waits for it.
    from limits import parse_many

    try:
        items = parse_many(text)
    except ValueError as error:
        return (), f"{text!r} is not a limit such as '100/minute;1000/hour': {error}"
    if any(item.amount < 1 for item in items):
        return (), f"{text!r} admits nothing; a limit is at least 1"
    if any(item.amount > _MOST or item.get_expiry() > _LONGEST for item in items):
        return (), f"{text!r} is more than can be counted, 10^15 - 1 in a thousand years"
    rates: list[Rate] = []
    for item in items:
        every = f"{item.multiples}-" if item.multiples > 1 else ""
        name = f"{item.amount}-per-{every}{item.GRANULARITY.name}"
        rates.append(Rate(item.amount, float(item.get_expiry()), name))
    return tuple(rates), None


def as_limits(value: LimitLike) -> tuple[Limit, ...]:
    """One or several limits, however they were written; `ConfigurationError` if they are none."""
    if isinstance(value, Limit):
        return (value,)
    if isinstance(value, str):
        return (Limit(value),)
    return tuple(item if isinstance(item, Limit) else Limit(item) for item in value)


def limit_problem(value: object) -> str | None:
    """What is wrong with one or several limits."""
    if isinstance(value, Limit):
        return None
    if isinstance(value, str):
        return parse(value)[1]
    if not isinstance(value, Sequence) or not value:
        return f"must be a limit such as '100/minute', or several of them, not {value!r}"
    items = cast("Iterable[object]", value)
    wrong = [limit_problem(item) for item in items if not isinstance(item, Limit)]
    return "; ".join(what for what in wrong if what) or None


def algorithm_problem(value: object) -> str | None:
    if value in ALGORITHMS:
        return None
    return f"must be one of {', '.join(map(repr, ALGORITHMS))}, not {value!r}"


def policy_problem(name: object) -> str | None:
    """Of the name of a policy, which clients see."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"must be printable ASCII without quotation marks and backslashes, not {name!r}"
    return None


def _burst_problem(burst: object, algorithm: Algorithm | None) -> str | None:
    if burst is None:
        return None
    if algorithm not in {None, "gcra"}:
        return f"is for 'gcra'; {algorithm!r} has no burst"
    return integer_problem(burst, 1)


def _calendar_problem(calendar: object, algorithm: Algorithm | None, burst: object) -> str | None:
    if calendar is None:
        return None
    if not isinstance(calendar, Calendar):
        return f"must be a Calendar, not {calendar!r}"
    if algorithm is not None or burst is not None:
        return "is an algorithm of its own, without a burst"
    return None
