"""A stored answer, and the one string of bytes that it is in a store.

    record = pack(entry)            # what Redis or SQLite keeps
    entry = unpack(record)          # None if it is broken, or another version wrote it

A record is a head of fixed size with a checksum, the fields as lines, the tags, and the body. Two
kinds have no answer in them: the index of the variants of a URL, and the mark of one whose answers
may not be stored.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from gatekit.typing import RawHeaders

# The number changes with every change of what follows it.
_MAGIC = b"gkc\x01"
# Magic, kind, flags, status, lengths of fields and tags, five times, then the checksum.
_HEAD = struct.Struct("!4sBBHIHddddd")
_SUM = struct.Struct("!I")
_FIXED = _HEAD.size + _SUM.size
SOFT_AT = 5
"""Where the flags are: a store marks a record as stale by setting the first bit there."""

_ENTRY, _INDEX, _PASS = 1, 2, 3

SOFT = 1
"""Purged softly: stale from now on, whatever it said of itself."""
STRICT = 2
"""Never to be used stale (`must-revalidate` and its kin)."""
ALWAYS = 4
"""To be validated on each use (`no-cache`)."""
IMMUTABLE = 8
OPEN = 16
"""For those who say who they are, too (RFC 9111 §3.5)."""


class Entry:
    """One answer. Times are seconds since 1970, or lengths of time.

    `born` is the moment at which its age was 0. `keep` is how long it is of use in all, counted
    from `born`.
    """

    __slots__ = (
        "body", "born", "fields", "flags", "keep", "lifetime", "names", "shown", "sie", "status",
        "swr", "tags", "wire",
    )  # fmt: skip

    def __init__(
        self,
        status: int,
        fields: RawHeaders,
        body: bytes,
        *,
        born: float,
        lifetime: float,
        swr: float = 0.0,
        sie: float = 0.0,
        keep: float = 0.0,
        flags: int = 0,
        tags: tuple[str, ...] = (),
    ) -> None:
        self.status = status
        self.fields = fields
        self.body = body
        self.born = born
        self.lifetime = lifetime
        self.swr = swr
        self.sie = sie
        self.keep = keep
        self.flags = flags
        self.tags = tags
        # What it was chosen by, where that is known without a look at the fields.
        self.names: tuple[bytes, ...] | None = None
        # The fields as they go out, and the age for which they were made.
        self.wire: RawHeaders = []
        self.shown = -1

    def get(self, name: bytes) -> bytes | None:
        """The first value of a field."""
        for field, value in self.fields:
            if field == name:
                return value
        return None

    def __repr__(self) -> str:
        return f"<Entry {self.status} of {len(self.body)} bytes>"


class Index(NamedTuple):
    """What the answers of a URL differ by, and which of them there are, the oldest first.

    `generation` is in their keys: what an index that was purged led to is out of reach.
    """

    names: tuple[bytes, ...]
    generation: bytes
    variants: tuple[tuple[bytes, bytes], ...]
    """A variant's digest and its `Content-Language`."""


class Pass(NamedTuple):
    """The answers of this URL were not to be stored the last time: nobody needs to wait for one."""

    until: float


def pack(item: Entry | Index | Pass, *, checked: bool = True) -> bytes:
    """The record. `checked=False` leaves the checksum out, where the record stays in memory."""
    if isinstance(item, Index):
        lines = [b",".join(item.names), item.generation.hex().encode()]
        lines += [digest.hex().encode() + b" " + language for digest, language in item.variants]
        return _record(_INDEX, 0, 0, b"\n".join(lines), b"", (0.0,) * 5, b"", checked)
    if isinstance(item, Pass):
        return _record(_PASS, 0, 0, b"", b"", (item.until, 0.0, 0.0, 0.0, 0.0), b"", checked)
    fields = b"\n".join([name + b":" + value for name, value in item.fields])
    tags = " ".join(item.tags).encode("utf-8", "surrogateescape") if item.tags else b""
    times = (item.born, item.lifetime, item.swr, item.sie, item.keep)
    return _record(_ENTRY, item.flags, item.status, fields, tags, times, item.body, checked)


def unpack(record: bytes, *, checked: bool = True) -> Entry | Index | Pass | None:
    """What was packed, None for anything else."""
    if len(record) < _FIXED or not record.startswith(_MAGIC):
        return None
    _, kind, flags, status, fields_size, tags_size, *times = _HEAD.unpack_from(record)
    if checked and _SUM.unpack_from(record, _HEAD.size)[0] != _checksum(record):
        return None
    start = _FIXED + fields_size
    try:
        if kind == _ENTRY:
            text = record[start : start + tags_size].decode("utf-8", "surrogateescape")
            born, lifetime, swr, sie, keep = times
            return Entry(
                status,
                _fields(record[_FIXED:start]),
                record[start + tags_size :],
                born=born,
                lifetime=lifetime,
                swr=swr,
                sie=sie,
                keep=keep,
                flags=flags,
                tags=tuple(text.split(" ")) if text else (),
            )
        if kind == _INDEX:
            return _index(record[_FIXED:start])
    except ValueError:
        return None
    return Pass(times[0]) if kind == _PASS else None


def soften(record: bytes) -> bytes:
    """The record of the same answer, stale from now on."""
    return record[:SOFT_AT] + bytes([record[SOFT_AT] | SOFT]) + record[SOFT_AT + 1 :]


def size_of(entry: Entry) -> int:
    """The length of its record."""
    # A colon in each field and a mark between two, of fields and of tags.
    fields = sum(len(name) + len(value) + 2 for name, value in entry.fields) - bool(entry.fields)
    tags = sum(len(tag.encode("utf-8", "surrogateescape")) + 1 for tag in entry.tags)
    return _FIXED + fields + tags - bool(entry.tags) + len(entry.body)


def _record(
    kind: int,
    flags: int,
    status: int,
    fields: bytes,
    tags: bytes,
    times: tuple[float, ...],
    body: bytes,
    checked: bool,
) -> bytes:
    head = _HEAD.pack(_MAGIC, kind, flags, status, len(fields), len(tags), *times)
    if not checked:
        return b"".join((head, b"\0\0\0\0", fields, tags, body))
    record = b"".join((head, b"\0\0\0\0", fields, tags, body))
    return b"".join((head, _SUM.pack(_checksum(record)), fields, tags, body))


def _checksum(record: bytes) -> int:
    # Without the flags, which a store may change in place.
    start = zlib.crc32(record[SOFT_AT + 1 : _HEAD.size], record[SOFT_AT - 1])
    return zlib.crc32(memoryview(record)[_FIXED:], start)


def _fields(text: bytes) -> RawHeaders:
    fields: RawHeaders = []
    for line in text.split(b"\n") if text else ():
        name, _, value = line.partition(b":")
        fields.append((name, value))
    return fields


def _index(text: bytes) -> Index:
    names, generation, *variants = text.split(b"\n")
    pairs = [line.partition(b" ") for line in variants]
    return Index(
        tuple(names.split(b",")) if names else (),
        bytes.fromhex(generation.decode("ascii")),
        tuple((bytes.fromhex(digest.decode("ascii")), language) for digest, _, language in pairs),
    )
