"""The destinations of a cluster as they are doing, in this process.

    state = cluster.state
    state.begin(request.io)
    member = state.pick(request, request.io.now())              # None: nobody can answer
    member.start()
    try:
        ...                                                     # send it, read the answer
    finally:
        member.finish()
    state.report(member, 200, seconds, now)

The description, `Cluster`, never changes; this does. A request costs the same with one destination
or a thousand: what can be chosen from is worked out when something changes, not when it is asked.

**What changes it.** `set_health` (active checks), `eject` (outliers), `update` (a resolver, or a
new configuration) and the clock, by which an ejection ends and a slow start grows. All but the last
are events.

**Who leaves drains.** A destination that is no longer in the list gets nothing new; what is under
way there goes on to its end, and then it is gone.

**Threads.** Everything here may be called from any. Nothing is held while a callback runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from weakref import WeakSet

from gatekit._core.background import Background
from gatekit._core.classify import OURS
from gatekit._core.io import IO
from gatekit._core.latch import Latch
from gatekit._core.messages import Request
from gatekit._core.tally import Tally
from gatekit._core.windows import TimeWindow
from gatekit.errors import UpstreamError
from gatekit.proxy.clusters import events
from gatekit.proxy.clusters.choice import Choice
from gatekit.proxy.clusters.destination import Destination, Target, destinations_of
from gatekit.proxy.clusters.events import ClusterEvent, EventKind, Health, MemberStatus, OnEvent
from gatekit.proxy.clusters.member import Member
from gatekit.proxy.clusters.slow_start import SlowStart
from gatekit.proxy.transport import Transport

__all__ = ["ClusterState", "Listener", "Member", "Result"]

if TYPE_CHECKING:
    from gatekit.middleware.circuit_breaker import CircuitBreaker
    from gatekit.proxy.balance import Balancer
    from gatekit.proxy.clusters.affinity import Affinity
    from gatekit.proxy.discovery.refresh import Discovery

Result: TypeAlias = "int | UpstreamError"
WatchJob: TypeAlias = "Callable[[ClusterState, IO], Coroutine[Any, Any, None]]"
TransportOf: TypeAlias = Callable[[Destination], Transport]

# What a failure counts as in the latency at least: one that fails fast must not look fast.
_FAILURE_SECONDS = 1.0


class Listener(Protocol):
    """Is told how every attempt went, such as `Outliers`."""

    def observe(
        self, state: ClusterState, member: Member, result: Result, seconds: float, now: float, /
    ) -> None: ...


class ClusterState:
    """Finds who answers a request, and knows what became of it.

    `retrying` counts the attempts under way that are retries or hedges: whoever makes them counts
    them. `lately`, where a budget asks for it, are the attempts of a while, those two as failed.
    `asked` is another number when there were requests, where something runs beside them.
    """

    def __init__(
        self,
        name: str,
        destinations: Iterable[Destination],
        *,
        balancer: Balancer,
        transport_of: TransportOf,
        affinity: Affinity | None = None,
        breaker: CircuitBreaker | None = None,
        listener: Listener | None = None,
        slow_start: SlowStart | None = None,
        panic: float | None = 0.0,
        zone: str | None = None,
        on_event: OnEvent | None = None,
        chance: Random | None = None,
    ) -> None:
        self.name = name
        self.affinity = affinity
        self.discovery: Discovery | None = None
        self.latch = Latch()
        self.retrying = Tally()
        self.lately: TimeWindow | None = None
        self.asked = 0
        self.members: tuple[Member, ...] = tuple(
            Member(destination, transport_of(destination)) for destination in destinations
        )
        self._balancer = balancer
        self._transport_of = transport_of
        self._breaker = breaker
        self._listener = listener
        self._decay: float | None = getattr(balancer, "decay", None)
        self._slow_start = slow_start
        self._panic = panic
        self._zone = zone
        self._on_event = on_event
        self._chance = Random() if chance is None else chance  # noqa: S311 — it hides nothing
        self._is_own_chance = chance is None
        self.jobs: list[tuple[Background, Callable[[IO], Coroutine[Any, Any, None]]]] = []
        self._leaving: list[Member] = []
        self._successor: ClusterState | None = None
        self._choice = self._stale = Choice((), balancer, 0.0, panic=None, zone=None, until=-inf)
        _states.add(self)

    @property
    def active(self) -> int:
        """The attempts in flight, those to destinations that drain among them."""
        return sum(member.in_flight for member in (*self.members, *self._leaving))

    def add_job(self, name: str, job: WatchJob) -> None:
        """Something that runs beside the requests, once in a process: see `Background.keep`."""
        self.jobs.append((Background(f"{self.name} {name}"), lambda io: job(self, io)))

    def begin(self, io: IO) -> None:
        """See to it that what runs beside the requests is running; for every request to call."""
        # A step that is lost between threads does no harm: it is another number all the same.
        self.asked += 1
        for background, job in self.jobs:
            background.keep(io, job)

    def pick(self, request: Request, now: float, tried: Collection[Member] = ()) -> Member | None:
        """Who shall answer; one of `tried` only if there is nobody else. None if nobody can."""
        choice = self._choice
        if now >= choice.until:
            if self._successor is not None:
                return self._successor.pick(request, now, tried)
            choice = self._choose_anew(now)
        if self.affinity is None and not tried:
            member = choice.pick(request, now, self._chance)
            breaker = self._breaker
            if breaker is None or member is None or breaker.allows(member.name):
                return member
        return self._pick_with_care(request, now, tried, choice)

    def report(self, member: Member, result: Result, seconds: float, now: float) -> None:
        """How an attempt went: a status or an error, after so many seconds to the head."""
        if self._decay is not None:
            is_ours = isinstance(result, UpstreamError) and result.stage in OURS
            if not is_ours:
                is_failure = not isinstance(result, int) or result >= 500
                heard = max(seconds, _FAILURE_SECONDS) if is_failure else seconds
                member.feed(heard, now, self._decay)
        if self._listener is not None:
            self._listener.observe(self, member, result, seconds, now)

    def set_health(self, member: Member, health: Health, reason: str, now: float) -> None:
        """What an active check found; nothing happens where that is known already."""
        if self._successor is not None:
            self._successor.set_health(member, health, reason, now)
            return
        lock = self.latch.take()
        try:
            before, member.health = member.health, health
            if before == health:
                return
            member.reason = reason
            if before == "unhealthy":
                member.ramp_from = now
            self._choice = self._stale
        finally:
            lock.release()
        if health == "unhealthy":
            self.tell(member.name, "down", reason, now)
        elif before == "unhealthy":
            self.tell(member.name, "up", reason, now)

    def eject(self, member: Member, until: float, reason: str, now: float) -> None:
        """Give it nothing until that moment; one that is past ends an ejection at once."""
        if self._successor is not None:
            self._successor.eject(member, until, reason, now)
            return
        lock = self.latch.take()
        try:
            was_out = member.ejected_until > now
            if until <= now and not member.ejected_until:
                return
            # A moment that is past is noticed, and told, by the next choice.
            member.ejected_until = until
            member.reason = reason
            self._choice = self._stale
        finally:
            lock.release()
        if until > now and not was_out:
            self.tell(member.name, "ejected", reason, now)

    def update(
        self, destinations: Sequence[Destination | Target], now: float, reason: str = "updated"
    ) -> None:
        """Another list: who stays keeps its state, who is new begins, who is gone drains.

        Raises `ConfigurationError`, and changes nothing, where the list is wrong. Nothing happens
        either where another description has taken over.
        """
        listed = destinations_of(destinations)
        if self._successor is not None:
            # What an old description still finds out is not what the new one wants.
            return
        lock = self.latch.take()
        try:
            old = {member.name: member for member in self.members}
            added: list[Member] = []
            members: list[Member] = []
            for destination in listed:
                member = old.get(destination.name)
                if member is None or not destination.is_same_place(member.destination):
                    member = Member(destination, self._transport_of(destination), now)
                    added.append(member)
                elif destination != member.destination:
                    member.describe(destination, member.transport)
                members.append(member)
            staying = set(members)
            gone = [member for member in self.members if member not in staying]
            self.members = tuple(members)
            self._choice = self._stale
        finally:
            lock.release()
        for member in added:
            self.tell(member.name, "added", reason, now)
        for member in gone:
            self._drain(member, reason, now)

    def take_over(self, old: ClusterState, now: float) -> None:
        """Go on where the state of an earlier description of this cluster was.

        The members that both have are the same from now on, with all that is known of them; the
        others of the old one drain. Whoever still asks the old one is answered by this.
        """
        known = {member.name: member for member in old.members}
        if self.discovery is not None and not self.discovery.has_answered and not self.members:
            # Until the resolver has answered nobody is known to be gone.
            self.members = tuple(
                Member(member.destination, self._transport_of(member.destination))
                for member in old.members
            )
        kept: set[Member] = set()
        members: list[Member] = []
        for ours in self.members:
            survivor = known.get(ours.name)
            if survivor is None or not ours.destination.is_same_place(survivor.destination):
                members.append(ours)
                continue
            survivor.describe(ours.destination, ours.transport)
            kept.add(survivor)
            members.append(survivor)
        lock = self.latch.take()
        self.members = tuple(members)
        self._choice = self._stale
        lock.release()
        lock = old.latch.take()
        gone = [member for member in old.members if member not in kept]
        old._successor = self
        old._choice = old._stale
        lock.release()
        old.stop()
        old.jobs.clear()
        for member in members:
            if member not in kept:
                member.added_at = member.ramp_from = now
                self.tell(member.name, "added", "configured", now)
        for member in gone:
            self._drain(member, "no longer configured", now)

    def status(self, now: float) -> list[MemberStatus]:
        """Every destination, those that drain at the end; for health, metrics and people."""
        return [
            member.status(self.name, self._weight(member, now), now)
            for member in (*self.members, *self._leaving)
        ]

    def tell(self, destination: str, kind: EventKind, reason: str, now: float) -> None:
        """An event, to the log and to whoever listens."""
        events.tell(ClusterEvent(self.name, destination, kind, reason, now), self._on_event)

    def stop(self) -> None:
        """End what runs beside the requests; the next request begins it anew."""
        for background, _ in self.jobs:
            background.close()

    async def astop(self) -> None:
        """The same; what runs in this loop is over when it returns."""
        for background, _ in self.jobs:
            await background.aclose()

    def _pick_with_care(
        self, request: Request, now: float, tried: Collection[Member], choice: Choice
    ) -> Member | None:
        breaker = self._breaker

        def allows(member: Member) -> bool:
            return breaker is None or breaker.allows(member.name)

        def permits(member: Member) -> bool:
            return member not in tried and allows(member)

        if self.affinity is not None:
            bound = self.affinity.find(request, self)
            if bound is not None and bound.is_available(now) and permits(bound):
                return bound
            if bound is not None and self.affinity.on_failure == "refuse":
                return None
        found = choice.find(request, now, self._chance, permits)
        if found is None and tried:
            found = choice.find(request, now, self._chance, allows)
        return found

    def _choose_anew(self, now: float) -> Choice:
        returned: list[Member] = []
        lock = self.latch.take()
        try:
            until = inf
            for member in self.members:
                if member.ejected_until > now:
                    until = min(until, member.ejected_until)
                elif member.ejected_until:
                    # What it was before says nothing of what it is now.
                    member.ramp_from, member.ejected_until = member.ejected_until, 0.0
                    member.health = "unknown" if member.health == "healthy" else member.health
                    returned.append(member)
                member.weight = self._weight(member, now)
                if self._slow_start is not None:
                    until = min(until, self._slow_start.next_step(member.ramp_from, now))
            choice = Choice(
                self.members,
                self._balancer,
                now,
                panic=self._panic,
                zone=self._zone,
                until=until,
            )
            if self._successor is None:
                self._choice = choice
        finally:
            lock.release()
        for member in returned:
            self.tell(member.name, "returned", "its ejection is over", now)
        return choice

    def _weight(self, member: Member, now: float) -> float:
        weight = float(member.destination.weight)
        if self._slow_start is None:
            return weight
        return weight * self._slow_start.factor(member.ramp_from, now)

    def _drain(self, member: Member, reason: str, now: float) -> None:
        def is_gone(member: Member) -> None:
            # No lock: the garbage collector may end the last attempt while this thread holds it.
            try:
                self._leaving.remove(member)
            except ValueError:  # another thread was faster
                return
            self.tell(member.name, "removed", reason, now)

        member.draining = True
        self._leaving.append(member)
        member.on_idle = is_gone
        if member.in_flight:
            self.tell(member.name, "draining", reason, now)
        else:
            is_gone(member)

    def begin_process(self) -> None:
        """In the child of a fork: what the parent has in flight is not ours, nor is its chance."""
        self.retrying.clear()
        for member in (*self.members, *self._leaving):
            member.forget()
        if self._is_own_chance:
            self._chance.seed()


def _begin_process() -> None:
    for state in _states:
        state.begin_process()


# A question to the kernel for each request would cost more than all else that `begin` does.
_states: WeakSet[ClusterState] = WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_process)
