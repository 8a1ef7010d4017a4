"""What is under way is counted exactly, and a changed list keeps the state of who stays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekit import ClusterEvent, ConfigurationError, Destination, RingHash
from gatekit.testing import FakeIO, make_request
from tests.proxy.fleet import NOW, destination, fleet, member, name_of, picked

STEP = st.tuples(st.sampled_from(["start", "finish", "update", "fail"]), st.integers(0, 4))


@given(st.lists(STEP, max_size=60))
def test_in_flight_is_exact_whatever_happens(steps: Sequence[tuple[str, int]]) -> None:
    """Any order of beginnings, ends, failures and updates: the counts are those of a model."""
    cluster = fleet((1, 1, 1))
    state = cluster.state
    under_way: list[Any] = []
    for action, number in steps:
        if action == "start":
            found = state.pick(make_request(), NOW)
            if found is not None:
                found.start()
                under_way.append(found)
        elif action == "finish" and under_way:
            under_way.pop(number % len(under_way)).finish()
        elif action == "update":
            names = "abcde"[number:] or "a"
            state.update([destination(name) for name in names], NOW)
        elif action == "fail":
            target = state.members[number % len(state.members)]
            state.set_health(target, "unhealthy" if number % 2 else "healthy", "test", NOW)
        assert state.active == len(under_way)
        for known in state.members:
            assert known.in_flight == sum(one is known for one in under_way)
    for found in under_way:
        found.finish()
    assert state.active == 0
    assert [status.draining for status in state.status(NOW)] == [False] * len(state.members)


def test_in_flight_is_exact_under_threads() -> None:
    """Eight threads that begin and end attempts at once leave nothing behind, and lose nothing."""
    cluster = fleet((1, 1))
    barrier = Barrier(8)

    def hammer() -> None:
        barrier.wait()
        for _ in range(2_000):
            found = cluster.state.pick(make_request(), NOW)
            assert found is not None
            found.start()
            assert found.in_flight > 0
            found.finish()

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(hammer) for _ in range(8)]:
            done.result()
    assert [known.in_flight for known in cluster.state.members] == [0, 0]


def test_picking_goes_on_while_threads_change_everything() -> None:
    """A pick beside updates, ejections and health is always one of the members, or nobody."""
    cluster = fleet((1, 1, 1), balance="round_robin")
    state = cluster.state
    barrier = Barrier(4)

    def change(offset: int) -> None:
        barrier.wait()
        for number in range(300):
            if offset:
                state.update([destination(name) for name in "abcd"[: 1 + number % 4]], NOW)
            target = state.members[number % len(state.members)]
            state.eject(target, NOW + number % 3, "test", NOW)

    def pick() -> None:
        barrier.wait()
        for number in range(2_000):
            found = state.pick(make_request(), NOW + number % 4)
            assert found is None or found.name in "abcd"

    with ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(change, 0), threads.submit(change, 1)]
        for done in [*jobs, threads.submit(pick), threads.submit(pick)]:
            done.result()


def test_an_update_keeps_the_state_of_who_stays() -> None:
    """Health, ejection, latency and what is under way survive; the description is the new one."""
    events: list[ClusterEvent] = []
    cluster = fleet((1, 1, 1), on_event=events.append, balance="peak_ewma")
    state, stays = cluster.state, member(cluster, "b")
    stays.start()
    state.report(stays, 200, 0.2, NOW)
    state.set_health(stays, "unhealthy", "test", NOW)
    state.update([destination("b", weight=5, zone="eu"), destination("n")], NOW, "resolved")
    assert member(cluster, "b") is stays
    assert (stays.in_flight, stays.latency, stays.health) == (1, 0.2, "unhealthy")
    assert (stays.destination.weight, stays.destination.zone) == (5, "eu")
    assert [(event.kind, event.destination, event.reason) for event in events] == [
        ("down", "b", "test"),
        ("added", "n", "resolved"),
        ("removed", "a", "resolved"),
        ("removed", "c", "resolved"),
    ]


def test_who_leaves_drains() -> None:
    """What is under way goes on to its end, nothing new is begun, and then it is gone."""
    events: list[ClusterEvent] = []
    cluster = fleet((1, 1), on_event=events.append)
    state, leaves = cluster.state, member(cluster, "a")
    leaves.start()
    leaves.start()
    state.update([destination("b")], NOW)
    assert picked(state, 20) == {"b": 20}
    assert [(status.destination, status.draining) for status in state.status(NOW)] == [
        ("b", False),
        ("a", True),
    ]
    assert state.active == 2
    leaves.finish()
    assert [event.kind for event in events] == ["draining"]
    leaves.finish()
    assert [event.kind for event in events] == ["draining", "removed"]
    assert [status.destination for status in state.status(NOW)] == ["b"]


def test_the_same_name_at_another_place_is_another_destination() -> None:
    """A name that moves drains where it was, and knows nothing of its past where it is."""
    cluster = fleet((1, 1))
    before = member(cluster, "a")
    before.start()
    cluster.state.update([Destination("http://elsewhere.test", name="a")], NOW)
    after = member(cluster, "a")
    assert after is not before
    assert before.draining
    assert (after.in_flight, after.origin.host) == (0, "elsewhere.test")


def test_an_app_that_is_the_same_object_stays() -> None:
    """Apps are told apart by identity: there is no address to compare."""

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    async def other(scope: Any, receive: Any, send: Any) -> None: ...

    cluster = fleet(destinations=[Destination(app, name="shop")])
    before = member(cluster, "shop")
    cluster.state.update([Destination(app, name="shop", weight=2)], NOW)
    assert member(cluster, "shop") is before
    cluster.state.update([Destination(other, name="shop")], NOW)
    assert member(cluster, "shop") is not before


def test_a_wrong_list_changes_nothing() -> None:
    """One that names two the same, or holds what is no URL, is refused as a whole."""
    cluster = fleet((1, 1))
    before = cluster.state.members
    for wrong in (["http://x", "http://x"], ["http://x", "ftp://y"], "http://x", [None]):
        with pytest.raises(ConfigurationError):
            cluster.state.update(wrong, NOW)  # type: ignore[arg-type]
        assert cluster.state.members is before


def test_an_empty_list_leaves_nobody() -> None:
    """Whoever may update with nothing gets what was asked for: there is nobody to pick."""
    cluster = fleet((1, 1))
    cluster.state.update([], NOW)
    assert cluster.state.pick(make_request(), NOW) is None
    cluster.state.update(["http://x"], NOW)
    assert name_of(cluster.state.pick(make_request(), NOW)) == "http://x"


def test_an_update_during_a_request_does_not_lose_it() -> None:
    """A member that left and returned while an attempt was under way counts for itself again."""
    cluster = fleet((1, 1))
    old = member(cluster, "a")
    old.start()
    cluster.state.update([destination("b")], NOW)
    cluster.state.update([destination("a"), destination("b")], NOW)
    new = member(cluster, "a")
    assert new is not old
    old.finish()
    assert (old.in_flight, new.in_flight, cluster.state.active) == (0, 0, 0)


def test_an_on_event_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A callback's error breaks no request, and every event is in the log with its parts."""

    def broken(event: ClusterEvent) -> None:
        raise ValueError("no")

    cluster = fleet((1, 1), on_event=broken)
    with caplog.at_level("INFO", "gatekit"):
        cluster.state.set_health(member(cluster, "a"), "unhealthy", "refused", NOW)
    first, second = caplog.records
    assert first.getMessage() == "cluster fleet: a down: refused"
    assert (first.levelname, first.__dict__["gatekit"]["kind"]) == ("WARNING", "down")
    assert second.levelname == "ERROR"
    assert picked(cluster.state, 5) == {"b": 5}


