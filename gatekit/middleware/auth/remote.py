"""Who calls, by asking a service of the house: `POST /verify`, or forward-auth.

    RemoteAuth("http://auth:8000/verify")                                   # {"token": "..."}
    RemoteAuth("http://auth:8000/check", mode="forward", copy_headers=["X-Team"])

                  mode="verify"                    mode="forward"
    sends         the token, as JSON               Authorization and Cookie, and in X-Forwarded-…
                                                   what was asked for
    is told       by members of a JSON object      by header fields
    a refusal     401 or 403, as a problem         401, 403 or a redirect, in the service's words

A decision is remembered for `ttl` seconds, for no longer than the answer's `Cache-Control` and the
member `exp` allow, and a refusal for `negative_ttl`. What the service cannot be asked about is
answered with 503, or with `on_error="allow"` let through as anonymous.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, Literal, TypeAlias, cast

from gatekit._core.decisions import Decision, note
from gatekit._core.flight import Flights
from gatekit._core.io import IO
from gatekit._core.messages import Request, Response
from gatekit._core.options import (
    each_problem,
    function_problem,
    integer_problem,
    known_keywords,
    name_problem,
    seconds_problem,
    string_problem,
    value_problem,
)
from gatekit.errors import check
from gatekit.middleware.auth._authenticator import (
    IDENTITY_HEADERS,
    Authenticator,
    authenticator_problems,
    spellings,
)
from gatekit.middleware.auth._challenges import AuthenticationUnavailable, bearer_failure
from gatekit.middleware.auth._claims import ClaimNames, claim_names_problem
from gatekit.middleware.auth._forward import forward_problem
from gatekit.middleware.auth._metadata import url_problem
from gatekit.middleware.auth._remote import Answered, Forward, Verdict, Verify
from gatekit.middleware.auth._service import Away, Service
from gatekit.middleware.auth._sources import Sources, TwoTokens, is_token68, source_problems
from gatekit.middleware.auth._verified import Remembered
from gatekit.middleware.auth.identity import ANONYMOUS, Identity
from gatekit.proxy.transport import Transport
from gatekit.typing import Handler

Mode: TypeAlias = Literal["verify", "forward"]
OnError: TypeAlias = Literal["deny", "allow"]

_REFUSALS = 4096


@known_keywords
class RemoteAuth(Authenticator):
    """`url` is asked. Durations are seconds.

    `token_field` names the member that holds the token, and `send` the fields that are passed on in
    the mode `"forward"`; `service_headers` go along in both. `identity_headers` maps fields of a
    forward answer to claims, `copy_headers` names those that the upstream gets as they are.
    """

    def __init__(
        self,
        url: str,
        *,
        mode: Mode = "verify",
        token_field: str = "token",  # noqa: S107 — a name
        send: Collection[str] = ("Authorization", "Cookie"),
        service_headers: Mapping[str, str] | None = None,
        identity_headers: Mapping[str, str] | None = None,
        copy_headers: Collection[str] = (),
        claim_names: Mapping[str, str] | None = None,
        ttl: float = 10.0,
        negative_ttl: float = 2.0,
        cache_size: int = 10_000,
        on_error: OnError = "deny",
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
        name: str = "remote-auth",
        clock: Callable[[], float] = time.time,
    ) -> None:
        check(
            "RemoteAuth",
            url=url_problem(url, allows_http=True),
            mode=_one_of(mode, "verify", "forward"),
            token_field=string_problem(token_field),
            send=each_problem(send, name_problem),
            service_headers=_fields_problem(service_headers),
            identity_headers=forward_problem(identity_headers),
            copy_headers=each_problem(copy_headers, name_problem),
            claim_names=claim_names_problem(claim_names),
            ttl=None if ttl == 0 else seconds_problem(ttl),
            negative_ttl=None if negative_ttl == 0 else seconds_problem(negative_ttl),
            cache_size=integer_problem(cache_size),
            on_error=_one_of(on_error, "deny", "allow"),
            timeout=seconds_problem(timeout),
            max_bytes=integer_problem(max_bytes, 1),
            max_token=integer_problem(max_token, 1),
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
        self._sources = Sources(
            header=header, scheme=scheme, cookie=cookie, query=query, subprotocol=subprotocol
        )
        fields = [
            (field.lower().encode("ascii"), value.encode("latin-1"))
            for field, value in (service_headers or {}).items()
        ]
        names = ClaimNames(claim_names, subject=("sub", "user_id", "id", "username"))
        self._verify = Verify(token_field, fields, names)
        self._forward = Forward(
            send, fields, identity_headers or IDENTITY_HEADERS, copy_headers, names
        )
        self._forwards = mode == "forward"
        self._copies = frozenset(field.lower().encode("ascii") for field in copy_headers)
        self._strip |= spellings(copy_headers)
        self._ttl, self._negative_ttl = ttl, negative_ttl
        self._max_token = max_token
        self._allows = on_error == "allow"
        self._known: Remembered[Verdict] = Remembered(cache_size)
        self._refused: Remembered[Verdict] = Remembered(min(cache_size, _REFUSALS))
        self._flights: Flights[Verdict] = Flights()
        self._unproved = Decision(name, "error", "the service is away: let through")
        self._clock = clock

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        try:
            return await super().__call__(request, call_next)
        except Answered as refusal:
            return refusal.response()

    async def authenticate(self, request: Request) -> Identity | None:
        verdict = await (self._by_request(request) if self._forwards else self._by_token(request))
        if verdict is None:
            return None
        if verdict.identity is None:
            if self._forwards and self._optional and not self._forward.presents(request):
                return None
            raise verdict.refusal(self.realm)
        expires = verdict.identity.expires_at
        if expires is not None and expires <= self._clock():
            raise bearer_failure(self.realm, "expired", detail="The token has expired.")
        if verdict.copied:
            raw = [field for field in request.headers.raw if field[0] not in self._copies]
            request.headers.replace([*raw, *verdict.copied])
        self._sources.hide_offer(request)
        return verdict.identity

    async def _by_token(self, request: Request) -> Verdict | None:
        try:
            token = self._sources.find(request)
        except TwoTokens as wrong:
            raise bearer_failure(self.realm, wrong.reason, malformed=True) from None
        if token is None:
            return None
        if len(token) > self._max_token or not is_token68(token):
            raise bearer_failure(self.realm, "not a token")
        return await self._decided(
            request, self._verify.key(token), lambda io: self._verify.ask(self._service, io, token)
        )

    async def _by_request(self, request: Request) -> Verdict:
        fields = self._forward.fields(request)
        return await self._decided(
            request,
            self._forward.key(fields),
            lambda io: self._forward.ask(self._service, io, fields),
        )

    async def _decided(
        self, request: Request, key: bytes, ask: Callable[[IO], Coroutine[Any, Any, Verdict]]
    ) -> Verdict:
        now, io = self._clock(), request.io
        verdict = self._known.get(key, now) or self._refused.get(key, now)
        if verdict is not None:
            return verdict

        async def work() -> Verdict:
            found = await ask(io)
            self._keep(key, found)
            return found

        try:
            return await self._flights.join(io, key, work)
        except Away as away:
            if self._allows:
                note(request, self._unproved)
                return Verdict(ANONYMOUS)
            raise AuthenticationUnavailable("the service is away", away.retry_after) from away

    def _keep(self, key: bytes, verdict: Verdict) -> None:
        now = self._clock()
        fresh = verdict.fresh
        if verdict.identity is None:
            ttl = self._negative_ttl if fresh is None else min(fresh, self._negative_ttl)
            self._refused.put(key, verdict, now + ttl)
            return
        until = now + (self._ttl if fresh is None else min(fresh, self._ttl))
        expires = verdict.identity.expires_at
        self._known.put(key, verdict, until if expires is None else min(until, expires))

    def hide(self, request: Request) -> None:
        if self._forwards:
            self._forward.hide(request)
        else:
            self._sources.hide(request)

    def close(self) -> None:
        self._service.close()

    async def aclose(self) -> None:
        await self._service.aclose()


def _one_of(value: object, *allowed: str) -> str | None:
    return None if value in allowed else f"{value!r} is not one of {', '.join(allowed)}"


def _fields_problem(fields: object) -> str | None:
    """The values are secrets, so they are not shown."""
    if fields is None:
        return None
    if not isinstance(fields, Mapping):
        return "must map header fields to values"
    given = cast("Mapping[object, object]", fields)
    wrong = [what for name in given if (what := name_problem(name))]
    wrong += [
        f"{name!r} has a value that cannot stand in a field"
        for name, value in given.items()
        if value_problem(value)
    ]
    return "; ".join(wrong) or None
