"""Prefers the destinations whose metadata fit the request.

    Cluster("orders", destinations=[...], balance=Subset({"version": "header:x-version"}))
    Subset({"region": lambda request: request.state.get("region"), "tier": "cookie:tier"})

Of the destinations those are taken whose `metadata` has the values that the request asks for; what
it does not ask for may be anything. Where none fits, all of them are taken: who must not fall back
needs clusters of their own, behind routes or a `Split`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from gatekit._core.messages import Request
from gatekit._core.options import known_keywords
from gatekit.errors import check
from gatekit.proxy.balance import Balancer, BalancerName, Picker, balance_problem, balancer_of
from gatekit.proxy.balance.hashing import KeyOf, Source, key_of, on_problem

if TYPE_CHECKING:
    from gatekit.proxy.clusters.members import Member

Wanted: TypeAlias = "tuple[str | None, ...]"


@known_keywords
class Subset:
    """`by` says for each key of the metadata where a request asks for it, as the hashes do.

    `balance` chooses among those that fit.
    """

    __slots__ = ("_balancer", "_sources")

    def __init__(
        self, by: Mapping[str, Source], *, balance: Balancer | BalancerName = "p2c"
    ) -> None:
        problems = [problem for source in by.values() if (problem := on_problem(source))]
        check(
            "Subset",
            by="; ".join(problems) or (None if by else "is empty: there is nothing to ask for"),
            balance=balance_problem(balance),
        )
        self._sources = [(key, key_of(source)) for key, source in by.items()]
        self._balancer = balancer_of(balance)

    def picker(self, members: Sequence[Member]) -> Picker:
        return _Fitting(members, self._sources, self._balancer)

    def __repr__(self) -> str:
        return f"Subset({[key for key, _ in self._sources]})"


class _Fitting:
    __slots__ = ("_balancer", "_known", "_members", "_pickers", "_sources")

    def __init__(
        self, members: Sequence[Member], sources: list[tuple[str, KeyOf]], balancer: Balancer
    ) -> None:
        self._members = members
        self._sources = sources
        self._balancer = balancer
        # What clients invent is not kept: only what some destination has.
        self._known = [
            {member.destination.metadata.get(key) for member in members} for key, _ in sources
        ]
        self._pickers: dict[Wanted, Picker] = {}

    def __call__(self, request: Request, now: float, chance: Random) -> Member:
        wanted = self._wanted(request)
        picker = self._pickers.get(wanted)
        if picker is None:
            fitting = self._fitting(wanted)
            if len(fitting) == 1:
                return fitting[0]
            picker = self._pickers[wanted] = self._balancer.picker(fitting)
        return picker(request, now, chance)

    def walk(self, request: Request, _now: float, chance: Random) -> Iterable[Member]:
        """Those that fit before the others, in any order."""
        fitting = self._fitting(self._wanted(request))
        others = [member for member in self._members if member not in fitting]
        return chain(chance.sample(fitting, len(fitting)), chance.sample(others, len(others)))

    def _wanted(self, request: Request) -> Wanted:
        """All None, which is anybody, where nobody could fit."""
        wanted: list[str | None] = []
        for (_, source), known in zip(self._sources, self._known, strict=True):
            value = source(request) or None
            if value is not None and value not in known:
                return (None,) * len(self._sources)
            wanted.append(value)
        return tuple(wanted)

    def _fitting(self, wanted: Wanted) -> Sequence[Member]:
        asked = [
            (key, value)
            for (key, _), value in zip(self._sources, wanted, strict=True)
            if value is not None
        ]
        fitting = [
            member
            for member in self._members
            if all(member.destination.metadata.get(key) == value for key, value in asked)
        ]
        return fitting or self._members
