"""What is stored and for how long, sentence by sentence of RFC 9111 §3, §4.2 and §5.2.2."""

from __future__ import annotations

import pytest

from gatekit.middleware.cache.dates import format_date
from tests.middleware.cache.origin import START, Bench, Origin, is_hit


def date(offset: float) -> str:
    return format_date(START + offset).decode()


NOW = ("date", date(0))

USED_AGAIN = {
    "max-age": [("cache-control", "max-age=60")],
    "max-age in another case": [("cache-control", "MaX-aGe=60")],
    "max-age in quotes": [("cache-control", 'max-age="60"')],
    "max-age beyond 32 bits": [("cache-control", "max-age=99999999999")],
    "leading zeros": [("cache-control", "max-age=0060")],
    "an extension beside it": [("cache-control", "foo, max-age=60")],
    "s-maxage above max-age": [("cache-control", "max-age=0, s-maxage=60")],
    "max-age above a past Expires": [("cache-control", "max-age=60"), ("expires", date(-99)), NOW],
    "Expires": [("expires", date(60)), NOW],
    "Expires with a broken Date": [("date", "foo"), ("expires", date(60))],
    "Expires in RFC 850's format": [("expires", "Thursday, 18-Aug-50 02:01:18 GMT"), NOW],
    "Expires as asctime writes": [("expires", "Thu Aug 18 02:01:18 2050"), NOW],
    "the first of two max-age": [("cache-control", "max-age=60, max-age=0")],
    "a guess by Last-Modified": [("last-modified", date(-1000)), NOW],
    "a broken Age": [("cache-control", "max-age=60"), ("age", "abc")],
    "a negative Age": [("cache-control", "max-age=60"), ("age", "-7200")],
    "the first of two Age": [("cache-control", "max-age=60"), ("age", "0, 7200")],
    "private fields only": [("cache-control", 'max-age=60, private="x-user"')],
    "no-cache fields only": [("cache-control", 'max-age=60, no-cache="x-user"')],
    "no-store, must-understand": [("cache-control", "max-age=60, no-store, must-understand")],
    "a targeted field": [("cdn-cache-control", "max-age=60"), ("cache-control", "no-store")],
    "our own targeted field first": [
        ("gatekit-cache-control", "max-age=60"),
        ("cdn-cache-control", "no-store"),
    ],
    "a broken targeted field": [("cdn-cache-control", "a, &&&"), ("cache-control", "max-age=60")],
}
ASKED_ANEW = {
    "nothing said": [],
    "max-age=0": [("cache-control", "max-age=0"), ("etag", '"a"')],
    "max-age=0 above Expires": [("cache-control", "max-age=0"), ("expires", date(60)), NOW],
    "a negative max-age": [("cache-control", "max-age=-60"), ("etag", '"a"')],
    "max-age in single quotes": [("cache-control", "max-age='60'"), ("etag", '"a"')],
    "a fraction": [("cache-control", "max-age=60.5"), ("etag", '"a"')],
    "max-age inside a quoted string": [("cache-control", 'a="max-age=60", max-age=0')],
    "s-maxage below max-age": [("cache-control", "max-age=60, s-maxage=0"), ("etag", '"a"')],
    "Expires: 0": [("expires", "0"), ("etag", '"a"')],
    "Expires before Date": [("expires", date(300)), ("date", date(400)), ("etag", '"a"')],
    "Expires in another zone": [("expires", "Thu, 18 Aug 2050 02:01:18 AEST"), NOW],
    "Age beyond max-age": [("cache-control", "max-age=60"), ("age", "61"), ("etag", '"a"')],
    "the first Age is too old": [("cache-control", "max-age=60"), ("age", "7200, 0")],
    "Date says it is old": [("cache-control", "max-age=60"), ("date", date(-61))],
    "no-store": [("cache-control", "max-age=60, no-store")],
    "No-StOrE": [("cache-control", "max-age=60, No-StOrE")],
    "no-store after an open quote": [("cache-control", 'max-age=60, a="b, no-store')],
    "private": [("cache-control", "max-age=60, private")],
    "no-cache": [("cache-control", "max-age=60, no-cache")],
    "Vary: *": [("cache-control", "max-age=60"), ("vary", "*")],
    "Vary: a, *": [("cache-control", "max-age=60"), ("vary", "a, *")],
    "Set-Cookie": [("cache-control", "max-age=60"), ("set-cookie", "a=1")],
    "an event stream": [("cache-control", "max-age=60"), ("content-type", "text/event-stream")],
    "a targeted no-store": [("cdn-cache-control", "no-store"), ("cache-control", "max-age=60")],
    "a targeted field in quotes": [
        ("cdn-cache-control", 'max-age="60"'),
        ("cache-control", "no-store"),
    ],
}


