"""Checks find who is well and who is not, by thresholds, in their time, and say so once."""

from __future__ import annotations

import logging
import re
from collections import Counter
from itertools import count, pairwise
from random import Random
from typing import Any

import pytest

from gatekit import Cluster, ClusterEvent, ConfigurationError, HealthCheck, Response
from gatekit._core.io import IO
from gatekit.errors import Stage, UpstreamError
from gatekit.proxy.clusters.destination import Destination
from gatekit.proxy.clusters.members import Member
from gatekit.testing import make_request, upstream
from gatekit.testing.upstreams import FunctionTransport, Sent
from tests.proxy.loop_clock import LoopClock

STEADY: dict[str, Any] = {"jitter": 0.0, "initial_jitter": 0.0}


class Site:
    """A cluster of `a`, `b` …, each of which answers what `says` holds for it."""

    def __init__(self, names: str = "a", **options: Any) -> None:
        self.says: dict[str, int | Stage | Response] = dict.fromkeys(names, 200)
        self.events: list[ClusterEvent] = []
        self.transport: FunctionTransport = upstream(self._answer)
        self.check = options.pop("check", None) or HealthCheck("/health", **{**STEADY, **options})
        self.cluster = Cluster(
            "orders",
            destinations=[Destination(f"http://{name}.test", name=name) for name in names],
            transport=self.transport,
            health=self.check,
            on_event=self.events.append,
        )
        self.clock = LoopClock()

    def run(self, seconds: float) -> None:
        async def job(io: IO) -> None:
            await self.check.run(self.cluster.state, io)

        self.clock.run(job, seconds)

    def member(self, name: str = "a") -> Member:
        return next(one for one in self.cluster.state.members if one.name == name)

    @property
    def told(self) -> list[str]:
        return [f"{event.destination} {event.kind}" for event in self.events]

    def _answer(self, sent: Sent) -> Response:
        said = self.says[sent.origin.host.removesuffix(".test")]
        if isinstance(said, str):
            raise UpstreamError(said, "as the test said")
        return said if isinstance(said, Response) else Response.text("fine", said)


def test_what_is_sent() -> None:
    """A check is a request of its path, with the destination's Host and the fields it was given."""
    check = HealthCheck("/health?deep=1", method="HEAD", headers={"X-Probe": "yes"}, **STEADY)
    site = Site(check=check)
    site.run(0.5)
    [sent] = site.transport.requests
    assert (sent.method, sent.target) == ("HEAD", "/health?deep=1")
    assert sent.headers["host"] == "a.test"
    assert sent.headers["x-probe"] == "yes"


@pytest.mark.parametrize(
    ("allowed", "health"), [(0, "unhealthy"), (1, "unhealthy"), (2, "healthy")]
)
def test_redirects_within_the_destination(allowed: int, health: str) -> None:
    """So many are followed, with the same body; one to another place is judged as it stands."""
    check = HealthCheck("/a", method="POST", send=b"ping", follow_redirects=allowed, **STEADY)
    site = Site("ab", check=check)
    seen: list[tuple[str, bytes]] = []

    def answer(sent: Sent) -> Response:
        if sent.origin.host == "b.test":
            return Response(302, {"location": "//evil.test/"})
        seen.append((sent.target, sent.body))
        following = {"/a": "/b", "/b": "/c"}.get(sent.target)
        return Response(307, {"location": following}) if following else Response.text("ok")

    site.transport = upstream(answer)
    for member in site.cluster.state.members:
        member.transport = site.transport
    site.run(0.5)
    assert site.member("a").health == health
    assert site.member("b").health == "unhealthy"
    assert seen == [("/a", b"ping"), ("/b", b"ping"), ("/c", b"ping")][: allowed + 1]


