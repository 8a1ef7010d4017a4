"""JSON from somebody who may be hostile: one object, no member twice, no deep nesting.

    strict_object(b'{"sub": "ada"}')          # {"sub": "ada"}
    strict_object(b'{"sub": "a", "sub": "b"}')  # ValueError

RFC 7519 §4 lets a parser refuse duplicate members or take the last; where two parties read one
token, only refusal makes them agree on what it says.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn, cast

MAX_DEPTH = 32

# A string that does not end goes on to the end of all, so that no part of it is looked at twice.
_PIECE = re.compile(rb'"(?:[^"\\]|\\.?)*+(?:"|\Z)|[\[{\]}]', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def strict_object(data: bytes) -> dict[str, object]:
    """Raises `ValueError` for what is not UTF-8, not JSON, not an object, or should not be read."""
    # A cheap bound first: what has few brackets cannot nest deeply.
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH:
        _check_depth(data)
    try:
        value: object = _DECODER.decode(data.decode("utf-8"))
    except RecursionError:  # pragma: no cover — the depth is bounded above
        raise ValueError("it nests too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 — of the text, not of an argument
    if _SURROGATE.search(data):
        # Half of a pair stands for no character, and cannot be written anywhere.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return cast("dict[str, object]", value)


def _unique(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a member occurs twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_number)


def _check_depth(data: bytes) -> None:
    depth = 0
    for match in _PIECE.finditer(data):
        piece = match[0]
        if piece in (b"[", b"{"):
            depth += 1
        elif piece in (b"]", b"}"):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ValueError("it nests too deeply")
