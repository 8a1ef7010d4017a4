"""Where an issuer's keys are, by its own metadata (RFC 8414, OpenID Connect Discovery)."""

from __future__ import annotations

from typing import Any

import pytest

from gatekit import JWKS, BearerAuth, Response
from gatekit._core.io import block
from gatekit.middleware.auth._challenges import AuthenticationUnavailable
from gatekit.testing import FakeIO, upstream
from gatekit.testing.upstreams import Sent
from tests.middleware.auth.tokens import jwk

TENANT = "https://id.example/tenant"
OIDC = "/tenant/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server/tenant"


def site(documents: dict[str, Any], issuer: str = TENANT) -> tuple[JWKS, list[str]]:
    asked: list[str] = []

    def answer(sent: Sent) -> Response:
        asked.append(f"{sent.origin.host}{sent.target}")
        found = documents.get(sent.target)
        return Response(404) if found is None else Response.json(found)

    return JWKS(issuer=issuer, transport=upstream(answer)), asked


KEYS = {"keys": [jwk("ES256", "a")]}


@pytest.mark.parametrize("where", [OIDC, OAUTH])
def test_the_metadata_names_the_url(where: str) -> None:
    """Of OpenID Connect or of OAuth; it may lead to another host."""
    metadata = {"issuer": TENANT, "jwks_uri": "https://keys.example/k?v=1"}
    keys, asked = site({where: metadata, "/k?v=1": KEYS})
    io = FakeIO()
    assert block(keys.find(io, "a", "ES256"))
    assert asked[-1] == "keys.example/k?v=1"
    assert not block(keys.find(io, "b", "ES256"))
    # The URL is known by now.
    assert [one for one in asked if "well-known" in one] == [
        f"id.example{one}" for one in ([OIDC] if where == OIDC else [OIDC, OAUTH])
    ]
    keys.close()


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://eve.example", "jwks_uri": "https://keys.example/k"},
        {"issuer": f"{TENANT}/", "jwks_uri": "https://keys.example/k"},
        {"jwks_uri": "https://keys.example/k"},
        {"issuer": TENANT},
        {"issuer": TENANT, "jwks_uri": "http://keys.example/k"},
        {"issuer": TENANT, "jwks_uri": "file:///etc/passwd"},
        {"issuer": TENANT, "jwks_uri": "unix:/run/keys"},
        {"issuer": TENANT, "jwks_uri": 7},
        {"issuer": TENANT, "jwks_uri": "https://user:pw@keys.example/k"},
        [],
    ],
)
def test_metadata_that_could_mislead_leads_nowhere(metadata: Any) -> None:
    """RFC 8414 §3.3: of another issuer; or to a place that is not safe."""
    keys, asked = site({OIDC: metadata, "/k": KEYS})
    with pytest.raises(AuthenticationUnavailable):
        block(keys.find(FakeIO(), "a", "ES256"))
    assert not any("keys.example" in one for one in asked)


def test_an_issuer_alone_is_enough() -> None:
    """`BearerAuth` looks for the rest when the first token comes."""
    auth = BearerAuth(issuer="https://id.example", algorithms=["RS256"], audience="api")
    [issuer] = auth._issuers.values()
    assert repr(issuer.jwks) == "JWKS('https://id.example')"
