"""Tells an upstream who calls, in header fields.

    Forwarding({"X-User-ID": "subject", "X-Org": "org.id"}).put(request, identity)

What cannot stand in a field, and the percent sign, is percent-encoded, and so are spaces at the
ends. A list is joined by commas,
and a comma within one of its elements is encoded too, so that no name can smuggle in a second one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import cast
from urllib.parse import quote

from gatekit._core.messages import Request
from gatekit._core.options import name_problem
from gatekit.middleware.auth.identity import Identity

_ATTRIBUTES = frozenset(
    {"subject", "issuer", "client_id", "scopes", "roles", "groups", "tenant", "plan", "method"}
)

# Visible ASCII and the space, without the percent sign.
_SAFE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_SAFE_IN_LIST = _SAFE.replace(",", "")


class Forwarding:
    """Which field tells what: an attribute of the identity, or a claim, inner ones by dots."""

    __slots__ = ("_fields", "_names")

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = [(name.lower().encode("ascii"), what) for name, what in fields.items()]
        self._names = frozenset(name for name, _ in self._fields)

    def put(self, request: Request, identity: Identity) -> None:
        """Replaces the fields; one that there is nothing to tell in is absent."""
        raw = [field for field in request.headers.raw if field[0] not in self._names]
        for name, what in self._fields:
            text = as_text(told(identity, what))
            if text:
                raw.append((name, text.encode("ascii")))
        request.headers.replace(raw)


def told(identity: Identity, what: str) -> object:
    """The attribute or claim; None if there is none."""
    if what in _ATTRIBUTES:
        return cast("object", getattr(identity, what))
    return find_claim(identity.claims, what)


def find_claim(claims: Mapping[str, object], name: str) -> object:
    """By its whole name, or else through objects by what stands between the dots."""
    if name in claims or "." not in name:
        return claims.get(name)
    first, *others = name.split(".")
    inner = claims.get(first)
    for part in others:
        if not isinstance(inner, Mapping):
            return None
        inner = cast("Mapping[str, object]", inner).get(part)
    return inner


def as_text(value: object) -> str:
    """Of what JSON can hold; sets are sorted, so that the same identity looks the same."""
    if isinstance(value, frozenset | set):
        return _joined(sorted(cast("Iterable[str]", value)))
    if isinstance(value, list | tuple):
        return _joined(cast("Iterable[object]", value))
    return _quoted(value, _SAFE)


def _joined(values: Iterable[object]) -> str:
    return ",".join(_quoted(value, _SAFE_IN_LIST) for value in values)


def _quoted(value: object, safe: str) -> str:
    text = quote(_scalar(value), safe=safe)
    # Spaces at the ends are not part of a field (RFC 9110 §5.5): "ada " would become "ada".
    body = text.strip(" ")
    ahead = len(text) - len(text.lstrip(" "))
    return "%20" * ahead + body + "%20" * (len(text) - ahead - len(body)) if body else ""


def _scalar(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def forward_problem(fields: object) -> str | None:
    if fields is None:
        return None
    if not isinstance(fields, Mapping):
        return f"must map header fields to claims, not {fields!r}"
    wrong = [
        what
        for name, claim in cast("Mapping[object, object]", fields).items()
        if (what := name_problem(name))
        or (what := None if isinstance(claim, str) and claim else f"{claim!r} names no claim")
    ]
    return "; ".join(wrong) or None
