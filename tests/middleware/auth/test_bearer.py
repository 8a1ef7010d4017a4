"""BearerAuth with tokens that are good, and where it looks for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatekit import BearerAuth, ConfigurationError, Identity, Issuer, Request, asgi
from gatekit.middleware.auth.require import Require
from gatekit.testing import call_wsgi, exercise, make_request
from gatekit.typing import Message, Scope
from tests.conftest import Door
from tests.doors.spec import Spec
from tests.middleware.auth.tokens import (
    ISSUER,
    NOW,
    SECRET,
    bearer,
    claims,
    clock,
    jwk,
    private_key,
    public_pem,
    token,
)


def auth(**options: Any) -> BearerAuth:
    given = {"key": SECRET, "algorithms": ["HS256"], "issuer": ISSUER, "audience": "api"}
    return BearerAuth(**{**given, "clock": clock, **options})


def test_a_good_token_is_an_identity(door: Door) -> None:
    """Every claim at its place, through every door."""
    seen: list[Any] = []
    spec = Spec(before=lambda request: seen.append(request.identity))
    text = token(
        scope="orders:read orders:write",
        roles=["admin", 7],
        groups="staff",
        azp="app",
        tenant="acme",
        plan="gold",
    )
    assert door(spec, auth(), headers=bearer(text)).status == 200
    [ada] = seen
    assert (ada.subject, ada.issuer, ada.client_id, ada.method) == ("ada", ISSUER, "app", "bearer")
    assert ada.scopes == {"orders:read", "orders:write"}
    assert (ada.roles, ada.groups) == ({"admin"}, {"staff"})
    assert (ada.tenant, ada.plan, ada.expires_at) == ("acme", "gold", NOW + 300)
    assert ada.claims["azp"] == "app"


@pytest.mark.parametrize("algorithm", ["RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"])
def test_every_family_of_public_keys(algorithm: str) -> None:
    """With a key in PEM and with a JWK."""
    kind = "RSA" if algorithm[1] == "S" and algorithm[0] in "RP" else algorithm
    text = token(private_key(kind), algorithm)
    for key in (public_pem(kind), jwk(kind, None)):
        keyed = auth(key=key, algorithms=[algorithm])
        assert exercise(keyed, headers=bearer(text)).status == 200
        assert exercise(keyed, headers=bearer(text[:-8] + "AAAAAAAA")).status == 401


def test_the_challenge_for_who_has_no_token(door: Door) -> None:
    """RFC 6750 §3.1: no error, for there is none."""
    answer = door(Spec(), auth(realm="shop"))
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="shop"')
    other = door(Spec(), auth(), headers={"authorization": "Basic YTpi"})
    assert (other.status, other.headers["www-authenticate"]) == (401, 'Bearer realm="api"')


def test_the_challenge_for_a_bad_token(door: Door) -> None:
    """RFC 6750 §3.1: `invalid_token`; the client is told what it can mend."""
    answer = door(Spec(), auth(), headers=bearer(token(exp=NOW - 100)))
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="api", error="invalid_token", error_description="The token has expired."'
    )
    assert b"urn:gatekit:invalid-token" in answer.body


def test_two_fields_are_malformed(door: Door) -> None:
    """400 `invalid_request`, also where a server has joined them by a comma."""
    good = token()
    both = [("authorization", f"Bearer {good}"), ("authorization", f"Bearer {good}")]
    for headers in (both, bearer(f"{good}, Bearer {good}"), {"authorization": "Bearer"}):
        answer = door(Spec(), auth(), headers=headers)
        assert answer.status == 400
        assert 'error="invalid_request"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_the_scheme_is_known_in_any_case(scheme: str) -> None:
    """RFC 9110 §11.1; several spaces may follow it."""
    headers = {"authorization": f"{scheme} {token()}"}
    assert exercise(auth(), headers=headers).status == 200


def test_a_token_in_a_cookie_or_the_query(door: Door) -> None:
    """Only where it was asked for; an answer to the query is private (RFC 6750 §2.3)."""
    good = token()
    cookie = {"cookie": f"a=1; session={good}"}
    assert door(Spec(), auth(cookie="session"), headers=cookie).status == 200
    assert door(Spec(), auth(), headers=cookie).status == 401
    answer = door(Spec(), auth(query="access_token"), target=f"/?access_token={good}")
    assert (answer.status, answer.headers["cache-control"]) == (200, "private")
    assert door(Spec(), auth(), target=f"/?access_token={good}").status == 401


def test_two_places_are_one_too_many(door: Door) -> None:
    """RFC 6750 §2: a client uses one method; also where both hold the same."""
    good = token()
    both = auth(cookie="session", query="access_token")
    headers = {**bearer(good), "cookie": f"session={good}"}
    assert door(Spec(), both, headers=headers).status == 400
    assert door(Spec(), both, target=f"/?access_token={good}", headers=bearer(good)).status == 400
    twice = f"/?access_token={good}&access_token={good}"
    assert door(Spec(), both, target=twice).status == 400


def test_a_field_of_its_own() -> None:
    """Without a scheme the whole value is the token."""
    own = auth(header="X-Token", scheme="")
    assert exercise(own, headers={"x-token": token()}).status == 200
    assert exercise(own, headers=bearer(token())).status == 401


def test_a_scheme_of_its_own_is_in_its_challenges() -> None:
    """As it was given."""
    own = auth(scheme="Token")
    assert exercise(own, headers={"authorization": f"Token {token()}"}).status == 200
    for headers in ({}, {"authorization": "Token x"}):
        refused = exercise(own, headers=headers)
        assert refused.headers["www-authenticate"].startswith('Token realm="api"')
    assert exercise(own, headers=bearer(token())).status == 401


def test_what_a_class_of_ones_own_asks_for_is_asked_each_time() -> None:
    """A token that was seen before does not get past it."""
    revoked: set[str] = set()

    class Mine(BearerAuth):
        async def authenticate(self, request: Request) -> Identity | None:
            identity = await super().authenticate(request)
            return None if identity is None or identity.subject in revoked else identity

    mine = Mine(key=SECRET, algorithms=["HS256"], audience="api", clock=clock)
    good = bearer(token())
    assert [exercise(mine, headers=good).status for _ in range(2)] == [200, 200]
    revoked.add("ada")
    assert exercise(mine, headers=good).status == 401


def test_hidden_tokens_do_not_go_on() -> None:
    """From none of the places; what else is there stays."""
    good = token()
    hiding = auth(cookie="session", hide_credentials=True)
    request = exercise(hiding, headers={"cookie": f"a=1; session={good}; b=2"}).request
    assert request.headers["cookie"] == "a=1; b=2"
    assert "authorization" not in exercise(hiding, headers=bearer(good)).request.headers
    query = auth(query="t", hide_credentials=True)
    assert exercise(query, target=f"/?a=1&t={good}&b=%20").request.query == b"a=1&b=%20"


async def handshake(scope_headers: list[tuple[bytes, bytes]], **options: Any) -> tuple[Any, Any]:
    seen: list[Scope] = []
    sent: list[Message] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        seen.append(scope)
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "bearer"})

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    offered = [value for name, value in scope_headers if name == b"sec-websocket-protocol"]
    scope = {
        "type": "websocket",
        "path": "/",
        "headers": scope_headers,
        "subprotocols": [one.strip().decode() for one in b",".join(offered).split(b",")],
    }
    await asgi(app, auth(**options))(scope, receive, send)
    return (seen[0] if seen else None), sent[-1]


def test_a_websocket_needs_a_token_too() -> None:
    """As a subprotocol, for a browser can send no field; the app never sees it there."""
    good = token().encode()
    offer = [(b"sec-websocket-protocol", b"bearer, " + good + b", chat")]
    scope, last = asyncio.run(handshake(offer, subprotocol="bearer"))
    assert last["type"] == "websocket.accept"
    assert scope["subprotocols"] == ["bearer", "chat"]
    assert scope["headers"] == [(b"sec-websocket-protocol", b"bearer, chat")]
    assert scope["user"].subject == "ada"
    for headers, options in (([], {}), (offer, {}), ([], {"subprotocol": "bearer"})):
        scope, last = asyncio.run(handshake(headers, **options))
        assert (scope, last["type"], last["code"]) == (None, "websocket.close", 1008)


def test_a_token_seen_before_is_not_verified_again() -> None:
    """Until `exp` at the latest, and for `cache_ttl` at most; then it is looked at anew."""
    now = [NOW]
    cached = auth(clock=lambda: now[0], leeway=0, cache_ttl=100.0)
    good, request = token(), make_request()
    answers = [exercise(cached, headers=bearer(good)).request.identity for _ in range(2)]
    assert answers[0] is answers[1]
    now[0] += 101
    later = exercise(cached, headers=bearer(good)).request.identity
    assert later == answers[0]
    assert later is not answers[0]
    now[0] = NOW + 300
    assert exercise(cached, headers=bearer(good)).status == 401
    assert request.identity is None


def test_a_token_is_not_remembered_past_its_end() -> None:
    """Within the leeway it is still good, and verified each time."""
    now = [NOW]
    cached = auth(clock=lambda: now[0], leeway=60.0)
    good = token()
    first = exercise(cached, headers=bearer(good)).request.identity
    now[0] = NOW + 330
    second = exercise(cached, headers=bearer(good))
    assert second.status == 200
    assert second.request.identity is not first
    now[0] = NOW + 360
    assert exercise(cached, headers=bearer(good)).status == 401


def test_what_is_remembered_is_bounded() -> None:
    """The oldest goes first, and who is asked for stays."""
    small = auth(cache_size=3)
    used = token(jti="used")
    kept = exercise(small, headers=bearer(used)).request.identity
    for number in range(20):
        exercise(small, headers=bearer(token(jti=str(number))))
        assert exercise(small, headers=bearer(used)).request.identity is kept
    assert len(small._remembered) == 3
    none = auth(cache_size=0)
    exercise(none, headers=bearer(used))
    assert len(none._remembered) == 0


def test_several_issuers_each_with_its_own_keys() -> None:
    """A token is judged by what the issuer that it names has, and by nobody else's."""
    ours = Issuer(ISSUER, key=SECRET, algorithms=["HS256"], audience="api")
    theirs = Issuer(
        "https://partner.example", key=public_pem("ES256"), algorithms=["ES256"], audience="b2b"
    )
    both = BearerAuth(issuers=[ours, theirs], clock=clock)
    partner: dict[str, Any] = {"iss": "https://partner.example", "aud": "b2b"}
    key = private_key("ES256")
    assert exercise(both, headers=bearer(token())).request.identity.issuer == ISSUER  # type: ignore[union-attr]
    assert exercise(both, headers=bearer(token(key, "ES256", **partner))).status == 200
    assert exercise(both, headers=bearer(token(key, "ES256"))).status == 401
    assert exercise(both, headers=bearer(token(**partner))).status == 401
    assert exercise(both, headers=bearer(token(iss="https://eve.example"))).status == 401
    assert exercise(both, headers=bearer(token(iss=None))).status == 401
    partner["aud"] = "api"
    assert exercise(both, headers=bearer(token(key, "ES256", **partner))).status == 401


