"""Invalidation: unsafe methods (RFC 9111 §4.4), tags, URLs, `PURGE`; rules and cookies."""

from __future__ import annotations

from random import Random

import pytest

from gatekit import CacheRule, ConfigurationError, Request, Response
from tests.middleware.cache.origin import Bench, Origin, is_hit

LONG = ("cache-control", "max-age=600")
SECRET = "a secret of some length"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"])
@pytest.mark.parametrize(("status", "gone"), [(200, True), (303, True), (404, False), (500, False)])
def test_unsafe_methods(method: str, status: int, gone: bool) -> None:
    """An unsafe or unknown method that succeeds invalidates its URL, one that fails does not."""
    bench = Bench(LONG)
    bench.get("/a?b=1")
    bench.origin.status = status
    bench.get("/a?b=1", method=method)
    bench.origin.status = 200
    assert is_hit(bench.get("/a?b=1")) is not gone


@pytest.mark.parametrize("method", ["OPTIONS", "PROPFIND", "QUERY"])
def test_safe_methods_invalidate_nothing(method: str) -> None:
    """They read."""
    bench = Bench(LONG)
    bench.get()
    bench.get(method=method)
    assert is_hit(bench.get())


@pytest.mark.parametrize("field", ["location", "content-location"])
@pytest.mark.parametrize(
    ("target", "gone"),
    [
        ("/list", True), ("list", True), ("http://testserver/list", True),
        ("http://elsewhere/list", False), ("https://testserver/list", False), ("http://[", False),
    ],
)  # fmt: skip
def test_what_an_answer_points_to(field: str, target: str, gone: bool) -> None:
    """`Location` and `Content-Location` are invalidated where they are of the same origin."""
    bench = Bench(LONG)
    bench.get("/list")
    bench.origin.fields = [(field, target)]
    bench.get("/new", method="POST")
    bench.origin.fields = [LONG]
    assert is_hit(bench.get("/list")) is not gone


def test_a_post_that_is_the_new_resource() -> None:
    """RFC 9110 §9.3.3: with a lifetime and its own URL as `Content-Location` a GET may use it."""
    bench = Bench(LONG, ("content-location", "/a"))
    bench.get("/a", method="POST")
    assert is_hit(bench.get("/a"))
    other = Bench(LONG, ("content-location", "/b"))
    other.get("/a", method="POST")
    assert not is_hit(other.get("/a"))


def tagged(request: Request) -> Response:
    return Response(200, [LONG, ("surrogate-key", f"all {request.path[1:]}")], b"x")


def test_tags() -> None:
    """A purge by tag takes what has it, and nobody outside sees the tags."""
    bench = Bench()
    bench.origin.answer = tagged
    assert "surrogate-key" not in bench.get("/a").headers
    bench.get("/b")
    assert "surrogate-key" not in bench.get("/b").headers
    assert bench.cache.invalidate(tags="a") == 1
    assert not is_hit(bench.get("/a"))
    assert is_hit(bench.get("/b"))
    assert bench.cache.invalidate(tags=["all", "none"]) == 2
    assert not is_hit(bench.get("/b"))


def test_cache_tag_is_separated_by_commas() -> None:
    """The other field in use."""
    bench = Bench(LONG, ("cache-tag", "one,two, three"))
    bench.get()
    assert bench.cache.invalidate(tags="three") == 1


def test_a_soft_purge_leaves_what_may_be_needed() -> None:
    """It is stale at once: asked for anew, and used if the origin is down."""
    bench = Bench(LONG, ("cache-tag", "a"), ("etag", '"1"'), stale_if_error=6000.0)
    bench.get()
    bench.cache.invalidate(tags="a", soft=True)
    bench.origin.error = OSError("gone")
    assert bench.get().body == b"hello"
    bench.origin.error = None
    assert not is_hit(bench.get())
    assert is_hit(bench.get())


def test_urls() -> None:
    """As absolute as a client would write them, in any spelling of the host."""
    bench = Bench(LONG)
    for target in ("/a", "/a?b=1", "/c%2Fd"):
        bench.get(target)
        bench.cache.invalidate(url=f"http://TESTSERVER:80{target}")
        assert not is_hit(bench.get(target))
    assert is_hit(bench.get("/a"))


@pytest.mark.parametrize(
    "arguments", [{}, {"url": "/a"}, {"url": "http://a/", "soft": True}], ids=str
)
def test_wrong_purges(arguments: dict[str, object]) -> None:
    """Nothing named, a relative URL, a soft purge of a URL: an error that says so."""
    with pytest.raises(ConfigurationError):
        Bench().cache.invalidate(**arguments)  # type: ignore[arg-type]


