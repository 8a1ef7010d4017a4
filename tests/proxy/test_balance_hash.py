"""Consistent hashing: shares, how few keys move, and what a request is hashed by."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from gatekit import ConfigurationError, Identity, Maglev, Rendezvous, RingHash, SlowStart
from gatekit.testing import make_request
from tests.proxy.fleet import (
    NOW,
    by_key,
    chi_square,
    critical,
    destination,
    fleet,
    member,
    name_of,
    picked,
)

KEYS = [f"user-{number}" for number in range(6_000)]
WEIGHTS = {"a": 4.0, "b": 2.0, "c": 1.0, "d": 1.0}
ON = "header:x-key"
ALL = [RingHash(ON, points=400), Rendezvous(ON), Maglev(ON)]
IDS = ["ring", "rendezvous", "maglev"]


@pytest.mark.parametrize("balance", ALL, ids=IDS)
def test_a_key_stays_where_it_is(balance: Any) -> None:
    """The same key goes to the same destination, in another process and after a restart too."""
    first, again = fleet(WEIGHTS, balance=balance), fleet(WEIGHTS, balance=balance)
    found = by_key(first.state, KEYS[:300])
    assert found == by_key(first.state, KEYS[:300]) == by_key(again.state, KEYS[:300])
    assert len(set(found.values())) == 4


@pytest.mark.parametrize(
    ("balance", "bound"), list(zip(ALL, (0.15, 0.07, 0.07), strict=True)), ids=IDS
)
def test_shares_follow_the_weights(balance: Any, bound: float) -> None:
    """Each destination gets its share of the keys, within what the method promises."""
    found = Counter(by_key(fleet(WEIGHTS, balance=balance).state, KEYS).values())
    for name, weight in WEIGHTS.items():
        share = len(KEYS) * weight / 8.0
        assert abs(found[name] - share) / share < bound + 3.0 / share**0.5


def test_rendezvous_is_as_even_as_chance() -> None:
    """Its shares are exact by weight: what is found passes the test of chi-square."""
    found = Counter(by_key(fleet(WEIGHTS, balance=Rendezvous(ON)).state, KEYS).values())
    assert chi_square(found, WEIGHTS) < critical(3)


@pytest.mark.parametrize("balance", ALL[:2], ids=IDS[:2])
def test_only_the_keys_of_who_leaves_move(balance: Any) -> None:
    """Removal moves the keys of the one that is gone and no other, and its return brings them."""
    cluster = fleet(dict.fromkeys("abcdef", 1.0), balance=balance)
    before = by_key(cluster.state, KEYS)
    cluster.state.set_health(member(cluster, "c"), "unhealthy", "test", NOW)
    without = by_key(cluster.state, KEYS)
    moved = {key for key in KEYS if before[key] != without[key]}
    assert moved == {key for key in KEYS if before[key] == "c"}
    # All others take a part of them.
    assert {without[key] for key in moved} == set("abdef")
    cluster.state.set_health(member(cluster, "c"), "healthy", "test", NOW)
    assert by_key(cluster.state, KEYS) == before


@pytest.mark.parametrize("balance", ALL, ids=IDS)
def test_who_comes_takes_only_its_share(balance: Any) -> None:
    """A tenth destination takes about a tenth of the keys; with Maglev a few others move too."""
    cluster = fleet(dict.fromkeys("abcdefghi", 1.0), balance=balance)
    before = by_key(cluster.state, KEYS)
    cluster.state.update([destination(name) for name in "abcdefghij"], NOW)
    after = by_key(cluster.state, KEYS)
    moved = [key for key in KEYS if before[key] != after[key]]
    astray = [key for key in moved if after[key] != "j"]
    assert 0.05 < len(moved) / len(KEYS) < 0.2
    assert len(astray) < (len(KEYS) * 0.08 if isinstance(balance, Maglev) else 1)


@pytest.mark.parametrize("balance", ALL, ids=IDS)
def test_a_retry_goes_to_the_next_in_line(balance: Any) -> None:
    """The second choice of a key is as stable as its first, and everybody is tried at last."""
    cluster = fleet(dict.fromkeys("abcd", 1.0), balance=balance)
    request = make_request(headers={"x-key": "user-1"})
    tried: list[Any] = []
    for _ in range(4):
        found = cluster.state.pick(request, NOW, tried)
        assert found is cluster.state.pick(request, NOW, tried)
        tried.append(found)
    assert sorted(found.name for found in tried) == list("abcd")


@pytest.mark.parametrize("balance", ALL, ids=IDS)
def test_without_a_key_chance_decides_by_weight(balance: Any) -> None:
    """A request that has no key is not sent to one destination with all of its kind."""
    found = picked(fleet(WEIGHTS, balance=balance).state, 8_000)
    assert chi_square(found, WEIGHTS) < critical(3)


def test_bounded_load_spills_over() -> None:
    """A key in great demand goes on to the next once its own has more than its share."""
    cluster = fleet((1, 1, 1, 1), balance=RingHash(ON, max_load=1.25))
    request = make_request(headers={"x-key": "hot"})
    for _ in range(100):
        found = cluster.state.pick(request, NOW)
        assert found is not None
        found.start()
    loads = sorted(one.in_flight for one in cluster.state.members)
    assert sum(loads) == 100
    assert loads[-1] <= 32


def test_bounded_load_leaves_the_idle_alone() -> None:
    """Where nothing is busy it is the ring."""
    plain, bounded = (fleet(balance=RingHash(ON, max_load=load)) for load in (None, 1.25))
    assert by_key(plain.state, KEYS[:200]) == by_key(bounded.state, KEYS[:200])


@pytest.mark.parametrize("balance", ALL, ids=IDS)
def test_slow_start_is_refused(balance: Any) -> None:
    """A hash moves all keys of a destination at once: bit by bit each of them would move twice."""
    with pytest.raises(ConfigurationError, match="slow_start"):
        fleet(balance=balance, slow_start=SlowStart())


@pytest.mark.parametrize(
    ("on", "one", "other"),
    [
        ("header:X-Tenant", {"headers": {"x-tenant": "1"}}, {"headers": {"x-tenant": "2"}}),
        ("cookie:cart", {"headers": {"cookie": "cart=1"}}, {"headers": {"cookie": "cart=2"}}),
        ("query:user", {"target": "/?user=1"}, {"target": "/?user=2"}),
        ("path", {"target": "/a"}, {"target": "/b"}),
        ("client", {"client": ("192.0.2.1", 1)}, {"client": ("192.0.2.9", 1)}),
        (lambda request: request.method, {"method": "GET"}, {"method": "PUT"}),
        (["cookie:cart", "path"], {"target": "/a"}, {"target": "/b"}),
        (["cookie:cart", "path"], {"headers": {"cookie": "cart=1"}}, {"target": "/a"}),
    ],
)
def test_what_is_hashed(on: Any, one: dict[str, Any], other: dict[str, Any]) -> None:
    """Each source tells requests apart; the same value stays, others spread over all."""
    state = fleet([1] * 8, balance=Rendezvous(on)).state
    assert len({name_of(state.pick(make_request(**one), NOW)) for _ in range(20)}) == 1
    with_others = fleet([1] * 97, balance=Rendezvous(on)).state
    first, second = (with_others.pick(make_request(**call), NOW) for call in (one, other))
    assert first is not second


def test_identity_is_hashed_by_its_subject() -> None:
    """Whoever is authenticated further out stays at one destination."""
    state = fleet([1] * 97, balance=Rendezvous("identity")).state
    names = set[str | None]()
    for subject in ("ann", "bob", "ann"):
        request = make_request()
        request.identity = Identity(subject)
        names.add(name_of(state.pick(request, NOW)))
    assert len(names) == 2


@pytest.mark.parametrize(
    "on", ["client:x", "header", "header:", "body", [], None, 3, ["header:a b"]]
)
def test_wrong_sources_are_told(on: Any) -> None:
    """What cannot be hashed by is an error at construction that names the parameter."""
    for kind in (RingHash, Rendezvous, Maglev):
        with pytest.raises(ConfigurationError, match="on"):
            kind(on)


def test_wrong_tables_are_told() -> None:
    """A table of Maglev's is a prime, a ring has points, and a bound is above 1."""
    for wrong in (
        lambda: Maglev(ON, size=16_384),
        lambda: RingHash(ON, points=0),
        lambda: RingHash(ON, max_load=1.0),
    ):
        with pytest.raises(ConfigurationError):
            wrong()


def test_a_table_that_is_too_small_still_finds_everybody() -> None:
    """With more destinations than places all of them can be reached by a retry."""
    state = fleet([1] * 12, balance=Maglev(ON, size=7)).state
    request = make_request(headers={"x-key": "1"})
    tried: list[Any] = []
    for _ in range(12):
        tried.append(state.pick(request, NOW, tried))
    assert len({found.name for found in tried}) == 12
