"""What a route asks of a request besides path and method: host, header fields, query parameters.

    Conditions(headers={"x-version": "2"}, query={"debug": None})

A field or parameter is asked for by an exact string, a compiled pattern (which must match all of
the value), a function of the value, or None (it must be there). One that occurs several times must
fit every time: what stands behind may read the first, the last or all of them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias, cast
from urllib.parse import parse_qsl

from gatekit._core.options import (
    each_problem,
    function_problem,
    name_problem,
    string_problem,
)

if TYPE_CHECKING:
    from gatekit._core.messages import Request

Wanted: TypeAlias = "str | re.Pattern[str] | Callable[[str], bool] | None"
Rank: TypeAlias = "tuple[tuple[int, ...], tuple[int, ...]]"

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\]")
# A name in the DNS has at most 253 characters (RFC 1035 §2.3.4).
_LONGEST_HOST = 253


class Conditions:
    """All of them have to hold. The names of header fields are in lower case."""

    __slots__ = ("headers", "query", "rank")

    def __init__(
        self, headers: Mapping[str, Wanted] | None = None, query: Mapping[str, Wanted] | None = None
    ) -> None:
        self.headers = {name.lower(): wanted for name, wanted in (headers or {}).items()}
        self.query = dict(query or {})
        self.rank: Rank = (_rank(self.headers), _rank(self.query))
        """The greater, the more specific: by the number of fields, then by how narrow each is."""

    def __bool__(self) -> bool:
        return bool(self.headers or self.query)

    def hold(self, request: Request) -> bool:
        for name, wanted in self.headers.items():
            if not _fits(wanted, request.headers.getlist(name)):
                return False
        if self.query:
            given = query_values(request.query)
            for name, wanted in self.query.items():
                if not _fits(wanted, given.get(name, [])):
                    return False
        return True

    def may_meet(self, other: Conditions) -> bool:
        """Whether one request may satisfy both; True where that cannot be known."""
        return _may_meet(self.headers, other.headers) and _may_meet(self.query, other.query)


def query_values(query: bytes) -> dict[str, list[str]]:
    """Every value of each parameter, decoded."""
    values: dict[str, list[str]] = {}
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def plain_host(field: str) -> str:
    """A `Host` field in lower case without port and final dot; empty if it is no host."""
    host = field.lower()
    end = host.find("]") + 1 if host.startswith("[") else host.find(":")
    if 0 < end < len(host):
        port = host[end:].removeprefix(":")
        if host[end] != ":" or not (port.isascii() and (port.isdigit() or not port)):
            return ""
        host = host[:end]
    host = host.removesuffix(".")
    return host if len(host) <= _LONGEST_HOST and _HOST.fullmatch(host) else ""


def host_keys(field: str) -> tuple[str | None, ...]:
    """The patterns that match a `Host` field, the most specific first; None is any host."""
    host = plain_host(field)
    if not host:
        return (None,)
    keys: list[str | None] = [host]
    if not host.startswith("["):
        dot = host.find(".")
        while dot >= 0:
            keys.append("*" + host[dot:])
            dot = host.find(".", dot + 1)
    keys.append(None)
    return tuple(keys)


def host_problem(pattern: object) -> str | None:
    """Of a host in a route."""
    if not isinstance(pattern, str):
        return f"{pattern!r} is not a string"
    name = pattern.lower().removeprefix("*.")
    if not name or plain_host(name) != name or (name.startswith("[") and pattern.startswith("*")):
        return (
            f"{pattern!r} is not a host such as api.example.com or *.example.com; "
            "give it without scheme, port and path, and xn-- for other scripts"
        )
    return None


def wanted_problem(fields: object, *, headers: bool) -> str | None:
    """Of the header fields or query parameters that a route asks for."""
    if fields is None:
        return None
    if not isinstance(fields, Mapping):
        return f"must map names to what is wanted, not {fields!r}"
    problems: list[str] = []
    seen: set[str] = set()
    for name, wanted in cast("Mapping[object, object]", fields).items():
        problem = name_problem(name) if headers else string_problem(name)
        if problem is None and isinstance(name, str):
            key = name.lower() if headers else name
            problem = f"{name!r} occurs twice" if key in seen else _value_problem(name, wanted)
            seen.add(key)
        if problem is not None:
            problems.append(problem)
    return "; ".join(problems) or None


def list_problem(values: object, problem: Callable[[object], str | None]) -> str | None:
    """Of an optional list of strings that says something, so an empty one is a mistake."""
    if values is None:
        return None
    return each_problem(values, problem) or _empty_problem(values)


def _empty_problem(values: object) -> str | None:
    return None if values else "is empty; leave it out to take any"


def _value_problem(name: str, wanted: object) -> str | None:
    if wanted is None or isinstance(wanted, str):
        return None
    if isinstance(wanted, re.Pattern):
        of_text = isinstance(cast("re.Pattern[object]", wanted).pattern, str)  # type: ignore[type-var]
        return None if of_text else f"{name}: the pattern is of bytes"
    problem = function_problem(wanted)
    if problem is None and not _takes_one(wanted):
        problem = "must be a function of the value"
    return problem and f"{name}: {problem}"


def _takes_one(function: object) -> bool:
    try:
        inspect.signature(function).bind(None)  # type: ignore[arg-type]
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _fits(wanted: Wanted, values: list[str]) -> bool:
    return bool(values) and all(_accepts(wanted, value) for value in values)


def _accepts(wanted: Wanted, value: str) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return value == wanted
    if isinstance(wanted, re.Pattern):
        return wanted.fullmatch(value) is not None
    return bool(wanted(value))


def _rank(fields: Mapping[str, Wanted]) -> tuple[int, ...]:
    narrow = sorted((_narrowness(wanted) for wanted in fields.values()), reverse=True)
    return (len(fields), *narrow)


def _narrowness(wanted: Wanted) -> int:
    if isinstance(wanted, str):
        return 2
    return 0 if wanted is None else 1


def _may_meet(one: Mapping[str, Wanted], other: Mapping[str, Wanted]) -> bool:
    for name in one.keys() & other.keys():
        mine, theirs = one[name], other[name]
        try:
            if isinstance(mine, str) and not _accepts(theirs, mine):
                return False
            if isinstance(theirs, str) and not _accepts(mine, theirs):
                return False
        except Exception:  # noqa: S112 — a user's function that does not take this value
            continue
    return True