def test_base_path_host_and_port() -> None:
    """It goes below the base path; another port and another Host are used where they are given."""
    seen: list[Sent] = []

    def answer(sent: Sent) -> Response:
        seen.append(sent)
        return Response.text("ok")

    check = HealthCheck("/health", port=9_000, host="probe.test", **STEADY)
    cluster = Cluster(
        "orders", destinations=["http://a.test:80/v2", "http://[::1]/"], transport=upstream(answer)
    )
    LoopClock().run(lambda io: check.run(cluster.state, io), 0.5)
    found = [(sent.origin.host, sent.origin.port, sent.target) for sent in seen]
    assert sorted(found) == [("::1", 9_000, "/health"), ("a.test", 9_000, "/v2/health")]
    assert {sent.headers["host"] for sent in seen} == {"probe.test"}


def test_first_check_decides() -> None:
    """Nothing is known at first, and whoever is unknown is used; one check is enough then."""
    site = Site("ab")
    site.says["b"] = 503
    assert all(member.is_available(1_000.0) for member in site.cluster.state.members)
    site.run(0.5)
    assert (site.member("a").health, site.member("b").health) == ("healthy", "unhealthy")
    assert site.told == ["b down"]
    assert "answered 503" in site.events[0].reason


@pytest.mark.parametrize(
    ("said", "needed"),
    [
        (500, 5),
        (302, 5),
        ("protocol", 5),
        ("connect", 2),
        ("dns", 2),
        ("tls", 2),
        ("closed", 2),
        ("connect_timeout", 3),
        ("first_byte_timeout", 3),
        ("total_timeout", 3),
    ],
)
def test_each_kind_of_failure_has_its_threshold(said: int | Stage, needed: int) -> None:
    """5 bad answers, 2 failed connections or 3 timeouts in a row; the last of them decides."""
    site = Site(interval=10.0, unhealthy_interval=10.0)
    site.run(0.5)
    site.says["a"] = said
    site.run(10.0 * (needed - 1))
    assert site.member().health == "healthy"
    site.run(10.0)
    assert site.member().health == "unhealthy"
    assert site.told == ["a down"]


def test_a_good_check_starts_the_count_again() -> None:
    """Failures that are not in a row never add up."""
    site = Site(interval=1.0, unhealthy_interval=1.0)
    turns = count()
    site.transport._function = lambda _: Response.text("", 500 if next(turns) % 5 else 200)
    site.run(60.0)
    assert next(turns) > 50
    assert site.told == []


def test_return_takes_so_many_in_a_row() -> None:
    """What was down is up after two good checks, and the event says since when."""
    site = Site(interval=10.0, unhealthy_interval=2.0)
    site.says["a"] = 500
    site.run(0.5)
    site.says["a"] = 200
    site.run(2.0)
    assert site.member().health == "unhealthy"
    site.run(2.0)
    assert site.member().health == "healthy"
    assert site.told == ["a down", "a up"]


def test_doubt_is_checked_sooner() -> None:
    """After a bad check the next one comes after `unhealthy_interval`, not after `interval`."""
    site = Site(interval=30.0, unhealthy_interval=1.0, unhealthy_after=3)
    site.run(0.5)
    site.clock.at(25.0, lambda: site.says.update(a=500))
    site.run(33.0)
    assert site.member().health == "unhealthy"
    assert site.events[0].at == pytest.approx(1_032.0, abs=0.5)


def test_intervals_are_jittered() -> None:
    """No two pauses are the same, and all are within a tenth of the interval."""
    check = HealthCheck(interval=10.0, initial_jitter=5.0, chance=Random(3))
    site = Site(check=check)
    times: list[float] = []

    def answer(_: Sent) -> Response:
        times.append(site.clock.now())
        return Response.text("")

    site.transport._function = answer
    site.run(200.0)
    pauses = [after - before for before, after in pairwise(times)]
    assert 1_000.0 <= times[0] <= 1_005.0
    assert len(set(pauses)) > len(pauses) // 2
    assert all(8.9 <= pause <= 11.1 for pause in pauses)


