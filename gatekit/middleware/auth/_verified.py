"""What was found out of tokens, kept by their hash for as long as it may be believed.

    remembered = Remembered[Identity](max_entries=10_000)
    remembered.put(digest(token), identity, until)
    remembered.get(digest(token), now)           # the identity, or None

The tokens themselves are kept nowhere. Who is asked for gets a second chance when place is needed,
so that one-time tokens push out each other and not what is in use.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Generic, TypeVar

from gatekit._core.latch import Latch

T = TypeVar("T")


class _Entry(Generic[T]):
    __slots__ = ("is_used", "until", "value")

    def __init__(self, value: T, until: float) -> None:
        self.value = value
        self.until = until
        self.is_used = False


class Remembered(Generic[T]):
    """At most `max_entries`; 0 keeps nothing. Moments are on whatever clock the caller has."""

    __slots__ = ("_entries", "_latch", "_most")

    def __init__(self, max_entries: int) -> None:
        self._most = max_entries
        self._entries: dict[bytes, _Entry[T]] = {}
        self._latch = Latch()

    def get(self, key: bytes, now: float) -> T | None:
        entry = self._entries.get(key)
        if entry is None or now >= entry.until:
            return None
        entry.is_used = True
        return entry.value

    def put(self, key: bytes, value: T, until: float) -> None:
        if not self._most:
            return
        lock = self._latch.take()
        try:
            entries = self._entries
            entries.pop(key, None)
            while len(entries) >= self._most:
                oldest = next(iter(entries))
                entry = entries.pop(oldest)
                if entry.is_used:
                    entry.is_used = False
                    entries[oldest] = entry
            entries[key] = _Entry(value, until)
        finally:
            lock.release()

    def forget(self, key: bytes) -> None:
        self._entries.pop(key, None)

    def clear(self) -> None:
        lock = self._latch.take()
        try:
            self._entries.clear()
        finally:
            lock.release()

    def __len__(self) -> int:
        return len(self._entries)


def digest(token: bytes) -> bytes:
    return sha256(token).digest()
