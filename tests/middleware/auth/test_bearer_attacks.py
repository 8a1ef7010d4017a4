"""What is sent to BearerAuth to get past it: each is a 401 with a challenge, and never a 500."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekit import JWKS, BearerAuth
from gatekit.middleware.auth._json import strict_object
from gatekit.middleware.auth._sources import Sources, TwoTokens
from gatekit.testing import exercise, make_request, upstream
from gatekit.testing.upstreams import Sent
from tests.conftest import Door
from tests.doors.spec import Spec
from tests.middleware.auth.tokens import (
    ISSUER,
    NOW,
    SECRET,
    bearer,
    claims,
    clock,
    encode,
    forge,
    jwk,
    private_key,
    public_pem,
    token,
)

HS = {"alg": "HS256", "typ": "JWT"}


def auth(**options: Any) -> BearerAuth:
    given = {"key": SECRET, "algorithms": ["HS256"], "issuer": ISSUER, "audience": "api"}
    return BearerAuth(**{**given, "clock": clock, **options})


def payload(**changes: object) -> dict[str, object]:
    return claims(**changes)


def without_signature(header: dict[str, object], tail: str = "") -> str:
    return f"{encode(header).decode()}.{encode(claims()).decode()}.{tail}"


def raw_payload(text: str) -> str:
    return forge(HS, text.encode())


GOOD = token()
HEAD, BODY, SIGNATURE = GOOD.split(".")
EXP = f'"exp":{NOW + 300},"iss":"{ISSUER}","aud":"api"'

BAD = {
    # Not a token.
    "one part": "abc",
    "two parts": f"{HEAD}.{BODY}",
    "four parts": f"{GOOD}.{SIGNATURE}",
    "five parts, as JWE has": f"{HEAD}.{BODY}.{SIGNATURE}.{SIGNATURE}.{SIGNATURE}",
    "JSON serialisation": json.dumps({"payload": BODY, "protected": HEAD, "signature": SIGNATURE}),
    "empty parts": "..",
    "padding": GOOD + "=",
    "standard base64": GOOD.replace("-", "+").replace("_", "/") + "+",
    "a blank inside": f"{HEAD} .{BODY}.{SIGNATURE}",
    "a line end at the end of a part": f"{HEAD}\t.{BODY}.{SIGNATURE}",
    "not ASCII": "tökén.ä.ö",
    "too long": "a" * 9000 + ".b.c",
    "truncated": GOOD[:-1],
    "truncated by three": GOOD[:-3],
    # The signature.
    "no algorithm, no signature": without_signature({"alg": "none"}),
    "no algorithm in capitals": without_signature({"alg": "None"}),
    "no algorithm with a signature": forge({"alg": "none"}),
    "empty signature": f"{HEAD}.{BODY}.",
    "another secret": forge(HS, secret="y" * 40),
    "empty secret": forge(HS, secret=""),
    "the signature of another token": f"{token(sub='eve').rpartition('.')[0]}.{SIGNATURE}",
    "another payload": f"{HEAD}.{encode(payload(sub='eve')).decode()}.{SIGNATURE}",
    "another spelling of the same signature": GOOD[:-1] + ("B" if GOOD[-1] == "A" else "A"),
    # The header.
    "header is no JSON": forge(b"x"),
    "header is an array": forge(b"[]"),
    "header is null": forge(b"null"),
    "header is empty": forge(b"{}"),
    "header says the algorithm twice": forge(b'{"alg":"none","alg":"HS256"}'),
    "header is not UTF-8": forge(b'{"alg":"HS256","x":"\xff"}'),
    "algorithm is a number": forge({"alg": 256}),
    "algorithm is a list": forge({"alg": ["HS256"]}),
    "algorithm in small letters": forge({"alg": "hs256"}),
    "algorithm is not on the list": forge({"alg": "HS384"}),
    "kid is a number": forge({**HS, "kid": 1}),
    "kid is an object": forge({**HS, "kid": {}}),
    "kid is huge": forge({**HS, "kid": "k" * 300}),
    "crit": forge({**HS, "crit": ["exp"], "exp": 1}),
    "crit is empty": forge({**HS, "crit": []}),
    "crit is null": forge({**HS, "crit": None}),
    "b64 is false": forge({**HS, "b64": False}),
    "typ is a number": forge({**HS, "typ": 1}),
    "typ of a logout token": forge({**HS, "typ": "logout+jwt"}),
    "typ of a proof": forge({**HS, "typ": "dpop+jwt"}),
    # The payload.
    "payload is no JSON": raw_payload("x"),
    "payload is an array": raw_payload("[]"),
    "payload is a string": raw_payload('"x"'),
    "payload ends early": raw_payload('{"exp":'),
    "payload has something after it": raw_payload(f"{{{EXP}}}x"),
    "payload has a byte order mark": raw_payload(f"\ufeff{{{EXP}}}"),
    "a claim occurs twice": raw_payload(f'{{"sub":"ada","sub":"eve",{EXP}}}'),
    "a claim occurs twice, once escaped": raw_payload(f'{{"sub":"ada","s\\u0075b":"eve",{EXP}}}'),
    "half a surrogate": raw_payload(f'{{"sub":"\\ud800",{EXP}}}'),
    "deep arrays": raw_payload(f'{{"a":{"[" * 2000}{"]" * 2000},{EXP}}}'),
    "deep objects": raw_payload(f'{{"a":{"{" * 1}"b":{"[" * 40}{"]" * 40}{"}" * 1},{EXP}}}'),
    "a number of thousands of digits": raw_payload(f'{{"a":{"9" * 5000},{EXP}}}'),
    # Times.
    "no exp": forge(HS, payload(exp=None)),
    "exp is null": raw_payload(f'{{"exp":null,"iss":"{ISSUER}","aud":"api"}}'),
    "exp is text": forge(HS, payload(exp=str(NOW + 300))),
    "exp is true": forge(HS, payload(exp=True)),
    "exp is a list": forge(HS, payload(exp=[NOW + 300])),
    "exp is NaN": raw_payload(f'{{"exp":NaN,"iss":"{ISSUER}","aud":"api"}}'),
    "exp is Infinity": raw_payload(f'{{"exp":Infinity,"iss":"{ISSUER}","aud":"api"}}'),
    "exp is beyond all numbers": raw_payload(f'{{"exp":1e400,"iss":"{ISSUER}","aud":"api"}}'),
    "exp is a huge integer": raw_payload(f'{{"exp":{10**30},"iss":"{ISSUER}","aud":"api"}}'),
    "expired": forge(HS, payload(exp=NOW - 60)),
    "expired long ago": forge(HS, payload(exp=-1)),
    "nbf is ahead": forge(HS, payload(nbf=NOW + 61)),
    "nbf is text": forge(HS, payload(nbf="0")),
    "iat is ahead": forge(HS, payload(iat=NOW + 61)),
    "iat is text": forge(HS, payload(iat="yesterday")),
    # For whom, from whom.
    "no audience": forge(HS, payload(aud=None)),
    "another audience": forge(HS, payload(aud="apis")),
    "audience is a part of ours": forge(HS, payload(aud="ap")),
    "audience is an object": forge(HS, payload(aud={"api": True})),
    "audience is a list with a number": forge(HS, payload(aud=["api", 1])),
    "audience is an empty list": forge(HS, payload(aud=[])),
    "no issuer": forge(HS, payload(iss=None)),
    "another issuer": forge(HS, payload(iss="https://eve.example")),
    "issuer with a slash": forge(HS, payload(iss=f"{ISSUER}/")),
    "issuer in capitals": forge(HS, payload(iss=ISSUER.upper())),
    "issuer is a list": forge(HS, payload(iss=[ISSUER])),
    "subject is a number": forge(HS, payload(sub=1)),
    "subject is a list": forge(HS, payload(sub=["ada"])),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_a_bad_token_is_a_401_with_a_challenge(text: str) -> None:
    """Never a 500, and the app is not reached."""
    answer = exercise(auth(), headers=bearer(text), app=_unreachable)
    assert answer.status == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert text not in answer.body.decode("latin-1")


@pytest.mark.parametrize(
    "what", ["one part", "another secret", "deep arrays", "expired", "too long", "crit"]
)
def test_no_door_lets_a_bad_token_in(door: Door, what: str) -> None:
    """Nor does it make another status of it."""
    spec = Spec()
    assert door(spec, auth(), headers=bearer(BAD[what])).status == 401
    assert spec.seen == []


def test_the_honest_one_beside_them_passes() -> None:
    """What the bad ones were made of is good, up to the last second of the leeway."""
    assert exercise(auth(), headers=bearer(GOOD)).status == 200
    assert exercise(auth(), headers=bearer(forge(HS))).status == 200
    edges = [payload(exp=NOW - 59), payload(nbf=NOW + 60), payload(iat=NOW + 60)]
    edges += [payload(aud=["x", "api"]), payload(exp=NOW + 0.5, iat=None), payload(sub=None)]
    for edge in edges:
        assert exercise(auth(), headers=bearer(forge(HS, edge))).status == 200
    nested = raw_payload(f'{{"a":{"[" * 31}{"]" * 31},"b":"[[[[{{{{",{EXP}}}')
    assert exercise(auth(), headers=bearer(nested)).status == 200


def test_a_token_with_an_audience_is_refused_where_none_is_configured() -> None:
    """RFC 7519 §4.1.3: it is meant for somebody else."""
    nobody = auth(audience=None)
    assert exercise(nobody, headers=bearer(token())).status == 401
    assert exercise(nobody, headers=bearer(token(aud=None))).status == 200


def test_a_token_that_lives_too_long_is_refused() -> None:
    """Only where a bound is set; then it has to say when it was issued."""
    bounded = auth(max_lifetime=600.0)
    assert exercise(bounded, headers=bearer(token(iat=NOW, exp=NOW + 600))).status == 200
    assert exercise(bounded, headers=bearer(token(iat=NOW, exp=NOW + 601))).status == 401
    assert exercise(bounded, headers=bearer(token(iat=None))).status == 401


def test_required_claims_have_to_be_there() -> None:
    """And to say something."""
    strict = auth(required=["jti"])
    assert exercise(strict, headers=bearer(token(jti="1"))).status == 200
    for jti in (None, ""):
        assert exercise(strict, headers=bearer(token(jti=jti))).status == 401


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_is_never_a_shared_secret(algorithm: str) -> None:
    """The oldest trick: HS256 with the text of the public key, in every form that it has."""
    kind = "RSA" if algorithm == "RS256" else algorithm
    pem = public_pem(kind)
    public = jwk(kind, "k1")
    forms = [pem, pem.strip(), json.dumps(public), str(public.get("n", public.get("x")))]
    for options in ({"key": pem}, {"key": public}, {"jwks": {"keys": [public]}, "key": None}):
        keyed = auth(algorithms=[algorithm], **options)
        for text in forms:
            for header in (HS, {**HS, "alg": algorithm}, {**HS, "kid": "k1"}):
                assert exercise(keyed, headers=bearer(forge(header, secret=text))).status == 401


def test_nothing_in_a_token_names_its_key() -> None:
    """`jwk`, `jku`, `x5u`, `x5c`, and a `kid` that is a path or a URL: nothing is fetched."""
    asked: list[str] = []

    def answer(sent: Sent) -> Any:
        from gatekit import Response

        asked.append(sent.target)
        return Response.json({"keys": [jwk("ES256", "good")]})

    jwks = JWKS("https://id.example/jwks", transport=upstream(answer))
    keyed = auth(key=None, jwks=jwks, algorithms=["ES256"])
    mine = private_key("ES256", 66)
    theirs: list[dict[str, object]] = [
        {"jwk": jwk("ES256", None, 66)},
        {"jwk": jwk("ES256", "good", 66), "kid": "good"},
        {"jku": "https://eve.example/jwks"},
        {"jku": "https://eve.example/jwks", "kid": "good"},
        {"x5u": "https://eve.example/cert", "kid": "good"},
        {"x5c": ["MIIB"], "kid": "good"},
        {"kid": "../../../../dev/null"},
        {"kid": "https://eve.example/jwks"},
        {"kid": "' OR 1=1 --"},
        {"kid": "\0"},
    ]
    for header in theirs:
        text = jwt.encode(claims(), mine, "ES256", headers=header)
        assert exercise(keyed, headers=bearer(text)).status == 401
    assert set(asked) == {"/jwks"}
    honest = token(private_key("ES256"), "ES256", {"kid": "good"})
    assert exercise(keyed, headers=bearer(honest)).status == 200
    keyed.close()


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "EdDSA", "RS256"])
def test_empty_numbers_are_no_signature(algorithm: str) -> None:
    """Zeros, the order of the curve, too short, too long: what some libraries once took."""
    kind = "RSA" if algorithm == "RS256" else algorithm
    keyed = auth(key=public_pem(kind), algorithms=[algorithm])
    head = token(private_key(kind), algorithm).rpartition(".")[0]
    for size in (1, 32, 63, 64, 65, 96, 97, 132, 256, 257):
        for byte in (b"\x00", b"\xff", b"\x01"):
            text = f"{head}.{encode(byte * size).decode()}"
            assert exercise(keyed, headers=bearer(text)).status == 401


def test_a_signature_in_der_is_none() -> None:
    """RFC 7518 §3.4: R and S stand one after the other."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    head = token(private_key("ES256"), "ES256").rpartition(".")[0]
    der = private_key("ES256").sign(head.encode(), ec.ECDSA(SHA256()))
    keyed = auth(key=public_pem("ES256"), algorithms=["ES256"])
    assert exercise(keyed, headers=bearer(f"{head}.{encode(der).decode()}")).status == 401


