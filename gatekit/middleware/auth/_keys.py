"""Keys that signatures are checked with, each bound to the algorithms that it is good for.

    key = Key.from_jwk({"kty": "EC", "crv": "P-256", "x": ..., "y": ..., "kid": "2026-11"})
    key.algorithms                                    # {"ES256"}
    key.verify("ES256", signed, signature)

The algorithm that a token names only chooses among those of the key, and so nobody can have the
text of a public key taken for a shared secret. What is weak is no key: RSA under 2048 bits, a
secret shorter than the hash (RFC 7518 §3.2), a point that is not on its curve.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

from gatekit._core.options import each_problem
from gatekit.middleware.auth._jws import jwk_bytes

if TYPE_CHECKING:
    from jwt.algorithms import Algorithm

SYMMETRIC = frozenset({"HS256", "HS384", "HS512"})
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "secp256k1": "ES256K"}
_CURVE_NAMES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
ALGORITHMS = SYMMETRIC | _RSA | frozenset(_CURVES.values()) | {"EdDSA"}

# RFC 7518 §6: the members that make a key what it is, in the order of RFC 7638 §3.2.
_MEMBERS = {
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "RSA": ("e", "kty", "n"),
    "oct": ("k", "kty"),
}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})

_RSA_BITS = (2048, 16_384)
# What everybody uses is 65537; a huge one makes each check dear.
_MAX_EXPONENT = 2**32


class Key:
    """One key; `thumbprint` is that of RFC 7638 with SHA-256."""

    __slots__ = ("_verifiers", "algorithms", "kid", "thumbprint")

    def __init__(
        self, material: object, algorithms: frozenset[str], kid: str | None, thumbprint: str
    ) -> None:
        self._verifiers = {name: (_algorithm(name), material) for name in algorithms}
        self.algorithms = algorithms
        self.kid = kid
        self.thumbprint = thumbprint

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, object]) -> Key:
        """`ValueError` says why it is not to be used for signatures; it never quotes the key."""
        kind = jwk.get("kty")
        if not isinstance(kind, str) or kind not in _MEMBERS:
            raise ValueError("it is of no known type")
        _check_use(jwk)
        kid = jwk.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise ValueError("its kid is not a string")
        if kind != "oct" and not _PRIVATE.isdisjoint(jwk):
            raise ValueError("it is a private key; give the public one")
        public = {name: jwk.get(name) for name in _MEMBERS[kind]}
        for name in public.keys() - {"kty", "crv"}:
            jwk_bytes(jwk, name)
        algorithms, material = _load_jwk(kind, public)
        named = jwk.get("alg")
        if named is not None:
            algorithms &= {named} if isinstance(named, str) else set[str]()
        if not algorithms:
            raise ValueError("no algorithm fits it")
        return cls(material, algorithms, kid, thumbprint(public))

    @classmethod
    def from_text(cls, text: str | bytes, symmetric: bool) -> Key:
        """A shared secret, or a public key in PEM; `ValueError` says what is wrong with it."""
        data = text.encode() if isinstance(text, str) else text
        if symmetric:
            return cls._from_secret(data)
        jwk = public_jwk(data)
        kind = cast("str", jwk["kty"])
        algorithms, material = _load_jwk(kind, jwk)
        return cls(material, algorithms, None, cast("str", jwk["kid"]))

    @classmethod
    def _from_secret(cls, data: bytes) -> Key:
        material = _prepared_secret(data)
        encoded = urlsafe_b64encode(material).rstrip(b"=").decode("ascii")
        return cls(
            material, _secret_algorithms(data), None, thumbprint({"k": encoded, "kty": "oct"})
        )

    def verify(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        verifier, material = self._verifiers[algorithm]
        return verifier.verify(signed, material, signature)

    def __repr__(self) -> str:
        return f"<Key {self.kid!r} for {', '.join(sorted(self.algorithms))}>"


class KeySet:
    """Keys by their ids. One kind only: shared secrets and public keys do not mix."""

    __slots__ = ("_by_kid", "_without_kid", "keys")

    def __init__(self, keys: Sequence[Key]) -> None:
        if len({key.algorithms <= SYMMETRIC for key in keys}) > 1:
            raise ValueError("it mixes shared secrets with public keys")
        self.keys = tuple(keys)
        self._by_kid: dict[str, list[Key]] = {}
        for key in keys:
            if key.kid is not None:
                self._by_kid.setdefault(key.kid, []).append(key)
        self._without_kid = [key for key in keys if key.kid is None]

    def find(self, kid: str | None, algorithm: str) -> list[Key]:
        """Those that may have signed. A token without an id may be of any of them."""
        if kid is None:
            found: Sequence[Key] = self.keys
        else:
            found = self._by_kid.get(kid) or self._without_kid
        return [key for key in found if algorithm in key.algorithms]


def public_jwk(key: object) -> dict[str, object]:
    """A public key, or one in PEM, as a JWK whose `kid` is its thumbprint; `ValueError` if none."""
    from jwt.algorithms import get_default_algorithms

    material = _load_pem(key) if isinstance(key, str | bytes) else key
    name = _default_algorithm(material)
    jwk = cast("dict[str, object]", _to_jwk(get_default_algorithms()[name], material))
    members = {member: jwk[member] for member in _MEMBERS[cast("str", jwk["kty"])]}
    return {**members, "kid": thumbprint(members), "use": "sig"}


def _load_pem(text: str | bytes) -> object:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from cryptography.x509 import load_pem_x509_certificate

    data = text.encode() if isinstance(text, str) else text
    if b"PRIVATE KEY" in data:
        raise ValueError("it is a private key; give the public one")
    try:
        if b"BEGIN CERTIFICATE" in data:
            return load_pem_x509_certificate(data).public_key()
        return load_pem_public_key(data)
    except ValueError:
        raise ValueError("it is not a public key in PEM") from None


def thumbprint(members: Mapping[str, object]) -> str:
    """RFC 7638 §3."""
    text = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return urlsafe_b64encode(sha256(text.encode()).digest()).rstrip(b"=").decode("ascii")


def _check_use(jwk: Mapping[str, object]) -> None:
    if jwk.get("use", "sig") != "sig":
        raise ValueError("it is not for signatures")
    operations = jwk.get("key_ops")
    if operations is None:
        return
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("it is not for verifying signatures")


def _load_jwk(kind: str, public: Mapping[str, object]) -> tuple[frozenset[str], object]:
    if kind == "oct":
        secret = jwk_bytes(public, "k")
        return _secret_algorithms(secret), _prepared_secret(secret)
    if kind == "RSA":
        _check_rsa(public)
        return _RSA, _from_jwk("RS256", public)
    curve = public.get("crv")
    if kind == "OKP":
        return frozenset({"EdDSA"}), _from_jwk("EdDSA", public)
    name = _CURVES.get(curve) if isinstance(curve, str) else None
    if name is None:
        raise ValueError("its curve is not known")
    return frozenset({name}), _from_jwk(name, public)


def _check_rsa(public: Mapping[str, object]) -> None:
    modulus = int.from_bytes(jwk_bytes(public, "n"), "big")
    exponent = int.from_bytes(jwk_bytes(public, "e"), "big")
    least, most = _RSA_BITS
    if not least <= modulus.bit_length() <= most:
        raise ValueError(f"an RSA key has {least} bits or more, not {modulus.bit_length()}")
    if exponent < 3 or not exponent & 1 or exponent > _MAX_EXPONENT:
        raise ValueError("its exponent is none for signatures")


def _from_jwk(name: str, public: Mapping[str, object]) -> object:
    from jwt.exceptions import PyJWTError

    try:
        material: object = cast("Any", _algorithm(name)).from_jwk(dict(public))
    except (PyJWTError, ValueError):
        raise ValueError("its numbers are no key") from None
    return material


def _to_jwk(algorithm: Algorithm, material: object) -> object:
    return cast("Any", algorithm).to_jwk(material, as_dict=True)


def _default_algorithm(material: object) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if isinstance(material, rsa.RSAPublicKey):
        return "RS256"
    if isinstance(material, ec.EllipticCurvePublicKey):
        name = _CURVES.get(_CURVE_NAMES.get(material.curve.name, material.curve.name))
        if name is None:
            raise ValueError("its curve is not known")
        return name
    if isinstance(material, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return "EdDSA"
    raise ValueError("it is of a type that signs no tokens")


def _prepared_secret(data: bytes) -> bytes:
    from jwt.exceptions import InvalidKeyError

    try:
        return cast("bytes", cast("Any", _algorithm("HS256")).prepare_key(data))
    except InvalidKeyError:
        raise ValueError("it is a public key, a certificate or a JWK, and no secret") from None


def _secret_algorithms(secret: bytes) -> frozenset[str]:
    """RFC 7518 §3.2: a key of the same size as the hash output, or larger."""
    sizes = {"HS256": 32, "HS384": 48, "HS512": 64}
    fitting = frozenset(name for name, size in sizes.items() if len(secret) >= size)
    if not fitting:
        raise ValueError(f"a secret has 32 bytes or more, not {len(secret)}")
    return fitting


def _algorithm(name: str) -> Algorithm:
    from jwt import get_algorithm_by_name

    return get_algorithm_by_name(name)


def algorithms_problem(algorithms: object) -> str | None:
    """Of an allow-list: none that signs nothing, and not both kinds."""
    if algorithms is None or not algorithms:
        return "names no algorithm; list those that the issuer signs with, such as ['RS256']"
    if what := each_problem(algorithms, _algorithm_problem):
        return what
    listed = set(cast("Collection[str]", algorithms))
    if listed & SYMMETRIC and listed - SYMMETRIC:
        return "mixes shared secrets (HS…) with public keys; make them two issuers"
    return None


def _algorithm_problem(name: object) -> str | None:
    if name == "none":
        return "'none' is no signature"
    if name in ALGORITHMS:
        return None
    return f"{name!r} is not one of {', '.join(sorted(ALGORITHMS))}"


def has_crypto() -> bool:
    """Whether the extra that public keys need is there."""
    from jwt.algorithms import has_crypto as found

    return found
