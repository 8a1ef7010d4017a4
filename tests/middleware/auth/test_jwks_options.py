"""What a `JWKS` is configured with, how long its keys are fresh, and when there are new ones."""

from __future__ import annotations

from typing import Any

import pytest

from gatekit import JWKS, BearerAuth, ConfigurationError
from gatekit._core.headers import Headers
from gatekit.middleware.auth._metadata import freshness
from gatekit.testing import FakeIO, exercise
from tests.middleware.auth.test_jwks import Issuer
from tests.middleware.auth.tokens import ISSUER, bearer, clock, jwk, private_key, token

URL = f"{ISSUER}/jwks"


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, None),
        ({"cache-control": "MAX-AGE=900, public"}, 900.0),
        ({"cache-control": "max-age=900", "age": "1000"}, 0.0),
        ({"cache-control": "max-age=900", "age": "x"}, 900.0),
        ({"expires": "Tue, 01 Sep 2026 10:20:00 GMT"}, None),
    ],
)
def test_freshness_of_an_answer(fields: Any, seconds: float | None) -> None:
    """RFC 9111 §4.2; None where it says nothing that could be counted on."""
    assert freshness(Headers.of(fields)) == seconds


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "url"),
        ({"url": URL, "issuer": ISSUER}, "url"),
        ({"url": "http://id.example/jwks"}, "url"),
        ({"url": "ftp://id.example/jwks"}, "url"),
        ({"url": "//id.example"}, "url"),
        ({"url": 7}, "url"),
        ({"url": "https://user:pw@id.example/"}, "url"),
        ({"issuer": "http://id.example"}, "issuer"),
        ({"url": URL, "ttl": 0}, "ttl"),
        ({"url": URL, "max_ttl": 1}, "max_ttl"),
        ({"url": URL, "timeout": -1}, "timeout"),
        ({"url": URL, "max_bytes": 0}, "max_bytes"),
        ({"url": URL, "fingerprints": "abc"}, "fingerprints"),
        ({"url": URL, "cool_down": 1}, "cool_down"),
    ],
)
def test_what_could_not_work_is_refused(options: Any, named: str) -> None:
    """Plain http beyond the loopback among it."""
    with pytest.raises(ConfigurationError) as wrong:
        JWKS(**options)
    assert named in wrong.value.problems
    assert "pw" not in str(wrong.value)


def test_plain_http_on_the_loopback_and_at_ones_own_risk() -> None:
    """For tests, and where somebody has said in so many words that it is dangerous."""
    for url in ("http://localhost:8000/k", "http://127.0.0.1/k", "http://[::1]/k"):
        JWKS(url)
    JWKS("http://id.example/jwks", dangerous_allow_http=True)


def test_a_new_key_with_an_id_is_looked_for_beside_one_without() -> None:
    """A key without an id may be meant by any, but the one that is named may be a new one."""
    issuer = Issuer(jwk("ES256", None))
    auth = BearerAuth(
        jwks=issuer.jwks(), algorithms=["ES256"], issuer=ISSUER, audience="api", clock=clock
    )
    io = FakeIO()
    exercise(auth, headers=bearer(token(private_key("ES256"), "ES256")), io=io)
    issuer.keys = [jwk("ES256", None), jwk("ES256", "new", 1)]
    fresh = token(private_key("ES256", 1), "ES256", {"kid": "new"})
    assert exercise(auth, headers=bearer(fresh), io=io).status == 200
    assert len(issuer.asked) == 2
    auth.close()
