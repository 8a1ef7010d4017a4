"""Who may be chosen: tiers, panic, zones, ejections, slow start, breakers, and wrong options."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from gatekit import (
    CircuitBreaker,
    Cluster,
    ClusterEvent,
    ConfigurationError,
    Destination,
    Pool,
    SlowStart,
    Timeouts,
)
from gatekit.proxy.transport import TLS
from gatekit.testing import make_request, upstream
from tests.proxy.fleet import NOW, chi_square, critical, destination, fleet, member, picked


def lose(cluster: Cluster, names: str) -> None:
    for name in names:
        cluster.state.set_health(member(cluster, name), "unhealthy", "test", NOW)


def tiers(**options: Any) -> Cluster:
    """a, b, c first; x, y when they are gone."""
    first = [destination(name) for name in "abc"]
    second = [destination(name, priority=1) for name in "xy"]
    return fleet(destinations=first + second, **options)


def test_the_first_tier_serves_while_one_of_it_can() -> None:
    """Those of a later priority get nothing until the earlier ones are all gone."""
    cluster = tiers()
    assert set(picked(cluster.state, 60)) == set("abc")
    lose(cluster, "ab")
    assert set(picked(cluster.state, 60)) == {"c"}
    lose(cluster, "c")
    assert set(picked(cluster.state, 60)) == set("xy")


def test_a_tier_serves_while_enough_of_it_can() -> None:
    """With `panic` a tier that has lost too many makes place for the next, whole one."""
    cluster = tiers(panic=0.5)
    lose(cluster, "a")
    assert set(picked(cluster.state, 60)) == set("bc")
    lose(cluster, "b")
    assert set(picked(cluster.state, 60)) == set("xy")


@pytest.mark.parametrize(("panic", "lost"), [(0.5, "abx"), (0.5, "abcxy"), (0.0, "abcxy")])
def test_panic_uses_everybody_for_what_may_be_repeated(panic: float, lost: str) -> None:
    """When no tier has enough, idempotent requests go to all, well or not."""
    cluster = tiers(panic=panic)
    lose(cluster, lost)
    if lost == "abx":
        # One of two is half of them, which is enough.
        assert set(picked(cluster.state, 60)) == {"y"}
        lose(cluster, "y")
    assert set(picked(cluster.state, 200)) == set("abcxy")


def test_panic_sends_nothing_that_may_not_be_repeated_where_it_fails() -> None:
    """A POST goes to those who are well, and nowhere when nobody is."""
    cluster = tiers(panic=0.75)
    lose(cluster, "abx")
    post = make_request("POST")
    assert set(picked(cluster.state, 60, post)) == {"c"}
    lose(cluster, "cy")
    assert set(picked(cluster.state, 60)) == set("abcxy")
    assert picked(cluster.state, 5, post) == {None: 5}


def test_without_panic_nobody_is_nobody() -> None:
    """`panic=None`: who is not well is not asked, and the proxy answers 503."""
    cluster = tiers(panic=None)
    lose(cluster, "abcxy")
    assert picked(cluster.state, 5) == {None: 5}


def test_the_own_zone_comes_first() -> None:
    """Destinations of the same zone serve while one of them can, then the others of the tier."""
    near, far = destination("near", zone="eu-1"), destination("far", zone="eu-2")
    cluster = fleet(destinations=[far, near, destination("x", priority=1)], zone="eu-1")
    assert picked(cluster.state, 20) == {"near": 20}
    lose(cluster, ["near"])  # type: ignore[arg-type]
    assert picked(cluster.state, 20) == {"far": 20}


def test_a_retry_goes_to_the_next_tier_at_last() -> None:
    """Those tried are avoided, first within the tier and then beyond it."""
    cluster = tiers()
    members = cluster.state.members
    found = {cluster.state.pick(make_request(), NOW, members[:3]) for _ in range(60)}
    assert found == set(members[3:])


def test_weight_zero_gets_nothing_new() -> None:
    """It is known and described, and never chosen, in panic neither."""
    cluster = fleet((1, 0))
    assert picked(cluster.state, 30) == {"a": 30}
    lose(cluster, "a")
    assert picked(cluster.state, 30) == {"a": 30}
    assert [status.available for status in cluster.state.status(NOW)] == [False, False]


def test_an_ejection_ends_by_the_clock() -> None:
    """It gets nothing until the moment, and then it is unknown, not well, and an event."""
    events: list[ClusterEvent] = []
    cluster = fleet((1, 1), on_event=events.append)
    state, out = cluster.state, member(cluster, "a")
    state.set_health(out, "healthy", "first check", NOW)
    state.eject(out, NOW + 30.0, "5 failures in a row", NOW)
    assert picked(state, 30, now=NOW + 29.9) == {"b": 30}
    assert state.status(NOW + 10.0)[0].ejected_for == 20.0
    assert set(picked(state, 30, now=NOW + 30.0)) == {"a", "b"}
    assert out.health == "unknown"
    assert [(event.kind, event.at) for event in events] == [
        ("ejected", NOW),
        ("returned", NOW + 30.0),
    ]


def test_an_ejection_can_be_ended_and_prolonged() -> None:
    """A moment that is past ends it at once; a later one moves its end, without another event."""
    events: list[ClusterEvent] = []
    cluster = fleet((1, 1), on_event=events.append)
    state, out = cluster.state, member(cluster, "a")
    state.eject(out, NOW + 30.0, "slow", NOW)
    state.eject(out, NOW + 60.0, "slow", NOW + 1.0)
    assert picked(state, 30, now=NOW + 45.0) == {"b": 30}
    state.eject(out, NOW + 45.0, "the check succeeded", NOW + 45.0)
    assert set(picked(state, 30, now=NOW + 45.0)) == {"a", "b"}
    assert [event.kind for event in events] == ["ejected", "returned"]


@pytest.mark.parametrize(
    ("slow_start", "part", "expected"),
    [
        (SlowStart(window=30), 0.0, 0.1),
        (SlowStart(window=30), 0.05, 0.1),
        (SlowStart(window=30), 0.5, 0.5),
        (SlowStart(window=30, aggression=2.0), 0.25, 0.5),
        (SlowStart(window=30, aggression=0.5), 0.5, 0.25),
        (SlowStart(window=30, minimum=0.3), 0.1, 0.3),
        (SlowStart(window=30), 1.0, 1.0),
        (SlowStart(window=30), 9.0, 1.0),
    ],
)
def test_slow_start_follows_its_formula(
    slow_start: SlowStart, part: float, expected: float
) -> None:
    """`max(minimum, part ** (1 / aggression))` of the weight, and all of it after the window."""
    assert slow_start.factor(NOW, NOW + 30.0 * part) == pytest.approx(expected)


@pytest.mark.parametrize("balance", ["p2c", "random", "round_robin"])
@pytest.mark.parametrize("returning", ["added", "healthy", "ejected"])
def test_who_comes_or_comes_back_starts_slowly(balance: Any, returning: str) -> None:
    """After a third of the window it gets a third of its share; those of the beginning did not."""
    cluster = fleet((1, 1), slow_start=SlowStart(window=30), balance=balance)
    state = cluster.state
    found = picked(state, 6_000)
    assert chi_square(found, {"a": 1, "b": 1}) < critical(1)
    late = "b"
    if returning == "added":
        late = "c"
        state.update([destination("a"), destination("c")], NOW)
    elif returning == "healthy":
        lose(cluster, "b")
        state.set_health(member(cluster, "b"), "healthy", "test", NOW)
    else:
        state.eject(member(cluster, "b"), NOW, "test", NOW - 30.0)
        state.eject(member(cluster, "b"), NOW, "test", NOW - 1.0)
        picked(state, 1)
    early = picked(state, 6_000, now=NOW + 10.0)
    assert chi_square(early, {"a": 1, late: 1 / 3}) < critical(1)
    whole = picked(state, 6_000, now=NOW + 30.0)
    assert chi_square(whole, {"a": 1, late: 1}) < critical(1)


def test_an_open_breaker_is_passed_by() -> None:
    """A destination whose circuit is open is not chosen; when all are, nobody is."""
    breaker = CircuitBreaker("orders")
    cluster = fleet((1, 1, 1), breaker=breaker)
    breaker.force_open("a")
    assert set(picked(cluster.state, 60)) == {"b", "c"}
    breaker.force_open("b")
    assert set(picked(cluster.state, 60)) == {"c"}
    breaker.force_open("c")
    assert picked(cluster.state, 5) == {None: 5}


def test_a_retry_prefers_a_tried_one_to_an_open_breaker() -> None:
    """Never into an open circuit: then rather once more where it failed."""
    breaker = CircuitBreaker("orders")
    cluster = fleet((1, 1), breaker=breaker)
    breaker.force_open("b")
    tried = member(cluster, "a")
    assert cluster.state.pick(make_request(), NOW, [tried]) is tried


def test_a_single_destination_is_always_the_one() -> None:
    """It is chosen without a draw, in any balance."""
    for balance in ("p2c", "round_robin", "random", "least_requests", "peak_ewma", "first"):
        assert picked(fleet((3,), balance=balance).state, 3) == {"a": 3}


def test_take_over_goes_on_where_the_old_description_was() -> None:
    """Who is in both keeps health, ejection and what is under way; the others of the old drain."""
    events: list[ClusterEvent] = []
    old = fleet((1, 1, 1))
    stays, leaves = member(old, "b"), member(old, "a")
    stays.start()
    leaves.start()
    old.state.eject(stays, NOW + 30.0, "test", NOW)
    new = fleet(destinations=[destination("b", weight=2), destination("n")], on_event=events.append)
    new.take_over(old, clock=lambda: NOW)
    assert member(new, "b") is stays
    assert (stays.weight, stays.in_flight) == (2.0, 1)
    assert picked(new.state, 20) == {"n": 20}
    assert set(picked(new.state, 60, now=NOW + 30.0)) == {"b", "n"}
    leaves.finish()
    assert [(event.kind, event.destination) for event in events] == [
        ("added", "n"),
        ("draining", "a"),
        ("removed", "c"),
        ("returned", "b"),
        ("removed", "a"),
    ]


def test_the_old_description_is_answered_by_the_new_one() -> None:
    """A request that is already on its way in the old gateway finds who is there now."""
    old, new = fleet((1, 1)), fleet({"n": 1})
    new.take_over(old, clock=lambda: NOW)
    assert picked(old.state, 5) == {"n": 5}
    old.state.eject(member(new, "n"), NOW + 30.0, "test", NOW)
    assert member(new, "n").ejected_until == NOW + 30.0
    old.state.set_health(member(new, "n"), "unhealthy", "test", NOW)
    assert member(new, "n").health == "unhealthy"
    old.state.update(["http://z.test"], NOW)
    assert [known.name for known in new.state.members] == ["n"]


def test_take_over_keeps_the_connections_of_like_pools() -> None:
    """The same pool without TLS files goes on; another pool, or files that may be new, begin."""
    old = Cluster("o", destinations=["http://a"], pool=Pool(max_connections=5))
    same = Cluster("o", destinations=["http://a", "http://b"], pool=Pool(max_connections=5))
    same.take_over(old)
    assert {known.transport for known in same.state.members} == {old.transport}
    other = Cluster("o", destinations=["http://a"], tls=TLS(server_name="x"))
    other.take_over(same)
    assert other.state.members[0].transport is other.transport is not old.transport


def test_wrong_options_are_all_told_at_once() -> None:
    """Every problem of the call is in one message that names its parameter."""
    with pytest.raises(ConfigurationError) as caught:
        Cluster(
            "no name",
            destinations=["http://a", "http://a", "nonsense"],
            balance="fastest",  # type: ignore[arg-type]
            panic=2,
            pool=Pool(),
            tls=TLS(),
            transport=upstream(lambda sent: None),  # type: ignore[arg-type, return-value]
            zone=3,  # type: ignore[arg-type]
            slow_start=30,  # type: ignore[arg-type]
            health="/health",  # type: ignore[arg-type]
            chance=4,  # type: ignore[arg-type]
        )
    assert set(caught.value.problems) == {
        "balance",
        "chance",
        "destinations",
        "health",
        "name",
        "panic",
        "pool",
        "slow_start",
        "tls",
        "zone",
    }
    assert "two are named 'http://a'" in caught.value.problems["destinations"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("target", "users:8001"),
        ("target", 7),
        ("weight", -1),
        ("weight", float("inf")),
        ("priority", -1),
        ("metadata", {"version": 2}),
        ("host", "a b"),
        ("name", "two\nlines"),
        ("zone", ""),
    ],
)
def test_wrong_destinations_are_told(option: str, value: Any) -> None:
    """A destination names what is wrong with it."""
    options = {"target": "http://a", option: value}
    with pytest.raises(ConfigurationError, match=option):
        Destination(**options)


def test_nothing_to_ask_is_told() -> None:
    """A cluster without destinations and resolver is a mistake, and so is a window of none."""
    with pytest.raises(ConfigurationError, match="destinations"):
        Cluster("orders")
    with pytest.raises(ConfigurationError, match="window"):
        SlowStart(window=0)
    with pytest.raises(ConfigurationError, match="did you mean destinations"):
        Cluster("orders", destination=["http://a"])  # type: ignore[call-arg]


def test_a_cluster_tells_no_more_than_its_name() -> None:
    """Its repr and those of its parts hold no secret of a URL's."""
    with pytest.raises(ConfigurationError) as caught:
        Cluster("orders", destinations=["http://user:hunter2@a"])
    assert "hunter2" not in str(caught.value)
    cluster = Cluster("orders", destinations=["http://a"], timeouts=Timeouts(), chance=Random(1))
    assert repr(cluster) == "Cluster('orders')"
