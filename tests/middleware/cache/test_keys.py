"""What two requests share: URL, `Vary`, key recipes; and that nobody gets another one's answer."""

from __future__ import annotations

from random import Random

import pytest

from gatekit import CacheKey, ConfigurationError, Request, Response
from gatekit.middleware.auth.identity import Identity
from gatekit.testing import exercise, make_request
from gatekit.typing import Handler
from tests.middleware.cache.origin import Bench, Origin, is_hit

LONG = ("cache-control", "max-age=600")

SAME = [
    ("/a", "/a", True), ("/a", "/b", False), ("/a?x=1", "/a?x=1", True),
    ("/a?x=1", "/a?x=2", False), ("/a?x=1&y=2", "/a?y=2&x=1", False), ("/a", "/a?", True),
    ("/a/b", "/a%2Fb", False), ("/a%2Fb", "/a%2Fb", True), ("/a b", "/a%20b", False),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "same"), SAME)
def test_urls(one: str, other: str, same: bool) -> None:
    """Path and query count as they came: an upstream may tell %2F from a slash."""
    bench = Bench(LONG)
    bench.get(one)
    assert is_hit(bench.get(other)) is same


@pytest.mark.parametrize(
    ("host", "same"),
    [("SHOP.example", True), ("shop.example:80", True), ("shop.example:81", False), ("b", False)],
)
def test_hosts(host: str, same: bool) -> None:
    """In any case, and with or without the scheme's own port."""
    bench = Bench(LONG)
    bench.get(host="shop.example")
    assert is_hit(bench.get(host=host)) is same


RECIPES = [
    ({"query": ["page"]}, "/?page=1&utm=2", "/?utm=3&page=1", True),
    ({"query": ["page"]}, "/?page=1", "/?page=2", False),
    ({"query": []}, "/?page=1", "/", True),
    ({"ignore": ["utm_*"]}, "/?a=1&utm_x=2", "/?a=1", True),
    ({"ignore": ["utm_*"]}, "/?a=1", "/?a=2", False),
    ({"ignore": ["utm_*"]}, "/?a=1&%75tm_x=2", "/?a=1", True),
    ({"sort": True}, "/?b=2&a=1", "/?a=1&b=2", True),
    ({"sort": True}, "/?a=1&a=2", "/?a=2&a=1", False),
]


@pytest.mark.parametrize(("recipe", "one", "other", "same"), RECIPES)
def test_query_recipes(recipe: dict[str, object], one: str, other: str, same: bool) -> None:
    """What counts of a query is what the recipe says."""
    bench = Bench(LONG, key=CacheKey(**recipe))  # type: ignore[arg-type]
    bench.get(one)
    assert is_hit(bench.get(other)) is same


def test_headers_and_cookies_in_the_key() -> None:
    """Each value has an answer of its own, and a purge of the URL reaches all."""
    bench = Bench(LONG, key=CacheKey(headers=["X-Channel"], cookies=["currency"]))
    variants: list[dict[str, str]] = [
        {}, {"x_channel": "web"}, {"x_channel": ""}, {"cookie": "currency=eur"},
        {"cookie": "other=1; currency=usd"},
    ]  # fmt: skip
    for headers in variants:
        assert not is_hit(bench.get(**headers))
        assert is_hit(bench.get(**headers))
    assert is_hit(bench.get(cookie="other=2; currency=usd"))
    bench.cache.invalidate(url="http://testserver/")
    for headers in variants:
        assert not is_hit(bench.get(**headers))


def test_the_mount_point_counts() -> None:
    """The same path below two prefixes is two resources."""
    bench = Bench(LONG)
    for prefix in ("", "/api", "/other"):
        request = make_request(target=f"{prefix}/x", root_path=prefix, io=bench.io)
        request.path = "/x"
        assert not is_hit(exercise(bench.cache, app=bench.origin, request=request))


