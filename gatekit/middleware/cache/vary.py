"""Which variant of a URL a request is for (RFC 9111 §4.1), and the normalisers that keep them few.

    names = vary_names(fields)                                  # (b"accept-encoding",)
    digest = variant(names, request.headers.raw, NORMALISERS)   # the same for gzip of any spelling

A normaliser takes the values of one field, joined, and gives what they are compared by.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import TypeAlias

from gatekit._core.weights import weights
from gatekit.typing import RawHeaders

Normaliser: TypeAlias = Callable[[bytes], bytes]

_MEMBER = re.compile(rb'((?:[^",]|"(?:\\.|[^"\\])*"?)+)')
_SPACE = re.compile(rb"[ \t]+")
_CODINGS = (b"zstd", b"br", b"gzip", b"deflate")


def vary_names(fields: RawHeaders) -> tuple[bytes, ...]:
    """The fields that an answer was chosen by, in lower case and in order."""
    names = {
        part.strip(b" \t").lower()
        for name, value in fields
        if name == b"vary"
        for part in value.split(b",")
    }
    return tuple(sorted(names - {b""}))


def variant(
    names: Sequence[bytes],
    fields: RawHeaders,
    normalisers: Mapping[bytes, Normaliser],
    generation: bytes = b"",
) -> bytes:
    """A digest of the values that select among variants; absent is another value than empty."""
    if not names and not generation:
        return b""
    digest = blake2b(generation, digest_size=16)
    for name in names:
        values = [value for field, value in fields if field == name]
        if values:
            # §4.1: "combining multiple header fields with the same field name", "adding or removing
            # whitespace", and what the field itself leaves open.
            value = normalisers.get(name, squeezed)(b",".join(values))
            digest.update(b"%d:%d:" % (len(name), len(value)) + name + value)
        else:
            digest.update(b"%d:-:" % len(name) + name)
    return digest.digest()


def squeezed(value: bytes) -> bytes:
    """Without the white space around the members of a list, and one space for several."""
    members = (_SPACE.sub(b" ", part.strip(b" \t")) for part in _MEMBER.findall(value))
    return b",".join(members)


def codings(value: bytes) -> bytes:
    """`Accept-Encoding`: the codings in use that are accepted, whatever their order."""
    weights = _weights(value)
    rest = weights.get(b"*", 0.0)
    accepted = [name for name in _CODINGS if weights.get(name, rest) > 0]
    if weights.get(b"x-gzip", 0.0) > 0 and b"gzip" not in accepted:
        accepted.append(b"gzip")
    if weights.get(b"identity", weights.get(b"*", 1.0)) <= 0:
        accepted.append(b"-identity")
    return b",".join(accepted)


def languages(value: bytes) -> bytes:
    """`Accept-Language`: by weight; those of one weight in alphabetical order."""
    ranked = sorted(_weights(value).items(), key=lambda item: (-item[1], item[0]))
    return b",".join(b"%s;%d" % (name, round(weight * 1000)) for name, weight in ranked)


def best_language(value: bytes) -> bytes | None:
    """The one language that is wanted more than all others, if there is one."""
    ranked = sorted(_weights(value).items(), key=lambda item: -item[1])
    if not ranked or ranked[0][1] <= 0 or ranked[0][0] == b"*":
        return None
    if len(ranked) > 1 and ranked[1][1] == ranked[0][1]:
        return None
    return ranked[0][0]


NORMALISERS: Mapping[bytes, Normaliser] = {
    b"accept-encoding": codings,
    b"accept-language": languages,
}


def _weights(value: bytes) -> dict[bytes, float]:
    found = weights(value.decode("latin-1"))
    return {name.encode("latin-1"): weight for name, weight in found.items()}
