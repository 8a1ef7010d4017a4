"""What a token claims: whether that holds here and now, and who it says is calling.

    rules = ClaimRules(issuer="https://id.example", audience=frozenset({"api"}), leeway=60.0)
    rules.check(claims, now)                       # BadToken, or nothing
    ClaimNames({"roles": "realm_access.roles"}).identity(claims, "bearer")

Every time is a number that is finite (RFC 7519 §2, NumericDate). A claim of another type than it
should have is refused: what one reader ignores, another may believe.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isfinite
from typing import cast

from gatekit.middleware.auth._forward import find_claim
from gatekit.middleware.auth._jws import BadToken
from gatekit.middleware.auth.identity import Identity

# RFC 9068 §2.2.
RFC9068 = ("iss", "exp", "aud", "sub", "client_id", "iat", "jti")

_DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "subject": ("sub",),
    "client_id": ("client_id", "azp"),
    "scopes": ("scope", "scp"),
    "roles": ("roles",),
    "groups": ("groups",),
    "tenant": ("tenant",),
    "plan": ("plan",),
}


class ClaimRules:
    """`leeway` and `max_lifetime` are seconds.

    An empty `audience` means that a token must have none; None, that it is not looked at.
    """

    __slots__ = ("_audience", "_issuer", "_leeway", "_max_lifetime", "_required", "_requires_exp")

    def __init__(
        self,
        *,
        issuer: str | None,
        audience: frozenset[str] | None,
        leeway: float,
        max_lifetime: float | None = None,
        required: Collection[str] = (),
        requires_exp: bool = True,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._max_lifetime = max_lifetime
        self._required = tuple(required)
        self._requires_exp = requires_exp

    def check(self, claims: Mapping[str, object], now: float) -> float | None:
        """When the token expires, in seconds since the epoch; `now` is on the same clock."""
        expires = self._check_times(claims, now)
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise BadToken("another issuer")
        self._check_audience(claims.get("aud"))
        for name in self._required:
            if claims.get(name) in (None, ""):
                raise BadToken(f"no {name}")
        subject = claims.get("sub")
        if subject is not None and not isinstance(subject, str):
            raise BadToken("the subject is no string")
        return expires

    def _check_times(self, claims: Mapping[str, object], now: float) -> float | None:
        expires, leeway = numeric_date(claims, "exp"), self._leeway
        begins, issued = numeric_date(claims, "nbf"), numeric_date(claims, "iat")
        if expires is None:
            if self._requires_exp:
                raise BadToken("no expiry")
        elif now >= expires + leeway:
            raise BadToken("expired", "The token has expired.")
        if begins is not None and now < begins - leeway:
            raise BadToken("not valid yet", "The token is not valid yet.")
        if issued is not None and now < issued - leeway:
            raise BadToken("issued in the future")
        if self._max_lifetime is not None:
            if issued is None or expires is None:
                raise BadToken("no time of issue")
            if expires - issued > self._max_lifetime:
                raise BadToken("valid for too long")
        return expires

    def _check_audience(self, value: object) -> None:
        if self._audience is None:
            return
        if value is None:
            if self._audience:
                raise BadToken("no audience")
            return
        if isinstance(value, str):
            found = [value]
        elif isinstance(value, list) and all(
            isinstance(one, str) for one in cast("list[object]", value)
        ):
            found = cast("list[str]", value)
        else:
            raise BadToken("the audience is no string")
        if self._audience.isdisjoint(found):
            raise BadToken("another audience")


class ClaimNames:
    """Which claim tells what of an identity; of several names the first that is there."""

    __slots__ = ("_names",)

    def __init__(
        self, names: Mapping[str, str] | None = None, *, subject: tuple[str, ...] = ("sub",)
    ) -> None:
        told = {what: (name,) for what, name in (names or {}).items()}
        self._names = {**_DEFAULTS, "subject": subject, **told}

    def identity(
        self, claims: Mapping[str, object], method: str, expires_at: float | None = None
    ) -> Identity:
        """Of claims that were proved."""
        issuer = claims.get("iss")
        client_id = self._text(claims, "client_id")
        return Identity(
            self._text(claims, "subject") or client_id or "",
            issuer if isinstance(issuer, str) else None,
            client_id,
            self._words(claims, "scopes"),
            self._words(claims, "roles"),
            self._words(claims, "groups"),
            self._text(claims, "tenant"),
            self._text(claims, "plan"),
            claims,
            method,
            expires_at,
        )

    def _find(self, claims: Mapping[str, object], what: str) -> object:
        for name in self._names[what]:
            found = find_claim(claims, name)
            if found is not None:
                return found
        return None

    def _text(self, claims: Mapping[str, object], what: str) -> str | None:
        found = self._find(claims, what)
        if isinstance(found, str):
            return found or None
        return str(found) if isinstance(found, int) and not isinstance(found, bool) else None

    def _words(self, claims: Mapping[str, object], what: str) -> frozenset[str]:
        """An array, or one string with spaces (RFC 8693 §4.2). What is neither gives no right."""
        found = self._find(claims, what)
        if isinstance(found, str):
            # By the space alone: to others it would be one word with a strange character in it.
            return frozenset(filter(None, found.split(" ")))
        if isinstance(found, list):
            words = cast("list[object]", found)
            return frozenset(word for word in words if isinstance(word, str) and word)
        return frozenset()


def numeric_date(claims: Mapping[str, object], name: str) -> float | None:
    """`BadToken` for what is no number of seconds."""
    value = claims.get(name)
    if value is None:
        if name in claims:
            raise BadToken(f"{name} is no time")
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        # Beyond what a float tells apart there is no date either.
        if -(2**53) < value < 2**53:
            return float(value)
    elif isinstance(value, float) and isfinite(value):
        return value
    raise BadToken(f"{name} is no time")


def claim_names_problem(names: object) -> str | None:
    """Of a mapping from what an `Identity` has to the claim that tells it."""
    if names is None:
        return None
    if not isinstance(names, Mapping):
        return f"must map attributes of Identity to claims, not {names!r}"
    given = cast("Mapping[object, object]", names)
    unknown = [str(name) for name in given if name not in _DEFAULTS]
    if unknown:
        return f"{', '.join(unknown)} is not one of {', '.join(_DEFAULTS)}"
    wrong = [repr(claim) for claim in given.values() if not isinstance(claim, str) or not claim]
    return f"{', '.join(wrong)} names no claim" if wrong else None
