"""The balancers against their theory, with chance that is the same in every run."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from gatekit import ConfigurationError, LeastRequests, PeakEWMA, PowerOfTwo, UpstreamError
from gatekit.testing import make_request
from tests.proxy.fleet import NOW, chi_square, critical, fleet, member, name_of, picked

WEIGHTS = {"a": 5.0, "b": 3.0, "c": 1.5, "d": 0.5}


@pytest.mark.parametrize("balance", ["random", "p2c", "peak_ewma"])
@pytest.mark.parametrize("weights", [WEIGHTS, dict.fromkeys("abcdefg", 1.0)])
def test_idle_destinations_are_drawn_by_weight(balance: Any, weights: dict[str, float]) -> None:
    """Where nothing is busy, what differs is the weight: shares pass the test of chi-square."""
    found = picked(fleet(weights, balance=balance).state, 20_000)
    assert chi_square(found, weights) < critical(len(weights) - 1)


def test_least_requests_draws_among_equals() -> None:
    """Idle destinations of one weight share by chance, and a heavier one goes first."""
    found = picked(fleet((1, 1, 1), balance="least_requests").state, 9_000)
    assert chi_square(found, dict.fromkeys("abc", 1)) < critical(2)
    assert picked(fleet((1, 2, 1), balance="least_requests").state, 10) == {"b": 10}


def test_round_robin_is_exact() -> None:
    """Destinations of one weight are taken in turn, in their order."""
    state = fleet((1, 1, 1), balance="round_robin").state
    assert [name_of(state.pick(make_request(), NOW)) for _ in range(7)] == list("abcabca")


def test_weighted_round_robin_is_exact_and_smooth() -> None:
    """Each seven requests go 5, 1 and 1 ways, and no five of them in a row to the heavy one."""
    state = fleet((5, 1, 1), balance="round_robin").state
    order = [str(name_of(state.pick(make_request(), NOW))) for _ in range(700)]
    for start in range(0, 700, 7):
        assert Counter(order[start : start + 7]) == {"a": 5, "b": 1, "c": 1}
    assert "aaaaa" not in "".join(order)


def test_weighted_round_robin_honours_any_weights() -> None:
    """After n requests every destination is within one of its share, whatever the weights."""
    state = fleet(WEIGHTS, balance="round_robin").state
    found: Counter[str | None] = Counter()
    for count in range(1, 2_001):
        found[name_of(state.pick(make_request(), NOW))] += 1
        for name, weight in WEIGHTS.items():
            assert abs(found[name] - count * weight / 10.0) < 1.5


def test_round_robin_survives_a_change() -> None:
    """Who was away does not get all that it missed, and the others go on where they were."""
    cluster = fleet((1, 1, 1), balance="round_robin")
    state, gone = cluster.state, member(cluster, "b")
    picked(state, 30)
    state.set_health(gone, "unhealthy", "test", NOW)
    assert picked(state, 1_000) == {"a": 500, "c": 500}
    state.set_health(gone, "healthy", "test", NOW)
    found = picked(state, 30)
    assert max(found.values()) - min(found.values()) <= 2


def test_power_of_two_takes_the_less_busy() -> None:
    """Of two destinations the one with less under way always gets the request."""
    cluster = fleet((1, 1))
    member(cluster, "a").start()
    assert picked(cluster.state, 50) == {"b": 50}


@pytest.mark.parametrize(("choices", "bound"), [(2, 4), (3, 3)])
def test_power_of_two_bounds_the_busiest(choices: int, bound: int) -> None:
    """n requests on n destinations: the busiest has about log log n, not log n as by chance."""
    busiest = _pile_up(PowerOfTwo(choices=choices), 1_000)
    assert busiest <= bound
    assert _pile_up("random", 1_000) > bound


def _pile_up(balance: Any, count: int) -> int:
    state = fleet([1] * count, balance=balance, chance=Random(3)).state
    for _ in range(count):
        found = state.pick(make_request(), NOW)
        assert found is not None
        found.start()
    return max(member.in_flight for member in state.members)


@pytest.mark.parametrize("balance", ["p2c", "least_requests"])
def test_busy_destinations_share_by_weight(balance: Any) -> None:
    """Under load what is under way settles in proportion to the weights."""
    cluster = fleet((3, 1), balance=balance)
    for _ in range(400):
        found = cluster.state.pick(make_request(), NOW)
        assert found is not None
        found.start()
    assert abs(member(cluster, "a").in_flight - 300) <= 20


def test_least_requests_bias() -> None:
    """Without bias only the weight counts, and with it being busy does."""
    for bias, expected in ((0.0, "a"), (1.0, "b"), (2.0, "b")):
        cluster = fleet((2, 1), balance=LeastRequests(bias=bias))
        for _ in range(3):
            member(cluster, "a").start()
        assert picked(cluster.state, 5) == {expected: 5}


def test_peak_ewma_prefers_the_faster() -> None:
    """With the same under way, the one that answers in a tenth of the time gets nearly all."""
    cluster = fleet((1, 1), balance="peak_ewma")
    state = cluster.state
    state.report(member(cluster, "a"), 200, 0.010, NOW)
    state.report(member(cluster, "b"), 200, 0.100, NOW)
    found = picked(state, 1_000)
    assert found["a"] > 700


def test_peak_ewma_follows_a_peak_at_once_and_forgets_it() -> None:
    """One slow answer moves requests away, and they come back as the time passes."""
    cluster = fleet((1, 1), balance=PeakEWMA(decay=10))
    state, slow = cluster.state, member(cluster, "a")
    for _ in range(20):
        state.report(slow, 200, 0.010, NOW)
        state.report(member(cluster, "b"), 200, 0.050, NOW)
    assert picked(state, 400)["a"] > 250
    state.report(slow, 200, 3.0, NOW)
    assert slow.latency == 3.0
    assert picked(state, 400)["a"] < 150
    for second in range(1, 90):
        state.report(member(cluster, "b"), 200, 0.050, NOW + second)
    assert picked(state, 400, now=NOW + 90)["a"] > 250


def test_peak_ewma_is_not_fooled_by_fast_failures() -> None:
    """A destination that refuses in a millisecond is slower than one that answers in 100."""
    cluster = fleet((1, 1), balance="peak_ewma")
    state = cluster.state
    state.report(member(cluster, "a"), 503, 0.001, NOW)
    state.report(member(cluster, "b"), 200, 0.100, NOW)
    assert picked(state, 400)["b"] > 250
    # What the client or we ourselves have broken says nothing of how fast it is.
    state.report(member(cluster, "b"), UpstreamError("body_client", "gone"), 9.0, NOW)
    assert member(cluster, "b").latency == 0.100


def test_first_stays_with_the_first() -> None:
    """The order of the list decides, and the next one steps in."""
    cluster = fleet((1, 5, 1), balance="first")
    assert picked(cluster.state, 5) == {"a": 5}
    cluster.state.set_health(member(cluster, "a"), "unhealthy", "test", NOW)
    assert picked(cluster.state, 5) == {"b": 5}


@pytest.mark.parametrize("balance", ["p2c", "round_robin", "random", "least_requests", "first"])
def test_tried_ones_are_avoided(balance: Any) -> None:
    """A retry goes elsewhere while there is an elsewhere, and else to one of those again."""
    cluster = fleet((1, 1, 1, 1), balance=balance)
    state, members = cluster.state, cluster.state.members
    for _ in range(50):
        assert state.pick(make_request(), NOW, members[:3]) is members[3]
    assert state.pick(make_request(), NOW, members) in members


def test_a_draw_never_leaves_the_range() -> None:
    """The largest number that chance can give is still one of the members."""

    class Edge(Random):
        def random(self) -> float:
            return 1.0 - 2.0**-53

    for balance in ("p2c", "random", "peak_ewma"):
        for weights in ((1, 1, 1), (0.1, 0.2, 0.7)):
            assert picked(fleet(weights, balance=balance, chance=Edge()).state, 3)["c"] == 3


def test_wrong_options_are_told() -> None:
    """Each balancer names its option, and the cluster a balancer that there is not."""
    for wrong in (
        lambda: PowerOfTwo(choices=1),
        lambda: LeastRequests(bias=-1),
        lambda: PeakEWMA(decay=0),
        lambda: fleet(balance="rounded_robin"),
        lambda: fleet(balance=PowerOfTwo),
    ):
        with pytest.raises(ConfigurationError):
            wrong()


def test_the_plain_round_goes_on_for_ever() -> None:
    """A pair that differs in nothing alternates for ever: no rounding ever adds up."""
    state = fleet((0.1, 0.1), balance="round_robin").state
    order = [name_of(state.pick(make_request(), NOW)) for _ in range(10_000)]
    assert all(one != other for one, other in pairwise(order))
