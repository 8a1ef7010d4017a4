"""How long answers are kept that do not say it themselves, by path, status and type.

    Cache(ttl=[
        CacheRule(3600, path="/assets/*"),
        CacheRule(10, status=[404, 410]),
        CacheRule(60, content_type="application/json", jitter=0.2, stale_while_revalidate=30),
    ])

The first rule that fits counts. It never makes storable what says `no-store` or `private`, carries
a `Set-Cookie` or answers somebody known.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import translate
from typing import cast

from gatekit._core.options import each_problem, flag_problem, known_keywords, string_problem
from gatekit.errors import check


@known_keywords
class CacheRule:
    """`ttl` is a lifetime in seconds. `path` is a pattern in which `*` is any text. `jitter` makes
    a lifetime shorter at random, by up to this fraction, so that not all end at once. `force` makes
    the rule count for answers that do declare a lifetime.
    """

    __slots__ = (
        "_path", "_statuses", "_types", "force", "jitter", "stale_if_error",
        "stale_while_revalidate", "ttl",
    )  # fmt: skip

    def __init__(
        self,
        ttl: float,
        *,
        path: str | None = None,
        status: int | Collection[int] | None = None,
        content_type: str | Collection[str] | None = None,
        jitter: float = 0.0,
        force: bool = False,
        stale_while_revalidate: float | None = None,
        stale_if_error: float | None = None,
    ) -> None:
        statuses = [status] if isinstance(status, int) else status
        types = [content_type] if isinstance(content_type, str) else content_type
        check(
            "CacheRule",
            ttl=length_problem(ttl),
            path=None if path is None else string_problem(path),
            status=None if statuses is None else _statuses_problem(statuses),
            content_type=None if types is None else each_problem(types, string_problem),
            jitter=fraction_problem(jitter),
            force=flag_problem(force),
            stale_while_revalidate=_optional(stale_while_revalidate),
            stale_if_error=_optional(stale_if_error),
        )
        self.ttl = float(ttl)
        self._path = None if path is None else re.compile(translate(path))
        # RFC 9111 §3: a lifetime of our own is for answers that are whole and are no redirection
        # to somewhere else because of who asks; so without a list it is for success alone.
        self._statuses = frozenset(statuses if statuses is not None else (200, 203))
        self._types = None if types is None else tuple(kind.lower() for kind in types)
        self.jitter = jitter
        self.force = force
        self.stale_while_revalidate = stale_while_revalidate
        self.stale_if_error = stale_if_error

    def fits(self, path: str, status: int, content_type: bytes | None) -> bool:
        if status not in self._statuses:
            return False
        if self._path is not None and self._path.match(path) is None:
            return False
        if self._types is None:
            return True
        kind = (content_type or b"").partition(b";")[0].strip().lower().decode("latin-1")
        return any(
            kind == one or (one.endswith("/*") and kind.startswith(one[:-1])) for one in self._types
        )


def length_problem(value: object) -> str | None:
    """Of a length of time that may be nothing."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e12:
        return f"must be a number of seconds, not {value!r}"
    return None


def fraction_problem(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1:
        return None
    return f"must be at least 0 and below 1, not {value!r}"


def _optional(value: object) -> str | None:
    return None if value is None else length_problem(value)


def _statuses_problem(statuses: object) -> str | None:
    if not isinstance(statuses, Collection) or isinstance(statuses, str | bytes):
        return f"must be a status or a list of them, not {statuses!r}"
    # A 206 is part of an answer, a 304 is none, and one below 200 is not final.
    wrong = [
        repr(status)
        for status in cast("Collection[object]", statuses)
        if not isinstance(status, int) or not 200 <= status < 600 or status in {206, 304}
    ]
    return f"{', '.join(wrong)} cannot be stored" if wrong else None
