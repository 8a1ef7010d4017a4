"""Which keys signatures are checked with; published vectors of RFC 7515, 7638, 7797 and 8037."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatekit import BearerAuth, ConfigurationError, Issuer
from gatekit.middleware.auth import issuer as issuer_module
from gatekit.middleware.auth._jws import BadToken, decode_base64url, take_apart
from gatekit.middleware.auth._keys import Key, KeySet, thumbprint
from gatekit.testing import exercise
from tests.middleware.auth.tokens import (
    ISSUER,
    SECRET,
    bearer,
    clock,
    encode,
    jwk,
    private_key,
    private_pem,
    public_pem,
    token,
)

# RFC 7515, appendix A: the payload, and the header and the signature of each example.
PAYLOAD = (
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)
A1_KEY = {
    "kty": "oct",
    "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
}
A1 = (
    f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{PAYLOAD}."
    "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)
A2_KEY = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0"
    "Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5r"
    "exMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXF"
    "vUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "e": "AQAB",
}
A2 = (
    f"eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}."
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5ju"
    "jGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07"
    "Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipU"
    "TI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)
A3_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
A3 = (
    f"eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}."
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)
A5 = f"eyJhbGciOiJub25lIn0.{PAYLOAD}."
JOE = 1_300_819_380.0

# RFC 8037, appendix A.4.
ED_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
ED_SIGNED = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
ED_SIGNATURE = (
    b"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)


@pytest.mark.parametrize(
    ("key", "text", "algorithm"),
    [(A1_KEY, A1, "HS256"), (A2_KEY, A2, "RS256"), (A3_KEY, A3, "ES256")],
    ids=["A.1", "A.2", "A.3"],
)
def test_the_examples_of_rfc7515(key: Any, text: str, algorithm: str) -> None:
    """Good until the second in which they expired, and not with one bit changed."""
    for now, status in ((JOE - 1, 200), (JOE, 401)):
        joe = BearerAuth(
            key=key, algorithms=[algorithm], issuer="joe", leeway=0, clock=partial(float, now)
        )
        assert exercise(joe, headers=bearer(text)).status == status
    before = BearerAuth(key=key, algorithms=[algorithm], leeway=0, clock=lambda: JOE - 1)
    head, payload, signature = text.split(".")
    flipped = bytearray(decode_base64url(signature.encode()))
    flipped[0] ^= 1
    for changed in (f"{head}.{payload}.{encode(bytes(flipped)).decode()}", A5):
        assert exercise(before, headers=bearer(changed)).status == 401


def test_the_example_of_rfc8037() -> None:
    """Ed25519; the payload is no JSON, so it is the key alone that is asked."""
    key = Key.from_jwk(ED_KEY)
    signature = decode_base64url(ED_SIGNATURE)
    assert key.verify("EdDSA", ED_SIGNED, signature)
    assert not key.verify("EdDSA", ED_SIGNED + b"x", signature)
    assert key.thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_example_of_rfc7638() -> None:
    """A thumbprint is of the required members alone, in order."""
    members = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSo"
        "c_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2"
        "QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6W"
        "eZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
    }
    assert thumbprint(members) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert Key.from_jwk({**members, "alg": "RS256", "kid": "2011-04-29"}).thumbprint == thumbprint(
        members
    )


def test_the_example_of_rfc7797_is_refused() -> None:
    """§4: an unencoded payload is an extension, and named as critical."""
    header = {"alg": "HS256", "b64": False, "crit": ["b64"]}
    text = encode(header) + b".JC4wMg.A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY"
    with pytest.raises(BadToken, match="critical"):
        take_apart(text)


@pytest.mark.parametrize(
    "text", ["QQ", "QUI", "QUJD", "-_-_"], ids=["one byte", "two", "three", "both signs"]
)
def test_base64url_is_read(text: str) -> None:
    """As it was written."""
    assert encode(decode_base64url(text.encode())) == text.encode()


@pytest.mark.parametrize("text", ["Q", "QR", "QUJ", "QUJDR", "Qf", "QUK"])
def test_base64url_has_one_spelling(text: str) -> None:
    """RFC 4648 §3.5: the bits that are left over are zero, and one character is nothing."""
    with pytest.raises(ValueError, match="base64url"):
        decode_base64url(text.encode())


SMALL = rsa.generate_private_key(65537, 1024)


def pem(key: Any) -> str:
    data: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return data.decode()


REFUSED: dict[str, Any] = {
    "RSA of 1024 bits": pem(SMALL.public_key()),
    "DSA": pem(dsa.generate_private_key(2048).public_key()),
    "a curve of another name": pem(ec.generate_private_key(ec.BrainpoolP256R1()).public_key()),
    "a private key": private_pem("ES256"),
    "a private JWK": {**jwk("ES256", "k"), "d": "AAAA"},
    "no PEM": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
    "any text": SECRET,
    "use enc": jwk("ES256", "k", use="enc"),
    "use is a list": jwk("ES256", "k", use=["sig"]),
    "key_ops without verify": jwk("ES256", "k", key_ops=["sign"]),
    "key_ops is text": jwk("ES256", "k", key_ops="verify"),
    "another alg": jwk("ES256", "k", alg="ES384"),
    "alg of encryption": jwk("RSA", "k", alg="RSA-OAEP"),
    "alg is a number": jwk("ES256", "k", alg=7),
    "kid is a number": {**jwk("ES256", None), "kid": 7},
    "unknown type": jwk("ES256", "k", kty="ES"),
    "no type": {"x": "AA"},
    "unknown curve": jwk("ES256", "k", crv="P-999"),
    "the curve of another": jwk("ES256", "k", crv="P-384"),
    "not on its curve": jwk("ES256", "k", y=jwk("ES256", "k", 9)["y"]),
    "a short coordinate": jwk("ES256", "k", x="AAAA"),
    "a coordinate with padding": jwk("ES256", "k", x=f"{jwk('ES256', 'k')['x']}="),
    "a coordinate that is a number": jwk("ES256", "k", x=5),
    "an X25519 key": jwk("EdDSA", "k", crv="X25519"),
    "exponent 1": jwk("RSA", "k", e="AQ"),
    "an even exponent": jwk("RSA", "k", e="AQAA"),
    "a huge exponent": jwk("RSA", "k", e="A" + "Q" * 20),
    "a modulus of 1024 bits": jwk("RSA", "k", n=encode(b"\xc3" + b"\x01" * 127).decode()),
}


@pytest.mark.parametrize("key", REFUSED.values(), ids=REFUSED.keys())
def test_a_key_that_is_weak_or_for_something_else_is_refused(key: Any) -> None:
    """At construction, whether it is given alone or in a document, and without being quoted."""
    algorithms = ["RS256", "ES256", "EdDSA"]
    with pytest.raises(ConfigurationError) as wrong:
        Issuer(ISSUER, key=key, algorithms=algorithms)
    assert set(wrong.value.problems) == {"key"}
    if isinstance(key, dict):
        with pytest.raises(ConfigurationError) as wrong:
            Issuer(ISSUER, jwks={"keys": [key]}, algorithms=algorithms)
        assert set(wrong.value.problems) == {"jwks"}


def test_a_secret_has_the_length_of_the_hash() -> None:
    """RFC 7518 §3.2, in bytes: 32, 48 and 64."""
    for algorithm, size in (("HS256", 32), ("HS384", 48), ("HS512", 64)):
        Issuer(ISSUER, key="k" * size, algorithms=[algorithm])
        with pytest.raises(ConfigurationError, match="key"):
            Issuer(ISSUER, key="k" * (size - 1), algorithms=[algorithm])
    with pytest.raises(ConfigurationError, match="no secret"):
        Issuer(ISSUER, key=public_pem("ES256"), algorithms=["HS256"])


def test_secrets_and_public_keys_do_not_mix() -> None:
    """RFC 8725 §3.1, whatever the algorithms that are allowed."""
    secret = {"kty": "oct", "k": encode(SECRET.encode()).decode()}
    both = {"keys": [jwk("ES256", "a"), secret]}
    for algorithms in (["ES256"], ["HS256"]):
        with pytest.raises(ConfigurationError, match="jwks"):
            Issuer(ISSUER, jwks=both, algorithms=algorithms)
    alone = BearerAuth(jwks={"keys": [secret]}, algorithms=["HS256"], audience="api", clock=clock)
    assert exercise(alone, headers=bearer(token())).status == 200


def test_a_key_says_which_algorithms_it_is_for() -> None:
    """Its `alg`, its curve, its size; a token that names another one is refused."""
    bound = BearerAuth(
        key=jwk("RSA", "k", alg="PS256"), algorithms=["RS256", "PS256"], audience="api", clock=clock
    )
    signed = private_key("RSA")
    assert exercise(bound, headers=bearer(token(signed, "PS256", {"kid": "k"}))).status == 200
    assert exercise(bound, headers=bearer(token(signed, "RS256", {"kid": "k"}))).status == 401


def test_a_key_is_found_by_its_id() -> None:
    """One id may name several, and a key without an id is any token's."""
    first, second = Key.from_jwk(jwk("ES256", "a")), Key.from_jwk(jwk("ES384", "a"))
    third = Key.from_jwk(jwk("EdDSA", None))
    keys = KeySet([first, second, third])
    assert keys.find("a", "ES256") == [first]
    assert keys.find("a", "EdDSA") == []
    assert keys.find("b", "EdDSA") == [third]
    assert keys.find(None, "ES384") == [second]
    assert "thumbprint" not in repr(first)


