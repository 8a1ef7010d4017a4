"""Who calls, by a signed token: a JWT in `Authorization: Bearer …` (RFC 6750, RFC 7519, RFC 8725).

    BearerAuth(jwks_url="https://id.example/jwks", algorithms=["RS256"],
               issuer="https://id.example", audience="api", public=["/health", "/docs/*"])
    BearerAuth(issuer="https://id.example", algorithms=["RS256"], audience="api")   # discovery
    BearerAuth(key=secret, algorithms=["HS256"])                                    # our own tokens

    find the token ─▶ seen before? ─▶ three parts, strict JSON ─▶ the issuer that it names
    ─▶ algorithm, type, times, audience ─▶ key ─▶ signature ─▶ Identity

**What is required.** An algorithm of the list, which has to fit the key; `exp`; the issuer and the
audience that are configured. A token with an audience is refused where none is configured: it is
meant for somebody else.

**A token that was verified is remembered** by its hash until it expires, and `cache_ttl` seconds at
most. When a key disappears from the issuer's set, what it had signed is verified anew.

**Preflights and WebSockets.** A preflight of CORS passes without a token, for it can have none. The
handshake of a WebSocket needs one, as any request does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

from gatekit._core.decisions import note
from gatekit._core.messages import Request, Response
from gatekit._core.options import (
    function_problem,
    integer_problem,
    known_keywords,
    seconds_problem,
    value_problem,
)
from gatekit.errors import ConfigurationError, check
from gatekit.middleware.auth._authenticator import Authenticator, authenticator_problems
from gatekit.middleware.auth._challenges import AuthenticationFailed, bearer_failure, challenge
from gatekit.middleware.auth._jws import BadToken, take_apart
from gatekit.middleware.auth._sources import Sources, TwoTokens, source_problems
from gatekit.middleware.auth._verified import Remembered
from gatekit.middleware.auth.identity import Identity
from gatekit.middleware.auth.issuer import Issuer, KeyText, issuers_problem
from gatekit.middleware.auth.jwks import JWKS
from gatekit.typing import Handler

# A token is remembered by what its field looks like most often, so that it need not be cut out.
_PREFIX = b"Bearer "


class _Proof(NamedTuple):
    """`jwks` and the version of it that the signature was checked with."""

    identity: Identity
    jwks: JWKS | None
    version: int


@known_keywords
class BearerAuth(Authenticator):
    """The options of one `Issuer`, or `issuers`. Durations are seconds, `max_token` is bytes.

    The token is looked for in `header`, after `scheme`, and in the `cookie`, the `query` parameter
    or the WebSocket `subprotocol` of a name, where one is given. `cache_size` is how many verified
    tokens are remembered. `clock` is a wall clock.
    """

    def __init__(
        self,
        *,
        algorithms: Collection[str] = (),
        key: KeyText | Sequence[KeyText] | None = None,
        jwks: JWKS | Mapping[str, object] | Path | None = None,
        jwks_url: str | None = None,
        issuer: str | None = None,
        audience: str | Collection[str] | None = None,
        issuers: Sequence[Issuer] = (),
        leeway: float = 60.0,
        max_lifetime: float | None = None,
        required: Collection[str] = (),
        types: Collection[str] = ("JWT", "at+jwt"),
        profile: Literal["at+jwt"] | None = None,
        claim_names: Mapping[str, str] | None = None,
        header: str | None = "Authorization",
        scheme: str = "Bearer",
        cookie: str | None = None,
        query: str | None = None,
        subprotocol: str | None = None,
        max_token: int = 8192,
        cache_size: int = 10_000,
        cache_ttl: float = 300.0,
        realm: str = "api",
        resource_metadata: str | None = None,
        public: Collection[str] = (),
        optional: bool = False,
        forward_headers: Mapping[str, str] | None = None,
        hide_credentials: bool = False,
        name: str = "bearer-auth",
        clock: Callable[[], float] = time.time,
    ) -> None:
        problems: dict[str, str | None] = {}
        alone: Issuer | None = None
        given = (algorithms, key, jwks, jwks_url, issuer, audience)
        if issuers:
            problems["issuers"] = issuers_problem(issuers, besides=any(map(bool, given)))
        else:
            try:
                alone = Issuer(
                    issuer,
                    algorithms=algorithms,
                    key=key,
                    jwks=jwks,
                    jwks_url=jwks_url,
                    audience=audience,
                    leeway=leeway,
                    max_lifetime=max_lifetime,
                    required=required,
                    types=types,
                    profile=profile,
                    claim_names=claim_names,
                )
            except ConfigurationError as error:
                problems |= error.problems
        problems |= authenticator_problems(
            realm=realm,
            public=public,
            optional=optional,
            forward_headers=forward_headers,
            hide_credentials=hide_credentials,
            name=name,
        )
        problems |= source_problems(header, scheme, cookie, query, subprotocol)
        problems |= {
            "max_token": integer_problem(max_token, 1),
            "cache_size": integer_problem(cache_size),
            "cache_ttl": seconds_problem(cache_ttl),
            "resource_metadata": None
            if resource_metadata is None
            else value_problem(resource_metadata),
            "clock": function_problem(clock),
        }
        check("BearerAuth", **problems)
        self.scheme = scheme or "Bearer"
        super().__init__(
            realm=realm,
            public=public,
            optional=optional,
            forward_headers=forward_headers,
            hide_credentials=hide_credentials,
            name=name,
        )
        self._alone = alone
        self._issuers = {one.issuer: one for one in ([alone] if alone else issuers)}
        self._sources = Sources(
            header=header, scheme=scheme, cookie=cookie, query=query, subprotocol=subprotocol
        )
        self._field = (header or "").lower().encode("ascii")
        self._is_plain = (
            scheme.lower() == "bearer"
            and not (cookie or query or subprotocol or forward_headers or hide_credentials)
            # A class of a user's own may ask for more than a token that was seen before.
            and type(self).authenticate is BearerAuth.authenticate
        )
        self._itself = (self,)
        self._in_query, self._in_offer = query is not None, subprotocol is not None
        self._max_token = max_token
        self._remembered: Remembered[_Proof] = Remembered(cache_size)
        self._cache_ttl = cache_ttl
        self._metadata = resource_metadata
        self._challenge = challenge(self.scheme, realm=realm, resource_metadata=resource_metadata)
        self._told = (self._challenge,)
        self._clock = clock

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if self._is_plain and not request.challenges:
            identity = self._recall(request)
            if identity is not None and (self._public is None or request not in self._public):
                # What is most common: all of what the class above does, at half its time.
                request.identity = identity
                request._authenticators, request.challenges = self._itself, self._told
                note(request, self._allow)
                return await call_next(request)
        if not self._in_query:
            return await super().__call__(request, call_next)
        # RFC 6750 §2.3: an answer to a request with a token in its query is no shared cache's.
        by_query = self._sources.in_query(request)
        response = await super().__call__(request, call_next)
        if by_query and "cache-control" not in response.headers:
            response.headers["cache-control"] = "private"
        return response

    def _recall(self, request: Request) -> Identity | None:
        """Of a token that was seen before, alone in its field, in a request without forged ones."""
        headers, field, strip = request._headers, self._field, self._strip
        found: bytes | None = None
        for name, value in (request._raw_headers or ()) if headers is None else headers.raw:
            if name == field:
                if found is not None:
                    return None
                found = value
            elif name in strip:
                return None
        if found is None:
            return None
        proof = self._remembered.get(sha256(found).digest(), self._clock())
        if proof is None or (proof.jwks is not None and proof.jwks.version != proof.version):
            return None
        return proof.identity

    async def authenticate(self, request: Request) -> Identity | None:
        try:
            token = self._sources.find(request)
        except TwoTokens as wrong:
            raise self._failed(wrong.reason, malformed=True) from None
        if token is None:
            return None
        if len(token) > self._max_token:
            raise self._failed("too long")
        now = self._clock()
        key = sha256(_PREFIX + token).digest()
        proof = self._remembered.get(key, now)
        if proof is None or (proof.jwks is not None and proof.jwks.version != proof.version):
            try:
                proof = await self._prove(request, token, key, now)
            except BadToken as bad:
                raise self._failed(bad.reason, bad.detail) from bad
        if self._in_offer:
            self._sources.hide_offer(request)
        return proof.identity

    async def _prove(self, request: Request, token: bytes, key: bytes, now: float) -> _Proof:
        parts = take_apart(token)
        issuer = self._alone
        if issuer is None:
            named = parts.claims.get("iss")
            issuer = self._issuers.get(named) if isinstance(named, str) else None
            if issuer is None:
                raise BadToken("another issuer")
        jwks = issuer.jwks
        # Before the keys are looked up: where they change meanwhile, it is verified once more.
        version = 0 if jwks is None else jwks.version
        identity = await issuer.verify(request.io, parts, now)
        proof = _Proof(identity, jwks, version)
        assert identity.expires_at is not None
        self._remembered.put(key, proof, min(identity.expires_at, now + self._cache_ttl))
        return proof

    def _failed(
        self, reason: str, detail: str | None = None, *, malformed: bool = False
    ) -> AuthenticationFailed:
        return bearer_failure(
            self.realm,
            reason,
            detail=detail,
            malformed=malformed,
            scheme=self.scheme,
            resource_metadata=self._metadata,
        )

    def hide(self, request: Request) -> None:
        self._sources.hide(request)

    def close(self) -> None:
        for issuer in self._issuers.values():
            if issuer.jwks is not None:
                issuer.jwks.close()

    async def aclose(self) -> None:
        for issuer in self._issuers.values():
            if issuer.jwks is not None:
                await issuer.jwks.aclose()
