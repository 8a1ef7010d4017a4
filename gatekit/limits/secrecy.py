"""What leaves the process in place of a key: a hash, so that no address or token lies in a store.

    hashed("203.0.113.9", b"at least sixteen bytes")

Without a secret whoever reads the store can try all addresses there are, four thousand million of
them, and see which one it is. With one that is shared by the workers and by nobody else, he cannot.
"""

from __future__ import annotations

from hashlib import blake2b

# 128 bits: two of a million million keys are the same with a chance of one in 10^14.
_SIZE = 16


def hashed(text: str, secret: bytes) -> str:
    """BLAKE2b (RFC 7693), keyed where there is a secret, in hexadecimal digits."""
    data = text.encode("utf-8", "surrogatepass")
    return blake2b(data, key=secret, digest_size=_SIZE).hexdigest()


def secret_problem(secret: object) -> str | None:
    """Of a key that BLAKE2b takes: up to 64 bytes; few are no secret."""
    if not isinstance(secret, bytes):
        return f"must be bytes, not {type(secret).__name__}"
    if secret and not 16 <= len(secret) <= 64:
        return f"must be 16 to 64 bytes long, not {len(secret)}"
    return None
