"""What is kept of a key: its hash, whose it is, what it may do and how long. Never the key.

    record = KeyRecord(id, digest, subject="acme", scopes=frozenset({"read"}), created_at=now)
    record.state(now)        # "active", "expired" or "revoked"

Moments are seconds since the epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias, cast

# Part of what `dump` writes of a key that is not revoked, and of no other: within a string of JSON
# the quotation marks would be escaped.
NOT_REVOKED = '"revoked_at":null'

State: TypeAlias = Literal["active", "expired", "revoked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """`id` is public and is in logs; `subject` is who the key stands for.

    `replaced_by` is the id of the key that a rotation made; until `expires_at` both are good.
    """

    id: str
    digest: str = field(repr=False)
    subject: str
    name: str = ""
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    tenant: str | None = None
    plan: str | None = None
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
    replaced_by: str | None = None
    last_used_at: float | None = None

    def state(self, now: float) -> State:
        if self.revoked_at is not None and self.revoked_at <= now:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "active"

    def shown(self, now: float) -> dict[str, object]:
        """What people and admins see: everything but the hash, as JSON has it."""
        members = _plain(self)
        del members["digest"]
        return {**members, "state": self.state(now)}

    def dump(self) -> str:
        """For a store that keeps text. When it was last used is kept beside it."""
        members = _plain(self)
        del members["last_used_at"]
        return json.dumps(members, separators=(",", ":"), ensure_ascii=False)


_SETS = ("scopes", "roles", "groups")
_FIELDS = frozenset(each.name for each in fields(KeyRecord))


def load(text: str | bytes, last_used_at: float | None = None) -> KeyRecord:
    """What `dump` wrote; members that a later version added are left out. `ValueError` if not."""
    found: object = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("a record is an object")  # noqa: TRY004 — of the store's data, not a type
    members: dict[str, Any] = {
        name: frozenset(cast("list[str]", value)) if name in _SETS else value
        for name, value in cast("dict[str, Any]", found).items()
        if name in _FIELDS
    }
    members["last_used_at"] = last_used_at
    try:
        return KeyRecord(**members)
    except TypeError as error:
        raise ValueError(f"a record is not complete: {error}") from error


def _plain(record: KeyRecord) -> dict[str, object]:
    members: Mapping[str, object] = asdict(record)
    return {
        name: sorted(cast("frozenset[str]", value)) if name in _SETS else value
        for name, value in members.items()
    }
