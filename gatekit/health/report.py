"""What a probe is answered with: a snapshot of all services, as JSON of one shape or another.

snapshot.overall                 # "up", "degraded" or "down"
report(snapshot, "draining", version="1.4.2", details=True)
draft(snapshot, "up", version=None, details=False)          # application/health+json
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from gatekit.health.check import Status
from gatekit.proxy.clusters.events import MemberStatus

Overall: TypeAlias = Literal["up", "degraded", "down", "draining", "starting"]

# The words of draft-inadarei-api-health-check-06 §3.1.
_DRAFT: Mapping[Overall, str] = {
    "up": "pass",
    "degraded": "warn",
    "down": "fail",
    "draining": "fail",
    "starting": "fail",
}


class Service(NamedTuple):
    """One entry. `members` are a cluster's destinations, None of what is no cluster."""

    name: str
    status: Status
    critical: bool
    reason: str = ""
    seconds: float | None = None
    members: Sequence[MemberStatus] | None = None


class Snapshot(NamedTuple):
    """All services at one moment: `at` on the clock of `io.now()`, `timestamp` in RFC 3339."""

    services: Sequence[Service]
    at: float
    timestamp: str

    @property
    def overall(self) -> Status:
        """What is critical takes the whole down; anything else that is not well degrades it."""
        if any(service.status == "down" and service.critical for service in self.services):
            return "down"
        return "up" if all(service.status == "up" for service in self.services) else "degraded"


def of_cluster(name: str, members: Sequence[MemberStatus], *, critical: bool) -> Service:
    """Nobody available is down, some of them degraded; who drains is leaving as intended."""
    staying = [member for member in members if not member.draining]
    available = sum(member.available for member in staying)
    if not available:
        status: Status = "down"
    else:
        status = "up" if available == len(staying) else "degraded"
    reason = "" if status == "up" else f"{available} of {len(staying)} destinations are available"
    return Service(name, status, critical, reason, members=members)


def report(
    snapshot: Snapshot, status: Overall, *, version: str | None, details: bool, addresses: bool
) -> dict[str, object]:
    """Of the shape that `/health` answers with."""
    whole: dict[str, object] = {"status": status, "timestamp": snapshot.timestamp}
    if version is not None:
        whole["version"] = version
    whole["services"] = {
        service.name: _entry(service, details=details, addresses=addresses)
        for service in snapshot.services
    }
    return whole


def draft(
    snapshot: Snapshot, status: Overall, *, version: str | None, details: bool
) -> dict[str, object]:
    """Of the shape of draft-inadarei-api-health-check-06, `application/health+json`."""
    whole: dict[str, object] = {"status": _DRAFT[status]}
    if version is not None:
        whole["version"] = version
    checks: dict[str, list[dict[str, object]]] = {}
    for service in snapshot.services:
        entry: dict[str, object] = {"status": _DRAFT[service.status], "time": snapshot.timestamp}
        if details and service.reason:
            entry["output"] = service.reason
        if details and service.seconds is not None:
            entry |= {"observedValue": round(service.seconds, 6), "observedUnit": "s"}
        checks[service.name] = [entry]
    whole["checks"] = checks
    return whole


def _entry(service: Service, *, details: bool, addresses: bool) -> dict[str, object]:
    entry: dict[str, object] = {"status": service.status}
    if not details:
        return entry
    entry["critical"] = service.critical
    if service.reason:
        entry["reason"] = service.reason
    if service.seconds is not None:
        entry["seconds"] = round(service.seconds, 6)
    if service.members is not None:
        entry["destinations"] = (
            [_destination(member) for member in service.members]
            if addresses
            else _counts(service.members)
        )
    return entry


def _counts(members: Sequence[MemberStatus]) -> dict[str, int]:
    return {
        "total": len(members),
        "available": sum(member.available for member in members),
        "unhealthy": sum(member.health == "unhealthy" for member in members),
        "ejected": sum(member.ejected_for > 0 for member in members),
        "draining": sum(member.draining for member in members),
        "in_flight": sum(member.in_flight for member in members),
    }


def _destination(member: MemberStatus) -> dict[str, object]:
    latency = member.latency
    return {
        "name": member.destination,
        "available": member.available,
        "health": member.health,
        "reason": member.reason,
        "in_flight": member.in_flight,
        "latency": None if latency is None else round(latency, 6),
        "ejected_for": round(member.ejected_for, 3),
        "draining": member.draining,
    }
