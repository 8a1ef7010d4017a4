"""Tells upstreams who calls in a token of the gateway's own: short-lived, signed, for them alone.

    passport = InternalToken(key=pem, issuer="https://gateway.internal", audience="orders")
    Gateway(
        BearerAuth(...),
        passport,
        routes=[
            Route("/.well-known/jwks.json", passport.keys),
            Route("/orders/*", Proxy("http://orders:8000")),
        ],
    )

A bare `X-User-ID` is believed by an upstream from whoever reaches it. This token it can check: the
public key is what `passport.keys` answers with. It stands inside of an authenticator; a request
without an identity goes on without a token, and one that a client sends never goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import NamedTuple, cast

from gatekit._core.messages import Request, Response
from gatekit._core.options import (
    each_problem,
    function_problem,
    known_keywords,
    name_problem,
    seconds_problem,
    string_problem,
    token_problem,
)
from gatekit.errors import check
from gatekit.middleware.auth._assertion import private_key_problem, signing_key
from gatekit.middleware.auth._authenticator import spellings
from gatekit.middleware.auth._keys import public_jwk
from gatekit.middleware.auth._verified import Remembered
from gatekit.middleware.auth.identity import Identity
from gatekit.typing import Handler

_REMEMBERED = 1000
# Of its time a token has at least this share left when it is used again.
_SHARE = 0.5

_TELLS = ("client_id", "scopes", "roles", "groups", "tenant", "plan")
_NAMES = {"scopes": "scope"}


class _Minted(NamedTuple):
    identity: Identity
    value: bytes


@known_keywords
class InternalToken:
    """`key` is a private key in PEM: RSA signs with RS256, a curve by its own ES…, others by EdDSA.

    A token is good for `ttl` seconds, and not longer than what the client proved. It stands in
    `header`, after `scheme` if that is not empty. `tells` are the attributes of the identity that
    go into it beside the subject. `retired` are public keys in PEM that are still published, while
    tokens that they check are about. `clock` is a wall clock.
    """

    def __init__(
        self,
        *,
        key: str | bytes,
        issuer: str,
        audience: str,
        ttl: float = 60.0,
        header: str = "X-Internal-Token",
        scheme: str = "",
        tells: Collection[str] = _TELLS,
        retired: Collection[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        check(
            "InternalToken",
            key=private_key_problem(key),
            issuer=string_problem(issuer),
            audience=string_problem(audience),
            ttl=seconds_problem(ttl),
            header=name_problem(header),
            scheme=None if scheme == "" else token_problem(scheme),
            tells=each_problem(tells, _tells_problem),
            retired=each_problem(retired, _public_problem),
            clock=function_problem(clock),
        )
        self._key, self._algorithm = signing_key(key)
        own = public_jwk(self._key.public_key())
        self._kid = str(own["kid"])
        published = {jwk["kid"]: jwk for jwk in (own, *map(public_jwk, retired))}
        self._document = {"keys": list(published.values())}
        self._issuer, self._audience, self._ttl = issuer, audience, ttl
        self._field = header.lower().encode("ascii")
        self._strip = spellings((header,))
        self._prefix = f"{scheme} " if scheme else ""
        self._tells = tuple(tells)
        self._minted: Remembered[_Minted] = Remembered(_REMEMBERED)
        self._clock = clock

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        raw = [field for field in request.headers.raw if field[0] not in self._strip]
        identity = request.identity
        if identity is not None and not identity.is_anonymous:
            raw.append((self._field, self._token(identity)))
        request.headers.replace(raw)
        return await call_next(request)

    async def keys(self, request: Request) -> Response:
        """A handler: the public keys, for upstreams to check the tokens with (RFC 7517 §5)."""
        return Response.json(
            self._document,
            headers={"cache-control": f"public, max-age={max(1, int(self._ttl))}"},
            content_type="application/jwk-set+json",
        )

    def _token(self, identity: Identity) -> bytes:
        now = self._clock()
        # The same object comes back from an authenticator's memory as long as it is remembered.
        place = b"%d" % id(identity)
        found = self._minted.get(place, now)
        if found is not None and found.identity is identity:
            return found.value
        ends = now + self._ttl
        if identity.expires_at is not None:
            ends = min(ends, identity.expires_at)
        value = self._mint(identity, now, ends)
        self._minted.put(place, _Minted(identity, value), now + (ends - now) * _SHARE)
        return value

    def _mint(self, identity: Identity, now: float, ends: float) -> bytes:
        import jwt

        claims: dict[str, object] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": identity.subject,
            "iat": int(now),
            "exp": int(ends),
        }
        if identity.issuer is not None:
            claims["sub_iss"] = identity.issuer
        for name in self._tells:
            value: object = getattr(identity, name)
            if isinstance(value, frozenset):
                words = sorted(cast("frozenset[str]", value))
                value = " ".join(words) if name == "scopes" else words
            if value:
                claims[_NAMES.get(name, name)] = value
        headers = {"kid": self._kid, "typ": "JWT"}
        token = jwt.encode(claims, self._key, self._algorithm, headers=headers)
        return f"{self._prefix}{token}".encode("ascii")

    def __repr__(self) -> str:
        return f"InternalToken(audience={self._audience!r})"


def _tells_problem(name: object) -> str | None:
    return None if name in _TELLS else f"{name!r} is not one of {', '.join(_TELLS)}"


def _public_problem(text: object) -> str | None:
    if not isinstance(text, str | bytes):
        return "must be public keys in PEM"
    try:
        public_jwk(text)
    except ValueError as wrong:
        return str(wrong)
    return None