@pytest.mark.parametrize("fields", USED_AGAIN.values(), ids=USED_AGAIN.keys())
def test_used_again(fields: list[tuple[str, str]]) -> None:
    """The second request is answered from the store, with an `Age`."""
    bench = Bench(*fields)
    assert not is_hit(bench.get())
    again = bench.get()
    assert is_hit(again), again.headers
    assert (again.status, again.body, bench.asked) == (200, b"hello", 1)
    assert int(again.headers["age"]) >= 0


@pytest.mark.parametrize("fields", ASKED_ANEW.values(), ids=ASKED_ANEW.keys())
def test_asked_anew(fields: list[tuple[str, str]]) -> None:
    """The second request reaches the origin as well."""
    bench = Bench(*fields)
    bench.get()
    assert bench.get().body == b"hello"
    assert bench.asked == 2


STATUSES = dict.fromkeys((200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501), True)
STATUSES |= dict.fromkeys((201, 202, 302, 400, 403, 500, 502, 503, 504, 599), False)


@pytest.mark.parametrize(("status", "guessed"), STATUSES.items(), ids=map(str, STATUSES))
def test_statuses(status: int, guessed: bool) -> None:
    """Without a lifetime only some statuses are guessed for; with one every final one is used."""
    guess = Bench(origin=Origin(("last-modified", date(-1000)), NOW, status=status))
    guess.get()
    guess.get()
    assert guess.asked == (1 if guessed else 2)
    declared = Bench(origin=Origin(("cache-control", "max-age=9"), status=status))
    declared.get()
    assert declared.get().status == status
    assert declared.asked == 1
    public = Bench(
        origin=Origin(
            ("last-modified", date(-1000)), NOW, ("cache-control", "public"), status=status
        )
    )
    public.get()
    public.get()
    assert public.asked == 1


def test_must_understand_wants_a_known_status() -> None:
    """A status that nobody has heard of is not stored beside `must-understand`."""
    bench = Bench(origin=Origin(("cache-control", "max-age=9, must-understand"), status=599))
    bench.get()
    bench.get()
    assert bench.asked == 2


@pytest.mark.parametrize("status", [206, 304])
def test_parts_are_never_stored(status: int) -> None:
    """A 206 never answers anybody else, and a 304 to a client's own condition neither."""
    bench = Bench(
        origin=Origin(
            ("cache-control", "max-age=60"), ("content-range", "bytes 0-4/9"), status=status
        )
    )
    bench.get(range="bytes=0-4")
    bench.get()
    assert bench.asked == 2


def test_lifetime_ends() -> None:
    """A stored answer is fresh for as long as its lifetime, its age on arrival counted in."""
    bench = Bench(("cache-control", "max-age=60"), ("age", "20"))
    bench.get()
    bench.pass_time(39)
    assert bench.get().headers["age"] == "59"
    bench.pass_time(1)
    bench.get()
    assert bench.asked == 2


def test_a_guess_is_a_tenth_and_at_most_a_day() -> None:
    """RFC 9111 §4.2.2: a tenth of the time since the last modification."""
    bench = Bench(("last-modified", date(-1000)), NOW)
    bench.get()
    bench.pass_time(99)
    bench.get()
    assert bench.asked == 1
    bench.pass_time(2)
    bench.get()
    assert bench.asked == 2


@pytest.mark.parametrize(
    "field", ["connection", "keep-alive", "proxy-authenticate", "te", "upgrade"]
)
def test_fields_of_one_hop_are_not_stored(field: str) -> None:
    """RFC 9111 §3.1, and what `Connection` nominates."""
    bench = Bench(
        ("cache-control", "max-age=60"), ("connection", "x-hop"), ("x-hop", "1"), ("x-kept", "2"),
        (field, "x-hop"),
    )  # fmt: skip
    bench.get()
    again = bench.get()
    assert is_hit(again)
    assert field not in again.headers
    assert "x-hop" not in again.headers
    assert again.headers["x-kept"] == "2"


def test_named_fields_are_not_stored() -> None:
    """Fields in `private=` and `no-cache=` reach the first client alone; a cookie among them."""
    bench = Bench(
        ("cache-control", 'max-age=60, private="x-user", no-cache="set-cookie, x-b"'),
        ("x-user", "ada"), ("set-cookie", "a=1"), ("x-b", "1"), ("x-c", "2"),
    )  # fmt: skip
    assert bench.get().headers["set-cookie"] == "a=1"
    again = bench.get()
    assert is_hit(again)
    assert {"x-user", "set-cookie", "x-b"}.isdisjoint(again.headers)
    assert again.headers["x-c"] == "2"
    assert bench.asked == 1


def test_no_lifetime_reaches_beyond_32_bits() -> None:
    """RFC 9111 §1.2.2: such a number is 2147483648."""
    bench = Bench(("cache-control", "max-age=" + "9" * 400))
    bench.get()
    assert bench.get().headers["cache-status"] == "gatekit; hit; ttl=2147483648"