def test_an_own_full_pool_says_nothing() -> None:
    """That all connections are in use is no fault of the destination, nor does it clear any."""
    site = Site(interval=1.0, unhealthy_interval=1.0)
    site.run(0.5)
    site.says["a"] = "pool_full"
    site.run(30.0)
    assert site.member().health == "healthy"
    site.says["a"] = "pool_timeout"
    site.run(30.0)
    assert site.told == []


@pytest.mark.parametrize(
    ("options", "answer", "health"),
    [
        ({"expect": 204}, Response(204), "healthy"),
        ({"expect": 204}, Response(200), "unhealthy"),
        ({"expect": range(200, 500)}, Response(404), "healthy"),
        ({"expect": [200, 429]}, Response(429), "healthy"),
        ({"body": r'"status": *"(up|ok)"'}, Response.text('{"status": "up"}'), "healthy"),
        ({"body": r'"status": *"(up|ok)"'}, Response.text('{"status": "down"}'), "unhealthy"),
        ({"body": re.compile(rb"\xff")}, Response(body=b"\x00\xff"), "healthy"),
        ({"max_body": 4}, Response.text("12345"), "unhealthy"),
        ({"max_body": 5}, Response.text("12345"), "healthy"),
    ],
)
def test_what_is_expected(options: dict[str, Any], answer: Response, health: str) -> None:
    """Statuses, a pattern of the body and its size are each enough to be unhealthy."""
    site = Site(**options)
    site.says["a"] = answer
    site.run(0.5)
    assert site.member().health == health


def test_who_comes_is_checked_and_who_goes_is_not() -> None:
    """The list is looked at anew each time; nothing is said of one that has left."""
    site = Site("a", interval=5.0)
    site.says["b"] = 503
    both = [*site.cluster.state.members]
    site.run(0.5)
    b = Destination("http://b.test", name="b")
    site.cluster.state.update([both[0].destination, b], site.clock.now())
    site.run(1.5)
    assert site.member("b").health == "unhealthy"
    site.cluster.state.update([b], site.clock.now())
    before = Counter(sent.origin.host for sent in site.transport.requests)
    site.run(20.0)
    after = Counter(sent.origin.host for sent in site.transport.requests)
    assert after["a.test"] == before["a.test"]
    assert after["b.test"] > before["b.test"]


def test_checks_that_succeed_end_an_ejection() -> None:
    """Two good ones since it was ejected; those of before count for nothing."""
    site = Site(interval=10.0)
    site.run(25.0)
    site.cluster.state.eject(site.member(), site.clock.now() + 300.0, "test", site.clock.now())
    site.run(10.0)
    assert site.member().ejected_until > site.clock.now()
    site.run(10.0)
    now = site.clock.now()
    assert site.member().is_available(now)
    assert site.cluster.state.pick(make_request(), now) is site.member()
    assert site.told == ["a ejected", "a returned"]


def test_ejections_are_left_alone_where_asked() -> None:
    """With uneject=False an ejection lasts its time."""
    site = Site(interval=1.0, uneject=False)
    site.run(0.5)
    site.cluster.state.eject(site.member(), site.clock.now() + 300.0, "test", site.clock.now())
    site.run(60.0)
    assert not site.member().is_available(site.clock.now())


