"""What happens to the destinations of a cluster, and how they are.

Cluster("orders", destinations=[...], on_event=lambda event: print(event.kind, event.reason))
cluster.state.status()              # a MemberStatus for each destination
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

Health: TypeAlias = Literal["unknown", "healthy", "unhealthy"]
EventKind: TypeAlias = Literal[
    "up",
    "down",
    "ejected",
    "returned",
    "added",
    "removed",
    "draining",
    "resolver_failed",
    "resolver_recovered",
]
OnEvent: TypeAlias = "Callable[[ClusterEvent], object]"

logger = logging.getLogger("gatekit")

_WARNINGS: frozenset[EventKind] = frozenset({"down", "ejected", "resolver_failed"})


class ClusterEvent(NamedTuple):
    """One change. `destination` is a name, empty where it is the cluster's; `at` is monotonic."""

    cluster: str
    destination: str
    kind: EventKind
    reason: str
    at: float


class MemberStatus(NamedTuple):
    """One destination, as this process sees it.

    `weight` is what counts now, slow start applied; `latency` is the moving average of the seconds
    to a head, None where none is known; `ejected_for` are the seconds that are left.
    """

    cluster: str
    destination: str
    available: bool
    health: Health
    reason: str
    weight: float
    priority: int
    zone: str | None
    in_flight: int
    latency: float | None
    ejected_for: float
    draining: bool


def tell(event: ClusterEvent, on_event: OnEvent | None) -> None:
    """Log it, and hand it on; what the callback raises is logged."""
    level = logging.WARNING if event.kind in _WARNINGS else logging.INFO
    logger.log(
        level,
        "cluster %s: %s %s: %s",
        event.cluster,
        event.destination or "resolver",
        event.kind.replace("resolver_", ""),
        event.reason,
        extra={"gatekit": {"event": "cluster", **event._asdict()}},
    )
    if on_event is None:
        return
    try:
        on_event(event)
    except Exception as error:
        logger.error("on_event of cluster %s raised", event.cluster, exc_info=error)
