"""Random histories of a bulkhead, against a model that is slow and plain."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gatekit.middleware._bulkhead import Place, Rules, Share
from gatekit.middleware._turnstile import Turnstile


class Standing:
    """A waiter whose clock is the machine's."""

    def __init__(self, machine: Machine, seconds: float) -> None:
        self.machine = machine
        self.deadline = machine.now + seconds
        self.woken = 0

    def is_late(self) -> bool:
        return self.machine.now >= self.deadline

    def wake(self) -> bool:
        self.woken += 1
        return True


class Machine(RuleBasedStateMachine):
    """The model is three lists: who is inside, who waits in order, who was refused."""

    @initialize(
        limit=st.integers(1, 6),
        queue=st.integers(1, 4),
        order=st.sampled_from(["fifo", "lifo"]),
        shares=st.sampled_from([(), (0.5,), (0.5, 0.3), (0.4, 0.6)]),
        borrow=st.booleans(),
    )
    def begin(self, limit: int, queue: int, order: Any, shares: Any, borrow: bool) -> None:
        named = [Share(str(position), part) for position, part in enumerate(shares)]
        self.plan = Rules(limit, queue, 10.0, None, order, (*named, Share(None)), borrow)
        self.turnstile = Turnstile(self.plan)
        self.owned = [int(limit * part + 1e-9) for part in shares] + [0]
        self.now = 0.0
        self.inside: list[tuple[int, Place]] = []
        self.line: list[tuple[int, Place, Standing]] = []
        """In the order of their coming."""

    def room(self, lane: int) -> bool:
        free = self.plan.limit - len(self.inside)
        if self.plan.borrow:
            return free > 0
        kept = 0
        for other, owned in enumerate(self.owned):
            if other != lane:
                kept += max(0, owned - sum(1 for at, _ in self.inside if at == other))
        return free > kept

    def pull(self) -> None:
        """Lets in whoever the rules name, until nobody may go."""
        while True:
            able = [entry for entry in self.line if self.room(entry[0])]
            if not able:
                return
            below = [
                entry
                for entry in able
                if sum(1 for at, _ in self.inside if at == entry[0]) < self.owned[entry[0]]
            ]
            chosen = self.served(below or able)[0]
            self.line.remove(chosen)
            lane, place, waiter = chosen
            assert waiter.woken == 1
            if waiter.deadline <= self.now:
                assert (place.state, place.reason) == ("gone", "waited too long")
            else:
                assert place.state == "inside"
                self.inside.append((lane, place))

    def served(self, line: list[Any]) -> list[Any]:
        """In the order of their turns."""
        fair = line if self.plan.order == "fifo" else line[::-1]
        return sorted(fair, key=lambda entry: -entry[1].priority)

    @rule(lane=st.integers(0, 2), patience=st.floats(1, 10), priority=st.sampled_from([0, 0, 1, 5]))
    def arrive(self, lane: int, patience: float, priority: int) -> None:
        lane %= len(self.owned)
        waiters: list[Standing] = []

        def queue(place: Place, most: float) -> Standing:
            assert most == 10.0
            waiters.append(Standing(self, patience))
            return waiters[0]

        expected = self.room(lane)
        place = self.turnstile.enter(None, lane)
        assert (place is not None) == expected
        if place is None:
            place = self.turnstile.arrive(
                None, lane, self.now, queue, forced=False, priority=priority
            )
        if expected:
            self.inside.append((lane, place))
            assert place.state == "inside"
            return
        mine = [entry for entry in self.line if entry[0] == lane]
        if len(mine) == self.plan.queue:
            last = self.served([*mine, (lane, place, None)])[-1]
            if last[1] is place:
                assert (place.is_inside, place.reason) == (False, "the queue is full")
                return
            rank = "more important" if last[1].priority < priority else "newer"
            assert (last[1].state, last[1].reason) == ("gone", f"gave way to a {rank} one")
            assert last[2].woken == 1
            self.line.remove(last)
        assert place.state == "waiting"
        self.line.append((lane, place, waiters[0]))

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        position = data.draw(st.integers(0, len(self.inside) - 1))
        _, place = self.inside.pop(position)
        # A timer that comes too late, and a second farewell, change nothing.
        self.turnstile.expire(place)
        self.turnstile.leave(place)
        self.turnstile.leave(place)
        self.pull()

    @precondition(lambda self: self.line)
    @rule(data=st.data(), expired=st.booleans())
    def give_up(self, data: st.DataObject, expired: bool) -> None:
        position = data.draw(st.integers(0, len(self.line) - 1))
        _, place, _ = self.line.pop(position)
        (self.turnstile.expire if expired else self.turnstile.leave)(place)
        assert place.reason == ("waited too long" if expired else "left the queue")

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "turnstile"):
            return
        [status] = self.turnstile.status("it")
        assert (status.in_flight, status.waiting) == (len(self.inside), len(self.line))
        assert status.in_flight <= status.limit
        for lane, part in enumerate(status.partitions):
            assert part.in_flight == sum(1 for at, _ in self.inside if at == lane)
            assert (part.remaining > 0) == self.room(lane)
            # The promise of a share that is not lent: below it there is always room.
            if not self.plan.borrow and part.in_flight < part.share:
                assert part.remaining > 0


TestBulkhead = Machine.TestCase
TestBulkhead.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