def test_several_static_keys_let_a_key_be_replaced() -> None:
    """With the old and the new one, tokens of both are good."""
    both = BearerAuth(
        key=[public_pem("ES256"), public_pem("ES256", 2)],
        algorithms=["ES256"],
        audience="api",
        clock=clock,
    )
    for number in (0, 2):
        assert (
            exercise(both, headers=bearer(token(private_key("ES256", number), "ES256"))).status
            == 200
        )
    assert exercise(both, headers=bearer(token(private_key("ES256", 3), "ES256"))).status == 401


def test_keys_from_a_file(tmp_path: Path) -> None:
    """Read once, at construction; what cannot be read is found then."""
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk("ES256", "a"), {"kty": "new"}]}))
    filed = BearerAuth(jwks=file, algorithms=["ES256"], audience="api", clock=clock)
    assert exercise(filed, headers=bearer(token(private_key("ES256"), "ES256"))).status == 200
    for broken in ("", "[]", "{}", '{"keys": []}', '{"keys": 7}', '{"keys": [7]}'):
        file.write_text(broken)
        with pytest.raises(ConfigurationError, match="jwks"):
            Issuer(jwks=file, algorithms=["ES256"])
    with pytest.raises(ConfigurationError, match="jwks"):
        Issuer(jwks=tmp_path / "none", algorithms=["ES256"])


def test_public_keys_need_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is in the error; shared secrets do without it."""
    monkeypatch.setattr(issuer_module, "has_crypto", lambda: False)
    with pytest.raises(ConfigurationError, match=r"gatekit-middleware\[crypto\]"):
        Issuer(ISSUER, key=public_pem("ES256"), algorithms=["ES256"])
    Issuer(ISSUER, key=SECRET, algorithms=["HS256"])


def test_a_certificate_is_a_public_key() -> None:
    """As some issuers publish theirs; its dates and its names are not looked at."""
    import trustme

    issued = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert("id.example")
    certificate = issued.cert_chain_pems[0].bytes()
    text = jwt.encode({"exp": clock() + 9}, issued.private_key_pem.bytes(), "ES256")
    keyed = BearerAuth(key=certificate, algorithms=["ES256"], clock=clock)
    assert exercise(keyed, headers=bearer(text)).status == 200
