"""Hashes of passwords, as Werkzeug writes them: `scrypt:32768:8:1$salt$…`, `pbkdf2:sha256:…`.

    stored = hash_password("correct horse battery staple")
    matches(stored, "correct horse battery staple")     # True, some fifty milliseconds later

Passwords are normalised (NFC, RFC 8265 §4.2), so that it is one password however its accents were
typed.
"""

from __future__ import annotations

import re
import secrets
import unicodedata

from werkzeug.security import check_password_hash, generate_password_hash

_HASH = re.compile(
    r"(scrypt(?::\d{1,9}){3}|pbkdf2:sha(?:256|384|512):\d{1,9})\$([^$]+)\$([0-9a-f]+)"
)
_STRONG = "scrypt:32768:8:1"


def hash_password(password: str) -> str:
    """For the configuration: scrypt (RFC 7914), which takes 32 MiB and some fifty milliseconds."""
    return generate_password_hash(normal(password), method=_STRONG)


def matches(stored: str, password: str) -> bool:
    """Compares in constant time; `password` is normalised already."""
    return check_password_hash(stored, password)


def normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def decoy(like: str | None) -> str:
    """A hash that nothing matches, which takes as long to find out as with the one given."""
    found = None if like is None else _HASH.fullmatch(like)
    method, size = (_STRONG, 128) if found is None else (found[1], len(found[3]))
    return f"{method}${secrets.token_hex(8)}${secrets.token_hex(size // 2)}"


def hash_problem(stored: object) -> str | None:
    """What it is instead is not shown: it may be a password."""
    if isinstance(stored, str) and _HASH.fullmatch(stored):
        return None
    return "is not a hash as hash_password() or Werkzeug makes them (scrypt:… or pbkdf2:…)"
