"""What a request may ask: directives, conditions, ranges, HEAD; RFC 9111 §4.3.2, §5.2.1."""

from __future__ import annotations

import pytest

from gatekit import Request, Response
from gatekit.middleware.cache.dates import format_date
from gatekit.testing import exercise
from tests.middleware.cache.origin import START, Bench, Origin, is_hit

LONG = ("cache-control", "max-age=600")


@pytest.mark.parametrize(
    ("directive", "hit"),
    [
        ("no-cache", False), ("no-store", True), ("max-age=0", False), ("max-age=50", False),
        ("max-age=101", True), ("min-fresh=400", True), ("min-fresh=600", False), ("foo", True),
    ],
)  # fmt: skip
def test_directives_of_a_request(directive: str, hit: bool) -> None:
    """An answer of 600 seconds that is 100 old, and what the client thinks of that."""
    bench = Bench(LONG)
    bench.get()
    bench.pass_time(100)
    assert is_hit(bench.get(cache_control=directive)) is hit


def test_no_store_of_a_request_stores_nothing() -> None:
    """RFC 9111 §5.2.1.5."""
    bench = Bench(LONG)
    bench.get(cache_control="no-store")
    bench.get()
    assert bench.asked == 2


def test_max_stale() -> None:
    """The client takes what is not too stale, unless the answer forbids it."""
    bench = Bench(("cache-control", "max-age=10"))
    bench.get()
    bench.pass_time(20)
    assert is_hit(bench.get(cache_control="max-stale=10"))
    assert is_hit(bench.get(cache_control="max-stale"))
    assert not is_hit(bench.get(cache_control="max-stale=9"))
    strict = Bench(("cache-control", "max-age=10, must-revalidate"))
    strict.get()
    strict.pass_time(20)
    assert not is_hit(strict.get(cache_control="max-stale"))


def test_only_if_cached() -> None:
    """504 without asking the origin, and the stored answer where there is one."""
    bench = Bench(LONG)
    answer = bench.get(cache_control="only-if-cached")
    assert (answer.status, bench.asked) == (504, 0)
    bench.get()
    assert is_hit(bench.get(cache_control="only-if-cached"))


def test_pragma_counts_without_cache_control_only() -> None:
    """RFC 9111 §5.4."""
    bench = Bench(LONG)
    bench.get()
    assert not is_hit(bench.get(pragma="no-cache"))
    assert is_hit(bench.get(pragma="no-cache", cache_control="foo"))


def test_clients_may_be_ignored() -> None:
    """Nobody reloads past the cache if it is told not to heed them."""
    bench = Bench(LONG, client_directives=False)
    bench.get()
    assert is_hit(bench.get(cache_control="no-cache"))
    assert is_hit(bench.get(pragma="no-cache"))


def test_immutable_is_not_validated_by_a_reload() -> None:
    """RFC 8246 §2; a forced reload still is one."""
    bench = Bench(("cache-control", "max-age=600, immutable"))
    bench.get()
    assert is_hit(bench.get(cache_control="max-age=0"))
    assert not is_hit(bench.get(cache_control="no-cache"))


ETAGS = [
    ('"a"', '"a"', True), ('"a"', '"b", "a"', True), ('"a"', "*", True), ('W/"a"', '"a"', True),
    ('"a"', 'W/"a"', True), ('"a"', '"b"', False), ('"a"', '"A"', False), ('"a,b"', '"a,b"', True),
    ('"a"', '"a,b"', False),
]  # fmt: skip


@pytest.mark.parametrize(("stored", "asked", "same"), ETAGS)
def test_if_none_match(stored: str, asked: str, same: bool) -> None:
    """The weak comparison with any member of the list; a 304 has the `ETag` and no body."""
    bench = Bench(LONG, ("etag", stored), ("content-type", "text/plain"))
    bench.get()
    answer = bench.get(if_none_match=asked)
    assert answer.status == (304 if same else 200)
    assert answer.headers["etag"] == stored
    assert answer.body == (b"" if same else b"hello")
    assert ("content-type" in answer.headers) is not same
    assert bench.asked == 1