def test_an_algorithm_of_another_curve_or_padding_is_refused() -> None:
    """The list says which; the key says the same once more."""
    keyed = auth(key=public_pem("RSA"), algorithms=["RS256"])
    for algorithm in ("PS256", "RS384", "RS512"):
        assert exercise(keyed, headers=bearer(token(private_key("RSA"), algorithm))).status == 401
    curves = auth(key=public_pem("ES256"), algorithms=["ES256", "ES384"])
    assert exercise(curves, headers=bearer(token(private_key("ES384"), "ES384"))).status == 401


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    """Whatever stands after `Bearer`, the answer is 400 or 401."""
    value = b"Bearer " + data.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
    answer = exercise(auth(), headers=[(b"authorization", value)])
    assert answer.status in (400, 401)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
        _nest := (
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
            )
        ),
    ),
    st.sampled_from(["exp", "nbf", "iat", "aud", "iss", "sub", "scope", "roles", "azp", "tenant"]),
)
def test_no_claim_raises(value: object, name: str) -> None:
    """Of whatever type a signed claim is, the answer is 200 or 401."""
    text = forge(HS, json.dumps({**claims(), name: value}).encode("utf-8", "surrogatepass"))
    assert exercise(auth(), headers=bearer(text)).status in (200, 401)


@pytest.mark.parametrize("end", [b'"' + b'\\"' * 100_000, b'"' * 100_000, b'"\\', b"{" * 9])
def test_no_text_takes_long_to_refuse(end: bytes) -> None:
    """A string that never ends, after more brackets than are let through uncounted.

    Looking for its end from each of its quotes would take minutes.
    """
    with pytest.raises(ValueError, match=r".+"):
        strict_object(b"[]" * 40 + end)


def test_reasons_name_no_credential() -> None:
    """What ends up in decisions and logs is one of a few sentences of our own."""
    for text in BAD.values():
        [decision] = exercise(auth(), headers=bearer(text)).request.decisions
        assert len(decision.reason) < 60
        assert text[:12] not in decision.reason


def _unreachable(request: object) -> Any:
    raise AssertionError("the app was reached")


def test_two_tokens_in_one_offer_are_refused() -> None:
    """The second one would go on to the app, which might repeat it or believe it."""
    good = token().encode()
    offer = b"bearer, " + good + b", bearer, " + good
    sources = Sources(subprotocol="bearer")
    request = make_request(headers={"sec-websocket-protocol": offer.decode()})
    request.is_websocket = True
    with pytest.raises(TwoTokens):
        sources.find(request)
    sources.hide(request)
    assert request.headers["sec-websocket-protocol"] == "bearer, bearer"
