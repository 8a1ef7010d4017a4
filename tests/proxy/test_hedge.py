"""The policy of hedging, and the histogram that a percentile comes from."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from gatekit import ConfigurationError
from gatekit.proxy.attempts.hedge import Hedge
from gatekit.proxy.attempts.latencies import Latencies
from gatekit.proxy.clusters.cluster import Cluster


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.99])
def test_a_quantile_is_a_tenth_too_long_at_most(share: float) -> None:
    """Against the sorted list, for latencies from a millisecond to a minute."""
    chance = Random(11)
    samples = [chance.lognormvariate(-3, 1.5) for _ in range(5_000)]
    latencies = Latencies()
    for sample in samples:
        latencies.add(sample, 100.0)
    exact = sorted(samples)[int(share * len(samples))]
    assert exact * 0.999 <= latencies.quantile(share, 100.0) <= exact * 1.101


def test_what_is_old_is_forgotten() -> None:
    """After a window at most; within half of it nothing is."""
    latencies = Latencies(window=60.0)
    for _ in range(100):
        latencies.add(10.0, 100.0)
    for _ in range(100):
        latencies.add(0.01, 131.0)
    assert latencies.count(131.0) == 200 and latencies.quantile(0.9, 131.0) > 9.0
    assert latencies.count(165.0) == 100 and latencies.quantile(0.9, 165.0) < 0.012
    assert latencies.count(400.0) == 0 and latencies.quantile(0.9, 400.0) == 0.0


def test_its_size_does_not_grow() -> None:
    """However many, however long: a sample beyond every bucket is in the last one."""
    latencies = Latencies()
    latencies.add(0.0, 100.0)
    latencies.add(1e9, 100.0)
    assert latencies.quantile(0.1, 100.0) == 0.0005 and latencies.quantile(1.0, 100.0) > 250.0


def test_when_a_hedge_is_sent() -> None:
    """After a fixed time, or after a percentile once enough is known."""
    assert Hedge(0.1).after(None, 0.0) == 0.1
    hedge, latencies = Hedge("p90", min_samples=10), Latencies()
    for _ in range(9):
        latencies.add(0.1, 100.0)
    assert hedge.after(latencies, 100.0) is None
    latencies.add(0.1, 100.0)
    assert hedge.after(latencies, 100.0) == pytest.approx(0.105, abs=0.006)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"after": 0}, "after"),
        ({"after": "95"}, "after"),
        ({"after": "p100"}, "after"),
        ({"after": "p5"}, "after"),
        ({"max": 0}, "max"),
        ({"methods": "GET"}, "methods"),
        ({"min_samples": 0}, "min_samples"),
        ({"delay": 1}, "delay"),
    ],
)
def test_a_wrong_option_is_named(wrong: dict[str, Any], name: str) -> None:
    """At construction."""
    with pytest.raises(ConfigurationError) as raised:
        Hedge(**wrong)
    assert list(raised.value.problems) == [name]
    with pytest.raises(ConfigurationError, match="hedge"):
        Cluster("c", destinations=["http://a"], hedge=0.1)  # type: ignore[arg-type]
