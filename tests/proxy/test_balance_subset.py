"""Destinations by what their metadata say, as far as a request asks for it."""

from __future__ import annotations

from typing import Any

import pytest

from gatekit import CircuitBreaker, Cluster, ConfigurationError, RingHash, Subset
from gatekit.testing import make_request
from tests.proxy.fleet import NOW, chi_square, critical, destination, fleet, member, picked

VERSIONS = {
    "a": {"version": "v1", "region": "eu"},
    "b": {"version": "v1", "region": "us"},
    "c": {"version": "v2", "region": "eu"},
    "d": {"version": "v2", "region": "eu"},
    "e": {},
}
BY = {"version": "header:x-version", "region": "header:x-region"}


def versions(balance: Any = None, **options: Any) -> Cluster:
    listed = [destination(name, metadata=metadata) for name, metadata in VERSIONS.items()]
    return fleet(destinations=listed, balance=balance or Subset(BY), **options)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, "abcde"),
        ({"x-version": "v1"}, "ab"),
        ({"x-region": "eu"}, "acd"),
        ({"x-version": "v2", "x-region": "eu"}, "cd"),
        ({"x-version": "v1", "x-region": "eu"}, "a"),
        ({"x-version": "v2", "x-region": "us"}, "abcde"),
        ({"x-version": "v9"}, "abcde"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"breaker": CircuitBreaker()}], ids=["plain", "breaker"])
def test_those_that_fit_share_the_requests(asked: dict[str, str], found: str, options: Any) -> None:
    """What is asked for must fit, the rest may be anything; where nobody fits all are taken."""
    counts = picked(versions(**options).state, 2_000, make_request(headers=asked))
    assert set(counts) == set(found)
    if len(found) > 1:
        assert chi_square(counts, dict.fromkeys(found, 1)) < critical(len(found) - 1)


def test_a_retry_stays_among_those_that_fit() -> None:
    """Others are asked only when all that fit were."""
    cluster = versions()
    request = make_request(headers={"x-version": "v2"})
    tried = [member(cluster, "c")]
    assert {cluster.state.pick(request, NOW, tried) for _ in range(20)} == {member(cluster, "d")}
    tried.append(member(cluster, "d"))
    assert {cluster.state.pick(request, NOW, tried) for _ in range(200)} == {
        member(cluster, name) for name in "abe"
    }


def test_the_balance_within_is_ones_own() -> None:
    """A hash among those that fit sends a key to the same of them."""
    cluster = versions(Subset({"version": "header:x-version"}, balance=RingHash("header:x-key")))
    for key in "123456":
        request = make_request(headers={"x-version": "v2", "x-key": key})
        assert set(picked(cluster.state, 10, request)) < {"c", "d"}


def test_what_clients_invent_is_not_remembered() -> None:
    """A thousand versions that there are not leave nothing behind."""
    cluster = versions()
    for number in range(1_000):
        cluster.state.pick(make_request(headers={"x-version": f"v{number + 9}"}), NOW)
    [group] = cluster.state._choice._available
    assert len(group.picker._pickers) == 1  # type: ignore[attr-defined]


def test_wrong_options_are_told() -> None:
    """Nothing to ask for, a source that there is not, and a balance that there is not."""
    wrong: list[tuple[dict[str, str], Any]] = [
        ({}, "p2c"),
        ({"version": "x-version"}, "p2c"),
        (BY, "best"),
    ]
    for by, balance in wrong:
        with pytest.raises(ConfigurationError):
            Subset(by, balance=balance)
