"""In front of an app's own views, through every door."""

from __future__ import annotations

import contextlib

import pytest

from gatekit import Cache, Request
from tests.conftest import AppRaised, Door
from tests.doors.spec import Spec
from tests.middleware.cache.origin import Clock

FIELDS = [("content-type", "text/plain"), ("etag", '"v1"'), ("cache-control", "max-age=60")]


def spec(**options: object) -> Spec:
    return Spec(headers=list(FIELDS), **options)  # type: ignore[arg-type]


def test_a_view_is_asked_once(door: Door) -> None:
    """The second answer is the first one, byte for byte, its strong validator too."""
    cache, app = Cache(), spec()
    first, again = door(app, cache), door(app, cache)
    assert (first.body, again.body) == (b"hello world", b"hello world")
    assert first.headers["etag"] == again.headers["etag"] == '"v1"'
    assert again.headers["content-length"] == "11"
    assert again.headers["cache-status"].startswith("gatekit; hit; ttl=")
    assert len(app.seen) == 1


def test_conditions_and_ranges(door: Door) -> None:
    """Answered from the store."""
    cache, app = Cache(), spec()
    door(app, cache)
    assert door(app, cache, headers={"if-none-match": '"v1"'}).status == 304
    part = door(app, cache, headers={"range": "bytes=6-"})
    assert (part.status, part.body, part.headers["content-length"]) == (206, b"world", "5")
    head = door(app, cache, method="HEAD")
    assert (head.body, head.headers["content-length"]) == (b"", "11")
    assert len(app.seen) == 1


def test_a_stale_answer_is_validated_by_the_view(door: Door) -> None:
    """A view that knows its validator answers 304, and the stored body is sent."""
    clock = Clock()
    cache, app = Cache(clock=clock), spec()
    door(app, cache)
    clock.now += 61
    app.status, app.chunks, app.headers = 304, [], FIELDS[1:]
    answer = door(app, cache)
    assert (answer.status, answer.body) == (200, b"hello world")
    assert app.seen[1]["headers"]["if-none-match"] == '"v1"'
    app.status = 200
    assert "hit" in door(app, cache).headers["cache-status"]


def test_a_body_that_breaks_off_is_not_stored(door: Door) -> None:
    """The next request gets all of it."""
    cache, app = Cache(), spec(late_error=OSError("gone"))
    with pytest.raises(AppRaised):
        door(app, cache)
    app.late_error = None
    assert door(app, cache).body == b"hello world"
    assert len(app.seen) == 2


def test_a_short_body_is_not_stored(door: Door) -> None:
    """One with fewer bytes than it declared was cut short on its way."""
    cache = Cache()
    app = Spec(headers=[*FIELDS, ("content-length", "12")])
    for _ in range(2):
        with contextlib.suppress(AssertionError):  # a validator of WSGI says the same
            door(app, cache)
    assert len(app.seen) == 2


def test_a_large_body_streams_and_is_not_stored(door: Door) -> None:
    """Beyond `max_object` the copy is let go of, and the body goes on."""
    cache = Cache(max_object=10)
    app = spec()
    for _ in range(2):
        assert door(app, cache).body == b"hello world"
    assert len(app.seen) == 2
    assert cache.stats().stored == 0


def test_an_unsafe_method_reaches_the_view(door: Door) -> None:
    """And what it succeeds at invalidates."""
    cache, app = Cache(), spec(reads_body=True)
    door(app, cache)
    door(app, cache, method="POST", body=b"x")
    assert app.seen[1]["body"] == b"x"
    door(app, cache)
    assert len(app.seen) == 3


def test_nothing_changes_for_what_is_not_stored(door: Door) -> None:
    """The head and the body of a `no-store` pass as they are, but for `Cache-Status`."""
    app = Spec(headers=[("content-type", "text/plain"), ("cache-control", "no-store")])
    plain, cached = door(app), door(app, Cache())
    assert cached.body == plain.body
    said = cached.headers["cache-status"]
    assert said == "gatekit; fwd=uri-miss; fwd-status=200; detail=no-store"
    del cached.headers["cache-status"]
    assert sorted(cached.headers.items()) == sorted(plain.headers.items())


def test_a_view_that_raises_is_replaced_by_what_is_stored(door: Door) -> None:
    """`stale-if-error`, also where a framework makes a 500 of it first."""
    clock = Clock()
    cache, app = Cache(clock=clock), spec()
    door(app, cache)
    clock.now += 70
    app.error = OSError("gone")
    answer = door(app, cache)
    assert (answer.status, answer.body) == (200, b"hello world")


def test_the_view_sees_the_condition_only_when_stale(door: Door) -> None:
    """A client's own condition reaches the view of which nothing is stored."""
    seen: list[str] = []

    def look(request: Request) -> None:
        seen.append(request.headers.get("if-none-match", ""))

    app = spec(before=look)
    door(app, Cache(), headers={"if-none-match": '"other"'})
    assert seen == ['"other"']
