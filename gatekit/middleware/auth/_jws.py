"""Takes a token apart (RFC 7515 §3.1) and refuses all that is not one, before anything is trusted.

    parts = take_apart(b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl")
    parts.algorithm, parts.kid, parts.claims

Nothing here is proved: only `BearerAuth`, which looks at the signature, makes it so. Members of the
header that name or hold a key (`jku`, `jwk`, `x5u`, `x5c`) are read by nobody (RFC 8725 §3.10).
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64
from collections.abc import Mapping
from typing import NamedTuple

from gatekit.middleware.auth._json import strict_object

_COMPACT = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")

# By the number of characters in the last group: RFC 4648 §3.5 wants the unused bits to be zero,
# or one token could be written in several ways.
_LAST = {2: frozenset(b"AQgw"), 3: frozenset(b"AEIMQUYcgkosw048")}

_MAX_KID = 256


class BadToken(Exception):
    """`reason` is for the log. `detail` is what the client may know, if it may know more."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class Parts(NamedTuple):
    """Of a token in the compact serialisation; `signed` is what the signature is over."""

    algorithm: str
    kid: str | None
    type: str | None
    claims: dict[str, object]
    signed: bytes
    signature: bytes


def take_apart(token: bytes) -> Parts:
    """`BadToken` says why it is none."""
    match = _COMPACT.fullmatch(token)
    if match is None:
        if token.count(b".") == 4:
            raise BadToken("an encrypted token")
        if token.endswith(b".") and token.count(b".") == 2:
            raise BadToken("a token without a signature")
        raise BadToken("not a token in three parts")
    head, payload, signature = match.groups()
    header = _read(head, "header")
    if "crit" in header:
        # RFC 7515 §4.1.11: an extension that is not understood makes the token invalid.
        raise BadToken("a critical extension")
    if header.get("b64", True) is not True:  # RFC 7797
        raise BadToken("an unencoded payload")
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str):
        raise BadToken("no algorithm")
    if kid is not None and (not isinstance(kid, str) or len(kid) > _MAX_KID):
        raise BadToken("the key's id is none")
    if kind is not None and not isinstance(kind, str):
        raise BadToken("the type is none")
    return Parts(
        algorithm,
        kid,
        kind,
        _read(payload, "payload"),
        token[: match.end(2)],
        _decoded(signature, "signature"),
    )


def decode_base64url(text: bytes) -> bytes:
    """RFC 7515 §2: without padding, and in the one way there is; `ValueError` else."""
    rest = len(text) % 4
    if rest == 1 or (rest and text[-1] not in _LAST[rest]):
        raise ValueError("not base64url")
    return a2b_base64(text.translate(_TO_STANDARD) + b"=" * (-rest % 4))


def _read(part: bytes, what: str) -> dict[str, object]:
    try:
        return strict_object(decode_base64url(part))
    except (ValueError, Error) as error:
        # Not the error's own words: they may quote the token.
        raise BadToken(f"the {what} is not a JSON object") from error


def _decoded(part: bytes, what: str) -> bytes:
    try:
        return decode_base64url(part)
    except (ValueError, Error) as error:
        raise BadToken(f"the {what} is not base64url") from error


def jwk_bytes(jwk: Mapping[str, object], member: str) -> bytes:
    """A member of a JWK that holds bytes (RFC 7518 §6); `ValueError` if it does not."""
    text = jwk.get(member)
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise ValueError(f"{member} is not base64url")
    return decode_base64url(text.encode("ascii"))
