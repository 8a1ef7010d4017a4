"""Whom a limit counts, which limits hold for whom, and what a request costs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gatekit import ConfigurationError, Outcome, Request, Response, Route, Router, asgi, wsgi
from gatekit.limits import Limit, MemoryStore, keys
from gatekit.middleware.concurrency import ConcurrencyLimit
from gatekit.middleware.quota import Quota
from gatekit.middleware.rate_limit import RateLimit
from gatekit.testing import FakeIO, call_asgi, exercise, make_request
from gatekit.typing import Middleware
from tests.conftest import Door
from tests.doors.spec import Spec


def send(limit: RateLimit, **request: Any) -> int:
    """One request in the same moment as all others."""
    made = make_request(
        client=request.pop("client", ("203.0.113.9", 4711)),
        target=request.pop("target", "/"),
        headers=request.pop("headers", None),
    )
    for name, value in request.items():
        setattr(made, name, value)
    return exercise(limit, request=made).status


def subject(name: str | None, **claims: str) -> Any:
    return SimpleNamespace(subject=name, claims=claims)


def test_clients_are_told_apart_by_address() -> None:
    """The default key, and a proxy's word on it only through `client_ip`."""
    limit = RateLimit("1/hour")
    forged = {"x-forwarded-for": "198.51.100.7"}
    assert [send(limit), send(limit, headers=forged)] == [200, 429]
    assert send(limit, client=("203.0.113.10", 1)) == 200
    assert send(limit, client=("10.0.0.1", 1), client_ip="203.0.113.10") == 429


def test_an_ipv6_subscriber_is_one_client() -> None:
    """Any address of a /64 counts for it; an IPv4-mapped one is the IPv4 address."""
    limit = RateLimit("1/hour")
    assert send(limit, client=("2001:db8::1", 1)) == 200
    assert send(limit, client=("2001:db8::ffff", 1)) == 429
    assert send(limit, client=("2001:db8:0:1::1", 1)) == 200
    assert [send(limit), send(limit, client=("::ffff:203.0.113.9", 1))] == [200, 429]


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        (keys.header("X-Key"), {"headers": {"x-key": "a"}}, {"headers": {"x-key": "b"}}),
        (
            keys.cookie("session"),
            {"headers": {"cookie": "x=1; session=a"}},
            {"headers": {"cookie": "session=b"}},
        ),
        (keys.query("k"), {"target": "/?k=a"}, {"target": "/?k=b"}),
        (keys.identity, {"identity": subject("a")}, {"identity": subject("b")}),
        (
            keys.claim("org"),
            {"identity": subject("x", org="a")},
            {"identity": subject("x", org="b")},
        ),
        (keys.method, {"method": "GET"}, {"method": "POST"}),
        (keys.path, {"target": "/a"}, {"target": "/b"}),
        (keys.tenant, {"tenant": "a"}, {"tenant": "b"}),
        (lambda request: request.host, {"headers": {"host": "a"}}, {"headers": {"host": "b"}}),
    ],
    ids=["header", "cookie", "query", "identity", "claim", "method", "path", "tenant", "function"],
)
def test_what_can_be_counted_by(key: Any, one: Any, other: Any) -> None:
    """The same is counted together, another one apart."""
    limit = RateLimit("1/hour", key=key, missing="deny")
    assert [send(limit, **dict(one)), send(limit, **dict(one))] == [200, 429]
    assert send(limit, **dict(other)) == 200


def test_a_route_is_counted_whatever_its_paths() -> None:
    """By the template, which all paths of a route share; unmatched ones share a key, too."""

    async def hello(_: Request) -> Response:
        return Response.text("hello")

    limit = RateLimit("2/hour", key=keys.route, store=MemoryStore(clock=lambda: 0.0))
    app = asgi(Spec(status=404).asgi(), Router(Route("/users/{id}", hello, limit)))
    statuses = [asyncio.run(call_asgi(app, target=f"/users/{n}")).status for n in range(3)]
    assert statuses == [200, 200, 429]


def test_unmatched_routes_are_counted(door: Door) -> None:
    """A scan of paths that lead nowhere runs into the limit like anything else."""
    limit = RateLimit("2/hour", store=MemoryStore(clock=lambda: 0.0))
    spec = Spec(status=404)
    assert [door(spec, limit, target=f"/{n}").status for n in range(3)] == [404, 404, 429]


def test_a_key_of_several_parts() -> None:
    """Each combination is its own, and no two of them make the same key."""
    limit = RateLimit("1/hour", key=(keys.header("x-a"), keys.header("x-b")))
    pairs = [("a", "b"), ("b", "a"), ("ab", "c"), ("a", "bc"), ("1:a", "b"), ("a", "b1:")]
    assert [send(limit, headers={"x-a": a, "x-b": b}) for a, b in pairs] == [200] * len(pairs)
    assert [send(limit, headers={"x-a": a, "x-b": b}) for a, b in pairs] == [429] * len(pairs)
    limit.reset(("ab", "c"))
    assert send(limit, headers={"x-a": "ab", "x-b": "c"}) == 200


