"""How many are inside at once, who waits, and who comes next: it knows no lock, clock or loop.

             take()                        give()
    NEW ───────────────────────▶ INSIDE ───────────────▶ GONE
     │  queue()           admit()  ▲                       ▲
     └──────────▶ WAITING ─────────┘                       │
                     └───── late, gave way, left ──┘

A permit that comes back goes straight to whoever is next, so that no newcomer slips in before those
who wait. With partitions each has a line of its own. Of several lines that may go on, one that has
less than its share comes first, then the one whose front has the higher priority, then the one
whose front has waited longest (`lifo`: shortest).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from gatekit._core.messages import Outcome

Order: TypeAlias = Literal["fifo", "lifo"]

State: TypeAlias = Literal["new", "inside", "waiting", "gone"]
NEW: Final = "new"
INSIDE: Final = "inside"
WAITING: Final = "waiting"
GONE: Final = "gone"


class Waiter(Protocol):
    """Whoever stands in a line, in its colour."""

    def is_late(self) -> bool: ...

    def wake(self) -> bool:
        """Once, after its place was decided upon; False if nobody is there any more."""
        ...


class Share(NamedTuple):
    """A partition: `fraction` of the limit is its own."""

    name: str | None
    fraction: float = 0.0


class Rules(NamedTuple):
    """What all bulkheads of a policy have in common.

    `queue` is the places in each line; `max_wait` and `target_wait` are seconds in it: the second
    is for those who come to a line that has not been empty for as long as the first.
    """

    limit: int
    queue: int = 0
    max_wait: float = 1.0
    target_wait: float | None = None
    order: Order = "fifo"
    shares: tuple[Share, ...] = (Share(None),)
    borrow: bool = True


class PartitionStatus(NamedTuple):
    """`share` is what is its own of the limit; `remaining` how many more would be let in now."""

    name: str | None
    share: int
    in_flight: int
    waiting: int
    remaining: int


class BulkheadStatus(NamedTuple):
    """One bulkhead as it is; without partitions there is one, that has no name and owns nothing."""

    name: str
    key: str | None
    limit: int
    in_flight: int
    waiting: int
    remaining: int
    partitions: tuple[PartitionStatus, ...]


class Lane:
    """One partition's part of a bulkhead; without partitions there is one, which owns nothing."""

    __slots__ = ("_lines", "fraction", "in_flight", "name", "share", "since", "waiting")

    def __init__(self, share: Share) -> None:
        self.name = share.name
        self.fraction = share.fraction
        self.share = 0
        self.in_flight = 0
        self.since = 0.0
        """When somebody began to wait who found nobody waiting."""
        self.waiting = 0
        # By priority, oldest first; any of them may leave at any time. None of the lines is empty.
        self._lines: dict[int, OrderedDict[Place, None]] = {}

    def add(self, place: Place) -> None:
        self._lines.setdefault(place.priority, OrderedDict())[place] = None
        self.waiting += 1

    def remove(self, place: Place) -> None:
        line = self._lines[place.priority]
        del line[place]
        if not line:
            del self._lines[place.priority]
        self.waiting -= 1

    def front(self, order: Order) -> Place:
        """Whose turn comes first."""
        line = self._lines[max(self._lines)]
        return next(iter(line) if order == "fifo" else reversed(line))

    def back(self, order: Order, newcomer: Place) -> Place:
        """Whose turn comes last, were the newcomer in line."""
        lowest = min(self._lines)
        line = self._lines[lowest]
        if newcomer.priority < lowest or (newcomer.priority == lowest and order == "fifo"):
            return newcomer
        return next(reversed(line) if order == "fifo" else iter(line))


