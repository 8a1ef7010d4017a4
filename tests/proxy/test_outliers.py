"""Whose answers are bad is out for a while: how soon, for how long, and how many at once."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekit import Cluster, ClusterEvent, ConfigurationError, Outliers, Response
from gatekit.errors import Stage, UpstreamError
from gatekit.proxy.clusters.members import Member
from gatekit.testing import make_request, upstream
from tests.proxy.fleet import NOW, destination, letters

NO_JITTER: dict[str, Any] = {"jitter": 0.0}


class Fleet:
    """So many destinations, whose attempts the test makes up; `now` is advanced by hand."""

    def __init__(self, count: int = 3, **options: Any) -> None:
        self.events: list[ClusterEvent] = []
        self.now = NOW
        names = [name for name, _ in zip(letters(), range(count), strict=False)]
        self.cluster = Cluster(
            "orders",
            destinations=[destination(name) for name in names],
            transport=upstream(lambda _: Response.text("")),
            outliers=Outliers(**{**NO_JITTER, **options}),
            on_event=self.events.append,
        )
        self.state = self.cluster.state

    def member(self, name: str = "a") -> Member:
        return next(one for one in self.state.members if one.name == name)

    def report(self, *results: int | Stage, name: str = "a") -> None:
        for result in results:
            made = UpstreamError(result, "test") if isinstance(result, str) else result
            self.state.report(self.member(name), made, 0.01, self.now)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.state.pick(make_request(), self.now)  # by which the end of an ejection is noticed

    def is_out(self, name: str = "a") -> bool:
        return self.member(name).ejected_until > self.now

    @property
    def out(self) -> list[str]:
        return [member.name for member in self.state.members if self.is_out(member.name)]


@pytest.mark.parametrize(
    ("options", "results"),
    [
        ({}, [500] * 5),
        ({}, [502] * 5),
        ({}, ["connect"] * 5),
        ({"consecutive": 3}, [500, "closed", 503]),
        ({"consecutive": None, "gateway_consecutive": 3}, [500, 502, 503, "reset"]),
        ({"consecutive": None, "unanswered_consecutive": 2}, [502, 502, "connect", "dns"]),
        ({"consecutive": 2, "statuses": [429]}, [429, 429]),
        ({"consecutive": 1}, ["first_byte_timeout"]),
    ],
)
def test_failures_in_a_row(options: dict[str, Any], results: list[Any]) -> None:
    """The last of so many failures of a kind ejects, and none before it."""
    fleet = Fleet(failure_rate=None, **options)
    fleet.report(*results[:-1])
    assert not fleet.is_out()
    fleet.report(results[-1])
    assert fleet.out == ["a"]
    assert [event.kind for event in fleet.events] == ["ejected"]
    assert "in a row" in fleet.events[0].reason


@pytest.mark.parametrize(
    ("options", "results"),
    [
        ({}, [500, 500, 500, 500, 200] * 5),
        ({}, [404, 401, 429, 499] * 5),
        ({}, [501, 505] * 5),
        ({}, ["pool_full", "pool_timeout", "body_client", "no_destination"] * 5),
        ({"consecutive": None}, [502, 503, "connect", 502, 500] * 5),
        ({"consecutive": None, "gateway_consecutive": None}, ["dns"] * 4 + [503] + ["dns"] * 4),
        ({"statuses": [429]}, [500] * 20),
        ({"consecutive": None, "gateway_consecutive": None, "unanswered_consecutive": None}, [500]),
    ],
)
def test_what_does_not_eject(options: dict[str, Any], results: list[Any]) -> None:
    """A success between failures, a client's mistake, and what our own side had too few of."""
    fleet = Fleet(failure_rate=None, **options)
    fleet.report(*results)
    assert fleet.events == []


