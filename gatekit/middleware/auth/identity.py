"""Who calls, as an authenticator found out: a value that cannot be changed.

    identity = Identity("ada", issuer="https://id.example", scopes=frozenset({"orders:read"}))
    request.identity.subject

It is the same for a token, an API key or a password, so that what stands further in need not know
how somebody proved who he is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """`subject` is unique within its `issuer`; it is empty where a token names nobody.

    `method` is how it was proved, such as `"bearer"`; `expires_at` is in seconds since the epoch.
    `claims` is everything that was proved, under the names that the issuer gave it.
    """

    subject: str
    issuer: str | None = None
    client_id: str | None = None
    scopes: frozenset[str] = _NONE
    roles: frozenset[str] = _NONE
    groups: frozenset[str] = _NONE
    tenant: str | None = None
    plan: str | None = None
    claims: Mapping[str, object] = field(default_factory=dict[str, object], hash=False)
    method: str = ""
    expires_at: float | None = None

    @property
    def is_anonymous(self) -> bool:
        """Nothing was proved: an authenticator was told to let such a request pass."""
        return self.method == "anonymous"

    # What Starlette's `request.user` is asked for.

    @property
    def is_authenticated(self) -> bool:
        return self.method != "anonymous"

    @property
    def display_name(self) -> str:
        """The claim `name`, or else the subject."""
        name = self.claims.get("name")
        return name if isinstance(name, str) else self.subject

    @property
    def identity(self) -> str:
        return self.subject

    def __repr__(self) -> str:
        # Neither claims nor names of people: a repr ends up in logs.
        return f"<Identity {self.method or 'unproved'} claims={sorted(self.claims)}>"


ANONYMOUS = Identity("", method="anonymous")
