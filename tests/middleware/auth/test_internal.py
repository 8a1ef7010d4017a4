"""InternalToken: what the gateway itself tells upstreams, signed."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest

from gatekit import BearerAuth, ConfigurationError, Identity, InternalToken
from gatekit._core.io import block
from gatekit.middleware.auth.identity import ANONYMOUS
from gatekit.testing import exercise, make_request
from tests.conftest import Door
from tests.doors.spec import Spec
from tests.middleware.auth.tokens import NOW, clock, private_pem, public_pem

ADA = Identity(
    "ada",
    issuer="https://id.example",
    scopes=frozenset({"write", "read"}),
    roles=frozenset({"admin"}),
    tenant="acme",
    method="bearer",
    expires_at=NOW + 30,
)


def passport(**options: Any) -> InternalToken:
    given = {"key": private_pem("ES256"), "issuer": "gateway", "audience": "orders"}
    return InternalToken(**{**given, "clock": clock, **options})


async def knows(request: Any, call_next: Any) -> Any:
    request.identity = ADA
    return await call_next(request)


def read(text: str, kind: str = "ES256") -> dict[str, Any]:
    algorithm = "RS256" if kind == "RSA" else kind
    options: Any = {"verify_exp": False, "verify_iat": False}
    found: dict[str, Any] = jwt.decode(
        text, public_pem(kind), [algorithm], audience="orders", issuer="gateway", options=options
    )
    return found


def test_an_upstream_is_told_in_a_token(door: Door) -> None:
    """Short-lived, for it alone; what the client sent under that name is gone."""
    spec = Spec()
    headers = {"x-internal-token": "forged", "x-internal_token": "forged"}
    assert door(spec, knows, passport(ttl=60.0), headers=headers).status == 200
    assert read(spec.seen[0]["headers"]["x-internal-token"]) == {
        "iss": "gateway",
        "aud": "orders",
        "sub": "ada",
        "sub_iss": "https://id.example",
        "scope": "read write",
        "roles": ["admin"],
        "tenant": "acme",
        "iat": NOW,
        "exp": NOW + 30,
    }


@pytest.mark.parametrize("identity", [None, ANONYMOUS])
def test_nobody_has_no_token(identity: Identity | None) -> None:
    """And a forged one does not go on."""
    request = make_request(headers={"X_Internal-Token": "forged"})
    request.identity = identity
    assert "forged" not in str(exercise(passport(), request=request).request.headers)
    assert "x-internal-token" not in request.headers


def test_a_token_is_used_again_while_it_has_half_its_time() -> None:
    """For the same identity, and no other that is only equal to it."""
    now = [NOW]
    minting = passport(clock=lambda: now[0], ttl=20.0)

    def minted(identity: Identity) -> str:
        request = make_request()
        request.identity = identity
        return exercise(minting, request=request).request.headers["x-internal-token"]

    first = minted(ADA)
    now[0] += 9
    assert minted(ADA) == first
    now[0] += 1
    assert minted(ADA) != first
    assert read(minted(Identity("bob")))["sub"] == "bob"


def test_upstreams_check_it_with_the_published_key() -> None:
    """What `keys` answers is a set that a `BearerAuth` takes; retired keys stay in it."""
    minting = passport(retired=[public_pem("ES256", 7)])
    response = block(minting.keys(make_request()))
    assert response.headers["content-type"] == "application/jwk-set+json"
    document = json.loads(response.body)  # type: ignore[arg-type]
    assert len(document["keys"]) == 2
    assert "d" not in document["keys"][0]
    request = make_request()
    request.identity = ADA
    text = exercise(minting, request=request).request.headers["x-internal-token"]
    upstream = BearerAuth(
        jwks=document,
        algorithms=["ES256"],
        issuer="gateway",
        audience="orders",
        header="X-Internal-Token",
        scheme="",
        clock=clock,
    )
    identity = exercise(upstream, headers={"x-internal-token": text}).request.identity
    assert identity is not None
    assert (identity.subject, identity.scopes, identity.roles) == ("ada", ADA.scopes, ADA.roles)


def test_it_can_take_the_place_of_the_clients_token() -> None:
    """In `Authorization`, so that the client's own goes no further."""
    request = make_request(headers={"authorization": "Bearer client's own"})
    request.identity = ADA
    swapped = passport(header="Authorization", scheme="Bearer", key=private_pem("RSA"))
    [value] = exercise(swapped, request=request).request.headers.getlist("authorization")
    assert read(value.removeprefix("Bearer "), "RSA")["sub"] == "ada"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"key": public_pem("ES256")}, "key"),
        ({"key": "secret"}, "key"),
        ({"key": None}, "key"),
        ({"audience": None}, "audience"),
        ({"ttl": 0}, "ttl"),
        ({"tells": ["claims"]}, "tells"),
        ({"retired": [private_pem("ES256")]}, "retired"),
        ({"header": ""}, "header"),
        ({"lifetime": 5}, "lifetime"),
    ],
)
def test_what_could_not_work_is_refused(options: Any, named: str) -> None:
    """By the name of the option, and never with the key in it."""
    with pytest.raises(ConfigurationError) as wrong:
        passport(**options)
    assert named in wrong.value.problems
    assert "PRIVATE KEY-" not in str(wrong.value)
