"""Ranges of a stored answer (RFC 9110 §14): 206, several parts of it, or 416.

    part = cut(entry.status, entry.fields, entry.body, b"bytes=0-99")
    part.status, part.fields, part.body             # 206, with `content-range`

None means that the whole answer is the right one.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple

from gatekit.middleware.cache.dates import parse_date
from gatekit.middleware.cache.entry import Entry
from gatekit.middleware.cache.validators import same_strong
from gatekit.typing import RawHeaders

# RFC 9110 §14.2: a server "MAY ignore [...] many small ranges"; so many are served.
_MOST_PARTS = 16
_SPEC = re.compile(rb"[ \t]*(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))[ \t]*")


class Part(NamedTuple):
    """What is answered in place of the whole."""

    status: int
    fields: RawHeaders
    body: bytes


def cut(status: int, fields: RawHeaders, body: bytes, value: bytes) -> Part | None:
    """The ranges that a `Range` asks for; one that is malformed is as if it was not there."""
    if status != 200 or _field(fields, b"content-range") is not None:
        return None
    wanted = _wanted(value, len(body))
    if wanted is None:
        return None
    size = len(body)
    rest = [field for field in fields if field[0] not in (b"content-length", b"content-range")]
    if not wanted:
        # §15.5.17: a 416 "SHOULD generate a Content-Range header field".
        kept = [f for f in rest if f[0] not in (b"content-type", b"content-encoding", b"etag")]
        kept += [(b"content-range", b"bytes */%d" % size), (b"content-length", b"0")]
        return Part(416, kept, b"")
    if len(wanted) == 1:
        first, last = wanted[0]
        data = body[first : last + 1]
        rest += [
            (b"content-range", b"bytes %d-%d/%d" % (first, last, size)),
            (b"content-length", b"%d" % len(data)),
        ]
        return Part(206, rest, data)
    return _several(wanted, rest, body)


def holds(entry: Entry, if_range: bytes | None) -> bool:
    """Whether the ranges of a client that has another part already fit it (RFC 9110 §13.1.5)."""
    if if_range is None:
        return True
    value = if_range.strip(b" \t")
    if value.startswith((b'"', b"W/")):
        return same_strong(entry.get(b"etag"), value)
    # "an HTTP-date": an exact match with the Last-Modified of the answer.
    moment = parse_date(value)
    modified = entry.get(b"last-modified")
    return moment is not None and modified is not None and parse_date(modified) == moment


def _several(wanted: list[tuple[int, int]], rest: RawHeaders, body: bytes) -> Part:
    """`multipart/byteranges` (RFC 9110 §14.6)."""
    kind = _field(rest, b"content-type")
    seed = b",".join(b"%d-%d" % each for each in wanted)
    boundary = blake2b(seed + body[:4096], digest_size=12).hexdigest().encode("ascii")
    pieces: list[bytes] = []
    for first, last in wanted:
        pieces.append(b"--" + boundary + b"\r\n")
        if kind is not None:
            pieces.append(b"content-type: " + kind + b"\r\n")
        pieces.append(b"content-range: bytes %d-%d/%d\r\n\r\n" % (first, last, len(body)))
        pieces += [body[first : last + 1], b"\r\n"]
    pieces.append(b"--" + boundary + b"--\r\n")
    data = b"".join(pieces)
    fields = [field for field in rest if field[0] != b"content-type"]
    fields += [
        (b"content-type", b"multipart/byteranges; boundary=" + boundary),
        (b"content-length", b"%d" % len(data)),
    ]
    return Part(206, fields, data)


def _wanted(value: bytes, size: int) -> list[tuple[int, int]] | None:
    """First and last positions; empty if none of them can be satisfied, None to ignore them all."""
    unit, mark, listed = value.partition(b"=")
    if not mark or unit.strip(b" \t").lower() != b"bytes":
        return None
    wanted: list[tuple[int, int]] = []
    specs = listed.split(b",")
    if len(specs) > _MOST_PARTS:
        return None
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None:
            return None
        start, end, suffix = match.groups()
        if suffix is not None:
            first, last = max(0, size - int(suffix)), size - 1
            if int(suffix) == 0:
                continue
        else:
            first, last = int(start), min(int(end), size - 1) if end else size - 1
            if end and int(end) < first:
                return None
        if first < size:
            wanted.append((first, last))
    # §14.2: overlapping ranges are a sign of a broken or an ill-meaning client.
    ordered = sorted(wanted)
    if any(one[1] >= other[0] for one, other in pairwise(ordered)):
        return None
    return wanted


def _field(fields: RawHeaders, name: bytes) -> bytes | None:
    return next((value for field, value in fields if field == name), None)