def test_if_modified_since() -> None:
    """Compared with `Last-Modified`, or else `Date`; it gives way to `If-None-Match`."""
    before, after = format_date(START - 500).decode(), format_date(START - 300).decode()
    bench = Bench(LONG, ("last-modified", format_date(START - 400).decode()), ("etag", '"a"'))
    bench.get()
    assert bench.get(if_modified_since=after).status == 304
    assert bench.get(if_modified_since=before).status == 200
    assert bench.get(if_modified_since="yesterday").status == 200
    assert bench.get(if_modified_since=after, if_none_match='"b"').status == 200
    dated = Bench(LONG, ("date", format_date(START - 400).decode()))
    dated.get()
    assert dated.get(if_modified_since=after).status == 304
    assert dated.get(if_modified_since=before).status == 200


RANGES = [
    ("bytes=0-1", 206, b"01", "bytes 0-1/10"), ("bytes=5-", 206, b"56789", "bytes 5-9/10"),
    ("bytes=-3", 206, b"789", "bytes 7-9/10"), ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
    ("bytes=8-99", 206, b"89", "bytes 8-9/10"), ("bytes=10-", 416, b"", "bytes */10"),
    ("bytes=-0", 416, b"", "bytes */10"), ("bytes=3-2", 200, b"0123456789", None),
    ("chars=0-1", 200, b"0123456789", None), ("bytes=a-b", 200, b"0123456789", None),
    ("bytes=0-5,3-8", 200, b"0123456789", None), ("bytes=" + "0-0," * 99, 200, b"0123456789", None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "status", "body", "content_range"), RANGES)
def test_ranges(value: str, status: int, body: bytes, content_range: str | None) -> None:
    """A part of a whole stored answer; what cannot be understood is as if it was not asked."""
    bench = Bench(LONG, ("x-a", "1"), origin=Origin(LONG, ("x-a", "1"), body=b"0123456789"))
    bench.get()
    answer = bench.get(range=value)
    assert (answer.status, answer.body) == (status, body)
    assert answer.headers.get("content-range") == content_range
    assert answer.headers["x-a"] == "1"
    assert bench.asked == 1


def test_several_ranges() -> None:
    """`multipart/byteranges`, the length declared."""
    bench = Bench(origin=Origin(LONG, ("content-type", "text/plain"), body=b"0123456789"))
    bench.get()
    answer = bench.get(range="bytes=0-1, 8-9")
    kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
    assert (answer.status, kind) == (206, "multipart/byteranges")
    parts = answer.body.split(b"--" + boundary.encode())
    assert [part.strip().rpartition(b"\r\n\r\n")[2] for part in parts[1:-1]] == [b"01", b"89"]
    assert answer.headers["content-length"] == str(len(answer.body))


@pytest.mark.parametrize(("if_range", "part"), [('"a"', True), ('"b"', False), ('W/"a"', False)])
def test_if_range(if_range: str, part: bool) -> None:
    """The strong comparison (RFC 9110 §13.1.5); without a match the whole answer."""
    bench = Bench(LONG, ("etag", '"a"'))
    bench.get()
    assert bench.get(range="bytes=0-1", if_range=if_range).status == (206 if part else 200)


def test_a_range_that_is_not_stored_passes() -> None:
    """The origin decides, and its 206 is kept from everybody else."""
    bench = Bench(LONG)
    bench.origin.answer = lambda request: (
        Response(206, [LONG, ("content-range", "bytes 0-1/5")], b"he")
        if "range" in request.headers
        else Response(200, [LONG], b"hello")
    )
    assert bench.get(range="bytes=0-1").status == 206
    assert bench.get().body == b"hello"
    assert bench.get(range="bytes=0-1").body == b"he"
    assert bench.asked == 2


def test_head_is_answered_from_what_get_stored() -> None:
    """The same head, its length too, and no body."""
    bench = Bench(LONG)
    bench.get()
    answer = bench.get(method="HEAD")
    assert is_hit(answer)
    assert (answer.body, answer.headers["content-length"], bench.asked) == (b"", "5", 1)


