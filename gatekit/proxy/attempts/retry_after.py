"""How long an answer asks to wait: `Retry-After`, or `t` in an exhausted `RateLimit`.

seconds_to_wait([(b"retry-after", b"120")], time.time)      # 120.0

A date is compared with the answer's own `Date`, so that two clocks that differ do no harm; without
one, with the clock that is given. What cannot be read asks for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from gatekit.proxy.transport.exchange import Headers

# RFC 9110 §10.2.3: delay-seconds. Nobody waits for more digits.
_SECONDS = re.compile(rb"[0-9]{1,9}")
_REMAINING = re.compile(rb";\s*r=0(?![0-9.])")
_RESET = re.compile(rb";\s*t=([0-9]{1,9})")


def seconds_to_wait(fields: Headers, clock: Callable[[], float]) -> float | None:
    """The longest wait that the fields ask for, in seconds; None where they ask for none."""
    asked: float | None = None
    for name, value in fields:
        if name == b"retry-after":
            wait = _retry_after(value.strip(), fields, clock)
        elif name == b"ratelimit":
            wait = _reset(value)
        else:
            continue
        if wait is not None and (asked is None or wait > asked):
            asked = wait
    return asked


def _retry_after(value: bytes, fields: Headers, clock: Callable[[], float]) -> float | None:
    if _SECONDS.fullmatch(value):
        return float(value)
    at = _date(value)
    if at is None:
        return None
    own = next((_date(value) for name, value in fields if name == b"date"), None)
    return max(at - (clock() if own is None else own), 0.0)


def _date(value: bytes) -> float | None:
    try:
        return parsedate_to_datetime(value.decode("ascii")).timestamp()
    except (ValueError, OverflowError):
        return None


def _reset(value: bytes) -> float | None:
    """`t` of the policies of which nothing remains (draft-ietf-httpapi-ratelimit-headers)."""
    waits = [
        float(found[1])
        for policy in value.split(b",")
        if _REMAINING.search(policy) and (found := _RESET.search(policy))
    ]
    return max(waits, default=None)
