"""Stale answers: validated, freshened, or used in place of an error; RFC 9111 §4.3, RFC 5861."""

from __future__ import annotations

import pytest

from gatekit import Request, Response
from gatekit.testing import exercise
from tests.middleware.cache.origin import Bench, is_hit

SHORT = ("cache-control", "max-age=10")


def validating(request: Request) -> Response:
    """A 304 to a client that has `"a"`."""
    if request.headers.get("if-none-match") == '"a"':
        return Response(304, [SHORT, ("etag", '"a"'), ("x-new", "2")])
    return Response(200, [SHORT, ("etag", '"a"'), ("x-new", "1"), ("x-old", "1")], b"hello")


def test_a_304_freshens() -> None:
    """RFC 9111 §4.3.4: its fields replace those stored, the body and the others stay."""
    bench = Bench()
    bench.origin.answer = validating
    bench.get()
    bench.pass_time(11)
    answer = bench.get()
    assert (answer.status, answer.body, answer.headers["x-new"]) == (200, b"hello", "2")
    assert answer.headers["x-old"] == "1"
    assert answer.headers["cache-status"] == "gatekit; fwd=stale; fwd-status=304; stored"
    again = bench.get()
    assert is_hit(again)
    assert (again.headers["x-new"], again.body, bench.asked) == ("2", b"hello", 2)
    assert bench.cache.stats().revalidated == 1


def test_a_client_condition_is_met_after_validation() -> None:
    """The origin is asked with the stored validator; the client gets its own 304."""
    bench = Bench()
    bench.origin.answer = validating
    bench.get()
    bench.pass_time(11)
    assert bench.get(if_none_match='"a"').status == 304
    bench.pass_time(11)
    assert bench.get(if_none_match='"other"').body == b"hello"
    assert [seen.get("if-none-match") for seen in bench.origin.seen] == [None, '"a"', '"a"']


def test_a_range_of_what_was_validated() -> None:
    """The condition goes without the range; the part is cut from the freshened answer."""
    bench = Bench()
    bench.origin.answer = validating
    bench.get()
    bench.pass_time(11)
    answer = bench.get(range="bytes=1-2")
    assert (answer.status, answer.body) == (206, b"el")
    assert "range" not in bench.origin.seen[1]


def test_another_answer_replaces_the_stored_one() -> None:
    """A 200 to the condition is the new truth."""
    bench = Bench(SHORT, ("etag", '"a"'))
    bench.get()
    bench.pass_time(11)
    bench.origin.fields, bench.origin.body = [SHORT, ("etag", '"b"')], b"new"
    assert bench.get().body == b"new"
    assert is_hit(bench.get())
    assert bench.asked == 2


def test_a_304_that_speaks_of_another_answer_is_not_mixed_in() -> None:
    """RFC 9111 §4.3.4: another strong validator selects nothing that is stored."""
    bench = Bench(SHORT, ("etag", '"a"'), ("x", "1"))
    bench.get()
    bench.pass_time(11)
    bench.origin.answer = lambda _: Response(304, [SHORT, ("etag", '"b"'), ("x", "2")])
    answer = bench.get()
    assert (answer.status, answer.body, answer.headers["x"]) == (200, b"hello", "1")
    bench.origin.answer = None
    assert not is_hit(bench.get())


def test_a_304_that_takes_back_the_leave_to_store() -> None:
    """What turns out to be private is used for this client and then gone."""
    bench = Bench(SHORT, ("etag", '"a"'))
    bench.get()
    bench.pass_time(11)
    bench.origin.answer = lambda _: Response(304, [("cache-control", "private"), ("etag", '"a"')])
    assert bench.get().body == b"hello"
    bench.origin.answer = None
    assert not is_hit(bench.get(cache_control="max-stale"))


NO_CACHE = ["no-cache", "max-age=10, no-cache", 'max-age=10, no-cache=""']


@pytest.mark.parametrize("directives", NO_CACHE)
def test_no_cache_is_validated_each_time(directives: str) -> None:
    """Stored, and never used without asking (RFC 9111 §5.2.2.4)."""
    bench = Bench(("cache-control", directives), ("etag", '"a"'))
    bench.get()
    bench.get()
    assert bench.origin.seen[1]["if-none-match"] == '"a"'


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_stale_answer_in_place_of_an_error(status: int) -> None:
    """`stale-if-error` covers 5xx and an app that raises, for as long as it says."""
    bench = Bench(("cache-control", "max-age=10, stale-if-error=30"))
    bench.get()
    bench.pass_time(20)
    bench.origin.status = status
    answer = bench.get()
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.headers["cache-status"] == "gatekit; hit; detail=stale-if-error"
    bench.origin.error = OSError("gone")
    assert bench.get().body == b"hello"
    bench.pass_time(21)
    bench.origin.error = None
    assert bench.get().status == status


FORBIDDING = ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=10"]


@pytest.mark.parametrize("directive", FORBIDDING)
def test_what_may_never_be_stale(directive: str) -> None:
    """RFC 9111 §4.2.4: an explicit prohibition has the last word."""
    bench = Bench(("cache-control", f"max-age=10, {directive}"), stale_if_error=60.0)
    bench.get()
    bench.pass_time(20)
    bench.origin.status = 503
    assert bench.get().status == 503


def test_the_option_covers_what_says_nothing() -> None:
    """A minute by default; 0 switches it off; a request may ask for it."""
    for seconds, status in ((60.0, 200), (0.0, 503)):
        bench = Bench(SHORT, ("etag", '"a"'), stale_if_error=seconds)
        bench.get()
        bench.pass_time(20)
        bench.origin.status, bench.origin.fields = 503, []
        assert bench.get(cache_control="stale-if-error=60").status == 200
        assert bench.get().status == status


def test_an_error_without_a_stored_answer_is_an_error() -> None:
    """What the app raises reaches the middlewares further out unchanged."""
    bench = Bench(SHORT)
    bench.origin.error = OSError("gone")
    with pytest.raises(OSError, match="gone"):
        exercise(bench.cache, app=bench.origin, io=bench.io)


def test_stale_while_revalidate_without_a_way_to_ask_beside() -> None:
    """Where the door cannot run the inside again, the request that comes first validates."""
    bench = Bench(("cache-control", "max-age=10, stale-while-revalidate=60"))
    bench.get()
    bench.pass_time(20)
    bench.origin.body = b"new"
    assert bench.get().body == b"new"
