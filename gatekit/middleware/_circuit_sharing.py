"""When trips are told to other processes and learnt from them: see `circuit_trips`."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from gatekit._core.circuits import CircuitChange, Circuits
from gatekit._core.io import IO

logger = logging.getLogger("gatekit")

# Trips that wait for the end of a request to be told.
_WAITING = 100

# Seconds until one tries again after a failure, at least.
_PAUSE = 5.0


class Trips(Protocol):
    """Where trips are told; each call in both colours. A circuit is known by `mark` of its key.

    `tell` gives the moment at which the trip ends, and `learn` that of each circuit that is open,
    with the seconds that are left; a moment is a number that means something to this object alone.
    """

    refresh: float
    timeout: float

    def mark(self, key: str | None) -> str: ...

    def tell(self, name: str, mark: str, seconds: float) -> int: ...

    async def atell(self, name: str, mark: str, seconds: float) -> int: ...

    def learn(self, name: str) -> Mapping[str, tuple[int, float]]: ...

    async def alearn(self, name: str) -> Mapping[str, tuple[int, float]]: ...


class Sharing:
    """One policy's part in it. Each trip is told once, and taken over at most once."""

    __slots__ = ("_circuits", "_due", "_is_well", "_seen", "_to_tell", "_trips")

    def __init__(self, circuits: Circuits, trips: Trips) -> None:
        self._circuits = circuits
        self._trips = trips
        self._due = 0.0
        self._is_well = True
        self._seen: dict[str, int] = {}
        """The trips that are known here already, by their end: a reset by hand stays one."""
        self._to_tell: deque[tuple[str | None, float]] = deque(maxlen=_WAITING)

    def note(self, change: CircuitChange) -> None:
        """What opened here, and not because another process said so."""
        if change.state == "open" and change.seconds is not None and not change.is_adopted:
            self._to_tell.append((change.key, change.seconds))

    def is_due(self, now: float) -> bool:
        return now >= self._due

    async def exchange(self, io: IO) -> None:
        """Tells and learns. Trouble is logged once; what could not be told is not told later."""
        # It was due when this was asked for, and an answer may take long to its end.
        if not self._to_tell and not self.is_due(io.now()):
            return
        # At once, so that of many requests that end together one does it.
        self._due = io.now() + self._trips.refresh
        try:
            async with io.timeout(2 * self._trips.timeout):
                await self._tell(io)
                await self._learn(io)
        except Exception as error:
            self._due = io.now() + max(self._trips.refresh, _PAUSE)
            if self._is_well:
                # The message of a client library may hold a password; its name says enough.
                logger.warning(
                    "circuit %s: %r does not answer: %s",
                    self._circuits.name,
                    self._trips,
                    type(error).__name__,
                )
            self._is_well = False
        else:
            if not self._is_well:
                logger.warning("circuit %s: %r answers again", self._circuits.name, self._trips)
            self._is_well = True

    async def _tell(self, io: IO) -> None:
        trips, name = self._trips, self._circuits.name
        while self._to_tell:
            key, seconds = self._to_tell.popleft()
            mark = trips.mark(key)
            self._seen[mark] = await io.call(trips.tell, trips.atell, name, mark, seconds)

    async def _learn(self, io: IO) -> None:
        trips, name = self._trips, self._circuits.name
        found = await io.call(trips.learn, trips.alearn, name)
        fresh = {
            mark: seconds
            for mark, (ends, seconds) in found.items()
            if ends > self._seen.get(mark, 0)
        }
        self._seen = {mark: ends for mark, (ends, _) in found.items()}
        if fresh:
            now = io.now()
            for breaker in self._circuits.all():
                seconds = fresh.get(trips.mark(breaker.key))
                if seconds is not None:
                    breaker.adopt(seconds, now)


def trips_problem(value: object) -> str | None:
    """Of the option."""
    if value is None:
        return None
    names = ("mark", "tell", "atell", "learn", "alearn")
    missing = [name for name in names if not callable(getattr(value, name, None))]
    if isinstance(value, type) or missing:
        return f"must be a RedisTrips or the like, not {value!r}"
    return None