VARY = [
    ("foo", {"foo": "1"}, {"foo": "1"}, True), ("foo", {"foo": "1"}, {"foo": "2"}, False),
    ("foo", {"foo": "1"}, {}, False), ("foo", {}, {"foo": ""}, False), ("foo", {}, {}, True),
    ("foo, bar", {"foo": "1", "bar": "2"}, {"foo": "1"}, False),
    ("foo", {"foo": "1,2"}, {"foo": " 1 ,  2 "}, True),
    ("foo", {"foo": "1", "other": "1"}, {"foo": "1", "other": "2"}, True),
    ("accept-language", {"accept-language": "en, de"}, {"accept-language": "dE,EN"}, True),
    ("accept-language", {"accept-language": "en"}, {"accept-language": "de"}, False),
    ("accept-encoding", {"accept-encoding": "gzip, br"}, {"accept-encoding": "br;q=1,gzip"}, True),
    ("accept-encoding", {"accept-encoding": "gzip"}, {"accept-encoding": "gzip;q=0"}, False),
    ("accept-encoding", {"accept-encoding": "foo"}, {"accept-encoding": "bar"}, True),
]  # fmt: skip


@pytest.mark.parametrize(("vary", "one", "other", "same"), VARY)
def test_vary(vary: str, one: dict[str, str], other: dict[str, str], same: bool) -> None:
    """RFC 9111 §4.1, with what is the same in another spelling taken for the same."""
    bench = Bench(LONG, ("vary", vary))
    bench.get(**one)
    assert is_hit(bench.get(**other)) is same


def test_field_lines_are_combined() -> None:
    """Two lines are one list."""
    bench = Bench(LONG, ("vary", "foo"))
    bench.get(foo="1, 2")
    two = [("foo", "1"), ("foo", "2")]
    assert is_hit(exercise(bench.cache, app=bench.origin, headers=two, io=bench.io))


def test_the_language_that_is_wanted_most() -> None:
    """A stored answer in the very language that a request prefers is chosen."""
    bench = Bench(LONG, ("vary", "accept-language"), ("content-language", "de"))
    bench.get(accept_language="en, de")
    assert is_hit(bench.get(accept_language="fr;q=0.5, de;q=1.0"))
    assert not is_hit(bench.get(accept_language="fr, de"))


def test_a_normaliser_of_ones_own() -> None:
    """It makes few variants of many values."""
    bench = Bench(
        LONG, ("vary", "user-agent"), normalise={"User-Agent": lambda value: str("Mobi" in value)}
    )
    bench.get(user_agent="Phone 1 Mobi")
    assert is_hit(bench.get(user_agent="Phone 2 Mobi"))
    assert not is_hit(bench.get(user_agent="Desk"))


def test_variants_are_bounded() -> None:
    """A client that invents values pushes out variants and fills nothing."""
    bench = Bench(LONG, ("vary", "foo"), max_variants=4)
    for number in range(200):
        bench.get(foo=str(number))
    assert bench.cache.stats().entries == 5  # four variants, and the index of them
    assert is_hit(bench.get(foo="199"))
    assert not is_hit(bench.get(foo="0"))


def test_variants_of_other_fields_later() -> None:
    """An origin that begins to vary by one more field is followed."""
    bench = Bench(LONG, ("vary", "foo"))
    bench.get(foo="1")
    bench.origin.fields = [LONG, ("vary", "foo, bar")]
    bench.get(foo="2", bar="1")
    assert not is_hit(bench.get(foo="2", bar="2"))
    assert is_hit(bench.get(foo="2", bar="1"))


AUTHORISED = [
    ("max-age=60", False), ("public, max-age=60", True), ("s-maxage=60", True),
    ("must-revalidate, max-age=60", True), ("private, max-age=60", False),
]  # fmt: skip


@pytest.mark.parametrize(("directives", "shared"), AUTHORISED)
def test_authorization(directives: str, shared: bool) -> None:
    """RFC 9111 §3.5, in both directions, and for an identity that stands for the field."""
    bench = Bench(("cache-control", directives))
    bench.get(authorization="Bearer a")
    assert is_hit(bench.get(authorization="Bearer b")) is shared
    bench = Bench(("cache-control", directives))
    exercise(knows("ada"), bench.cache, app=bench.origin, io=bench.io)
    assert is_hit(exercise(knows("bob"), bench.cache, app=bench.origin, io=bench.io)) is shared


