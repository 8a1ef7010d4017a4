"""A head as a WSGI server is told it: pure functions, remembered where few answers are possible.

status_line(404)                 # "404 Not Found"
spelled(b"content-type")         # "Content-Type"
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from gatekit._core.problems import reason


@lru_cache(256)
def status_line(status: int) -> str:
    return f"{status} {reason(status)}"


@lru_cache(1024)
def spelled(name: bytes) -> str:
    """A field name as people write it; the case means nothing (RFC 9110 §5.1)."""
    return name.decode("latin-1").title()


def declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """The `Content-Length`; None where there is none that can be counted by."""
    for name, value in headers:
        if len(name) == 14 and name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return None
