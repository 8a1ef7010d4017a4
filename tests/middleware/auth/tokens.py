"""Keys and tokens for the tests: honest ones by PyJWT, crooked ones by hand."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gatekit.middleware.auth._keys import public_jwk

NOW = 1_800_000_000.0
SECRET = "a shared secret of thirty-two bytes and more"
ISSUER = "https://id.example"


def clock() -> float:
    return NOW


def private_key(kind: str, number: int = 0) -> Any:
    """One for each kind and number, made once a run."""
    return _generated(kind, number)


@cache
def _generated(kind: str, number: int) -> Any:
    if kind.startswith("RSA"):
        return rsa.generate_private_key(65537, int(kind[3:] or 2048))
    curves: dict[str, ec.EllipticCurve] = {
        "ES256": ec.SECP256R1(),
        "ES384": ec.SECP384R1(),
        "ES512": ec.SECP521R1(),
    }
    if kind in curves:
        return ec.generate_private_key(curves[kind])
    return ed25519.Ed25519PrivateKey.generate()


def private_pem(kind: str, number: int = 0) -> str:
    key = private_key(kind, number)
    data: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return data.decode()


def public_pem(kind: str, number: int = 0) -> str:
    key = private_key(kind, number).public_key()
    data: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return data.decode()


def jwk(kind: str, kid: str | None, number: int = 0, **members: object) -> dict[str, object]:
    found = {**public_jwk(private_key(kind, number).public_key()), **members}
    del found["kid"]
    return found if kid is None else {**found, "kid": kid}


def claims(**changes: object) -> dict[str, object]:
    """A good set; a claim that is None is left out."""
    good = {"sub": "ada", "iss": ISSUER, "aud": "api", "iat": NOW - 10, "exp": NOW + 300}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def token(
    key: Any = SECRET,
    algorithm: str = "HS256",
    headers: Mapping[str, object] | None = None,
    **changes: object,
) -> str:
    return jwt.encode(claims(**changes), key, algorithm, headers=dict(headers or {}))


def encode(part: bytes | Mapping[str, object]) -> bytes:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return urlsafe_b64encode(data).rstrip(b"=")


def forge(
    header: bytes | Mapping[str, object],
    payload: bytes | Mapping[str, object] | None = None,
    secret: str = SECRET,
) -> str:
    """Signed with HS256, whatever the parts say."""
    signed = encode(header) + b"." + encode(claims() if payload is None else payload)
    signature = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + encode(signature)).decode()


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}