@pytest.mark.parametrize(
    ("said", "health", "reason"),
    [
        (True, "healthy", ""),
        (None, "healthy", ""),
        (False, "unhealthy", "the check failed"),
        ("the queue is long", "unhealthy", "the queue is long"),
        (0, "unhealthy", "the check failed"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_own_check(said: object, health: str, reason: str, is_async: bool) -> None:
    """A function of one's own is given the destination; what it says is the reason."""
    seen: list[str] = []

    def probe(destination: Destination) -> object:
        seen.append(destination.name)
        return said

    async def aprobe(destination: Destination) -> object:
        return probe(destination)

    site = Site(check=HealthCheck(probe=aprobe if is_async else probe, **STEADY))
    site.run(0.5)
    assert seen == ["a"]
    assert site.member().health == health
    assert [event.reason for event in site.events] == ([reason] if reason else [])


def test_own_check_that_raises_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """An exception is a bad check; its traceback is in the log once, not for every check."""

    def probe(_: Destination) -> bool:
        raise KeyError("password=hunter2")

    site = Site(check=HealthCheck(probe=probe, unhealthy_interval=1.0, **STEADY))
    with caplog.at_level(logging.ERROR, "gatekit"):
        site.run(20.0)
    assert len(caplog.records) == 1
    assert site.events[0].reason == "the check raised KeyError"


def test_nothing_is_said_twice() -> None:
    """A destination that stays as it is makes no further events."""
    site = Site(interval=1.0, unhealthy_interval=1.0)
    site.says["a"] = 500
    site.run(50.0)
    assert site.told == ["a down"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"path": "health"}, ["path"]),
        ({"path": "/a b"}, ["path"]),
        ({"path": "/a\r\nx: y"}, ["path"]),
        ({"mode": "grpc"}, ["mode"]),
        ({"mode": "tcp", "body": "ok"}, ["body"]),
        ({"mode": "tcp", "probe": print}, ["probe"]),
        ({"probe": "no"}, ["probe"]),
        ({"interval": 0, "timeout": -1}, ["interval", "timeout"]),
        ({"jitter": 1.0, "initial_jitter": -1}, ["jitter", "initial_jitter"]),
        ({"healthy_after": 0, "unhealthy_after": 0}, ["healthy_after", "unhealthy_after"]),
        ({"expect": 99}, ["expect"]),
        ({"expect": "200"}, ["expect"]),
        ({"expect": []}, ["expect"]),
        ({"expect": True}, ["expect"]),
        ({"body": "("}, ["body"]),
        ({"headers": {"a b": "x"}}, ["headers"]),
        ({"headers": {"host": "x"}}, ["headers"]),
        ({"headers": {"x": "a\r\nb"}}, ["headers"]),
        ({"host": "a b"}, ["host"]),
        ({"port": 70_000}, ["port"]),
        ({"uneject": "no"}, ["uneject"]),
        ({"concurrency": 0}, ["concurrency"]),
        ({"chance": 4}, ["chance"]),
        ({"intervall": 4}, ["intervall"]),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], names: list[str]) -> None:
    """All that is wrong is found at construction, and in one error."""
    with pytest.raises(ConfigurationError) as error:
        HealthCheck(**options)
    assert list(error.value.problems) == names


def test_secrets_are_not_shown() -> None:
    """A header field's value is in no message."""
    with pytest.raises(ConfigurationError) as error:
        HealthCheck(headers={"authorization": "Bearer s3cret\n"})
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(("mode", "health"), [("http", "unhealthy"), ("tcp", "healthy")])
def test_an_app_of_this_process(mode: Any, health: str) -> None:
    """It is asked like any other; to connect to it there is no need."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("503 Service Unavailable", [])
        return [environ["PATH_INFO"].encode()]

    check = HealthCheck("/health", mode=mode, **STEADY)
    cluster = Cluster("orders", destinations=[Destination(app, name="legacy")])
    LoopClock().run(lambda io: check.run(cluster.state, io), 0.5)
    assert cluster.state.members[0].health == health


def test_where_nobody_asks_there_are_fewer_checks() -> None:
    """`no_traffic_interval` from the second check on; a request brings the next one at once."""
    site = Site(interval=10.0, no_traffic_interval=100.0)
    site.run(35.5)
    assert len(site.transport.requests) == 2
    site.cluster.state.asked += 1
    site.run(1.0)
    assert len(site.transport.requests) == 3
    site.run(8.0)
    assert len(site.transport.requests) == 3
    site.run(150.0)
    assert len(site.transport.requests) == 5