@pytest.mark.parametrize(
    ("missing", "statuses"),
    [("anonymous", [200, 429, 200]), ("skip", [200, 200, 200]), ("deny", [403, 403, 403])],
)
def test_a_missing_key(missing: Any, statuses: list[int]) -> None:
    """Counted by address among the anonymous, not counted, or refused, as was said."""
    limit = RateLimit("1/hour", key=keys.header("x-key"), missing=missing)
    assert [send(limit), send(limit), send(limit, client=("203.0.113.10", 1))] == statuses


def test_nobody_can_take_an_anonymous_bucket() -> None:
    """The address as a header's value is another key than that of who sends none."""
    limit = RateLimit("1/hour", key=keys.header("x-key"))
    assert [send(limit), send(limit, headers={"x-key": "203.0.113.9"})] == [200, 200]


def test_nobody_can_name_an_anonymous_bucket() -> None:
    """Neither by a NUL, which a query can hold, nor by several, alone or as a part."""
    for key in (keys.query("key"), (keys.query("key"), keys.method)):
        limit = RateLimit("1/hour", key=key)
        forged = [f"/?key={'%00' * count}203.0.113.9" for count in (1, 2, 3)]
        assert [send(limit, target=target) for target in forged] == [200] * 3
        assert [send(limit), send(limit)] == [200, 429]


def test_a_long_key_is_held_short() -> None:
    """Thousands of bytes in a header are one short key, and not another's."""
    store = MemoryStore()
    limit = RateLimit("1/hour", key=keys.header("x-key"), store=store)
    long = {"x-key": "a" * 5_000}
    assert [send(limit, headers=long), send(limit, headers=long)] == [200, 429]
    assert send(limit, headers={"x-key": "a" * 5_001}) == 200
    held = [
        key for shard in store._shards for table in shard.tables.values() for key in table.states
    ]
    assert max(map(len, held)) < 64


def test_an_async_key() -> None:
    """Awaited under ASGI; a WSGI door refuses it at construction."""

    async def key(request: Request) -> str:
        await asyncio.sleep(0)
        return request.headers.get("x-key", "")

    limit = RateLimit("1/hour", key=key)
    app = asgi(Spec().asgi(), limit)

    async def main() -> list[int]:
        return [(await call_asgi(app, headers={"x-key": "a"})).status for _ in range(2)]

    assert asyncio.run(main()) == [200, 429]
    refusals: list[tuple[Middleware, str]] = [
        (limit, "key"),
        (RateLimit("1/hour", key=(keys.method, key)), "key"),
        (RateLimit(["1/hour", Limit("1/day", key=(key,))]), "limit"),
        (RateLimit(key), "limit"),
        (ConcurrencyLimit(1, key=(key,)), "key"),
        (Quota({"a": "1/day"}, plan=keys.method, store="memory://", key=key), "key"),
        (RateLimit("1/hour", tiers={"a": Limit("1/day", key=key)}, tier=keys.method), "limit"),
    ]
    for refused, named in refusals:
        with pytest.raises(ConfigurationError, match=named):
            wsgi(Spec().wsgi(), refused)


def test_tiers_from_a_table() -> None:
    """Anonymous, user and staff by a claim; None is no limit, an unknown tier the default."""
    limit = RateLimit(
        "1/hour",
        key=keys.identity,
        tiers={"user": "2/hour", "staff": None},
        tier=keys.claim("plan"),
    )

    def count(identity: Any) -> int:
        return [send(limit, identity=identity) for _ in range(5)].count(200)

    assert count(None) == 1
    assert count(subject("ada", plan="user")) == 2
    assert count(subject("root", plan="staff")) == 5
    assert count(subject("eve", plan="whatever")) == 1


