"""What the other parts of a gateway tell of themselves, as names, labels and numbers.

    for measure in MEASURES:
        for labels, value in measure.read(parts): ...

Labels are names that were configured: never a key of a client's, of which a breaker or a bulkhead
may have a million. Reading costs a walk over the parts, and is done when somebody asks.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from gatekit.middleware.cache.middleware import Cache
    from gatekit.middleware.circuit_breaker import CircuitBreaker
    from gatekit.middleware.concurrency import ConcurrencyLimit
    from gatekit.proxy.clusters.cluster import Cluster
    from gatekit.proxy.handler import Proxy
    from gatekit.proxy.transport.registry import Usage

Labels: TypeAlias = "tuple[str, ...]"
Readings: TypeAlias = "Iterator[tuple[Labels, float]]"
T = TypeVar("T")

_CIRCUIT_STATES = ("closed", "open", "half_open", "forced_open", "forced_closed")


class Parts:
    """The parts that have something to tell, each once."""

    def __init__(self) -> None:
        self.proxies: list[Proxy] = []
        self.clusters: list[Cluster] = []
        self.breakers: list[CircuitBreaker] = []
        self.bulkheads: list[ConcurrencyLimit] = []
        self.caches: list[Cache] = []

    def add(self, parts: Iterable[object]) -> None:
        found = list(parts)
        _take(found, "gatekit.proxy.handler", "Proxy", self.proxies)
        _take(found, "gatekit.proxy.clusters.cluster", "Cluster", self.clusters)
        theirs = [proxy.cluster for proxy in self.proxies]
        _take(theirs, "gatekit.proxy.clusters.cluster", "Cluster", self.clusters)
        found += [cluster.breaker for cluster in self.clusters]
        _take(found, "gatekit.middleware.circuit_breaker", "CircuitBreaker", self.breakers)
        _take(found, "gatekit.middleware.concurrency", "ConcurrencyLimit", self.bulkheads)
        _take(found, "gatekit.middleware.cache.middleware", "Cache", self.caches)


class Measure(NamedTuple):
    """A number that is read. Of a `counter` only what has been added since counts."""

    name: str
    help: str
    labels: Labels
    read: Callable[[Parts], Readings]
    kind: Literal["gauge", "counter"] = "gauge"


def _take(found: Iterable[object], module: str, name: str, into: list[T]) -> None:
    """A class that nobody has imported has no instances."""
    kind = getattr(sys.modules.get(module), name, None)
    if kind is None:
        return
    for part in found:
        if isinstance(part, kind) and not any(part is known for known in into):
            into.append(cast("T", part))


def _in_flight(parts: Parts) -> Readings:
    return (
        ((status.cluster, status.destination), status.in_flight)
        for cluster in parts.clusters
        for status in cluster.status()
    )


def _available(parts: Parts) -> Readings:
    return (
        ((status.cluster, status.destination), float(status.available))
        for cluster in parts.clusters
        for status in cluster.status()
    )


def _connections(parts: Parts) -> Readings:
    for cluster in parts.clusters:
        seen: set[str] = set()
        for member in cluster.state.members:
            usage_of = getattr(member.transport, "usage", None)
            if usage_of is None or member.origin.key in seen:
                continue
            seen.add(member.origin.key)
            usage: Usage = usage_of(member.origin)
            for state, value in usage._asdict().items():
                yield (cluster.name, member.name, state), value


def _circuits(parts: Parts) -> Readings:
    for name, statuses in _by_name(parts.breakers):
        counted = Counter(status.state for status in statuses)
        for state in sorted({*_CIRCUIT_STATES, *counted}):
            yield (name, state), counted[state]


def _trips(parts: Parts) -> Readings:
    for name, statuses in _by_name(parts.breakers):
        yield (name,), sum(status.trips for status in statuses)


def _limit(parts: Parts) -> Readings:
    for name, statuses in _by_name(parts.bulkheads):
        yield (name, "in_flight"), sum(status.in_flight for status in statuses)
        yield (name, "waiting"), sum(status.waiting for status in statuses)


def _limits(parts: Parts) -> Readings:
    for name, statuses in _by_name(parts.bulkheads):
        yield (name,), max((status.limit for status in statuses), default=0)


def _cache(parts: Parts) -> Readings:
    found: dict[Labels, float] = {}
    for cache in parts.caches:
        stats = cache.stats()
        for result in (
            "hits", "stale", "misses", "revalidated", "collapsed", "stored", "bypassed", "failures",
        ):  # fmt: skip
            labels = (cache.name, result)
            found[labels] = found.get(labels, 0) + getattr(stats, result)
    yield from found.items()


def _cache_size(what: Literal["bytes", "entries"]) -> Callable[[Parts], Readings]:
    def read(parts: Parts) -> Readings:
        found: dict[Labels, float] = {}
        for cache in parts.caches:
            size = getattr(cache.stats(), what)
            if size is not None:
                found[(cache.name,)] = found.get((cache.name,), 0) + size
        yield from found.items()

    return read


def _websockets(parts: Parts) -> Readings:
    found: dict[Labels, float] = {}
    for proxy in parts.proxies:
        labels = (proxy.cluster.name,)
        found[labels] = found.get(labels, 0) + proxy.open_websockets
    yield from found.items()


def _by_name(parts: Iterable[Any]) -> Iterator[tuple[str, list[Any]]]:
    """What has the same name counts together."""
    found: dict[str, list[Any]] = {}
    for part in parts:
        found.setdefault(part.name, []).extend(part.status())
    return iter(found.items())


MEASURES = (
    Measure("gatekit_upstream_requests_in_flight", "Attempts under way at a destination.",
            ("service", "destination"), _in_flight),
    Measure("gatekit_upstream_available", "Whether a destination may be asked.",
            ("service", "destination"), _available),
    Measure("gatekit_upstream_connections", "Connections of the pool, and who waits for one.",
            ("service", "destination", "state"), _connections),
    Measure("gatekit_websockets_open", "WebSockets that are carried.", ("service",), _websockets),
    Measure("gatekit_circuits", "Circuits by their state.", ("name", "state"), _circuits),
    Measure("gatekit_circuit_trips", "How often a circuit has opened.", ("name",), _trips,
            "counter"),
    Measure("gatekit_concurrency", "Requests inside of a bulkhead and in its queue.",
            ("name", "state"), _limit),
    Measure("gatekit_concurrency_limit", "How many a bulkhead lets in.", ("name",), _limits),
    Measure("gatekit_cache_results", "What a cache made of its requests.", ("name", "result"),
            _cache, "counter"),
    Measure("gatekit_cache_size_bytes", "Bytes in the store of a cache.", ("name",),
            _cache_size("bytes")),
    Measure("gatekit_cache_entries", "Answers in the store of a cache.", ("name",),
            _cache_size("entries")),
)  # fmt: skip
