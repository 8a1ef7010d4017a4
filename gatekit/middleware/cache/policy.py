"""What a shared cache may store, for how long, and when it may use it: RFC 9111 as functions.

    control = Control.of(fields)                       # the directives that count for this cache
    reason = refusal(asked, status, fields, control)   # None: it may be stored
    lifetime_of(status, fields, control, date)         # seconds
    use_of(entry, asked, now)                          # "fresh", "stale", "validate"

Nothing here does I/O or knows the time.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

from gatekit.middleware.cache.dates import parse_date
from gatekit.middleware.cache.directives import (
    FOREVER,
    Directives,
    names,
    parse,
    parse_targeted,
    seconds,
)
from gatekit.middleware.cache.entry import ALWAYS, IMMUTABLE, OPEN, SOFT, STRICT, Entry
from gatekit.typing import RawHeaders

First: TypeAlias = Mapping[bytes, bytes]
Use: TypeAlias = Literal["fresh", "stale", "validate"]

# RFC 9110 §15.1: "Responses with status codes that are defined as heuristically cacheable (e.g.,
# 200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, and 501 in this specification)".
HEURISTIC = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
# For `must-understand`: those whose meaning for a cache is implemented here.
UNDERSTOOD = HEURISTIC | {302, 303, 307, 400, 401, 403, 500, 502, 503, 504}

# RFC 9111 §4.2.2: "A typical setting of this fraction might be 10%."
_FRACTION = 0.1
_MOST_GUESSED = 86_400.0

# RFC 9111 §3.1: fields of one hop, and those of a proxy's own.
UNSTORED = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"age",
    }
)
# RFC 9111 §3.5: what lets a shared cache store the answer to somebody known.
_OPENING = frozenset({"must-revalidate", "public", "s-maxage"})
_EXPLICIT = frozenset({"public", "max-age", "s-maxage", "no-cache"})
_UNCLEAN = re.compile(rb"[\x00\r\n]")
_NO_NAME = re.compile(rb"[^!#$%&'*+\-.^_`|~0-9a-z]")


class Asked(NamedTuple):
    """What counts of a request. `owned` is one that says who asks, and is in no partition."""

    control: Directives
    owned: bool


class Control:
    """The directives that count for this cache; a targeted field stands for all others."""

    __slots__ = ("directives", "targeted")

    def __init__(self, directives: Directives, targeted: bool) -> None:
        self.directives = directives
        self.targeted = targeted

    @classmethod
    def of(cls, fields: RawHeaders, targets: Sequence[bytes] = ()) -> Control:
        """From fields in lower case. The first target that is there and sound wins."""
        for target in targets:
            lines = values(fields, target)
            # RFC 9213 §2.2: "the cache MUST use the first [...] valid, non-empty value", and
            # Cache-Control and Expires are then ignored.
            if lines and (found := parse_targeted(lines)):
                return cls(found, True)
        return cls(parse(values(fields, b"cache-control")), False)

    def __contains__(self, name: object) -> bool:
        return name in self.directives

    def seconds(self, name: str) -> int | None:
        return seconds(self.directives, name)

    def whole(self, name: str) -> bool:
        """Whether a directive is there without the names of fields that it is restricted to."""
        return name in self.directives and not names(self.directives[name])


def values(fields: RawHeaders, name: bytes) -> list[bytes]:
    """Every value of a field."""
    return [value for field, value in fields if field == name]


def refusal(
    asked: Asked, status: int, fields: RawHeaders, control: Control, *, cookies: bool = False
) -> str | None:
    """Why an answer may not be stored (RFC 9111 §3); None if it may.

    `cookies` says that a `Set-Cookie` is no obstacle.
    """
    # "the response status code is final"; "if the response status code is 206 or 304, [...] the
    # cache understands" it: this one stores whole answers only.
    if status < 200 or status in {206, 304}:
        return "status"
    understood = status in UNDERSTOOD
    if "must-understand" in control and not understood:
        return "must-understand"
    # §5.2.2.3: a cache that understands the status ignores the no-store beside must-understand.
    if "no-store" in control and "must-understand" not in control:
        return "no-store"
    if "no-store" in asked.control:
        return "request no-store"
    if control.whole("private"):
        return "private"
    # §3.5: "A shared cache MUST NOT use a cached response to a request with an Authorization header
    # field [...] unless the response contains a Cache-Control field with a response directive that
    # allows it": must-revalidate, public and s-maxage.
    if asked.owned and not (_OPENING & control.directives.keys()):
        return "authorization"
    return _unfit(status, fields, control, cookies)


def _unfit(status: int, fields: RawHeaders, control: Control, cookies: bool) -> str | None:
    hidden = left_out(control)
    for name, value in fields:
        if name == b"vary" and b"*" in value:
            # §4.1: "A stored response with a Vary header field value containing a member "*" always
            # fails to match."
            return "vary"
        if name == b"set-cookie" and not cookies and name not in hidden:
            return "set-cookie"
        if name == b"content-type" and value.lower().startswith(b"text/event-stream"):
            return "event stream"
    # "the response contains at least one of the following": what says for how long, or that it may.
    explicit = _EXPLICIT & control.directives.keys()
    if explicit or status in HEURISTIC or (not control.targeted and values(fields, b"expires")):
        return None
    return "status"


def is_clean(fields: RawHeaders) -> bool:
    """Whether these can be stored and sent again: no field splits a head or a record."""
    names = b"".join([name for name, _ in fields])
    text = b"".join([value for _, value in fields])
    return _are_names(names) and _UNCLEAN.search(text) is None


@lru_cache(maxsize=512)
def _are_names(names: bytes) -> bool:
    return _NO_NAME.search(names) is None


def left_out(control: Control) -> frozenset[bytes]:
    """The fields that are not to be stored with the answer (RFC 9111 §5.2.2.4 and §5.2.2.7)."""
    directives = control.directives
    return names(directives.get("private")) | names(directives.get("no-cache"))


def unstored(fields: RawHeaders, control: Control, dropped: Collection[bytes]) -> frozenset[bytes]:
    """The names of fields that are not kept (RFC 9111 §3.1)."""
    out = UNSTORED | left_out(control) | frozenset(dropped)
    for value in values(fields, b"connection"):
        # "the header fields nominated by Connection": they were meant for this hop.
        out |= {part.strip().lower() for part in value.split(b",")}
    return out


def first_values(fields: RawHeaders) -> First:
    """The first value of each field."""
    return dict(fields[::-1])


def declared_seconds(control: Control) -> float | None:
    """What `s-maxage` or `max-age` says (RFC 9111 §4.2.1)."""
    # "If the cache is shared and the s-maxage response directive is present, use its value", then
    # max-age, then Expires minus Date.
    for name in ("s-maxage", "max-age"):
        if (lifetime := control.seconds(name)) is not None:
            return float(lifetime)
    return None


def explicit_lifetime(first: First, control: Control, received: float) -> float | None:
    """The lifetime that an answer declares (RFC 9111 §4.2.1), None if it does not."""
    seconds = declared_seconds(control)
    return seconds if seconds is not None else expiry(first, control, received)


def expiry(first: First, control: Control, received: float) -> float | None:
    """What `Expires` declares."""
    expires = first.get(b"expires")
    if expires is None or control.targeted:
        return None
    # §5.3: "A cache recipient MUST interpret invalid date formats, especially the value "0", as
    # representing a time in the past".
    until = parse_date(expires)
    return 0.0 if until is None else min(until - date_of(first, received), float(FOREVER))


def guessed_lifetime(status: int, first: First, control: Control, received: float) -> float | None:
    """A heuristic one (RFC 9111 §4.2.2), None where guessing is not allowed or not possible."""
    # "A cache MUST NOT use heuristics to determine freshness when an explicit expiration time is
    # present", and only where the status or `public` allows it.
    if status not in HEURISTIC and "public" not in control:
        return None
    modified = first.get(b"last-modified")
    since = parse_date(modified) if modified is not None else None
    if since is None:
        return None
    age = date_of(first, received) - since
    return min(max(age, 0.0) * _FRACTION, _MOST_GUESSED)


def date_of(first: First, received: float) -> float:
    """When the answer was made, as far as it says (RFC 9110 §6.6.1)."""
    date = first.get(b"date")
    said = parse_date(date) if date is not None else None
    return received if said is None else said


def age_on_arrival(first: First, asked_at: float, received: float) -> float:
    """`corrected_initial_age` (RFC 9111 §4.2.3)."""
    waited = max(0.0, received - asked_at)
    if b"date" not in first and b"age" not in first:
        return waited
    apparent = max(0.0, received - date_of(first, received))
    return max(apparent, declared_age(first) + waited)


def declared_age(first: First) -> float:
    """The `Age` that came with it."""
    age = first.get(b"age")
    if age is None:
        return 0.0
    # §5.1: "SHOULD use the first member of the field value, discarding subsequent ones. If the
    # field value [...] is invalid [...], a cache SHOULD ignore the field."
    member = age.partition(b",")[0].strip(b" \t")
    return float(min(int(member[:32]), FOREVER)) if member.isdigit() else 0.0


def flags_of(control: Control) -> int:
    """What the directives say of later use."""
    flags = 0
    given = control.directives.keys()
    if {"must-revalidate", "proxy-revalidate"} & given:
        flags |= STRICT
    # §5.2.2.10: s-maxage "incorporates the semantics of the proxy-revalidate response directive".
    # Who writes a stale-… beside it grants just that, and all caches in use take it so.
    if "s-maxage" in given and not {"stale-while-revalidate", "stale-if-error"} & given:
        flags |= STRICT
    if control.whole("no-cache"):
        flags |= ALWAYS | STRICT
    if "immutable" in control:
        flags |= IMMUTABLE
    if _OPENING & given:
        flags |= OPEN
    return flags


def use_of(entry: Entry, asked: Directives, now: float) -> Use:
    """Whether a stored answer may be used as it is, and if so whether it is fresh (RFC 9111 §4)."""
    flags = entry.flags
    if flags & ALWAYS:
        return "validate"
    # A clock that was put back says as little of an age as one that was put forward.
    age = abs(now - entry.born)
    left = -1.0 if flags & SOFT else entry.lifetime - age
    if asked:
        # §5.2.1.4: "the client prefers a stored response not be used [...] without successful
        # validation".
        if "no-cache" in asked:
            return "validate"
        most = seconds(asked, "max-age")
        # RFC 8246 §2: a fresh answer that is immutable is not validated because of a reload.
        if most is not None and age >= most and not (flags & IMMUTABLE and left > 0):
            return "validate"
        spare = seconds(asked, "min-fresh")
        if spare is not None and left < spare:
            return "validate"
        if left <= 0 and "max-stale" in asked and not flags & (STRICT | SOFT):
            # §5.2.1.2: without a value "the client will accept a stale response of any age".
            bound = FOREVER if asked["max-stale"] is None else seconds(asked, "max-stale") or 0
            if -left <= bound:
                return "stale"
    # §4.2: "response_is_fresh = (freshness_lifetime > current_age)".
    return "fresh" if left > 0 else "validate"


def may_serve_while_validating(entry: Entry, now: float) -> bool:
    """RFC 5861 §3; a soft purge asks for the same."""
    if entry.flags & (ALWAYS | STRICT):
        return False
    if entry.flags & SOFT:
        return True
    return entry.swr > 0 and now - entry.born - entry.lifetime <= entry.swr


def may_serve_on_error(entry: Entry, asked: Directives, now: float) -> bool:
    """RFC 5861 §4. `must-revalidate` and its kin have the last word (RFC 9111 §4.2.4)."""
    if entry.flags & STRICT or "no-cache" in asked:
        return False
    bound = max(entry.sie, float(seconds(asked, "stale-if-error") or 0))
    return now - entry.born - entry.lifetime <= bound
