"""What an API key looks like: `prefix_<id>_<secret>`, made so that a false one is told at a glance.

    keys = KeyFormat("shop_live", secret=SECRET)
    text = keys.generate().text      # "shop_live_6fZ0mQ2yJtWkA3bX_4gH…"
    keys.id_of(text.encode())        # "6fZ0mQ2yJtWkA3bX", None if it is no key

The last six characters are a checksum (CRC-32 in base 62) of all before them, which tells a typing
error from a key and lets secret scanners find keys in source code: `keys.pattern` is what to
search for. Anybody can compute it, so it proves nothing.

The last four characters of the id are a tag that only who knows the secret can compute
(HMAC-SHA256, cut to 23 bits). Of the keys that an attacker makes up one in fourteen million gets as
far as the store; the tag spares the store, and decides nothing else.

The secret part has 190 random bits. What is stored is `digest`, an HMAC-SHA256 of the whole key:
with so much entropy a slow hash would add nothing but time.
"""

from __future__ import annotations

import hmac
import re
import secrets
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import cast

from gatekit._core.options import function_problem, hmac_key_problem, known_keywords
from gatekit.errors import check

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM, _TAG, _SECRET, _CHECKSUM = 12, 4, 32, 6
_ID = _RANDOM + _TAG

_PREFIX = re.compile(r"[A-Za-z](?:[A-Za-z0-9_]{0,30}[A-Za-z0-9])?")
_WORD = f"[0-9A-Za-z]{{{_ID}}}_[0-9A-Za-z]{{{_SECRET + _CHECKSUM}}}"


@dataclass(frozen=True, slots=True)
class Generated:
    """A new key: `text` is shown once, `id` and `digest` are kept."""

    text: str = field(repr=False)
    id: str
    digest: str = field(repr=False)


@known_keywords
class KeyFormat:
    """Makes and reads the keys of one `prefix` under one `secret`, at least 16 bytes long.

    `previous_secrets` are read, too, and nothing is made with them: a secret is replaced by naming
    the old one here until the keys of its time are replaced. `entropy` gives that many random
    bytes.
    """

    __slots__ = ("_entropy", "_keyed", "_length", "_secrets", "_shape", "_start", "prefix")

    def __init__(
        self,
        prefix: str = "gk",
        *,
        secret: bytes,
        previous_secrets: Sequence[bytes] = (),
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        check(
            "KeyFormat",
            prefix=prefix_problem(prefix),
            secret=hmac_key_problem(secret),
            previous_secrets=secrets_problem(previous_secrets),
            entropy=function_problem(entropy),
        )
        self.prefix = prefix
        self._secrets = (secret, *previous_secrets)
        # To copy one that is keyed already takes half the time of `hmac.digest`.
        self._keyed = [hmac.new(each, digestmod=sha256) for each in self._secrets]
        self._entropy = entropy
        self._start = f"{prefix}_".encode()
        self._length = len(self._start) + _ID + 1 + _SECRET + _CHECKSUM
        self._shape = re.compile(self.pattern.encode())

    @property
    def pattern(self) -> str:
        """A regular expression for secret scanners."""
        return f"{self.prefix}_{_WORD}"

    def generate(self) -> Generated:
        start = base62(int.from_bytes(self._entropy(_RANDOM)), _RANDOM)
        name = start + self._tag(start.encode(), self._secrets[0])
        body = f"{self.prefix}_{name}_{base62(int.from_bytes(self._entropy(_SECRET)), _SECRET)}"
        text = body + checksum(body.encode())
        return Generated(text, name, self.digest(text.encode()))

    def id_of(self, text: bytes) -> str | None:
        """None for what has not the shape. Cheap: neither checksum nor tag are looked at."""
        if len(text) != self._length or self._shape.fullmatch(text) is None:
            return None
        first = len(self._start)
        return text[first : first + _ID].decode("ascii")

    def is_genuine(self, text: bytes) -> bool:
        """Of what has the shape: whether checksum and tag are right."""
        if checksum(text[:-_CHECKSUM]).encode() != text[-_CHECKSUM:]:
            return False
        first = len(self._start)
        start, tag = text[first : first + _RANDOM], text[first + _RANDOM : first + _ID]
        return any(
            hmac.compare_digest(self._tag(start, secret).encode(), tag) for secret in self._secrets
        )

    def matches(self, text: bytes, digest: bytes) -> bool:
        """Whether this is the key that was stored, in a time that does not tell how nearly."""
        for keyed in self._keyed:
            found = keyed.copy()
            found.update(text)
            if hmac.compare_digest(found.digest(), digest):
                return True
        return False

    def digest(self, text: bytes) -> str:
        """What is stored of a key, in hexadecimal digits."""
        return hmac.digest(self._secrets[0], text, sha256).hex()

    def _tag(self, start: bytes, secret: bytes) -> str:
        # Another message than a whole key, so that no tag is the beginning of a digest.
        found = hmac.digest(secret, b"id\0" + self._start + start, sha256)
        return base62(int.from_bytes(found), _TAG)

    def __repr__(self) -> str:
        return f"KeyFormat({self.prefix!r})"


def checksum(body: bytes) -> str:
    return base62(zlib.crc32(body), _CHECKSUM)


def base62(number: int, width: int) -> str:
    """The lowest `width` digits; 256 random bits leave a bias that nobody can measure."""
    digits = [""] * width
    for position in range(width - 1, -1, -1):
        number, digit = divmod(number, 62)
        digits[position] = _ALPHABET[digit]
    return "".join(digits)


def prefix_problem(prefix: object) -> str | None:
    if isinstance(prefix, str) and _PREFIX.fullmatch(prefix):
        return None
    return f"must be letters, digits and _, 32 at most, beginning with a letter, not {prefix!r}"


def secrets_problem(values: object) -> str | None:
    if isinstance(values, bytes | str) or not isinstance(values, Sequence):
        return f"must be a list of bytes, not {type(values).__name__}"
    found = map(hmac_key_problem, cast("Sequence[object]", values))
    return "; ".join(what for what in found if what) or None
