"""Clusters without a network: members to pick from, and what picking them came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

from gatekit import Cluster, Destination, Request, Response
from gatekit.proxy.clusters.members import ClusterState, Member
from gatekit.testing import make_request, upstream

NOW = 1_000.0
SECRET = b"sixteen bytes at least"


def fleet(weights: Iterable[float] | Mapping[str, float] = (1, 1, 1), **options: Any) -> Cluster:
    """Destinations named a, b, c …, whose chance is the same in every run."""
    named = weights if isinstance(weights, Mapping) else dict(zip(letters(), weights, strict=False))
    return Cluster(
        options.pop("name", "fleet"),
        destinations=options.pop(
            "destinations", [destination(name, weight=weight) for name, weight in named.items()]
        ),
        transport=upstream(lambda sent: Response.text(sent.origin.host)),
        chance=options.pop("chance", Random(7)),
        **options,
    )


def destination(name: str, **options: Any) -> Destination:
    return Destination(f"http://{name}.test", name=name, **options)


def letters() -> Iterable[str]:
    yield from "abcdefghijklmnopqrstuvwxyz"
    number = 0
    while True:
        yield f"n{number}"
        number += 1


def member(cluster: Cluster, name: str) -> Member:
    return next(member for member in cluster.state.members if member.name == name)


def name_of(member: Member | None) -> str | None:
    return None if member is None else member.name


def picked(
    state: ClusterState, count: int, request: Request | None = None, now: float = NOW
) -> Counter[str | None]:
    """How often each was chosen, of requests that are over at once."""
    asked = make_request() if request is None else request
    return Counter(name_of(state.pick(asked, now)) for _ in range(count))


def by_key(state: ClusterState, keys: Iterable[str], now: float = NOW) -> dict[str, str | None]:
    """Whom each value of `x-key` goes to."""
    return {key: name_of(state.pick(make_request(headers={"x-key": key}), now)) for key in keys}


def chi_square(found: Mapping[Any, float], expected: Mapping[Any, float]) -> float:
    """How far counts are from the shares of a theory; `expected` adds up to any number."""
    count, whole = sum(found.values()), sum(expected.values())
    return sum(
        (found.get(name, 0) - count * share / whole) ** 2 / (count * share / whole)
        for name, share in expected.items()
    )


def critical(freedom: int) -> float:
    """What chance alone exceeds once in a thousand times (Wilson and Hilferty, 1931)."""
    part = 2.0 / (9.0 * freedom)
    return float(freedom * (1.0 - part + 3.0902 * part**0.5) ** 3)