def test_failure_rate() -> None:
    """3 of at least 10 attempts of a minute; failures that are older count no more."""
    rate: dict[str, Any] = {"consecutive": None, "gateway_consecutive": None}
    fleet = Fleet(**rate)
    fleet.report(500, 500, *[200] * 6, 500)
    assert not fleet.is_out()
    fleet.report(500)
    assert fleet.is_out()
    assert fleet.events[0].reason == "4 of 10 attempts failed in 60 s"

    fleet = Fleet(**rate)
    fleet.report(500, 500, *[200] * 5)
    fleet.advance(61.0)
    fleet.report(*[200] * 8, 500)
    assert not fleet.is_out()


def test_ejections_grow_and_are_forgiven() -> None:
    """30 s, then 60, at most 300; and shorter again for each 30 s it has been back."""
    fleet = Fleet()
    lengths: list[float] = []
    for _ in range(12):
        fleet.report(*[500] * 5)
        lengths.append(fleet.member().ejected_until - fleet.now)
        fleet.advance(lengths[-1])
        assert not fleet.is_out()
    assert lengths == [30.0 * times for times in range(1, 11)] + [300.0, 300.0]
    fleet.advance(90.0)
    fleet.report(*[500] * 5)
    assert fleet.member().ejected_until - fleet.now == 300.0  # 13 times, less 3
    fleet.advance(300.0 + 30.0 * 8)
    fleet.report(*[500] * 5)
    assert fleet.member().ejected_until - fleet.now == 30.0 * 3
    fleet.advance(10_000.0)
    fleet.report(*[500] * 5)
    assert fleet.member().ejected_until - fleet.now == 30.0


def test_jitter_only_adds() -> None:
    """An ejection is never shorter than it should be, and no two end together."""
    fleet = Fleet(10, jitter=0.5, max_ejected=1.0, chance=Random(1))
    for member in fleet.state.members[:9]:
        fleet.report(*[500] * 5, name=member.name)
    lengths = [member.ejected_until - fleet.now for member in fleet.state.members[:9]]
    assert all(30.0 <= length <= 45.0 for length in lengths)
    assert len(set(lengths)) == 9


def test_back_is_unknown_not_healthy() -> None:
    """After an ejection nothing is known, and the counts begin anew."""
    fleet = Fleet()
    fleet.state.set_health(fleet.member(), "healthy", "test", fleet.now)
    fleet.report(*[500] * 5)
    fleet.advance(30.0)
    assert (fleet.member().health, fleet.is_out()) == ("unknown", False)
    fleet.report(*[500] * 4)
    assert not fleet.is_out()
    fleet.report(500)
    assert fleet.is_out()


def test_what_was_under_way_does_not_count() -> None:
    """Failures that come in during an ejection make it no longer, nor the next one sooner."""
    fleet = Fleet()
    fleet.report(*[500] * 5)
    until = fleet.member().ejected_until
    fleet.report(*[500] * 50)
    assert fleet.member().ejected_until == until
    fleet.advance(30.0)
    fleet.report(*[500] * 4)
    assert not fleet.is_out()


@pytest.mark.parametrize(
    ("count", "part", "allowed"),
    [(1, 1.0, 0), (2, 0.1, 1), (5, 0.1, 1), (10, 0.1, 1), (20, 0.1, 2), (4, 0.5, 2), (4, 1.0, 3)],
)
def test_share_that_may_be_out(count: int, part: float, allowed: int) -> None:
    """A tenth, but one at least; and the last one stays, whatever the part."""
    fleet = Fleet(count, max_ejected=part)
    for _ in range(3):
        for member in fleet.state.members:
            fleet.report(*[500] * 5, name=member.name)
        fleet.now += 2.0
    assert len(fleet.out) == allowed