def knows(subject: str, tenant: str | None = None, issuer: str | None = None) -> Authenticator:
    return Authenticator(Identity(subject, tenant=tenant, issuer=issuer))


class Authenticator:
    """Says who asks."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        request.identity = self.identity
        return await call_next(request)


def test_an_answer_for_nobody_is_not_given_to_somebody_known() -> None:
    """What an anonymous client got is not taken for what a known one would get."""
    bench = Bench(LONG)
    bench.get()
    assert not is_hit(bench.get(authorization="Bearer a"))
    assert is_hit(bench.get())


def test_each_identity_has_a_part() -> None:
    """`vary_by_identity`: subject, issuer and tenant together; nobody known has one part, too."""
    people = [
        knows("ada"), knows("bob"), knows("ada", tenant="t"), knows("ada", issuer="https://b"),
    ]  # fmt: skip
    bench = Bench(LONG, vary_by_identity=True)
    for person in people:
        assert not is_hit(exercise(person, bench.cache, app=bench.origin, io=bench.io))
        assert is_hit(exercise(person, bench.cache, app=bench.origin, io=bench.io))
    assert not is_hit(bench.get())
    assert is_hit(bench.get())
    nobody = knows("")
    for _ in range(2):
        assert not is_hit(exercise(nobody, bench.cache, app=bench.origin, io=bench.io))


def test_an_unchecked_credential_is_in_no_part() -> None:
    """With `vary_by_identity` and nobody found further out, an `Authorization` is still obeyed."""
    bench = Bench(LONG, vary_by_identity=True)
    bench.get(authorization="Bearer a")
    assert not is_hit(bench.get(authorization="Bearer b"))


def test_a_partition_of_none_passes_by() -> None:
    """A request that is in no part is neither stored nor answered from the store."""
    bench = Bench(LONG, partition=lambda request: request.headers.get("x-tenant"))
    for _ in range(2):
        assert not is_hit(bench.get())
    bench.get(x_tenant="a")
    assert is_hit(bench.get(x_tenant="a"))
    assert not is_hit(bench.get(x_tenant="b"))


@pytest.mark.parametrize("by", ["identity", "partition", "vary"])
def test_no_answer_ever_crosses(by: str) -> None:
    """Thousands of requests of many in turn: each gets its own answer, whoever asked before."""
    options: dict[str, object] = {
        "identity": {"vary_by_identity": True},
        "partition": {"partition": lambda request: request.identity.subject},
        "vary": {},
    }[by]  # type: ignore[assignment]

    def mine(request: Request) -> Response:
        owner = request.identity.subject if request.identity else request.headers["x-who"]
        fields = [LONG, ("vary", "x-who")] if by == "vary" else [LONG]
        return Response(200, fields, f"{owner} {request.path}".encode())

    bench = Bench(origin=Origin(), **options)
    chance = Random(7)
    hits = 0
    for _ in range(3000):
        who, path = f"user{chance.randrange(8)}", f"/{chance.randrange(5)}"
        person = () if by == "vary" else (knows(who),)
        answer = exercise(
            *person, bench.cache, app=mine, target=path, headers={"x-who": who}, io=bench.io
        )
        assert answer.text == f"{who} {path}"
        hits += is_hit(answer)
    assert hits > 2000


def test_two_caches_in_one_store_do_not_meet() -> None:
    """Their names are in the keys: they may have other recipes."""
    one = Bench(LONG, name="one")
    two = Bench(LONG, name="two", store=one.cache.store)
    one.get()
    assert not is_hit(two.get())


def test_wrong_options_are_named_together() -> None:
    """Every problem of the call in one error."""
    with pytest.raises(ConfigurationError) as caught:
        Bench(
            store="ftp://x", max_bytes=0, key="url", ttl=[1], partition=1, set_cookie="keep",
            purge="short", name="a b", wait=0, keep=-1, normalise={"a b": 1}, targets="x",
        )  # fmt: skip
    assert set(caught.value.problems) == {
        "store", "max_bytes", "key", "ttl", "partition", "set_cookie", "purge", "name", "wait",
        "keep", "normalise", "targets",
    }  # fmt: skip
    assert "short" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="did you mean max_object"):
        Bench(max_objekt=1)
