"""The bulkheads of one policy in one process, for any number of threads and event loops.

    turnstile = Turnstile(Rules(limit=100))
    place = turnstile.enter(key, 0)       # None: there is no room, or somebody was faster
    turnstile.leave(place)                # whatever it holds by now, a permit or a place in line

One short lock covers a few lines of bookkeeping, never a call. `leave` may be called from anywhere,
the garbage collector included, which throws away what an event loop has left behind and may run in
the very thread that holds the lock: so it never waits for the lock, but leaves word for whoever has
it. Those whose turn it is are woken after the lock was let go.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import TypeAlias

from gatekit._core.latch import Latch
from gatekit.middleware._bulkhead import (
    GONE,
    INSIDE,
    WAITING,
    Bulkhead,
    BulkheadStatus,
    Place,
    Rules,
    Waiter,
)
from gatekit.middleware._gradient import AdaptiveLimit, Gradient

Queue: TypeAlias = Callable[[Place, float], Waiter]
"""Makes who waits at a place for so many seconds; called under the lock."""

FULL = "full"
QUEUE_FULL = "the queue is full"
TOO_LATE = "waited too long"
GAVE_WAY = "gave way to a newer one"
OUTRANKED = "gave way to a more important one"
LEFT = "left the queue"
NO_TIME = "the deadline is over"


class Turnstile:
    """Counts in, counts out, and keeps the lines."""

    __slots__ = ("_bulkheads", "_gradient", "_latch", "_left", "_lock", "_rules", "refused")

    def __init__(
        self, rules: Rules, adaptive: AdaptiveLimit | None = None, *, keyed: bool = False
    ) -> None:
        self.refused: Counter[str] = Counter()
        """Reason: how many."""
        self._rules = rules
        self._gradient = None if adaptive is None else Gradient(adaptive)
        self._bulkheads: dict[str | None, Bulkhead] = {}
        self._left: deque[Place] = deque()
        self._latch = Latch()
        self._lock = self._latch.lock
        if not keyed:
            self._open(None)

    def enter(self, key: str | None, lane: int) -> Place | None:
        """The short way in; `arrive` is the long one."""
        # Another lock by now: this is a child, and what is counted here are its parent's requests.
        if self._lock is not self._latch.lock or not self._lock.acquire(blocking=False):
            return None
        try:
            bulkhead = self._bulkheads.get(key) or self._open(key)
            place = Place(bulkhead, bulkhead.lanes[lane], self.leave)
            entered = bulkhead.take(place)
            if not entered and key is not None:
                self._forget(bulkhead)
        finally:
            self._lock.release()
        if self._left:
            self._settle()
        return place if entered else None

    def arrive(
        self,
        key: str | None,
        lane: int,
        now: float,
        queue: Queue | None,
        *,
        forced: bool,
        priority: int = 0,
    ) -> Place:
        """Inside, waiting, or gone with a reason; `queue` is None if there is no time to wait."""
        woken: list[Place] = []
        with self._lock:
            bulkhead = self._bulkheads.get(key) or self._open(key)
            place = Place(bulkhead, bulkhead.lanes[lane], self.leave)
            place.priority = priority
            if not bulkhead.take(place):
                if forced:
                    bulkhead.admit(place)
                    self._refuse(place, FULL)
                elif not self._rules.queue:
                    self._refuse(place, FULL)
                elif queue is None:
                    self._refuse(place, NO_TIME)
                else:
                    self._queue(place, now, queue, woken)
        self._wake(woken)
        return place

    def leave(self, place: Place) -> None:
        """Gives back what the place holds; a second time does nothing."""
        self._left.append(place)
        self._settle()

    def expire(self, place: Place) -> None:
        """Its time is up, unless it was let in meanwhile."""
        with self._lock:
            waited = place.state == WAITING
            if waited:
                self._drop(place, TOO_LATE)
        self._wake([place] if waited else [])

    def sample(self, place: Place, seconds: float, now: float) -> None:
        """A call took that long; an adaptive limit learns from it."""
        gradient = self._gradient
        if gradient is None:
            return
        woken: list[Place] = []
        with self._lock:
            bulkhead = place.bulkhead
            if gradient.add(seconds, bulkhead.in_flight, now):
                bulkhead.resize(gradient.limit)
                self._admit(bulkhead, woken)
        self._wake(woken)

    def status(self, name: str) -> list[BulkheadStatus]:
        with self._lock:
            found = [bulkhead.status(name) for bulkhead in self._bulkheads.values()]
        if self._left:
            self._settle()
        return found

    def _open(self, key: str | None) -> Bulkhead:
        bulkhead = self._bulkheads[key] = Bulkhead(self._rules, key)
        return bulkhead

    def _forget(self, bulkhead: Bulkhead) -> None:
        """What nobody uses goes, so there are never more keys than requests."""
        key = bulkhead.key
        if key is not None and bulkhead.is_idle and self._bulkheads.get(key) is bulkhead:
            del self._bulkheads[key]

    def _queue(self, place: Place, now: float, queue: Queue, woken: list[Place]) -> None:
        bulkhead, lane = place.bulkhead, place.lane
        patience = bulkhead.patience(lane, now)
        if lane.waiting >= self._rules.queue:
            last = lane.back(self._rules.order, place)
            if last is place:
                self._refuse(place, QUEUE_FULL)
                return
            self._drop(last, OUTRANKED if last.priority < place.priority else GAVE_WAY)
            woken.append(last)
        bulkhead.queue(place, queue(place, patience))

    def _drop(self, place: Place, reason: str) -> None:
        place.bulkhead.unqueue(place)
        place.state = GONE
        self._refuse(place, reason)

    def _refuse(self, place: Place, reason: str) -> None:
        """A place that is new stays so: there is nothing to be given back."""
        place.reason = reason
        self.refused[reason] += 1
        self._forget(place.bulkhead)

    def _settle(self) -> None:
        """Does what `leave` was asked for, unless somebody else holds the lock and will."""
        while self._left and self._lock.acquire(blocking=False):
            woken: list[Place] = []
            try:
                while self._left:
                    self._remove(self._left.popleft(), woken)
            finally:
                self._lock.release()
            if woken:
                self._wake(woken)

    def _remove(self, place: Place, woken: list[Place]) -> None:
        bulkhead = place.bulkhead
        if place.state == INSIDE:
            bulkhead.give(place)
            if bulkhead.waiting:
                self._admit(bulkhead, woken)
        elif place.state == WAITING:
            self._drop(place, LEFT)
        if bulkhead.key is not None:
            self._forget(bulkhead)

    def _admit(self, bulkhead: Bulkhead, woken: list[Place]) -> None:
        while (place := bulkhead.next()) is not None:
            assert place.waiter is not None
            if place.waiter.is_late():
                place.state = GONE
                self._refuse(place, TOO_LATE)
            else:
                bulkhead.admit(place)
            woken.append(place)

    def _wake(self, woken: list[Place]) -> None:
        for place in woken:
            waiter = place.waiter
            if waiter is not None and not waiter.wake():
                self.leave(place)
        if self._left:
            self._settle()
