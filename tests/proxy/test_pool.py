"""The bookkeeping of places: who gets which connection, and that no place is ever lost."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from gatekit.proxy.transport.pool import Pool


class Connection:
    """Remembers that it was closed."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.is_shut = False

    def shut(self) -> None:
        assert not self.is_shut
        self.is_shut = True


class Waiter:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[Connection | None] = []

    def give(self, connection: Connection | None) -> None:
        self.given.append(connection)


def make(connections: int = 2, pending: int = 2, ttl: float = 60.0) -> Pool[Connection]:
    return Pool(max_connections=connections, max_pending=pending, idle_ttl=ttl)


def fill(pool: Pool[Connection], *idle_since: float) -> list[Connection]:
    """Connections that went idle at the moments given."""
    connections = [Connection() for _ in idle_since]
    assert all(pool.reserve() for _ in connections)
    for connection, moment in zip(connections, idle_since, strict=True):
        pool.release(connection, moment)
    return connections


def test_the_connection_used_last_is_taken_first() -> None:
    """So that the surplus of a burst grows old."""
    pool = make()
    old, new = fill(pool, 0.0, 1.0)
    assert [pool.take(2.0), pool.take(2.0), pool.take(2.0)] == [new, old, None]
    assert (pool.in_use, pool.idle) == (2, 0)


def test_idle_ones_count_among_the_connections() -> None:
    """The oldest of them makes place for a new one where all are taken."""
    pool = make()
    old, new = fill(pool, 0.0, 1.0)
    assert pool.reserve()
    assert (old.is_shut, new.is_shut) == (True, False)
    assert pool.reserve()
    assert new.is_shut
    assert not pool.reserve()
    assert (pool.in_use, pool.idle) == (2, 0)


def test_what_was_idle_for_too_long_is_closed_instead_of_used() -> None:
    """At its time to live, not after it; the younger ones stay."""
    pool = make(3, ttl=10.0)
    oldest, old, new = fill(pool, 0.0, 1.0, 5.0)
    pool.expire(11.0)
    assert [oldest.is_shut, old.is_shut, new.is_shut] == [True, True, False]
    assert pool.take(15.0) is None
    assert new.is_shut
    assert pool.is_empty


def test_a_place_goes_to_the_first_in_line() -> None:
    """With its connection, or without where that is gone; and it stays in use."""
    pool = make()
    assert pool.reserve()
    assert pool.reserve()
    first, second = Waiter(), Waiter()
    assert pool.join(first)
    assert pool.join(second)
    connection = Connection()
    pool.release(connection, 0.0)
    assert (first.given, second.given) == ([connection], [])
    pool.forfeit()
    assert second.given == [None]
    assert (pool.in_use, pool.idle, pool.pending) == (2, 0, 0)


def test_the_line_is_bounded() -> None:
    """Who finds it full is not in it."""
    pool = make(1, 1)
    assert pool.reserve()
    assert pool.join(Waiter())
    assert not pool.join(Waiter())
    assert pool.pending == 1


def test_who_leaves_the_line_is_passed_over() -> None:
    """And learns whether a place was given just before."""
    pool = make(1)
    assert pool.reserve()
    gone, served = Waiter(), Waiter()
    pool.join(gone)
    pool.join(served)
    assert pool.leave(gone)
    pool.forfeit()
    assert (gone.given, served.given) == ([], [None])
    assert not pool.leave(served)


def test_a_dead_connection_is_removed_from_the_idle_ones() -> None:
    """One that is in use, or was taken just then, is left to its user."""
    pool = make()
    (connection,) = fill(pool, 0.0)
    assert pool.remove(connection)
    assert pool.is_empty
    assert not pool.remove(connection)


def test_a_closed_pool_keeps_nothing() -> None:
    """The idle one is closed at once, one in use when it comes back, and no one is refused."""
    pool = make()
    idle, used = Connection(), Connection()
    assert pool.reserve()
    assert pool.reserve()
    pool.release(idle, 0.0)
    pool.close()
    assert idle.is_shut
    waiter = Waiter()
    pool.join(waiter)
    pool.release(used, 0.0)
    assert used.is_shut
    assert waiter.given == [None]
    pool.forfeit()
    assert pool.is_empty


class Places(RuleBasedStateMachine):
    """Any order of calls that keeps to the rules."""

    held = Bundle("held")
    waiting = Bundle("waiting")

    def __init__(self) -> None:
        super().__init__()
        self.pool = make(3, 2, ttl=5.0)
        self.now = 0.0
        self.users = 0
        self.connections: list[Connection] = []
        self.lines: list[Waiter] = []

    @rule(target=held)
    def begin(self) -> object:
        """Take an idle connection, or a place, or join the line."""
        connection = self.pool.take(self.now)
        if connection is None:
            if not self.pool.reserve():
                waiter = Waiter()
                if self.pool.join(waiter):
                    self.lines.append(waiter)
                return multiple()
            connection = self._connect()
        self.users += 1
        return connection

    @rule(connection=consumes(held), whole=st.booleans())
    def end(self, connection: Connection, whole: bool) -> None:
        """An exchange ends, well or badly."""
        self.users -= 1
        if whole:
            self.pool.release(connection, self.now)
        else:
            connection.shut()
            self.pool.forfeit()

    @rule(target=held)
    def wake(self) -> object:
        """A waiter finds out that it was given a place."""
        for waiter in self.lines:
            if waiter.given:
                self.lines.remove(waiter)
                self.users += 1
                return waiter.given[0] or self._connect()
        return multiple()

    @rule()
    def give_up(self) -> None:
        """The first waiter leaves, and gives back what it may have been given."""
        if self.lines:
            waiter = self.lines.pop(0)
            if not self.pool.leave(waiter):
                if waiter.given[0] is None:
                    self.pool.forfeit()
                else:
                    self.pool.release(waiter.given[0], self.now)

    @rule()
    def die(self) -> None:
        """An idle connection is closed by the upstream."""
        for connection in self.connections:
            if self.pool.remove(connection):
                connection.shut()
                return

    @rule()
    def pass_time(self) -> None:
        self.now += 2.0
        self.pool.expire(self.now)

    def _connect(self) -> Connection:
        self.connections.append(Connection())
        return self.connections[-1]

    @invariant()
    def no_place_is_lost(self) -> None:
        """Every place belongs to a user or to a waiter that was given one."""
        given = sum(bool(waiter.given) for waiter in self.lines)
        assert self.pool.in_use == self.users + given
        assert self.pool.pending == len(self.lines) - given
        assert self.pool.in_use + self.pool.idle <= 3
        assert not (self.pool.pending and self.pool.in_use < 3)
        opened = sum(not connection.is_shut for connection in self.connections)
        assert self.pool.idle <= opened <= self.pool.in_use + self.pool.idle


TestPlaces = Places.TestCase
TestPlaces.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