def test_limits_from_a_function() -> None:
    """The limit a request's own claim says, None for no limit."""

    def of(request: Request) -> str | None:
        assert request.identity is not None
        found = request.identity.claims.get("limit")
        return None if found is None else str(found)

    limit = RateLimit(of, key=keys.identity)
    statuses = [send(limit, identity=subject("a", limit="2/hour")) for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert [send(limit, identity=subject("b")) for _ in range(3)] == [200] * 3
    assert limit.peek("a", limit="2/hour", now=1_000.0)["2-per-hour"].remaining == 0
    with pytest.raises(ValueError, match="say which"):
        limit.peek("a")


def test_overrides_and_exempt_keys() -> None:
    """One key has a limit of its own, one has none, one is exempt."""
    limit = RateLimit(
        "1/hour", key=keys.header("x-key"), overrides={"big": "3/hour", "all": None}, exempt=["us"]
    )

    def count(key: str) -> int:
        return [send(limit, headers={"x-key": key}) for _ in range(5)].count(200)

    assert [count(key) for key in ("small", "big", "all", "us")] == [1, 3, 5, 5]


def test_exempt_networks() -> None:
    """By the client's address, whatever the key is."""
    limit = RateLimit("1/hour", key=keys.method, exempt=["10.0.0.0/8", "2001:db8::/32"])
    for address in ("10.1.2.3", "2001:db8::9"):
        assert [send(limit, client=(address, 1)) for _ in range(3)] == [200] * 3
    assert [send(limit), send(limit)] == [200, 429]
    by_function = RateLimit("1/hour", exempt=lambda request: request.path == "/free")
    assert [send(by_function, target="/free") for _ in range(3)] == [200] * 3


def test_limits_with_keys_of_their_own() -> None:
    """Tenant and user in one step: what the tenant's limit refuses the user has not consumed."""
    limit = RateLimit(
        [Limit("3/hour", key=keys.header("x-tenant"), name="tenant"), Limit("2/hour", name="user")],
        key=keys.header("x-user"),
    )

    def status(tenant: str, user: str) -> int:
        return send(limit, headers={"x-tenant": tenant, "x-user": user})

    assert [status("t", "a"), status("t", "a"), status("t", "a")] == [200, 200, 429]
    assert [status("t", "b"), status("t", "b")] == [200, 429]
    assert [status("u", "b"), status("u", "b")] == [200, 429]


def test_limits_with_keys_of_their_own_are_counted_apart() -> None:
    """A tenant that is called as a user is has a count of its own, also of the same numbers."""
    limit = RateLimit(
        [Limit("1/hour", key=keys.header("x-tenant")), Limit("1/hour", key=keys.header("x-user"))]
    )
    assert send(limit, headers={"x-tenant": "acme", "x-user": "ada"}) == 200
    assert send(limit, headers={"x-tenant": "other", "x-user": "acme"}) == 200
    assert send(limit, headers={"x-tenant": "acme", "x-user": "eve"}) == 429
    limit.reset("acme")
    assert send(limit, headers={"x-tenant": "acme", "x-user": "acme"}) == 200


def test_cost() -> None:
    """A request may cost more than one, by a number or a function, and nothing at all."""
    limit = RateLimit("10/hour", cost=lambda request: len(request.query))
    statuses = [send(limit, target=f"/?{'x' * size}") for size in (6, 5, 4, 1, 0)]
    assert statuses == [200, 429, 200, 429, 200]


def test_what_can_never_be_admitted_says_so() -> None:
    """A cost beyond the whole limit has no `Retry-After`, for there is no such moment."""
    answer = exercise(RateLimit("10/hour", cost=11))
    assert (answer.status, "retry-after" in answer.headers) == (429, False)
    assert "more than there ever is" in answer.text


def test_charge_corrects_the_cost(door: Door) -> None:
    """What the response says it cost is settled at the end: refunded, or owed."""
    store = MemoryStore(clock=lambda: 0.0)

    def charge(request: Request, response: Response, outcome: Outcome) -> int:
        assert outcome.ended == "complete"
        return int(response.headers["x-cost"])

    limit = RateLimit("10/hour", cost=2, charge=charge, store=store, key=keys.method)
    door(Spec(headers=[("content-type", "text/plain"), ("x-cost", "0")]), limit)
    assert limit.peek("GET")["10-per-hour"].remaining == 10
    door(Spec(headers=[("content-type", "text/plain"), ("x-cost", "7")]), limit)
    assert limit.peek("GET")["10-per-hour"].remaining == 3
    door(Spec(headers=[("content-type", "text/plain"), ("x-cost", "9")]), limit)
    assert door(Spec(), limit).status == 429
    assert limit.peek("GET")["10-per-hour"].retry_after > 0


def test_a_debt_is_paid_off() -> None:
    """Who used more than there was waits until the debt is worn off, at most one limit more."""
    io = FakeIO()
    limit = RateLimit("10/hour", charge=lambda request, response, outcome: 1_000)
    exercise(limit, io=io)
    assert exercise(limit, io=io).headers["retry-after"] == str(3600 + 360)


def test_refund() -> None:
    """A middleware further in gives back what was consumed."""
    limit = RateLimit("1/hour")

    async def refunds(request: Request, call_next: Any) -> Response:
        await limit.refund(request)
        response: Response = await call_next(request)
        return response

    assert [exercise(limit, refunds, io=FakeIO()).status for _ in range(3)] == [200] * 3