class Place:
    """One request's, in line or inside. Called with an outcome, it is given back."""

    __slots__ = ("_leave", "bulkhead", "lane", "number", "priority", "reason", "state", "waiter")

    def __init__(self, bulkhead: Bulkhead, lane: Lane, leave: Callable[[Place], None]) -> None:
        self.priority = 0
        self.bulkhead = bulkhead
        self.lane = lane
        self.state: State = NEW
        self.reason = ""
        """Why it was refused."""
        self.number = 0
        self.waiter: Waiter | None = None
        self._leave = leave

    @property
    def is_inside(self) -> bool:
        return self.state == INSIDE

    def __call__(self, _: Outcome) -> None:
        self._leave(self)


class Bulkhead:
    """The permits of one key."""

    __slots__ = ("_borrow", "_numbers", "in_flight", "key", "lanes", "limit", "rules", "waiting")

    def __init__(self, rules: Rules, key: str | None = None) -> None:
        self.rules = rules
        self.key = key
        self.in_flight = 0
        self.waiting = 0
        self.lanes = [Lane(share) for share in rules.shares]
        self._borrow = rules.borrow
        self._numbers = 0
        self.limit = 0
        self.resize(rules.limit)

    @property
    def is_idle(self) -> bool:
        return not self.in_flight and not self.waiting

    def resize(self, limit: int) -> None:
        """Those inside stay; fewer than before come in until their number fits."""
        self.limit = limit
        for lane in self.lanes:
            lane.share = share_of(limit, lane.fraction)

    def room(self, lane: Lane) -> int:
        """How many more could go in through this lane now."""
        free = self.limit - self.in_flight
        if not self._borrow:
            free -= sum(
                max(0, other.share - other.in_flight) for other in self.lanes if other is not lane
            )
        return max(0, free)

    def take(self, place: Place) -> bool:
        """In, if there is room."""
        lane = place.lane
        if self.in_flight >= self.limit or not (self._borrow or self.room(lane)):
            return False
        place.state = INSIDE
        lane.in_flight += 1
        self.in_flight += 1
        return True

    def admit(self, place: Place) -> None:
        """In, whether there is room or not."""
        place.state = INSIDE
        place.lane.in_flight += 1
        self.in_flight += 1

    def give(self, place: Place) -> None:
        """Out again."""
        place.state = GONE
        place.lane.in_flight -= 1
        self.in_flight -= 1

    def patience(self, lane: Lane, now: float) -> float:
        """Seconds for which a newcomer may wait in this line."""
        if not lane.waiting:
            lane.since = now
        rules = self.rules
        if rules.target_wait is None or now - lane.since < rules.max_wait:
            return rules.max_wait
        return rules.target_wait

    def queue(self, place: Place, waiter: Waiter) -> None:
        """At the end of its line."""
        self._numbers += 1
        place.number = self._numbers
        place.waiter = waiter
        place.state = WAITING
        place.lane.add(place)
        self.waiting += 1

    def unqueue(self, place: Place) -> None:
        place.lane.remove(place)
        self.waiting -= 1

    def status(self, name: str) -> BulkheadStatus:
        return BulkheadStatus(
            name,
            self.key,
            self.limit,
            self.in_flight,
            self.waiting,
            max(0, self.limit - self.in_flight),
            tuple(
                PartitionStatus(
                    lane.name, lane.share, lane.in_flight, lane.waiting, self.room(lane)
                )
                for lane in self.lanes
            ),
        )

    def next(self) -> Place | None:
        """Whose turn it is, taken out of its line; None if there is nobody, or no room."""
        best: tuple[bool, int, int, Place] | None = None
        order = self.rules.order
        for lane in self.lanes:
            if not lane.waiting or self.room(lane) <= 0:
                continue
            place = lane.front(order)
            rank = -place.number if order == "fifo" else place.number
            candidate = (lane.in_flight < lane.share, place.priority, rank, place)
            if best is None or candidate[:3] > best[:3]:
                best = candidate
        if best is None:
            return None
        self.unqueue(best[3])
        return best[3]


def share_of(limit: int, fraction: float) -> int:
    """Permits, rounded down, so that all shares together fit; 0.29 × 100 is 29 all the same."""
    return int(limit * fraction + 1e-9)