def test_claims_are_named_as_the_issuer_names_them() -> None:
    """Also inside of others."""
    named = auth(claim_names={"roles": "realm_access.roles", "subject": "email"})
    text = token(realm_access={"roles": ["admin"]}, email="ada@example.org")
    identity = exercise(named, headers=bearer(text)).request.identity
    assert identity is not None
    assert (set(identity.roles), identity.subject) == ({"admin"}, "ada@example.org")


def test_a_token_for_a_client_alone() -> None:
    """Without a subject the client is it; without both nobody is, and the token still counts."""
    texts = [token(sub=None, client_id="batch"), token(sub=None)]
    found = [exercise(auth(), headers=bearer(text)).request.identity for text in texts]
    assert [identity and identity.subject for identity in found] == ["batch", ""]
    assert found[1] is not None
    assert not found[1].is_anonymous


def test_access_tokens_by_rfc9068() -> None:
    """The type and all claims of §2.2 are required; an ID token is not one."""
    strict = auth(profile="at+jwt")
    whole: dict[str, Any] = {"client_id": "app", "jti": "1"}
    for name in ("at+jwt", "application/at+jwt", "AT+JWT"):
        assert exercise(strict, headers=bearer(token(headers={"typ": name}, **whole))).status == 200
    assert exercise(strict, headers=bearer(token(**whole))).status == 401
    for missing in ("client_id", "jti", "sub", "iat", "aud", "iss"):
        text = token(headers={"typ": "at+jwt"}, **{**whole, missing: None})
        assert exercise(strict, headers=bearer(text)).status == 401


