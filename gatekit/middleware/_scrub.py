"""What must not stand in a log record as it is: secrets, personal data, and line ends.

    scrubber = Scrubber(redact=["password", "user.email"], hashed=["client"], key=b"…")
    scrubber.added({"user": {"email": "a@example"}})      # {"user": {"email": "[redacted]"}}

A name alone counts at any depth, however it is written; one with dots is a path from the record's
root, in which `*` stands for any one name or place in a list.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection, Iterable, Mapping
from math import isfinite
from typing import TypeAlias, cast

from gatekit._core.text import printable
from gatekit.middleware._redact import (
    REDACTED,
    SECRET_HEADERS,
    SECRET_PARAMETERS,
    fold,
    folded,
)

Change: TypeAlias = Callable[[object], object]
Steps: TypeAlias = "tuple[str, ...]"

# In a query these are secrets; in what an app says of itself they hardly ever are.
_PLAIN = frozenset({"auth", "code", "key", "pass", "session", "sig", "ticket"})

SECRET_FIELDS = tuple(sorted({*SECRET_HEADERS, *SECRET_PARAMETERS} - _PLAIN))

# A value that contains itself has no end.
_DEPTH = 16


class Scrubber:
    """`redact` are not shown; `hashed` as a keyed hash, by which equal ones can be told."""

    __slots__ = ("_key", "_names", "_paths", "changes_own")

    def __init__(
        self, *, redact: Iterable[str], hashed: Iterable[str] = (), key: bytes = b""
    ) -> None:
        self._key = key
        listed = list(redact)
        self._names = fold(name for name in listed if "." not in name)
        self._paths: list[tuple[Steps, Change]] = [
            (tuple(path.split(".")), _redact) for path in listed if "." in path
        ]
        self._paths += [(tuple(path.split(".")), self._hash) for path in hashed]
        self.changes_own = bool(self._paths)
        """Whether members of the record's own may be concerned."""

    def added(self, members: Mapping[str, object]) -> dict[str, object]:
        """What somebody else put into a record: on one line, without what is secret by name."""
        return cast("dict[str, object]", self._cleaned(members, _DEPTH))

    def whole(self, members: dict[str, object]) -> None:
        """The paths, in a record that is ours to change."""
        for steps, change in self._paths:
            _change(members, steps, change)

    def _cleaned(self, value: object, depth: int) -> object:
        if isinstance(value, str):
            return printable(value)
        if isinstance(value, float):
            return value if isfinite(value) else str(value)  # for which JSON has no word
        if value is None or isinstance(value, int):
            return value
        if depth == 0:
            return "…"
        if isinstance(value, Mapping):
            return {
                printable(str(name)): REDACTED
                if folded(str(name)) in self._names
                else self._cleaned(one, depth - 1)
                for name, one in cast("Mapping[object, object]", value).items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            many = cast("Collection[object]", value)
            return [self._cleaned(one, depth - 1) for one in many]
        return printable(str(value))

    def _hash(self, value: object) -> object:
        if value is None:
            return None
        digest = hmac.new(self._key, str(value).encode("utf-8", "replace"), hashlib.sha256)
        # 64 bits: enough to tell who is who in a log, and to find nobody by trial without the key.
        return f"hmac:{digest.hexdigest()[:16]}"


def _redact(_: object) -> object:
    return REDACTED


def _change(value: object, steps: Steps, change: Change) -> None:
    """Changes what stands at the end of the path, wherever there is one."""
    step, further = steps[0], steps[1:]
    places: Iterable[object]
    if isinstance(value, dict):
        container = cast("dict[object, object]", value)
        places = list(container) if step == "*" else [step] if step in container else ()
    elif isinstance(value, list):
        container = cast("dict[object, object]", value)
        size = len(cast("list[object]", value))
        places = (
            range(size)
            if step == "*"
            else [int(step)]
            if step.isascii() and step.isdigit() and int(step) < size
            else ()
        )
    else:
        return
    for place in places:
        if further:
            _change(container[place], further, change)
        else:
            container[place] = change(container[place])
