"""The two ways to ask a service of the house who calls, and what its answers mean.

    Verify    POST {"token": "..."}                        200 {"sub": "ada", "roles": [...]}
    Forward   GET, with the fields of the request          200, X-User-ID: ada

A `Verdict` is an identity or a refusal. All else, a status that is neither yes nor no among it, is
no verdict, and the service is taken to be away.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import quote_from_bytes

from gatekit._core.headers import Headers
from gatekit._core.io import IO
from gatekit._core.messages import Request, Response
from gatekit.middleware.auth._challenges import AuthenticationFailed, bearer_failure, challenge
from gatekit.middleware.auth._claims import ClaimNames, numeric_date
from gatekit.middleware.auth._jws import BadToken
from gatekit.middleware.auth._metadata import BadAnswer, freshness, strict
from gatekit.middleware.auth._service import Service
from gatekit.middleware.auth.identity import Identity
from gatekit.proxy.fetch import Fetched
from gatekit.typing import RawHeaders

# Members by which services say no with a status of 200; each has to be true where it is there.
_VERDICTS = ("active", "valid", "authenticated")
_REFUSED = frozenset({400, 401, 403, 422})
_REDIRECTS = frozenset({302, 303, 307})
# What of a refusal is the client's to know.
_PASSED = frozenset(
    {b"cache-control", b"content-type", b"location", b"set-cookie", b"www-authenticate"}
)
_VISIBLE = bytes(range(0x21, 0x7F))
_LISTS = frozenset({"scopes", "scope", "roles", "groups"})
_CLAIMS = {"subject": "sub", "scopes": "scope"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`fresh` are seconds, None where the answer does not say; `copied` is for the upstream."""

    identity: Identity | None
    status: int = 200
    fresh: float | None = None
    copied: RawHeaders = field(default_factory=list[tuple[bytes, bytes]])
    answer: Fetched | None = None

    def refusal(self, realm: str) -> AuthenticationFailed:
        if self.answer is not None:
            return Answered(self.answer, realm)
        if self.status == 403:
            return AuthenticationFailed(
                "refused by the service",
                challenge=(),
                status=403,
                detail="This is not allowed.",
            )
        return bearer_failure(realm, "refused by the service")


class Answered(AuthenticationFailed):
    """A refusal that the service words itself."""

    def __init__(self, answer: Fetched, realm: str) -> None:
        given = answer.headers.getlist("www-authenticate")
        status = answer.status if answer.status in (401, 403) else 401
        super().__init__(
            "refused by the service",
            challenge=given or ((challenge("Bearer", realm=realm),) if status == 401 else ()),
            status=status,
        )
        self._answer = answer

    def response(self) -> Response:
        raw = [pair for pair in self._answer.headers.raw if pair[0] in _PASSED]
        if self._answer.status == 401 and not any(name == b"www-authenticate" for name, _ in raw):
            # RFC 9110 §15.5.2: a 401 has a challenge.
            raw.append((b"www-authenticate", self.challenges[0].encode("latin-1")))
        if not any(name == b"cache-control" for name, _ in raw):
            raw.append((b"cache-control", b"no-store"))
        response = Response(self._answer.status, None, self._answer.body)
        response.headers.replace(raw)
        return response


class Verify:
    """The token in a JSON object, who calls in another."""

    __slots__ = ("_extra", "_field", "_names")

    def __init__(self, token_field: str, extra: RawHeaders, names: ClaimNames) -> None:
        self._field = token_field
        self._extra = extra
        self._names = names

    def key(self, token: bytes) -> bytes:
        return sha256(token).digest()

    async def ask(self, service: Service, io: IO, token: bytes) -> Verdict:
        headers = [
            (b"content-type", b"application/json"),
            (b"accept", b"application/json"),
            *self._extra,
        ]
        body = json.dumps({self._field: token.decode("ascii")}).encode("ascii")
        answer = await service.ask(io, method="POST", headers=headers, body=body)
        try:
            verdict = self._read(answer)
        except BadAnswer as wrong:
            raise service.failed(io, wrong) from wrong
        service.answered()
        return verdict

    def _read(self, answer: Fetched) -> Verdict:
        fresh = freshness(answer.headers)
        if answer.status in _REFUSED:
            return Verdict(None, 403 if answer.status == 403 else 401, fresh)
        if not 200 <= answer.status < 300:
            raise BadAnswer(f"status {answer.status}")
        claims = strict(answer.body) if answer.body else {}
        if any(claims.get(name, True) is not True for name in _VERDICTS):
            return Verdict(None, 401, fresh)
        try:
            expires = numeric_date(claims, "exp")
        except BadToken:
            raise BadAnswer("`exp` is no time") from None
        identity = self._names.identity(claims, "remote", expires)
        # A service may word its errors as JSON, with a status of 200.
        if claims and not identity.subject and not any(name in claims for name in _VERDICTS):
            raise BadAnswer("it names nobody")
        return Verdict(identity, 200, fresh)