def test_insufficient_scope_is_403() -> None:
    """RFC 6750 §3.1, said by `Require` further in."""
    answer = exercise(auth(), Require(scopes=["admin"]), headers=bearer(token(scope="read")))
    assert answer.status == 403
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


def test_resource_metadata_is_in_every_challenge() -> None:
    """RFC 9728 §5.1."""
    url = "https://api.example/.well-known/oauth-protected-resource"
    told = auth(resource_metadata=url)
    for headers in ({}, bearer("x")):
        answer = exercise(told, headers=headers)
        assert f'resource_metadata="{url}"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("optional", [True, False])
@pytest.mark.parametrize("joined", ["Bearer {0},Bearer {0}", "Basic YTpi,Bearer {0}"])
def test_wsgi_joins_two_fields_by_a_comma(joined: str, optional: bool) -> None:
    """As servers do: 400, and not the first of the two, of whatever scheme it is."""
    from gatekit import wsgi

    def app(environ: Any, start_response: Any) -> list[bytes]:
        raise AssertionError("it was called")

    headers = {"authorization": joined.format(token())}
    assert call_wsgi(wsgi(app, auth(optional=optional)), headers=headers).status == 400


def test_credentials_of_another_scheme_may_hold_commas() -> None:
    """They are no second field, and an optional authenticator leaves them alone."""
    headers = {"authorization": 'Digest username="a, Bearer b", realm="r", nonce="n"'}
    assert exercise(auth(optional=True), headers=headers).status == 200


