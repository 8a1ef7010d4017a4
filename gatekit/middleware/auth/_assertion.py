"""How the gateway proves to an authorisation server who it is (RFC 7521, RFC 7523 §2.2).

signer = signing_key(private_key_pem)
assertion("gateway", signer, "https://id.example/introspect", now)
# {"client_id": ..., "client_assertion_type": ..., "client_assertion": "eyJ..."}
"""

from __future__ import annotations

from secrets import token_urlsafe
from typing import Any, Literal, TypeAlias

ClientAuth: TypeAlias = Literal["basic", "post", "bearer", "private_key_jwt"]

Signer: TypeAlias = tuple[Any, str]

_KINDS = ("basic", "post", "bearer", "private_key_jwt")
_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# Seconds: long enough for one request and for clocks that differ.
_LASTS = 60


def assertion(client_id: str, signer: Signer, audience: str, now: float) -> dict[str, str]:
    """The members of a form; each has an id of its own and is good for one request."""
    import jwt

    material, algorithm = signer
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "iat": int(now),
        "exp": int(now) + _LASTS,
        "jti": token_urlsafe(16),
    }
    return {
        "client_id": client_id,
        "client_assertion_type": _TYPE,
        "client_assertion": jwt.encode(claims, material, algorithm),
    }


def signing_key(pem: str | bytes) -> Signer:
    """A private key and the algorithm that fits it; `ValueError` says what it is instead."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode() if isinstance(pem, str) else pem, password=None)
    except (ValueError, TypeError):
        raise ValueError("it is not a private key in PEM without a password") from None
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < 2048:
            raise ValueError(f"an RSA key has 2048 bits or more, not {key.key_size}")
        return key, "RS256"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        name = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
        if key.curve.name in name:
            return key, name[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        return key, "EdDSA"
    raise ValueError("it is of a type that signs no tokens")


def client_auth_problem(kind: object) -> str | None:
    return None if kind in _KINDS else f"{kind!r} is not one of {', '.join(_KINDS)}"


def client_key_problem(key: object, kind: object) -> str | None:
    """Of a key that `private_key_jwt` needs, and nothing else does."""
    if kind != "private_key_jwt":
        return None if key is None else "is for client_auth='private_key_jwt'"
    return private_key_problem(key)


def private_key_problem(key: object) -> str | None:
    from gatekit.middleware.auth._keys import has_crypto

    if not has_crypto():
        return "needs the extra `gatekit-middleware[crypto]`, which is not installed"
    if not isinstance(key, str | bytes):
        return "must be a private key in PEM"
    try:
        signing_key(key)
    except ValueError as wrong:
        return str(wrong)
    return None