class Forward:
    """The request's own fields, and an answer of which only status and fields count."""

    __slots__ = ("_copies", "_extra", "_identity", "_names", "_sends")

    def __init__(
        self,
        send: Collection[str],
        extra: RawHeaders,
        identity_headers: Mapping[str, str],
        copy: Collection[str],
        names: ClaimNames,
    ) -> None:
        self._sends = frozenset(_lower(send))
        self._extra = extra
        self._identity = {name.lower(): claim for name, claim in identity_headers.items()}
        self._copies = frozenset(_lower(copy))
        self._names = names

    def presents(self, request: Request) -> bool:
        """Whether the request holds anything that could prove something."""
        return any(name in self._sends for name, _ in request.headers.raw)

    def hide(self, request: Request) -> None:
        raw = request.headers.raw
        request.headers.replace([pair for pair in raw if pair[0] not in self._sends])

    def fields(self, request: Request) -> RawHeaders:
        """What the service is told; nothing of it is the client's own `X-Forwarded-…`."""
        query = b"?" + request.query if request.query else b""
        address = request.client_ip or (request.client[0] if request.client is not None else "")
        told = {
            b"x-forwarded-method": request.method.encode("latin-1", "replace"),
            b"x-forwarded-proto": (request.forwarded_scheme or request.scheme).encode("ascii"),
            b"x-forwarded-host": (request.forwarded_host or request.host).encode("latin-1"),
            b"x-forwarded-uri": request.root_path.encode() + request.raw_path + query,
            b"x-forwarded-for": address.encode("latin-1", "replace"),
        }
        sent = [
            pair for pair in request.headers.raw if pair[0] in self._sends and pair[0] not in told
        ]
        ascii_only = ((name, _visible(value)) for name, value in told.items())
        return [*sent, *(pair for pair in ascii_only if pair[1])]

    def key(self, fields: RawHeaders) -> bytes:
        """Of all that the service is told: each part with its length, so that no two are alike."""
        parts = [part for pair in fields for part in pair]
        return sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()

    async def ask(self, service: Service, io: IO, fields: RawHeaders) -> Verdict:
        answer = await service.ask(io, method="GET", headers=[*fields, *self._extra])
        # A cookie is one client's own.
        fresh = 0.0 if "set-cookie" in answer.headers else freshness(answer.headers)
        if answer.status in (401, 403) or answer.status in _REDIRECTS:
            service.answered()
            return Verdict(None, answer.status, fresh, answer=answer)
        if not 200 <= answer.status < 300:
            raise service.failed(io, BadAnswer(f"status {answer.status}"))
        service.answered()
        identity = self._names.identity(self._claims(answer.headers), "remote")
        copied = [pair for pair in answer.headers.raw if pair[0] in self._copies]
        return Verdict(identity, 200, fresh, copied)

    def _claims(self, headers: Headers) -> dict[str, object]:
        claims: dict[str, object] = {}
        for name, claim in self._identity.items():
            values = headers.getlist(name)
            if not values:
                continue
            claim = _CLAIMS.get(claim, claim)  # noqa: PLW2901 — the same, by its name in a token
            text = ",".join(values)
            if claim in _LISTS:
                claims[claim] = [part.strip() for part in text.replace(" ", ",").split(",")]
            else:
                claims[claim] = text
        return claims


def _lower(names: Iterable[str]) -> Iterable[bytes]:
    return (name.lower().encode("ascii") for name in names)


def _visible(value: bytes) -> bytes:
    """Visible ASCII; what else may stand in a path or a method is percent-encoded."""
    return quote_from_bytes(value, safe=_VISIBLE).encode("ascii")
