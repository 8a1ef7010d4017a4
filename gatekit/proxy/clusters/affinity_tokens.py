"""What a client carries that stands for a destination, and how it is read again.

    tokens = HashedTokens([SECRET, OLD_SECRET])
    token = tokens.write(state, member)
    tokens.read(state, token)               # Bond(member, is_current=True)

A hash is short, and the same for every client of a destination. A sealed name differs each time, so
that two clients cannot tell that they share a destination. Both say for which cluster they are.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple, Protocol
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from gatekit.proxy.clusters.members import ClusterState, Member

# 128 bits: nobody can try them all.
_HASH_BYTES = 16
# NIST SP 800-38D §8.2.2: a random nonce of 96 bits, good for 2^32 tokens under one key.
_NONCE_BYTES = 12
_LONGEST = 1024


class Bond(NamedTuple):
    """Whom a token stands for, and whether it was made with the secret that is used now."""

    member: Member
    is_current: bool


class Tokens(Protocol):
    """Writes tokens, and reads those that it or another process wrote."""

    def write(self, state: ClusterState, member: Member) -> str: ...

    def read(self, state: ClusterState, token: str) -> Bond | None:
        """None for anything else than a token of a member of this cluster."""
        ...


class HashedTokens:
    """HMAC-SHA256 of the names (RFC 2104), cut to 128 bits; newest secret first."""

    __slots__ = ("_secrets", "_tables")

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = tuple(secrets)
        self._tables: WeakKeyDictionary[
            ClusterState, tuple[tuple[Member, ...], dict[str, Bond]]
        ] = WeakKeyDictionary()

    def write(self, state: ClusterState, member: Member) -> str:
        return _hash(self._secrets[0], state.name, member.name)

    def read(self, state: ClusterState, token: str) -> Bond | None:
        # A look into a dict is no oracle: its time says nothing of how much of a token is right.
        return self._table(state).get(token) if token else None

    def _table(self, state: ClusterState) -> dict[str, Bond]:
        members = state.members
        known = self._tables.get(state)
        if known is not None and known[0] is members:
            return known[1]
        table = {
            _hash(secret, state.name, member.name): Bond(member, secret is self._secrets[0])
            for secret in reversed(self._secrets)
            for member in members
        }
        self._tables[state] = members, table
        return table


class SealedTokens:
    """The name under AES-256-GCM, the cluster's as what it is bound to; newest secret first."""

    __slots__ = ("_ciphers", "_entropy")

    def __init__(self, secrets: Sequence[bytes], entropy: Callable[[int], bytes]) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._ciphers = [AESGCM(hmac.digest(secret, b"affinity", sha256)) for secret in secrets]
        self._entropy = entropy

    def write(self, state: ClusterState, member: Member) -> str:
        nonce = self._entropy(_NONCE_BYTES)
        sealed = self._ciphers[0].encrypt(nonce, member.name.encode(), state.name.encode())
        return urlsafe_b64encode(nonce + sealed).decode("ascii").rstrip("=")

    def read(self, state: ClusterState, token: str) -> Bond | None:
        from cryptography.exceptions import InvalidTag

        if not token or len(token) > _LONGEST:
            return None
        try:
            raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except ValueError:
            return None
        if len(raw) <= _NONCE_BYTES:
            return None
        for place, cipher in enumerate(self._ciphers):
            try:
                name = cipher.decrypt(
                    raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], state.name.encode()
                ).decode()
            except InvalidTag:
                continue
            member = next((member for member in state.members if member.name == name), None)
            return None if member is None else Bond(member, place == 0)
        return None


def sealing_problem() -> str | None:
    if find_spec("cryptography") is None:
        return "needs the extra `crypto`: pip install 'gatekit-middleware[crypto]'"
    return None


def _hash(secret: bytes, cluster: str, destination: str) -> str:
    # A zero byte stands in neither name: no two pairs of names make the same text.
    text = f"{cluster}\0{destination}".encode()
    return urlsafe_b64encode(hmac.digest(secret, text, sha256)[:_HASH_BYTES]).decode().rstrip("=")
