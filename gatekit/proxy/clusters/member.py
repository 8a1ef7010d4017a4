"""One destination of a cluster as it is doing, in this process.

    member.start()
    try:
        ...
    finally:
        member.finish()

What is under way is counted exactly, by whoever begins and ends it, in whatever thread; without a
lock, for the garbage collector may end an attempt in the midst of anything.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, inf
from typing import Any

from gatekit.proxy.clusters.destination import Destination
from gatekit.proxy.clusters.events import Health, MemberStatus
from gatekit.proxy.transport import Transport
from gatekit.proxy.transport.origin import Origin


class Member:
    """One destination, in this process.

    `in_flight` are the attempts that were started and not finished; `weight` is what counts now;
    `latency` a moving average in seconds, and `latency_at` when it was last fed. `tally` is the
    listener's own; `on_idle` is called when the last attempt has ended.
    """

    __slots__ = (
        "_under_way", "added_at", "destination", "draining", "ejected_until", "health", "host",
        "latency", "latency_at", "name", "on_idle", "origin", "ramp_from", "reason",
        "tally", "transport", "turn", "weight",
    )  # fmt: skip

    def __init__(self, destination: Destination, transport: Transport, now: float = -inf) -> None:
        # To append to a list and to take from its end are one step each, for all threads.
        self._under_way: list[None] = []
        self.on_idle: Callable[[Member], None] | None = None
        self.added_at = now
        self.draining = False
        self.ejected_until = 0.0
        self.health: Health = "unknown"
        self.latency: float | None = None
        self.latency_at = -inf
        self.ramp_from = now
        self.reason = ""
        self.tally: Any = None
        self.turn = 0.0
        self.describe(destination, transport)

    def describe(self, destination: Destination, transport: Transport) -> None:
        """Another description of the same place."""
        self.destination = destination
        self.name = destination.name
        self.origin: Origin = destination.origin
        self.transport = transport
        host = destination.host
        self.host = destination.origin.authority if host is None else host.encode("latin-1")
        self.weight = float(destination.weight)

    def is_available(self, now: float) -> bool:
        return not (self.draining or self.health == "unhealthy" or self.ejected_until > now)

    @property
    def in_flight(self) -> int:
        return len(self._under_way)

    def start(self) -> None:
        """An attempt begins; exactly one `finish` must follow, whatever becomes of it."""
        self._under_way.append(None)

    def finish(self) -> None:
        """An attempt is over, the last byte of its answer included."""
        under_way = self._under_way
        if under_way:  # the child of a fork has forgotten what its parent has in flight
            under_way.pop()
        if self.on_idle is not None and not under_way:
            self.on_idle(self)

    def forget(self) -> None:
        """In the child of a fork: what its parent has in flight is not in flight here."""
        self._under_way.clear()

    def feed(self, seconds: float, now: float, decay: float) -> None:
        """One more latency: a peak counts at once, and fades."""
        latency = self.latency
        if latency is None or seconds >= latency:
            self.latency = seconds
        else:
            kept = exp(min(self.latency_at - now, 0.0) / decay)
            self.latency = latency * kept + seconds * (1.0 - kept)
        self.latency_at = now

    def status(self, cluster: str, weight: float, now: float) -> MemberStatus:
        return MemberStatus(
            cluster,
            self.name,
            self.is_available(now) and weight > 0,
            self.health,
            self.reason,
            weight,
            self.destination.priority,
            self.destination.zone,
            self.in_flight,
            self.latency,
            max(self.ejected_until - now, 0.0),
            self.draining,
        )

    def __repr__(self) -> str:
        return f"<Member {self.name!r} in_flight={self.in_flight}>"
