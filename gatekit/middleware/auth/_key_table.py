"""Keys that stand in the configuration: few, of any shape, and known from the start.

    table = KeyTable({os.environ["PARTNER_KEY"]: "partner"})
    await table.find(request.io, b"...")

What is kept is a hash under a secret that this object made for itself, so that neither a repr nor a
dump of it shows a key, and how long a search takes says nothing of how near a guess came.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import cast

from gatekit._core.io import IO
from gatekit.keys.lookup import BadKey
from gatekit.middleware.auth.identity import Identity

# 96 bits, if each character has six: fewer can be guessed by who may ask often.
_SHORTEST = 16


class KeyTable:
    """`keys` maps each key to an identity, or to the subject of one."""

    __slots__ = ("_identities", "_secret")

    def __init__(self, keys: Mapping[str, Identity | str]) -> None:
        self._secret = secrets.token_bytes(32)
        self._identities = {
            self._digest(key.encode("ascii")): _identity(whose) for key, whose in keys.items()
        }

    async def find(self, io: IO, text: bytes) -> Identity:
        identity = self._identities.get(self._digest(text))
        if identity is None:
            raise BadKey("unknown")
        return identity

    def is_ours(self, text: bytes) -> bool:
        """A key may look like anything here."""
        return True

    def _digest(self, text: bytes) -> bytes:
        return hmac.digest(self._secret, text, sha256)

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


def table_problem(keys: Mapping[object, object]) -> str | None:
    """The keys themselves are not shown."""
    if not keys:
        return "is empty: nobody could come in"
    for position, (key, whose) in enumerate(keys.items(), 1):
        if not isinstance(key, str) or len(key) < _SHORTEST:
            return f"key {position} must be a string of at least {_SHORTEST} characters"
        if not (key.isascii() and key.isprintable()) or set(key) & set(' ,;"'):
            return f"key {position} must be visible ASCII without space, comma, semicolon or quote"
        if not isinstance(whose, Identity) and not (isinstance(whose, str) and whose):
            return f"key {position} must be mapped to a subject or an Identity"
    return None


def _identity(whose: Identity | str) -> Identity:
    if isinstance(whose, str):
        return Identity(whose, method="api_key")
    return whose if whose.method else replace(whose, method="api_key")


def mapping_of(keys: object) -> Mapping[object, object] | None:
    return cast("Mapping[object, object]", keys) if isinstance(keys, Mapping) else None
