"""Who calls, by asking the authorisation server about each token (RFC 7662).

    IntrospectionAuth("https://id.example/introspect", client_id="gateway", client_secret=secret)

For tokens that say nothing themselves, and for those that have to stop working when they are
revoked. An answer is remembered for `ttl` seconds, never past the token's end, and a refusal for
`negative_ttl`: a revoked token works that much longer. A token is asked about once, however many
requests bring it at the same time.

**While the server is away** what is remembered counts until its time is over, and every other token
is answered with 503.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple
from urllib.parse import quote_plus, urlencode

from gatekit._core.flight import Flights
from gatekit._core.io import IO
from gatekit._core.messages import Request
from gatekit._core.options import (
    each_problem,
    flag_problem,
    function_problem,
    integer_problem,
    known_keywords,
    seconds_problem,
    string_problem,
)
from gatekit.errors import check
from gatekit.middleware.auth._assertion import (
    ClientAuth,
    assertion,
    client_auth_problem,
    client_key_problem,
    signing_key,
)
from gatekit.middleware.auth._authenticator import Authenticator, authenticator_problems
from gatekit.middleware.auth._challenges import (
    AuthenticationUnavailable,
    bearer_failure,
)
from gatekit.middleware.auth._claims import ClaimNames, ClaimRules, claim_names_problem
from gatekit.middleware.auth._jws import BadToken
from gatekit.middleware.auth._metadata import BadAnswer, strict, url_problem
from gatekit.middleware.auth._service import Away, Service
from gatekit.middleware.auth._sources import Sources, TwoTokens, is_token68, source_problems
from gatekit.middleware.auth._verified import Remembered, digest
from gatekit.middleware.auth.identity import Identity
from gatekit.proxy.transport import Transport
from gatekit.typing import RawHeaders

# Refusals are cheap to cause, so they have a place of their own, and a small one.
_REFUSALS = 4096
_FORM = (b"content-type", b"application/x-www-form-urlencoded")
_JSON = (b"accept", b"application/json")


class _Found(NamedTuple):
    """One of the two."""

    identity: Identity | None
    refusal: str


@known_keywords
class IntrospectionAuth(Authenticator):
    """`url` is the introspection endpoint. Durations are seconds.

    `client_auth` says how the gateway proves who it is: `"basic"` or `"post"` with the secret,
    `"bearer"` with the secret as a token, `"private_key_jwt"` with `client_key`, a private key in
    PEM; a client certificate belongs to the `transport`. `issuer` and `audience` are checked where
    they are given. The places of a token are those of `BearerAuth`.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        client_secret: str | None = None,
        client_auth: ClientAuth = "basic",
        client_key: str | bytes | None = None,
        issuer: str | None = None,
        audience: str | Collection[str] | None = None,
        claim_names: Mapping[str, str] | None = None,
        ttl: float = 60.0,
        negative_ttl: float = 5.0,
        cache_size: int = 10_000,
        timeout: float = 2.0,
        max_bytes: int = 65_536,
        max_token: int = 8192,
        transport: Transport | None = None,
        header: str | None = "Authorization",
        scheme: str = "Bearer",
        cookie: str | None = None,
        query: str | None = None,
        subprotocol: str | None = None,
        realm: str = "api",
        public: Collection[str] = (),
        optional: bool = False,
        forward_headers: Mapping[str, str] | None = None,
        hide_credentials: bool = False,
        dangerous_allow_http: bool = False,
        name: str = "introspection-auth",
        clock: Callable[[], float] = time.time,
    ) -> None:
        needs_secret = client_auth in ("basic", "post", "bearer")
        check(
            "IntrospectionAuth",
            url=url_problem(url, dangerous_allow_http is True),
            client_id=string_problem(client_id),
            client_secret=(None if isinstance(client_secret, str) else "is missing")
            if needs_secret
            else None,
            client_auth=client_auth_problem(client_auth),
            client_key=client_key_problem(client_key, client_auth),
            issuer=None if issuer is None else string_problem(issuer),
            audience=None
            if audience is None or isinstance(audience, str)
            else each_problem(audience, string_problem),
            claim_names=claim_names_problem(claim_names),
            ttl=None if ttl == 0 else seconds_problem(ttl),
            negative_ttl=None if negative_ttl == 0 else seconds_problem(negative_ttl),
            cache_size=integer_problem(cache_size),
            timeout=seconds_problem(timeout),
            max_bytes=integer_problem(max_bytes, 1),
            max_token=integer_problem(max_token, 1),
            dangerous_allow_http=flag_problem(dangerous_allow_http),
            clock=function_problem(clock),
            **source_problems(header, scheme, cookie, query, subprotocol),
            **authenticator_problems(
                realm=realm,
                public=public,
                optional=optional,
                forward_headers=forward_headers,
                hide_credentials=hide_credentials,
                name=name,
            ),
        )
        super().__init__(
            realm=realm,
            public=public,
            optional=optional,
            forward_headers=forward_headers,
            hide_credentials=hide_credentials,
            name=name,
        )
        self._service = Service(url, timeout=timeout, max_bytes=max_bytes, transport=transport)
        self._url = url
        self._client_id, self._client_secret = client_id, client_secret or ""
        self._client_auth = client_auth
        self._signer = None if client_key is None else signing_key(client_key)
        accepted = (audience,) if isinstance(audience, str) else audience
        self._rules = ClaimRules(
            issuer=issuer,
            audience=None if accepted is None else frozenset(accepted),
            leeway=0.0,
            requires_exp=False,
        )
        self._names = ClaimNames(claim_names, subject=("sub", "username"))
        self._sources = Sources(
            header=header, scheme=scheme, cookie=cookie, query=query, subprotocol=subprotocol
        )
        self._ttl, self._negative_ttl = ttl, negative_ttl
        self._max_token = max_token
        self._known: Remembered[Identity] = Remembered(cache_size)
        self._refused: Remembered[str] = Remembered(min(cache_size, _REFUSALS))
        # By token and count of what was forgotten: an answer from before that is not shared.
        self._flights: Flights[_Found] = Flights()
        self._forgotten = 0
        self._clock = clock

    async def authenticate(self, request: Request) -> Identity | None:
        try:
            token = self._sources.find(request)
        except TwoTokens as wrong:
            raise bearer_failure(self.realm, wrong.reason, malformed=True) from None
        if token is None:
            return None
        if len(token) > self._max_token or not is_token68(token):
            raise bearer_failure(self.realm, "not a token")
        key, now = digest(token), self._clock()
        identity = self._known.get(key, now)
        if identity is None:
            refusal = self._refused.get(key, now)
            if refusal is None:
                identity, refusal = await self._ask(request, key, token)
            if identity is None:
                raise bearer_failure(self.realm, refusal)
        self._sources.hide_offer(request)
        return identity

    async def _ask(self, request: Request, key: bytes, token: bytes) -> _Found:
        io, place = request.io, (key, self._forgotten)
        try:
            return await self._flights.join(io, place, lambda: self._introspect(io, key, token))
        except Away as away:
            raise AuthenticationUnavailable(
                "the introspection endpoint is away", away.retry_after
            ) from away

    async def _introspect(self, io: IO, key: bytes, token: bytes) -> _Found:
        forgotten = self._forgotten
        headers, form = self._credentials(self._clock())
        body = urlencode(
            {"token": token.decode("ascii"), "token_type_hint": "access_token", **form}
        )
        answer = await self._service.ask(
            io, method="POST", headers=[_FORM, _JSON, *headers], body=body.encode("ascii")
        )
        try:
            if answer.status != 200:
                raise BadAnswer(f"status {answer.status}")
            claims = strict(answer.body)
            if not isinstance(claims.get("active"), bool):
                raise BadAnswer("no `active` in it")
        except BadAnswer as wrong:
            raise self._service.failed(io, wrong) from wrong
        self._service.answered()
        now = self._clock()
        try:
            if claims["active"] is not True:
                raise BadToken("not active")
            expires = self._rules.check(claims, now)
        except BadToken as bad:
            self._refused.put(key, bad.reason, now + self._negative_ttl)
            return _Found(None, bad.reason)
        identity = self._names.identity(claims, "introspection", expires)
        until = now + self._ttl
        if forgotten == self._forgotten:
            self._known.put(key, identity, until if expires is None else min(until, expires))
        return _Found(identity, "")

    def _credentials(self, now: float) -> tuple[RawHeaders, dict[str, str]]:
        """Fields and form members by which the gateway proves who it is."""
        if self._client_auth == "basic":
            # RFC 6749 §2.3.1: both are form-encoded first.
            pair = f"{quote_plus(self._client_id)}:{quote_plus(self._client_secret)}"
            return [(b"authorization", b"Basic " + b64encode(pair.encode("ascii")))], {}
        if self._client_auth == "bearer":
            return [(b"authorization", b"Bearer " + self._client_secret.encode("latin-1"))], {}
        if self._client_auth == "post":
            return [], {"client_id": self._client_id, "client_secret": self._client_secret}
        assert self._signer is not None
        return [], assertion(self._client_id, self._signer, self._url, now)

    def forget(self, token: str) -> None:
        """The next request asks again: for an app that hears of a revocation."""
        self._forgotten += 1
        key = digest(token.encode("utf-8", "surrogatepass"))
        self._known.forget(key)
        self._refused.forget(key)

    def hide(self, request: Request) -> None:
        self._sources.hide(request)

    def close(self) -> None:
        self._service.close()

    async def aclose(self) -> None:
        await self._service.aclose()
