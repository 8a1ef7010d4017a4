"""A bearer token: µs that it adds when seen before and at first sight, beside PyJWT."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import cycle
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection

import gatekit
from gatekit import BearerAuth
from gatekit.typing import ASGIApp, Receive, Scope, Send
from tests.benchmarks import peers
from tests.benchmarks.harness import Bench
from tests.benchmarks.inprocess import Caller, http_scope, noop
from tests.benchmarks.report import Line, at_most

BUDGETED = ("HS256", "RS256")

# The claims that identity providers put into an access token.
CLAIMS: Mapping[str, object] = {
    "sub": "6d0a3a1e-6f0e-4a53-9d5c-5d9d4a6a1f10",
    "iss": peers.ISSUER,
    "aud": peers.AUDIENCE,
    "iat": 1_700_000_000,
    "exp": peers.EXPIRES,
    "client_id": "storefront",
    "scope": "orders:read orders:write",
    "roles": ["customer", "beta"],
}


class Signed(NamedTuple):
    """`public` is what PyJWT is given, prepared; `key` what `BearerAuth` is given."""

    algorithm: str
    private: Any
    public: Any
    key: str | bytes

    def token(self, number: int) -> str:
        return jwt.encode({**CLAIMS, "jti": str(number)}, self.private, self.algorithm)


class Backend(AuthenticationBackend):
    """As Starlette's documentation shows it."""

    def __init__(self, signed: Signed) -> None:
        self.signed = signed

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser]:
        _, _, token = conn.headers["authorization"].partition(" ")
        claims = decode(self.signed, token)
        return AuthCredentials(claims["scope"].split()), SimpleUser(claims["sub"])


def decode(signed: Signed, token: str) -> Any:
    return jwt.decode(
        token,
        signed.public,
        algorithms=[signed.algorithm],
        audience=peers.AUDIENCE,
        issuer=peers.ISSUER,
    )


class Turn:
    """Gives each request the next of several tokens, so that none is known any more."""

    def __init__(self, app: ASGIApp, tokens: list[str]) -> None:
        self.app = app
        fields = [[(b"authorization", b"Bearer " + token.encode())] for token in tokens]
        self.fields = cycle(fields)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["headers"] = [*scope["headers"], *next(self.fields)]
        await self.app(scope, receive, send)


def measure(bench: Bench) -> Iterator[Line]:
    for signed in kinds():
        yield from of(bench, signed)


def kinds() -> Iterator[Signed]:
    yield Signed("HS256", peers.KEY, peers.KEY, peers.KEY)
    rsa_key = rsa.generate_private_key(65537, 2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    for name, key in (("RS256", rsa_key), ("ES256", ec_key)):
        public = key.public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        yield Signed(name, key, public, pem)


def of(bench: Bench, signed: Signed) -> Iterator[Line]:
    tokens = [signed.token(number) for number in range(8)]
    has_budget = signed.algorithm in BUDGETED
    known = http_scope(headers=[(b"authorization", b"Bearer " + tokens[0].encode())])
    plain = http_scope()
    apps: dict[str, tuple[ASGIApp, Scope]] = {
        "base": (noop, known),
        "door": (gatekit.asgi(noop), known),
        "seen": (gatekit.asgi(noop, auth(signed, 100)), known),
        "peer": (AuthenticationMiddleware(noop, backend=Backend(signed)), known),
        "base in turn": (Turn(noop, tokens), plain),
        # A memory of one token never holds the one that comes.
        "first": (Turn(gatekit.asgi(noop, auth(signed, 1)), tokens), plain),
        "bad": (gatekit.asgi(noop, auth(signed, 100)), forged(tokens[0])),
    }
    with Caller() as call:
        for name, (app, scope) in apps.items():
            status = call.status(app, scope)
            if status != (401 if name == "bad" else 200):
                raise AssertionError(f"{name} answers {status}")
        samples = bench.alternate(
            {name: partial(call.measure, app, scope) for name, (app, scope) in apps.items()}
            | {"decode": partial(decode_time, signed, tokens[0])}
        )
    yield Line(
        f"{signed.algorithm}, seen before",
        ours=samples.added("seen", "door"),
        peer=samples.added("peer", "base"),
        against="PyJWT in Starlette",
        budget=at_most(1 / 8) if has_budget else None,
    )
    yield Line(
        f"{signed.algorithm}, seen before, with the door",
        ours=samples.added("seen", "base"),
        peer=samples.added("peer", "base"),
        against="PyJWT in Starlette",
    )
    yield Line(
        f"{signed.algorithm}, first sight",
        ours=samples.added("first", "base in turn"),
        peer=samples.median("decode"),
        against="jwt.decode alone",
        budget=at_most(1.15) if has_budget else None,
    )
    yield Line(f"{signed.algorithm}, a false signature: 401", ours=samples.added("bad", "base"))


def auth(signed: Signed, cache_size: int) -> BearerAuth:
    return BearerAuth(
        key=signed.key,
        algorithms=[signed.algorithm],
        issuer=peers.ISSUER,
        audience=peers.AUDIENCE,
        cache_size=cache_size,
    )


def forged(token: str) -> Scope:
    head, _, signature = token.rpartition(".")
    swapped = f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    return http_scope(headers=[(b"authorization", b"Bearer " + swapped.encode())])


def decode_time(signed: Signed, token: str, count: int = 500) -> float:
    before = time.perf_counter()
    for _ in range(count):
        decode(signed, token)
    return (time.perf_counter() - before) / count * 1e6
