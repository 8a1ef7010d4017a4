"""Header fields as they travel: ordered byte pairs, case-insensitive, several values a name.

    headers = Headers([(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])
    headers["Content-Type"] = "text/plain"
    headers.getlist("set-cookie")        # ["a=1", "b=2"]

Names are kept in lower case and values are Latin-1 (RFC 9110 §5.5). A value with CR, LF or NUL is
refused when it is set, so that no middleware can be talked into splitting a response.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias, cast, overload

from gatekit.typing import RawHeaders

HeadersLike: TypeAlias = (
    "Headers | Mapping[str, str] | Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]"
)

_FORBIDDEN = re.compile(rb"[\x00\r\n]")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")


class Headers:
    """A list of fields. `raw` is for reading; change it through the methods.

    It takes over the list that it is given without a copy, and copies it before the first change.
    """

    __slots__ = ("_owned", "raw")

    raw: RawHeaders

    def __init__(self, raw: RawHeaders | None = None) -> None:
        """`raw` has lower-case names; `Headers.of` takes anything else."""
        self.raw = [] if raw is None else raw
        self._owned = raw is None

    @classmethod
    def of(cls, fields: HeadersLike | None) -> Headers:
        """From a mapping, or from pairs of strings or bytes in any case."""
        headers = cls()
        if fields is None:
            return headers
        if isinstance(fields, Headers):
            headers.raw = list(fields.raw)
            return headers
        for name, value in pairs(fields):
            headers.raw.append((_name(name), _value(value)))
        return headers

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of that name."""
        key = name.lower().encode("latin-1")
        for field, value in self.raw:
            if field == key:
                return value.decode("latin-1")
        return default

    def getlist(self, name: str) -> list[str]:
        """Every value of that name, in order."""
        key = name.lower().encode("latin-1")
        return [value.decode("latin-1") for field, value in self.raw if field == key]

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        key = name.lower().encode("latin-1")
        for field, _ in self.raw:  # noqa: SIM110 — a generator would take twice as long
            if field == key:
                return True
        return False

    def __setitem__(self, name: str, value: str) -> None:
        """Replaces every value of that name by one, where the first one stood."""
        key, new = _name(name), _value(value)
        raw: RawHeaders = []
        placed = False
        for field in self.raw:
            if field[0] != key:
                raw.append(field)
            elif not placed:
                raw.append((key, new))
                placed = True
        if not placed:
            raw.append((key, new))
        self.raw, self._owned = raw, True

    def __delitem__(self, name: str) -> None:
        """Removes every value of that name; a name that is absent is no error."""
        key = name.lower().encode("latin-1")
        kept = [field for field in self.raw if field[0] != key]
        if len(kept) != len(self.raw):
            self.raw, self._owned = kept, True

    def add(self, name: str, value: str) -> None:
        """Adds one more value at the end."""
        self.extend([(_name(name), _value(value))])

    def setdefault(self, name: str, value: str) -> str:
        """The value of that name, set first if it was absent."""
        existing = self.get(name)
        if existing is None:
            self.add(name, value)
            return value
        return existing

    def extend(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        """Adds ready-made pairs: lower-case names and values known to be clean."""
        if not self._owned:
            self.raw, self._owned = list(self.raw), True
        self.raw.extend(raw)

    def share(self) -> RawHeaders:
        """The fields as they are now: what changes later changes a copy."""
        self._owned = False
        return self.raw

    def replace(self, raw: RawHeaders) -> None:
        """Takes a ready-made list of lower-case pairs for all fields."""
        self.raw, self._owned = raw, True

    def vary(self, *names: str) -> None:
        """Merges names into `Vary` (RFC 9110 §12.5.5); `*` swallows all others."""
        present = [part.strip() for line in self.getlist("vary") for part in line.split(",")]
        present = [part for part in present if part]
        if "*" in present or "*" in names:
            if present != ["*"]:
                self["vary"] = "*"
            return
        seen = {part.lower() for part in present}
        missing = [name for name in names if name.lower() not in seen]
        if missing:
            self["vary"] = ", ".join(present + missing)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.decode("latin-1") for name, _ in self.raw))

    def items(self) -> list[tuple[str, str]]:
        """Every field in order, a name as often as it occurs."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.raw]

    def __len__(self) -> int:
        return len(self.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.raw == other.raw

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Headers({self.items()!r})"


def pairs(
    fields: Mapping[str, str] | Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]],
) -> Iterable[tuple[str | bytes, str | bytes]]:
    """The fields one by one."""
    if isinstance(fields, Mapping):
        return cast("Mapping[str, str]", fields).items()
    return fields


def _name(name: str | bytes) -> bytes:
    key = (name.encode("latin-1", "replace") if isinstance(name, str) else name).lower()
    if not _TOKEN.fullmatch(key):
        raise ValueError(f"not a header field name: {name!r}")
    return key


def _value(value: str | bytes) -> bytes:
    raw = value.encode("latin-1") if isinstance(value, str) else value
    if _FORBIDDEN.search(raw):
        raise ValueError("a header field value must not contain CR, LF or NUL")
    return raw.strip(b" \t")
