"""Who may use which connection to one origin: bookkeeping without a socket, a clock or a lock.

    pool = Pool(max_connections=2, max_pending=10, idle_ttl=60.0)
    connection = pool.take(now)              # the idle connection used last, or None
    if connection is None and pool.reserve():
        connection = ...                     # a place is ours: connect, or `forfeit` it

A *place* is the right to one connection. Every place is idle or in use, and whoever takes one out
ends with exactly one of `release(connection)` and `forfeit()`. Both pass the place straight on to
the first who waits: `waiter.give(connection)`, or `waiter.give(None)`, which means "the place is
yours, connect". A waiter that gives up leaves with `leave`; one that was given a place just then
still owns it.

Idle connections are used last in, first out: so that a burst's surplus grows old and is closed. The
caller serialises all calls: an event loop does it by nature, threads by a lock.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class Poolable(Protocol):
    """A connection, as far as a pool is concerned."""

    idle_since: float

    def shut(self) -> None:
        """Close it now; it must not call back into the pool."""
        ...


C = TypeVar("C", bound=Poolable)
C_contra = TypeVar("C_contra", bound=Poolable, contravariant=True)


class Waiter(Protocol[C_contra]):
    """Someone in line for a place."""

    def give(self, connection: C_contra | None) -> None: ...


class Pool(Generic[C]):
    """The places of one origin.

    `max_connections` counts idle ones and those in use together. `idle_ttl` is in seconds.
    """

    __slots__ = (
        "_closed",
        "_idle",
        "_idle_ttl",
        "_max_connections",
        "_max_pending",
        "_waiting",
        "in_use",
    )

    def __init__(self, *, max_connections: int, max_pending: int, idle_ttl: float) -> None:
        self._max_connections = max_connections
        self._max_pending = max_pending
        self._idle_ttl = idle_ttl
        self._idle: list[C] = []
        self._waiting: OrderedDict[Waiter[C], None] = OrderedDict()
        self._closed = False
        self.in_use = 0

    @property
    def idle(self) -> int:
        """Open connections that serve nobody."""
        return len(self._idle)

    @property
    def pending(self) -> int:
        """Exchanges that wait for a place."""
        return len(self._waiting)

    def take(self, now: float) -> C | None:
        """The idle connection used last, with its place; None where there is none young enough."""
        if not self._idle:
            return None
        connection = self._idle.pop()
        if now - connection.idle_since < self._idle_ttl:
            self.in_use += 1
            return connection
        # The last one is the youngest: if it is too old, all are.
        connection.shut()
        self.expire(now)
        return None

    def reserve(self) -> bool:
        """Take a place for a new connection, closing the oldest idle one where all are taken."""
        if self.in_use >= self._max_connections:
            return False
        if self.in_use + len(self._idle) >= self._max_connections:
            self._idle.pop(0).shut()
        self.in_use += 1
        return True

    def join(self, waiter: Waiter[C]) -> bool:
        """Stand in line; False where the line is full."""
        if len(self._waiting) >= self._max_pending:
            return False
        self._waiting[waiter] = None
        return True

    def leave(self, waiter: Waiter[C]) -> bool:
        """Leave the line; False where the waiter was given a place already."""
        return self._waiting.pop(waiter, self) is None

    def release(self, connection: C, now: float) -> None:
        """Give back a connection that can serve another exchange."""
        if self._closed:
            connection.shut()
            self.forfeit()
        elif self._waiting:
            self._waiting.popitem(last=False)[0].give(connection)
        else:
            self.in_use -= 1
            connection.idle_since = now
            self._idle.append(connection)

    def forfeit(self) -> None:
        """Give back a place whose connection is gone."""
        if self._waiting:
            self._waiting.popitem(last=False)[0].give(None)
        else:
            self.in_use -= 1

    def remove(self, connection: C) -> bool:
        """Forget an idle connection that has died by itself; False where it is not idle."""
        if connection not in self._idle:
            return False
        self._idle.remove(connection)
        return True

    def expire(self, now: float) -> None:
        """Close what has been idle for too long."""
        idle = self._idle
        young = 0
        while young < len(idle) and now - idle[young].idle_since >= self._idle_ttl:
            young += 1
        expired, idle[:young] = idle[:young], []
        for connection in expired:
            connection.shut()

    def close(self) -> None:
        """Close every idle connection, and from now on each one that comes back."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.shut()

    @property
    def is_empty(self) -> bool:
        """Nobody uses it and nobody waits: it can be forgotten."""
        return not (self.in_use or self._idle or self._waiting)
