"""`Cache-Control` and its kin, read as the answers and requests of the world write them.

    parse([b'max-age=60, private="x-user"'])       # {"max-age": "60", "private": "x-user"}
    seconds({"max-age": "60"}, "max-age")          # 60

Names are compared in lower case, the first of two like directives counts, quotes around a value are
taken off. What cannot be a number of seconds is 0: an answer with broken freshness is stale.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TypeAlias

Directives: TypeAlias = Mapping[str, str | None]

# RFC 9111 §1.2.2: "If a cache receives a delta-seconds value greater than the greatest integer it
# can represent [...] the cache MUST consider the value to be 2147483648".
FOREVER = 2_147_483_648

_DIRECTIVE = re.compile(r'((?:[^",]|"(?:\\.|[^"\\])*"?)+)')
_ESCAPED = re.compile(r"\\(.)")

# RFC 8941 §3.2: keys are lower case and members a token, an integer, a string and so on.
_MEMBER = re.compile(
    r"""[ \t]*([a-z*][a-z0-9_\-.*]*)
    (?:=(?:(-?[0-9]{1,15})|("(?:[ !\x23-\x5b\x5d-\x7e]|\\["\\])*")
        |(\?[01]|[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*|-?[0-9]{1,12}\.[0-9]{1,3}|:[A-Za-z0-9+/=]*:)))?
    (?:[ ]*;[ ]*[a-z*][a-z0-9_\-.*]*(?:=[^,;]*)?)*
    [ \t]*(,|$)""",
    re.VERBOSE,
)
# A client may send what it likes, but it is not to fill this memory.
_MOST_REMEMBERED = 256
_NUMBERS = frozenset({"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"})


def parse(lines: Iterable[bytes]) -> Directives:
    """The directives of a field, all its lines taken together."""
    value = b",".join(lines)
    return _remembered(value) if len(value) <= _MOST_REMEMBERED else _parse(value)


def _parse(value: bytes) -> Directives:
    directives: dict[str, str | None] = {}
    text = value.decode("latin-1")
    # An open quote would swallow what follows it, a `no-store` too.
    members = _DIRECTIVE.findall(text) if text.count('"') % 2 == 0 else text.split(",")
    for member in members:
        name, mark, argument = member.strip(" \t").partition("=")
        # RFC 9111 §4.2.1: of several like directives "either the first occurrence should be used".
        directives.setdefault(name.lower(), _unquoted(argument) if mark else None)
    directives.pop("", None)
    return directives


_remembered = lru_cache(maxsize=1024)(_parse)


def parse_targeted(lines: Iterable[bytes]) -> Directives | None:
    """A targeted field, which is a structured dictionary; None where it has to be ignored.

    RFC 9213 §2.1: "If a targeted field in a given response is empty, or a parsing error is
    encountered, that field MUST be ignored by the cache".
    """
    text = b",".join(lines).decode("latin-1").strip(" ")
    directives: dict[str, str | None] = {}
    position = 0
    while position < len(text):
        match = _MEMBER.match(text, position)
        if match is None:
            return None
        name, number, string, other, _ = match.groups()
        if name in _NUMBERS and number is None:
            return None
        directives[name] = number if number is not None else _unquoted(string or "") or other
        position = match.end()
    return directives or None


def seconds(directives: Directives, name: str) -> int | None:
    """The argument of a directive in seconds, None if it is not there."""
    if name not in directives:
        return None
    argument = directives[name] or ""
    if not argument.isascii() or not argument.isdigit():
        # RFC 9111 §4.2.1: "Caches are encouraged to consider responses that have invalid freshness
        # information (e.g., a max-age directive with non-integer content) to be stale."
        return 0
    return min(int(argument[:32]), FOREVER)


def names(argument: str | None) -> frozenset[bytes]:
    """The field names in the argument of `no-cache` or `private`."""
    listed = (argument or "").split(",")
    return frozenset(name.strip().lower().encode("latin-1") for name in listed) - {b""}


def _unquoted(argument: str) -> str:
    argument = argument.rstrip(" \t")
    if len(argument) > 1 and argument[0] == argument[-1] == '"':
        return _ESCAPED.sub(r"\1", argument[1:-1])
    return argument