def test_last_available_stays() -> None:
    """Who is unhealthy, drained or without weight is nobody to fall back on."""
    fleet = Fleet(3, max_ejected=1.0)
    fleet.state.set_health(fleet.member("b"), "unhealthy", "test", fleet.now)
    fleet.state.set_health(fleet.member("c"), "unhealthy", "test", fleet.now)
    fleet.report(*[500] * 20)
    assert fleet.out == []
    fleet.state.set_health(fleet.member("c"), "healthy", "test", fleet.now)
    fleet.now += 1.0
    fleet.report(*[500] * 5)
    assert fleet.out == ["a"]


def test_an_unejection_counts_failures_again_at_once() -> None:
    """Who is let back before its time is watched from then on."""
    fleet = Fleet()
    fleet.report(*[500] * 5)
    fleet.state.eject(fleet.member(), fleet.now, "health checks succeeded", fleet.now)
    fleet.advance(1.0)
    fleet.report(*[500] * 5)
    assert fleet.is_out()
    assert fleet.member().ejected_until - fleet.now == 60.0


def test_another_description_keeps_the_count() -> None:
    """After `take_over` the next ejection is still the second one."""
    fleet = Fleet()
    fleet.report(*[500] * 5)
    fleet.advance(30.0)
    new = Cluster(
        "orders",
        destinations=[member.destination for member in fleet.state.members],
        transport=fleet.cluster.transport,
        outliers=Outliers(consecutive=2, jitter=0.0),
    )
    new.take_over(fleet.cluster, clock=lambda: fleet.now)
    member = new.state.members[0]
    for _ in range(2):
        new.state.report(member, 500, 0.01, fleet.now)
    assert member.ejected_until - fleet.now == 60.0


def test_threads_eject_no_more_than_allowed() -> None:
    """Many threads that find many outliers at once: the share is kept all the same."""
    for _ in range(20):
        fleet = Fleet(20, consecutive=1, max_ejected=0.1)
        barrier = Barrier(8)

        def fail(number: int, fleet: Fleet = fleet, barrier: Barrier = barrier) -> None:
            barrier.wait()
            for name in "abcdefgh"[number:] + "abcdefgh"[:number]:
                fleet.report(500, name=name)

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            with ThreadPoolExecutor(8) as threads:
                for done in [threads.submit(fail, number) for number in range(8)]:
                    done.result()
        finally:
            sys.setswitchinterval(interval)
        assert len(fleet.out) == 2
        assert [event.kind for event in fleet.events] == ["ejected"] * 2


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.floats(0, 40)), max_size=120))
def test_somebody_is_always_left(steps: list[tuple[int, bool, float]]) -> None:
    """Whatever fails in whatever order, no more are out than may be, and each comes back."""
    fleet = Fleet(4, consecutive=2, max_ejected=0.5)
    for number, failed, seconds in steps:
        fleet.advance(seconds)
        fleet.report(500 if failed else 200, name="abcd"[number])
        assert len(fleet.out) <= 2
    fleet.advance(301.0)
    assert fleet.out == []
    assert all(member.is_available(fleet.now) for member in fleet.state.members)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"consecutive": 0, "gateway_consecutive": -1}, ["consecutive", "gateway_consecutive"]),
        ({"unanswered_consecutive": 1.5}, ["unanswered_consecutive"]),
        ({"failure_rate": 0}, ["failure_rate"]),
        ({"failure_rate": 1.5, "max_ejected": 0}, ["failure_rate", "max_ejected"]),
        ({"window": 0, "min_requests": 0}, ["window", "min_requests"]),
        ({"statuses": ["500"]}, ["statuses"]),
        ({"statuses": 500}, ["statuses"]),
        ({"base_ejection": 60, "max_ejection": 30}, ["max_ejection"]),
        ({"jitter": -0.1, "chance": 1}, ["jitter", "chance"]),
        ({"consecutiv": 1}, ["consecutiv"]),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], names: list[str]) -> None:
    """All that is wrong is found at construction, and in one error."""
    with pytest.raises(ConfigurationError) as error:
        Outliers(**options)
    assert list(error.value.problems) == names