def test_a_tab_behind_the_scheme_is_refused() -> None:
    """An upstream may take it for a space, and believe what was not looked at."""
    headers = {"authorization": f"Bearer\t{token()}"}
    assert exercise(auth(optional=True), headers=headers).status == 400


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"algorithms": []}, "algorithms"),
        ({"algorithms": "HS256"}, "algorithms"),
        ({"algorithms": ["none"]}, "algorithms"),
        ({"algorithms": ["hs256"]}, "algorithms"),
        ({"algorithms": ["HS256", "RS256"]}, "algorithms"),
        ({"algorithms": ["RS256"]}, "key"),
        ({"key": None}, "algorithms"),
        ({"key": None, "algorithms": ["RS256"], "issuer": None}, "issuer"),
        ({"key": None, "algorithms": ["RS256"], "issuer": "shop"}, "issuer"),
        ({"key": None, "algorithms": ["RS256"], "issuer": "http://id.example"}, "issuer"),
        ({"jwks_url": "https://id.example/jwks"}, "key"),
        ({"key": None, "algorithms": ["RS256"], "jwks_url": "http://id.example/k"}, "jwks_url"),
        ({"key": "short"}, "key"),
        ({"key": ""}, "key"),
        ({"key": 7}, "key"),
        ({"key": []}, "key"),
        ({"key": SECRET, "algorithms": ["HS512"]}, "key"),
        ({"leeway": -1}, "leeway"),
        ({"leeway": float("nan")}, "leeway"),
        ({"audience": 7}, "audience"),
        ({"profile": "at"}, "profile"),
        ({"profile": "at+jwt", "audience": None}, "profile"),
        ({"claim_names": {"role": "x"}}, "claim_names"),
        ({"header": None}, "header"),
        ({"header": "a b"}, "header"),
        ({"cookie": "a;b"}, "cookie"),
        ({"query": "a&b"}, "query"),
        ({"max_token": 0}, "max_token"),
        ({"cache_ttl": 0}, "cache_ttl"),
        ({"public": ["x"]}, "public"),
        ({"optional": "no"}, "optional"),
        ({"forward_headers": {"X-A": 1}}, "forward_headers"),
        ({"forward_headers": {"x y": "sub"}}, "forward_headers"),
        ({"issuers": [Issuer(ISSUER, key=SECRET, algorithms=["HS256"])]}, "issuers"),
        ({"audiance": "api"}, "audiance"),
    ],
)
def test_what_could_not_work_is_refused_at_construction(options: Any, named: str) -> None:
    """By the name of the option, and never with the secret in it."""
    with pytest.raises(ConfigurationError) as wrong:
        auth(**options)
    assert named in wrong.value.problems
    assert SECRET not in str(wrong.value)


def test_all_problems_are_told_at_once() -> None:
    """Those of the issuer beside those of the middleware."""
    with pytest.raises(ConfigurationError) as wrong:
        auth(key="short", leeway=-1, public=["x"], cookie=";")
    assert {"leeway", "public", "cookie"} <= set(wrong.value.problems)


def test_claims_helper_is_honest() -> None:
    """The tests' own good token has what it should have."""
    assert set(claims()) == {"sub", "iss", "aud", "iat", "exp"}
