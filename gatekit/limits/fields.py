"""What a client is told: the fields of the IETF's draft, and the three that came before it.

    RateLimit-Policy: "100-per-minute";q=100;w=60
    RateLimit: "100-per-minute";r=99;t=1

Both are lists of structured fields (RFC 9651) as draft-ietf-httpapi-ratelimit-headers-11 has them:
`q` units in `w` seconds; `r` units are left, and no more than those for `t` seconds. `Retry-After`
is never earlier than that (§6 there), never 0, and a whole number rounded up.

    X-RateLimit-Limit: 100
    X-RateLimit-Remaining: 99
    X-RateLimit-Reset: 1767225600

These speak of one limit, the one of which the least is left. The last is a moment in seconds since
1970, as GitHub, slowapi and Flask-Limiter write it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf
from typing import Literal, TypeAlias, get_args

from gatekit._core.headers import Headers
from gatekit.limits.meters import Meter, Standing

Style: TypeAlias = Literal["draft", "legacy", "both"]

_STYLES: tuple[Style, ...] = get_args(Style)


def policy_field(meters: Sequence[Meter]) -> tuple[bytes, bytes]:
    """The same on every response."""
    items = (f'"{meter.name}";q={meter.quota};w={meter.window}' for meter in meters)
    return b"ratelimit-policy", ", ".join(items).encode("ascii")


def limit_field(meters: Sequence[Meter], standings: Sequence[Standing]) -> tuple[bytes, bytes]:
    """What is left now."""
    items = [
        f'"{meter.name}";r={standing.remaining};t={ceil(standing.reset)}'
        for meter, standing in zip(meters, standings, strict=True)
    ]
    return b"ratelimit", ", ".join(items).encode("ascii")


def add_legacy(
    headers: Headers, meters: Sequence[Meter], standings: Sequence[Standing], wall: float
) -> None:
    """Of several limits, those of a middleware further in among them, the tightest speaks."""
    standing, meter = min(
        zip(standings, meters, strict=True),
        key=lambda pair: (pair[0].remaining, -pair[0].retry_after),
    )
    present = headers.get("x-ratelimit-remaining", "")
    # Of an upstream, it may be anything.
    if present.isdecimal() and len(present) < 16 and int(present) <= standing.remaining:
        return
    headers["x-ratelimit-limit"] = str(meter.quota)
    headers["x-ratelimit-remaining"] = str(standing.remaining)
    headers["x-ratelimit-reset"] = str(ceil(wall + standing.reset))


def retry_after(standings: Sequence[Standing], stretch: float = 1.0) -> int | None:
    """Whole seconds until all admit the request; None if they never will."""
    wait = max(standing.retry_after for standing in standings)
    return None if wait == inf else max(1, ceil(wait * stretch))


def style_problem(style: object) -> str | None:
    if style is None or style in _STYLES:
        return None
    return f"must be one of {', '.join(map(repr, _STYLES))} or None, not {style!r}"
