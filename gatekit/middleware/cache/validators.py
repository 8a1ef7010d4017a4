"""Validators: what the client's conditions say of a stored answer, and what a 304 does to it.

    not_modified(entry, inm, ims)          # whether the client has it already
    condition_of(entry)                    # the fields that ask the origin whether it still holds
    freshened(entry, fields)               # the stored fields with those of a 304

Comparison is by RFC 9110 §8.8.3.2, preconditions by §13.1 and RFC 9111 §4.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gatekit.middleware.cache.dates import parse_date
from gatekit.middleware.cache.entry import Entry
from gatekit.typing import RawHeaders

# A tag in quotes, or what some write without; the mark of weakness is a word of its own. No part of
# it can match in two ways, so that a hostile list takes no longer than another.
_TAG = re.compile(rb'"[^"]*"|[^", \t]+')

# RFC 9110 §15.4.5: what a 304 is for; the fields of a body that it lacks stay away.
_NOT_IN_304 = frozenset(
    {
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"content-language",
        b"content-range",
        b"content-md5",
        b"content-digest",
        b"repr-digest",
        b"digest",
        b"accept-ranges",
    }
)

# RFC 9111 §3.2: a 304 updates all fields but Content-Length and those that the stored body is read
# by; a server that sends others than it did has another body in mind.
_NOT_UPDATED = frozenset(
    {
        b"content-length",
        b"content-encoding",
        b"content-range",
        b"content-md5",
        b"content-digest",
        b"repr-digest",
        b"etag",
    }
)


def not_modified(entry: Entry, none_match: list[bytes], since: bytes | None) -> bool:
    """Whether a client with these preconditions is answered with a 304 (RFC 9111 §4.3.2)."""
    if entry.status != 200:
        return False
    if none_match:
        # RFC 9110 §13.1.3: "A recipient MUST ignore If-Modified-Since if the request contains an
        # If-None-Match header field".
        return matches(entry.get(b"etag"), none_match)
    if since is None:
        return False
    moment = parse_date(since)
    if moment is None:
        return False
    # RFC 9111 §4.3.2: without Last-Modified its Date, and without that the time it was received.
    stamp = entry.get(b"last-modified") or entry.get(b"date")
    modified = entry.born if stamp is None else parse_date(stamp)
    return modified is not None and modified <= moment


def matches(etag: bytes | None, lines: Iterable[bytes]) -> bool:
    """The weak comparison with any member of an `If-None-Match`; `*` is whatever there is."""
    listed = b",".join(lines)
    if listed.strip(b" \t") == b"*":
        return True
    if etag is None:
        return False
    own = _opaque(etag)
    return own in _TAG.findall(listed)


def same_strong(one: bytes | None, other: bytes) -> bool:
    """The strong comparison: equal, and neither of them weak."""
    return one is not None and one == other.strip(b" \t") and not _weak(one) and one != b""


def condition_of(entry: Entry) -> RawHeaders:
    """What asks whether a stored answer still holds (RFC 9111 §4.3.1); empty without validators."""
    fields: RawHeaders = []
    etag = entry.get(b"etag")
    if etag is not None:
        fields.append((b"if-none-match", etag))
    modified = entry.get(b"last-modified")
    if modified is not None:
        fields.append((b"if-modified-since", modified))
    return fields


def selects(entry: Entry, fields: RawHeaders) -> bool:
    """Whether a 304 with these fields speaks of the stored answer (RFC 9111 §4.3.4)."""
    for name, value in fields:
        if name == b"etag":
            own = entry.get(b"etag")
            return own is None or _opaque(own) == _opaque(value)
    return True


def freshened(stored: RawHeaders, new: RawHeaders) -> RawHeaders:
    """The stored fields with those of a 304 or a HEAD, which replace what was there."""
    replaced = {name for name, _ in new} - _NOT_UPDATED
    # RFC 9110 §6.6.1: what came without a Date was made when it was received.
    replaced.add(b"date")
    kept = [field for field in stored if field[0] not in replaced]
    return kept + [field for field in new if field[0] in replaced]


def head_of_304(fields: RawHeaders) -> RawHeaders:
    return [field for field in fields if field[0] not in _NOT_IN_304]


def _opaque(etag: bytes) -> bytes:
    etag = etag.strip(b" \t")
    return etag[2:] if _weak(etag) else etag


def _weak(etag: bytes) -> bool:
    return etag[:2] in (b"W/", b"w/")
