"""Reading and writing the fields of Trace Context and Baggage: pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekit._core.traceparent import (
    BAGGAGE_LIMIT,
    STATE_LIMIT,
    Parent,
    baggage,
    parse_baggage,
    parse_traceparent,
    parse_tracestate,
    readable,
    traceparent,
    tracestate,
    with_member,
)

TRACE = "12345678901234567890123456789012"
SPAN = "1234567890123456"
GOOD = f"00-{TRACE}-{SPAN}-01"

# The characters of a value: all visible ones but the comma and the equals sign, and the space.
VALUE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
KEY = "abcdefghijklmnopqrstuvwxyz0123456789_-*/"


@pytest.mark.parametrize(
    "value",
    [
        GOOD,
        f" {GOOD}",
        f"\t{GOOD}",
        f"{GOOD} ",
        f"{GOOD}\t",
        f"\t {GOOD} \t",
        f"cc-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like",
        f"01-{TRACE}-{SPAN}-01-",
        f"fe-{TRACE}-{SPAN}-01",
    ],
)
def test_a_caller_is_understood(value: str) -> None:
    """With spaces around it, and of a version that is not known yet."""
    assert parse_traceparent(value.encode()) == Parent(TRACE, SPAN, 1)


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"{GOOD}.",
        f"{GOOD}-what-the-future-will-be-like",
        f"{GOOD}-",
        f"{GOOD}\n",
        f"{GOOD},{GOOD}",
        f"cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like",
        f"cc-{TRACE}-{SPAN}-011",
        f"ff-{TRACE}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01-more",
        f".0-{TRACE}-{SPAN}-01",
        f"0.-{TRACE}-{SPAN}-01",
        f"000-{TRACE}-{SPAN}-01",
        f"0000-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-.{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE[:-1]}.-{SPAN}-01",
        f"00-{TRACE}3-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-.{SPAN[1:]}-01",
        f"00-{TRACE}-{SPAN[:-1]}.-01",
        f"00-{TRACE}-{SPAN}7-01",
        f"00-{TRACE}-{SPAN[:-1]}-01",
        f"00-{TRACE}-{SPAN}-.0",
        f"00-{TRACE}-{SPAN}-0.",
        f"00-{TRACE}-{SPAN}-001",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{'AB' * 16}-{SPAN}-01",
        f"00-{TRACE}-{'AB' * 8}-01",
        f"00-{TRACE}-{SPAN}-0A",
        f"FE-{TRACE}-{SPAN}-01",
        f"00-{TRACE} -{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE}-{SPAN}-01\x00",
        f"00-{'٠' * 32}-{SPAN}-01",
    ],
)
def test_what_is_malformed_counts_as_absent(value: str) -> None:
    """Wrong lengths, characters, case and order, zeros, and the version that cannot be."""
    assert parse_traceparent(value.encode()) is None


@pytest.mark.parametrize(
    ("flags", "sent"), [(0, "00"), (1, "01"), (2, "02"), (3, "03"), (255, "03")]
)
def test_flags_of_the_future_are_not_handed_on(flags: int, sent: str) -> None:
    """Two are known; the others are zero in what is written."""
    assert traceparent(TRACE, SPAN, flags).decode() == f"00-{TRACE}-{SPAN}-{sent}"


@given(st.binary(max_size=80))
def test_no_field_raises(value: bytes) -> None:
    """Whatever a client sends."""
    assert parse_traceparent(value) is None
    parse_tracestate([value])
    parse_baggage([value], None)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["foo=1,bar=2"], "foo=1,bar=2"),
        (["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], "foo=1,bar=2,rojo=1,congo=2,baz=3"),
        ([""], ""),
        (["foo=1", ""], "foo=1"),
        (["", "foo=1"], "foo=1"),
        (["foo=1,,bar=2,"], "foo=1,bar=2"),
        (["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
        (["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], "foo=1,bar=2,baz=3"),
        ([" foo=1"], "foo=1"),
        (["\t foo=1 \t"], "foo=1"),
        (["foo=1,foo=1"], "foo=1"),
        (["foo=1", "foo=2"], "foo=1"),
        ([f"{KEY}={VALUE}"], f"{KEY}={VALUE}"),
        ([f"{KEY}@a-z0-9_-*/={VALUE}"], f"{KEY}@a-z0-9_-*/={VALUE}"),
        (["0tenant@shop=1"], "0tenant@shop=1"),
        (["foo=1", f"{'z' * 256}=1"], f"foo=1,{'z' * 256}=1"),
        (["foo=1", f"{'t' * 241}@{'v' * 14}=1"], f"foo=1,{'t' * 241}@{'v' * 14}=1"),
        ([f"foo={'v' * 256}"], f"foo={'v' * 256}"),
        (["foo=a b  c"], "foo=a b  c"),
    ],
)
def test_a_state_is_handed_on(lines: list[str], expected: str) -> None:
    """In order, several fields as one, without empty members; of a repeated key the first."""
    assert tracestate(parse_tracestate(line.encode() for line in lines)).decode() == expected


@pytest.mark.parametrize(
    "line",
    [
        "foo =1",
        "FOO=1",
        "foo.bar=1",
        "foo@=1,bar=2",
        "@foo=1,bar=2",
        "foo@@bar=1,bar=2",
        "foo@bar@baz=1,bar=2",
        "foo@0bar=1,bar=2",
        "0foo=1,bar=2",
        f"foo=1,{'z' * 257}=1",
        f"foo=1,{'t' * 242}@v=1",
        f"foo=1,t@{'v' * 15}=1",
        f"foo={'v' * 257}",
        "foo=bar=baz",
        "foo=,bar=3",
        "foo,bar=3",
        "foo=\x7f,bar=3",
        "foo=\xe9,bar=3",
        "foo=1\n,bar=3",
        ",".join(f"bar{number:02}={number:02}" for number in range(1, 34)),
    ],
)
def test_one_bad_member_spoils_the_state(line: str) -> None:
    """§3.3: what cannot be parsed is discarded whole; so are more than 32."""
    assert parse_tracestate([line.encode("latin-1")]) == ()


def test_there_may_be_32_members() -> None:
    """Spread over fields as the caller likes, and empty ones do not count."""
    members = [f"bar{number:02}={number:02}" for number in range(1, 33)]
    lines = [",".join(members[:10]), "," * 40, ",".join(members[10:])]
    assert len(parse_tracestate(line.encode() for line in lines)) == 32


def test_what_is_too_long_is_cut_at_members() -> None:
    """Those of over 128 characters go first, then the oldest."""
    long = [(f"long{number}", "x" * 250) for number in range(16)]
    state = (("first", "1"), *long, ("last", "1"))
    written = tracestate(state).decode()
    assert 512 <= len(written) <= STATE_LIMIT
    assert written.startswith("first=1,") and written.endswith(",last=1")
    assert parse_tracestate([written.encode()])
    short = tuple((f"k{number:02}", "y" * 124) for number in range(32))
    written = tracestate((*short, ("z", "1"))).decode()
    assert written.startswith("k00=") and len(written) <= STATE_LIMIT and "z=1" not in written


def test_our_own_member_stands_first() -> None:
    """Added or changed, it is the latest; the oldest of 33 is dropped."""
    assert with_member((("a", "1"), ("gk", "2"), ("b", "3")), "gk", "9") == (
        ("gk", "9"),
        ("a", "1"),
        ("b", "3"),
    )
    full = tuple((f"k{number}", "1") for number in range(32))
    assert with_member(full, "gk", "9") == (("gk", "9"), *full[:31])


def test_baggage_is_what_is_allowed() -> None:
    """Keys that are not named do not come in; properties and malformed members are dropped."""
    lines = [b"tenant=acme%20co ; ttl=5, secret=1", b'plan=gold,,bad key=1,quote="x",plain']
    assert parse_baggage(lines, {"tenant", "plan"}) == {"tenant": "acme%20co", "plan": "gold"}
    assert parse_baggage(lines, None) == {"tenant": "acme%20co", "secret": "1", "plan": "gold"}
    found = parse_baggage(lines, {"tenant"})
    assert (baggage(found), readable(found)) == (b"tenant=acme%20co", {"tenant": "acme co"})


def test_baggage_is_bounded() -> None:
    """64 members and 8192 bytes are the least that has to cross, and the most that does."""
    assert len(parse_baggage([b",".join(b"k%d=1" % number for number in range(100))], None)) == 64
    lines = [b"k%d=" % number + b"x" * 1000 for number in range(64)]
    written = baggage(parse_baggage(lines, None))
    assert 0 < len(written) <= BAGGAGE_LIMIT
