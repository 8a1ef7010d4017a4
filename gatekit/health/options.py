"""What the options of a `Health` must look like, and what is made of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

from gatekit.health.check import Check, Probe, Question, question_problem
from gatekit.proxy.clusters.cluster import Cluster

if TYPE_CHECKING:
    from gatekit.proxy.handler import Proxy

Clusters: TypeAlias = "Mapping[str, Cluster | Proxy] | Collection[Cluster]"


def probe_of(name: str, one: Question | Check, timeout: float) -> Probe:
    if isinstance(one, Check):
        return Probe(name, one.function, timeout if one.timeout is None else one.timeout)
    return Probe(name, one, timeout)


def clusters_of(clusters: object) -> tuple[dict[str, Cluster], str | None]:
    """Each by its name, and what is wrong with them."""
    if isinstance(clusters, Cluster | str) or not isinstance(clusters, Collection):
        return {}, f"must be a list of clusters, or clusters by name, not {clusters!r}"
    found: dict[str, Cluster] = {}
    if isinstance(clusters, Mapping):
        for name, one in cast("Mapping[object, object]", clusters).items():
            cluster = getattr(one, "cluster", one)
            if not isinstance(name, str) or not isinstance(cluster, Cluster):
                return {}, f"{name!r}: must be a Cluster or a Proxy, not {one!r}"
            found[name] = cluster
        return found, None
    for one in cast("Collection[object]", clusters):
        if not isinstance(one, Cluster):
            return {}, f"{one!r} is not a Cluster; a Proxy is given by name, in a dict"
        if one.name in found:
            return {}, f"two are named {one.name!r}"
        found[one.name] = one
    return found, None


def checks_problem(checks: object) -> str | None:
    if not isinstance(checks, Mapping):
        return f"must be functions by name, not {checks!r}"
    wrong: list[str] = []
    for name, one in cast("Mapping[object, object]", checks).items():
        if not isinstance(name, str):
            wrong.append(f"{name!r} is not a name")
        elif not isinstance(one, Check) and (what := question_problem(one)):
            wrong.append(f"{name!r} {what}")
    return "; ".join(wrong) or None


def both_problem(checks: object, clusters: Mapping[str, Cluster]) -> str | None:
    """A name can be one service's alone."""
    twice = sorted(name for name in clusters if name in _names(checks))
    return f"{', '.join(map(repr, twice))}: there is a check of that name" if twice else None


def critical_problem(
    critical: object, checks: object, clusters: Mapping[str, Cluster]
) -> str | None:
    if critical is None:
        return None
    if isinstance(critical, str) or not isinstance(critical, Collection):
        return f"must be a list of names, not {critical!r}"
    names = cast("Collection[object]", critical)
    unknown = [name for name in names if name not in clusters and name not in _names(checks)]
    return f"there is no {', '.join(map(repr, unknown))}" if unknown else None


def _names(checks: object) -> Collection[object]:
    return cast("Mapping[object, object]", checks) if isinstance(checks, Mapping) else ()