def test_what_is_fetched_while_it_is_purged_is_not_stored() -> None:
    """A purge that comes during the fetch is final: the answer may be from before it."""
    for tags, url in (("all", ""), ("", "http://testserver/a")):
        bench = Bench()

        def purged_meanwhile(request: Request) -> Response:
            bench.cache.invalidate(tags=tags, url=url)  # noqa: B023
            return tagged(request)

        bench.origin.answer = purged_meanwhile
        bench.get("/a")
        bench.origin.answer = tagged
        assert not is_hit(bench.get("/a"))
        assert is_hit(bench.get("/a"))


def test_purge_method() -> None:
    """Only with the secret; by URL, and by the tags that it names."""
    bench = Bench(purge=SECRET)
    bench.origin.answer = tagged
    bench.get("/a")
    bench.get("/b")
    for given in ("", "Bearer wrong", f"Basic {SECRET}"):
        assert bench.get("/a", method="PURGE", authorization=given).status == 403
    assert is_hit(bench.get("/a"))
    right = f"Bearer {SECRET}"
    assert bench.get("/a", method="PURGE", authorization=right).status == 200
    assert not is_hit(bench.get("/a"))
    answer = bench.get("/", method="PURGE", authorization=right, surrogate_key="a b")
    assert answer.text == '{"purged":2}'
    assert not is_hit(bench.get("/b"))


def test_purge_method_is_the_origins_business_otherwise() -> None:
    """Without the option it is a method like any other that nobody knows."""
    bench = Bench(LONG)
    bench.get()
    assert bench.get(method="PURGE").body == b"hello"
    assert bench.asked == 2


def test_rules() -> None:
    """A lifetime for what declares none, by path, status and type; the first that fits."""
    rules = [
        CacheRule(10, status=[404], path="/api/*"),
        CacheRule(100, content_type="application/*"),
        CacheRule(0, path="/api/*"),
        CacheRule(50),
    ]
    for target, status, kind, seconds in (
        ("/api/x", 404, "text/plain", 10), ("/x", 404, "text/plain", None),
        ("/api/x", 200, "application/json; charset=utf-8", 100), ("/api/x", 200, "a/b", None),
        ("/x", 200, "a/b", 50), ("/x", 500, "a/b", None),
    ):  # fmt: skip
        bench = Bench(
            ttl=rules,
            origin=Origin(("content-type", kind), ("date", "x"), status=status),
        )
        bench.get(target)
        ttl = bench.get(target).headers["cache-status"].partition("ttl=")[2]
        assert ttl == ("" if seconds is None else str(seconds)), (target, status, kind)


def test_rules_never_lift_a_prohibition() -> None:
    """Neither forced nor not does a rule store what is private or sets a cookie."""
    for fields in (
        [("cache-control", "no-store")], [("cache-control", "private")], [("set-cookie", "a=1")],
    ):  # fmt: skip
        bench = Bench(*fields, ttl=[CacheRule(50, force=True)])
        bench.get()
        assert not is_hit(bench.get())
    forced = Bench(LONG, ttl=[CacheRule(5, force=True)])
    forced.get()
    assert forced.get().headers["cache-status"].endswith("ttl=5")


def test_jitter_only_shortens() -> None:
    """Lifetimes end at different times, none after the one declared."""
    bench = Bench(LONG, ttl=[CacheRule(1, jitter=0.5)], random=Random(1))
    found = set[int]()
    for number in range(20):
        bench.get(f"/{number}")
        status = bench.get(f"/{number}").headers["cache-status"]
        found.add(int(status.partition("ttl=")[2]))
    assert len(found) > 10
    assert min(found) >= 299
    assert max(found) <= 600


def test_cookies_by_option() -> None:
    """Stripped from what is stored, or stored on purpose."""
    for option, again in (("strip", None), ("store", "a=1")):
        bench = Bench(LONG, ("set-cookie", "a=1"), set_cookie=option)
        assert bench.get().headers["set-cookie"] == "a=1"
        answer = bench.get()
        assert is_hit(answer)
        assert answer.headers.get("set-cookie") == again


@pytest.mark.parametrize(
    "arguments",
    [{"ttl": -1}, {"ttl": 1, "status": [206]}, {"ttl": 1, "status": [99]}, {"ttl": 1, "jitter": 1}],
    ids=str,
)
def test_wrong_rules(arguments: dict[str, object]) -> None:
    """A part of an answer or no answer has no lifetime."""
    with pytest.raises(ConfigurationError):
        CacheRule(**arguments)  # type: ignore[arg-type]
