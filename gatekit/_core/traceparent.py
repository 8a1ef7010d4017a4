"""The fields of W3C Trace Context (level 2) and Baggage, read and written as bytes.

    parse_traceparent(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    parse_tracestate([b"rojo=00f067aa0ba902b7", b"congo=t61rcWkgMzE"])
    parse_baggage([b"tenant=acme, plan=gold;ttl=5"], allowed={"tenant"})

Pure functions, on fields that anybody may have sent: what does not follow the grammar counts as
absent, and nothing raises.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

TraceState: TypeAlias = "tuple[tuple[str, str], ...]"

SAMPLED = 0x01
RANDOM = 0x02
"""The trace id was made at random (level 2, §3.2.2.5)."""

# §3.3.1.5: "Vendors SHOULD propagate at least 512 characters".
STATE_LIMIT = 4096
# Baggage §3.3.2: at least 64 members and 8192 bytes are to be propagated.
BAGGAGE_MEMBERS = 64
BAGGAGE_LIMIT = 8192

_MEMBERS = 32
_LONG_MEMBER = 128
_OWS = " \t"

_TRACEPARENT = re.compile(
    r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16
_FLAGS = ("00", "01", "02", "03")

_KEY_CHARACTER = r"[a-z0-9_\-*/]"
_MEMBER = re.compile(
    rf"([a-z]{_KEY_CHARACTER}{{0,255}}"
    rf"|[a-z0-9]{_KEY_CHARACTER}{{0,240}}@[a-z]{_KEY_CHARACTER}{{0,13}})"
    r"=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])"
)
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAGGAGE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")


class Parent(NamedTuple):
    """Who called: the ids in lower-case hexadecimal, the flags as they came."""

    trace_id: str
    span_id: str
    flags: int


def parse_traceparent(value: bytes) -> Parent | None:
    """None for what is malformed, upper case among it, or of the version that does not exist."""
    found = _TRACEPARENT.fullmatch(value.decode("latin-1").strip(_OWS))
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    # §3.2.2.1: "Version ff is invalid"; of a later version the known part is used.
    if version == "ff" or (version == "00" and more is not None):
        return None
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return Parent(trace_id, span_id, int(flags, 16))


def traceparent(trace_id: str, span_id: str, flags: int) -> bytes:
    """Version 00; §3.2.2.5.3: "MUST set unused bits, reserved for future use, to zero"."""
    return f"00-{trace_id}-{span_id}-{_FLAGS[flags & (SAMPLED | RANDOM)]}".encode("ascii")


def parse_tracestate(values: Iterable[bytes]) -> TraceState:
    """All fields together, in order; empty where one member is malformed, or there are over 32.

    Of members with the same key the first, which is the latest, counts.
    """
    members: dict[str, str] = {}
    count = 0
    for value in values:
        for part in value.decode("latin-1").split(","):
            member = part.strip(_OWS)
            if not member:
                continue  # §3.3.1.1: "Empty list members are allowed"
            found = _MEMBER.fullmatch(member)
            count += 1
            if found is None or count > _MEMBERS:
                return ()
            members.setdefault(found[1], found[2])
    return tuple(members.items())


def tracestate(state: TraceState) -> bytes:
    """One field, empty where there is nothing to say.

    §3.3.1.5 on what is too long: members of over 128 characters go first, then those at the end.
    """
    members = [f"{key}={value}" for key, value in state]
    written = ",".join(members)
    if len(written) > STATE_LIMIT:
        for member in [member for member in members if len(member) > _LONG_MEMBER]:
            if _length(members) > STATE_LIMIT:
                members.remove(member)
        while _length(members) > STATE_LIMIT:
            members.pop()
        written = ",".join(members)
    return written.encode("ascii")


def with_member(state: TraceState, key: str, value: str) -> TraceState:
    """§3.5: a member that is added or changed stands first, and the last of 33 is dropped."""
    rest = [member for member in state if member[0] != key]
    return ((key, value), *rest[: _MEMBERS - 1])


def member_problem(key: object) -> str | None:
    """Of a key for `tracestate`."""
    if isinstance(key, str) and _MEMBER.fullmatch(f"{key}=x"):
        return None
    return f"{key!r} is not a key of tracestate: lower case, as in 'shop' or 'tenant@shop'"


def parse_baggage(values: Iterable[bytes], allowed: Collection[str] | None) -> dict[str, str]:
    """The members that are allowed, None for all, by key: values as they came, without properties.

    What does not fit into 64 members and 8192 bytes is left out, as is what is malformed.
    """
    found: dict[str, str] = {}
    size = 0
    for value in values:
        for part in value.decode("latin-1").split(","):
            member = part.partition(";")[0]
            key, is_pair, text = (piece.strip(_OWS) for piece in member.partition("="))
            if not is_pair or (allowed is not None and key not in allowed):
                continue
            if not (_TOKEN.fullmatch(key) and _BAGGAGE_VALUE.fullmatch(text)):
                continue
            size += len(key) + len(text) + 2
            if len(found) >= BAGGAGE_MEMBERS or size > BAGGAGE_LIMIT:
                return found
            found[key] = text
    return found


def baggage(members: Mapping[str, str]) -> bytes:
    """One field, of values as `parse_baggage` gives them."""
    return ",".join(f"{key}={value}" for key, value in members.items()).encode("ascii")


def readable(members: Mapping[str, str]) -> dict[str, str]:
    """Percent-decoded; §3.3.1: what is not UTF-8 is replaced."""
    return {key: unquote(value) for key, value in members.items()}


def _length(members: list[str]) -> int:
    return sum(map(len, members)) + len(members) - 1