def test_a_fork_begins_with_nothing_under_way_and_chance_of_its_own() -> None:
    """A worker does not wait for its parent's requests, nor draw the same as its siblings."""
    cluster = fleet((1, 1, 1), chance=None)
    member(cluster, "a").start()
    drawn: list[bytes] = []
    for _ in range(2):
        readable, writable = os.pipe()
        child = os.fork()
        if not child:
            cluster.state.begin(FakeIO())
            order = "".join(
                str(name_of(cluster.state.pick(make_request(), NOW))) for _ in range(64)
            )
            os.write(writable, f"{cluster.state.active} {order}".encode())
            os._exit(0)
        os.close(writable)
        with os.fdopen(readable, "rb") as pipe:
            drawn.append(pipe.read())
        os.waitpid(child, 0)
    assert all(one.startswith(b"0 ") for one in drawn)
    assert drawn[0] != drawn[1]
    assert cluster.state.active == 1


def test_a_ring_is_asked_for_who_is_there() -> None:
    """A hash sees an update at once: no key is sent to who has gone."""
    cluster = fleet((1, 1, 1), balance=RingHash("header:x-key"))
    requests = [make_request(headers={"x-key": str(number)}) for number in range(200)]
    cluster.state.update([destination("b")], NOW)
    assert {name_of(cluster.state.pick(request, NOW)) for request in requests} == {"b"}


def test_the_last_attempt_of_one_that_drains_waits_for_no_lock() -> None:
    """The garbage collector may end it in the very thread that holds the lock of the state."""
    events: list[ClusterEvent] = []
    cluster = fleet((1, 1), on_event=events.append)
    leaving = member(cluster, "a")
    leaving.start()
    cluster.state.update([destination("b")], NOW)
    lock = cluster.state.latch.take()
    ending = Thread(target=leaving.finish, daemon=True)
    try:
        ending.start()
        ending.join(10.0)
        assert not ending.is_alive()
    finally:
        lock.release()
    assert [event.kind for event in events] == ["draining", "removed"]
