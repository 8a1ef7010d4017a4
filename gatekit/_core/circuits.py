"""The breakers of one policy, one for each key, and what has happened to them.

    circuits = Circuits("orders", thresholds, max_keys=10_000)
    breaker = circuits.of("tenant-7", now)
    circuits.changes.popleft()          # CircuitChange("orders", "tenant-7", "closed", "open", …)

A key whose breaker is closed and has counted nothing for a whole window is the first to be
forgotten when there are too many; the last is one that is open.
"""

from __future__ import annotations

from collections import deque
from typing import Literal, NamedTuple, TypeAlias

from gatekit._core.breaker import ADOPTED, Breaker, Change, State
from gatekit._core.latch import Latch
from gatekit._core.thresholds import CircuitStats, Thresholds

Forced: TypeAlias = Literal["closed", "forced_open", "forced_closed"]

# Keys looked at for one that may be forgotten: a bound on what a new key costs.
_LOOKS = 8

# Changes that wait for somebody to take them; a flapping service must not fill the memory.
_KEPT = 1000


class CircuitChange(NamedTuple):
    """One circuit went from one state to another.

    `stats` is what the window held then; `seconds` how long the circuit will be open, None for any
    other state and for one that was forced.
    """

    name: str
    key: str | None
    previous: State
    state: State
    reason: str
    stats: CircuitStats
    seconds: float | None

    @property
    def is_adopted(self) -> bool:
        """Whether it was opened because another process said so."""
        return self.reason == ADOPTED


class CircuitStatus(NamedTuple):
    """One circuit as it is.

    `reason` is that of its last change, empty before there was one; `trips` and `rejected` count
    since the start; `probes` are under way; `retry_after` are the seconds until a call has a
    chance, None where nobody can tell.
    """

    name: str
    key: str | None
    state: State
    reason: str
    stats: CircuitStats
    trips: int
    rejected: int
    probes: int
    retry_after: float | None


class Circuits:
    """Finds the breaker of a key, and makes it where there is none."""

    __slots__ = ("_breakers", "_forced", "_latch", "_max_keys", "_thresholds", "changes", "name")

    def __init__(self, name: str, thresholds: Thresholds, max_keys: int) -> None:
        self.name = name
        self.changes: deque[CircuitChange] = deque(maxlen=_KEPT)
        self._thresholds = thresholds
        self._max_keys = max_keys
        self._latch = Latch()
        self._breakers: dict[str | None, Breaker] = {}
        self._forced: Forced = "closed"

    def of(self, key: str | None, now: float) -> Breaker:
        return self._breakers.get(key) or self._make(key, now)

    def known(self, key: str | None) -> Breaker | None:
        """The breaker of a key, if there is one already."""
        return self._breakers.get(key)

    def set(self, state: Forced, now: float) -> None:
        """By hand, for every key and those to come."""
        self._forced = state
        for breaker in self.all():
            breaker.set(state, now)

    def all(self) -> list[Breaker]:
        lock = self._latch.take()
        try:
            return list(self._breakers.values())
        finally:
            lock.release()

    def status(self, now: float) -> list[CircuitStatus]:
        return [self._status(breaker, now) for breaker in self.all()]

    def _status(self, breaker: Breaker, now: float) -> CircuitStatus:
        return CircuitStatus(
            self.name,
            breaker.key,
            breaker.look(now),
            breaker.reason,
            breaker.stats,
            breaker.trips,
            breaker.rejected,
            breaker.out,
            breaker.wait(now),
        )

    def _make(self, key: str | None, now: float) -> Breaker:
        lock = self._latch.take()
        try:
            breaker = self._breakers.get(key)
            if breaker is None:
                if len(self._breakers) >= self._max_keys:
                    self._forget_one(now)
                breaker = Breaker(self._thresholds, key, self._note)
                if self._forced != "closed":
                    breaker.set(self._forced, now)
                self._breakers[key] = breaker
            return breaker
        finally:
            lock.release()

    def _forget_one(self, now: float) -> None:
        """The oldest go to the end of the line until one is found that nobody will miss."""
        second_best: str | None = None
        for _ in range(min(_LOOKS, len(self._breakers))):
            key = next(iter(self._breakers))
            breaker = self._breakers.pop(key)
            if breaker.look(now) == "closed":
                if not breaker.stats.calls:
                    return
                second_best = second_best or key
            self._breakers[key] = breaker
        if second_best not in self._breakers:
            second_best = next(iter(self._breakers))
        del self._breakers[second_best]

    def _note(self, change: Change) -> None:
        self.changes.append(CircuitChange(self.name, *change))