def test_head_stores_no_body() -> None:
    """A GET after a HEAD asks the origin."""
    bench = Bench(LONG)
    bench.get(method="HEAD")
    assert bench.get().body == b"hello"
    assert bench.asked == 2


def test_head_freshens_what_is_stale() -> None:
    """RFC 9111 §4.3.5; one that shows another answer makes the next GET ask."""
    bench = Bench(("cache-control", "max-age=10"), ("etag", '"a"'))
    bench.get()
    bench.pass_time(20)
    bench.origin.fields = [LONG, ("etag", '"a"'), ("x-new", "1")]
    bench.get(method="HEAD")
    again = bench.get()
    assert is_hit(again)
    assert (again.headers["x-new"], again.body, bench.asked) == ("1", b"hello", 2)
    bench.pass_time(700)
    bench.origin.fields = [LONG, ("etag", '"b"')]
    bench.get(method="HEAD")
    assert not is_hit(bench.get())


@pytest.mark.parametrize(
    "headers",
    [
        {"if_match": '"a"'}, {"if_unmodified_since": format_date(START).decode()},
        {"content_length": "3"}, {"transfer_encoding": "chunked"}, {"host": "a,b"},
        {"host": "a@b"},
    ],
    ids=str,
)  # fmt: skip
def test_what_only_the_origin_can_answer(headers: dict[str, str]) -> None:
    """Preconditions of others, bodies and hosts that may be read in two ways pass by the cache."""
    bench = Bench(LONG)
    bench.get()
    bench.get(**headers)
    assert bench.asked == 2
    assert is_hit(bench.get())


def test_a_second_host_passes_by() -> None:
    """Nobody knows which of two `Host` fields the app believes."""
    bench = Bench(LONG)
    two = [("host", "a.example"), ("host", "b.example")]
    for _ in range(2):
        exercise(bench.cache, app=bench.origin, headers=two, io=bench.io)
    assert bench.asked == 2


def test_upstream_cache_status_stays() -> None:
    """RFC 9211: what a cache further up said stands first, on a miss and on a hit."""
    bench = Bench(LONG, ("cache-status", "Upstream; hit"))
    assert bench.get().headers.getlist("cache-status")[0].startswith("Upstream; hit, gatekit; fwd")
    assert bench.get().headers["cache-status"] == "Upstream; hit, gatekit; hit; ttl=600"


def test_cache_status_can_be_left_out() -> None:
    """`cache_status=False` says nothing to anybody."""
    bench = Bench(LONG, cache_status=False)
    assert "cache-status" not in bench.get().headers
    assert "cache-status" not in bench.get().headers
    assert bench.asked == 1


def test_decisions_are_noted() -> None:
    """Logs and metrics read what the cache did from the request."""
    bench = Bench(LONG)
    said: list[str] = []

    def outcomes(request: Request) -> None:
        said.extend(decision.reason for decision in request.decisions)

    for _ in range(2):
        outcomes(bench.get().request)
    assert said == ["miss", "hit"]
    stats = bench.cache.stats()
    assert (stats.hits, stats.misses, stats.stored, stats.hit_ratio) == (1, 1, 1, 0.5)


HOSTILE = [
    b"a" + b" " * 60_000 + b'"',
    b'"' * 60_001,
    b"W/" * 30_000,
    b'", ' * 20_000,
    b"a," * 30_000,
]


@pytest.mark.parametrize("value", HOSTILE, ids=["spaces", "quotes", "weak", "open", "many"])
def test_hostile_fields_take_no_longer(value: bytes) -> None:
    """Sixty kilobytes of nonsense are read once, not once for each of their bytes."""
    bench = Bench(LONG, ("etag", '"a"'))
    bench.get()
    for name in ("if_none_match", "cache_control", "accept_encoding", "range", "if_modified_since"):
        bench.get(**{name: value.decode()})
    other = Bench(("cache-control", value.decode() + ", max-age=9"), ("vary", value.decode()))
    other.get()
    other.get()
