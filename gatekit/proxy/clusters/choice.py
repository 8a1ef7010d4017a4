"""Who may be chosen, until something changes: tiers, panic, and whom to avoid.

    choice = Choice(members, balancer, now, panic=0.5, zone="eu-1")
    choice.pick(request, now, chance)                         # the way of nearly every request
    choice.find(request, now, chance, permits)                # when somebody has to be avoided

A tier are the destinations of one priority, those of our own zone before the others of it. The
first tier serves of which at least the part `panic` is available. When no tier has as many, it is
panic: all destinations are used, well or not, for what their state says of them is then most
likely wrong, or the few that are left would go down too. But only an idempotent request may go
where it probably fails; another one goes to whoever is available, or nowhere.

A choice is built whole and thrown away whole. It keeps what costs more than a moment (a picker of a
balancer) until it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import TYPE_CHECKING, Final, TypeAlias

from gatekit._core.messages import Request

if TYPE_CHECKING:
    from gatekit.proxy.balance import Balancer, Picker
    from gatekit.proxy.clusters.members import Member

Pick: TypeAlias = "Callable[[Request, float, Random], Member | None]"
Permits: TypeAlias = "Callable[[Member], bool]"

# RFC 9110 §9.2.2.
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})

# Further draws before the rest are looked at one by one: with half of them avoided, 7 of 8 picks
# are over by then.
_DRAWS = 2


class Choice:
    """`pick` takes nobody to avoid and is as fast as the balancer; `until` is when it is stale."""

    __slots__ = ("_available", "_everyone", "is_panic", "pick", "until")

    def __init__(
        self,
        members: Sequence[Member],
        balancer: Balancer,
        now: float,
        *,
        panic: float | None,
        zone: str | None,
        until: float,
    ) -> None:
        self.until = until
        self.is_panic = False
        self._everyone: Group | None = None
        tiers = _tiers([member for member in members if member.weight > 0], zone)
        served: list[Group] = []
        first: Group | None = None
        for tier in tiers:
            available = [member for member in tier if member.is_available(now)]
            if available:
                group = Group(available, balancer)
                served.append(group)
                if first is None and len(available) >= (panic or 0.0) * len(tier):
                    first = group
        if first is not None:
            served.remove(first)
            served.insert(0, first)
        elif panic is not None and tiers:
            self.is_panic = True
            self._everyone = Group([member for tier in tiers for member in tier], balancer)
        self._available = served
        self.pick: Pick = self._pick_in_panic
        if not self.is_panic:
            self.pick = first.picker if first is not None else _nobody

    def find(self, request: Request, now: float, chance: Random, permits: Permits) -> Member | None:
        """One that is permitted, of the tier that serves or else of the next; None if none is."""
        for group in self._groups(request):
            member = group.find(request, now, chance, permits)
            if member is not None:
                return member
        return None

    def _groups(self, request: Request) -> Sequence[Group]:
        if self._everyone is not None and request.method in IDEMPOTENT:
            return (self._everyone,)
        return self._available

    def _pick_in_panic(self, request: Request, now: float, chance: Random) -> Member | None:
        groups = self._groups(request)
        return groups[0].picker(request, now, chance) if groups else None


class Group:
    """Some members, and the picker of them."""

    __slots__ = ("_balancer", "_picker", "members")

    def __init__(self, members: Sequence[Member], balancer: Balancer) -> None:
        self.members = members
        self._balancer = balancer
        self._picker: Picker | None = None

    @property
    def picker(self) -> Picker:
        picker = self._picker
        if picker is None:
            members = self.members
            picker = _always(members[0]) if len(members) == 1 else self._balancer.picker(members)
            self._picker = picker
        return picker

    def find(self, request: Request, now: float, chance: Random, permits: Permits) -> Member | None:
        picker = self.picker
        member = picker(request, now, chance)
        if permits(member):
            return member
        walk: Callable[..., Iterable[Member]] | None = getattr(picker, "walk", None)
        if walk is not None:
            # Where the order is the point of it, the next in order follows.
            return next((member for member in walk(request, now, chance) if permits(member)), None)
        for _ in range(_DRAWS):
            member = picker(request, now, chance)
            if permits(member):
                return member
        left = [member for member in self.members if permits(member)]
        return chance.choices(left, [member.weight for member in left])[0] if left else None


def _tiers(members: Sequence[Member], zone: str | None) -> list[list[Member]]:
    tiers: dict[tuple[int, bool], list[Member]] = {}
    for member in members:
        destination = member.destination
        rank = (destination.priority, zone is not None and destination.zone != zone)
        tiers.setdefault(rank, []).append(member)
    return [tiers[rank] for rank in sorted(tiers)]


def _always(member: Member) -> Picker:
    return lambda _request, _now, _chance: member


def _nobody(_request: Request, _now: float, _chance: Random) -> None:
    return None
