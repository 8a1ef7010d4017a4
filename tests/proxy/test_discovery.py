"""A resolver's answers become destinations, beside the requests; its failures change nothing."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from gatekit import (
    Proxy,
    Timeout,
    asgi_app,
)
from gatekit._core.io import IO, AsyncIO, block
from gatekit.proxy.clusters.destination import Destination
from gatekit.proxy.discovery import Resolution
from gatekit.testing import call_asgi, exercise
from tests.proxy.discovered import Scripted, Site
from tests.proxy.loop_clock import LoopClock


def test_answers_become_destinations() -> None:
    """URLs, apps and whole destinations; weight, priority, zone and metadata are kept."""
    described = Destination("http://b", weight=3, priority=1, zone="eu", metadata={"v": "2"})
    site = Site(Scripted(["http://a", described]))
    site.run()
    assert site.names == ["http://a", "http://b"]
    assert site.cluster.state.members[1].destination == described
    assert site.told == ["added http://a", "added http://b"]


def test_survivors_keep_their_state() -> None:
    """Who is in both lists is the same member; who is gone drains, or is gone at once."""
    resolver = Scripted(["http://a", "http://b", "http://c"])
    site = Site(resolver)
    site.run()
    a, b, _ = site.cluster.state.members
    site.cluster.state.set_health(a, "unhealthy", "test", site.clock.now())
    b.start()
    site.events.clear()
    resolver.says = ["http://a", "http://d"]
    site.run(11.5)
    assert site.cluster.state.members[0] is a
    assert a.health == "unhealthy"
    assert site.told == ["added http://d", "draining http://b", "removed http://c"]
    b.finish()
    assert site.told[-1] == "removed http://b"


def test_the_same_answer_changes_nothing() -> None:
    """The snapshot that balancers work on is not even made anew."""
    site = Site(Scripted(["http://a", "http://b"]))
    site.run()
    updates: list[object] = []
    site.cluster.state.update = lambda *_: updates.append(_)  # type: ignore[method-assign]
    site.run(100.0)
    assert updates == []


@pytest.mark.parametrize(
    "bad",
    [
        [],
        OSError("no route to the registry"),
        LookupError("NXDOMAIN"),
        TimeoutError(),
        ["http://a", "not a url"],
        ["http://a", "http://a"],
        ["http://a", 7],
        "http://a",
        None,
        RuntimeError("a bug"),
    ],
    ids=str,
)
def test_no_bad_answer_wipes_the_last_good_one(bad: Any) -> None:
    """Failed, empty or wrong in one place: everybody stays, it is told once, and so is the end."""
    resolver = Scripted(["http://a", "http://b"])
    site = Site(resolver)
    site.run()
    before = site.cluster.state.members
    site.events.clear()
    resolver.says = bad
    site.run(60.0)
    assert site.cluster.state.members == before
    assert site.told == ["resolver_failed"]
    assert site.events[0].reason
    status = site.discovery.status(site.cluster.state, site.clock.now())
    assert status.age is not None
    assert status.age >= 59.0
    assert status.failures > 3
    assert status.reason
    resolver.says = ["http://b"]
    site.run(11.5)
    assert site.names == ["http://b"]
    assert site.told[1:] == ["removed http://a", "resolver_recovered"]
    assert site.discovery.status(site.cluster.state, site.clock.now()).failures == 0


def test_a_bug_of_the_resolver_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody expects has its traceback in the log, once for each time that it begins."""
    site = Site(Scripted(RuntimeError("a bug")))
    with caplog.at_level(logging.ERROR, "gatekit"):
        site.run(100.0)
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_an_empty_answer_is_one_where_allowed() -> None:
    """With allow_empty nobody is left."""
    resolver = Scripted(["http://a"], allow_empty=True)
    site = Site(resolver)
    site.run()
    resolver.says = []
    site.run(11.5)
    assert site.names == []


def test_failures_are_asked_about_sooner() -> None:
    """After 1, 2, 4 … seconds, at most after the interval; a tenth more or less."""
    resolver = Scripted(OSError("down"), interval=10.0)
    site = Site(resolver)
    site.run(60.0)
    pauses = [b - a for a, b in zip(resolver.asked, resolver.asked[1:], strict=False)]
    for pause, expected in zip(pauses, [1, 2, 4, 8, 10, 10], strict=False):
        assert expected * 0.9 <= pause <= expected * 1.1


def test_a_ttl_takes_the_place_of_the_interval() -> None:
    """The next question comes when the answer ends, but no sooner than after a second."""
    resolver = Scripted(Resolution(["http://a"], 3.0), interval=100.0)
    site = Site(resolver)
    site.run(4.0)
    assert 2.7 <= resolver.asked[1] - resolver.asked[0] <= 3.3
    resolver.says = Resolution(["http://a"], 0.0)
    site.run(10.0)
    assert all(b - a >= 0.9 for a, b in zip(resolver.asked, resolver.asked[1:], strict=False))


def test_watch_cuts_the_pause_short() -> None:
    """A resolver that knows of a change says so by returning from `watch`."""

    async def watch(io: IO, seconds: float) -> None:
        await io.sleep(min(seconds, 2.0))

    resolver = Scripted(["http://a"], interval=600.0, watch=watch)
    Site(resolver).run(9.0)
    assert len(resolver.asked) == 5


def test_listed_destinations_serve_meanwhile() -> None:
    """With a list of its own a cluster waits for nobody."""
    resolver = Scripted(OSError("down"))
    site = Site(resolver, destinations=["http://static"])
    assert site.names == ["http://static"]
    site.run(30.0)
    assert site.names == ["http://static"]
    resolver.says = ["http://found"]
    site.run(15.0)
    assert site.names == ["http://found"]


def test_the_first_request_waits_once() -> None:
    """Without a list it waits for the first answer; if that is bad, nobody waits any more."""
    resolver = Scripted(["http://found"])
    site = Site(resolver)
    site.cluster.state.jobs.clear()
    assert exercise(app=Proxy(site.cluster)).body == b"found"
    assert len(resolver.asked) == 1

    resolver = Scripted(OSError("down"))
    site = Site(resolver)
    site.cluster.state.jobs.clear()
    for _ in range(3):
        assert exercise(app=Proxy(site.cluster)).status == 503
    assert len(resolver.asked) == 1


def test_requests_wait_for_one_and_the_same_question() -> None:
    """Fifty requests at once, and the job beside them: one question, and fifty answers."""

    async def main() -> None:
        go = asyncio.Event()

        class Slow(Scripted):
            begun = asyncio.Event()

            async def resolve(self, io: IO) -> Any:
                self.asked.append(io.now())
                self.begun.set()
                await go.wait()
                return ["http://found"]

        resolver = Slow()
        site = Site(resolver)
        proxy = Proxy(site.cluster)
        tasks = [asyncio.create_task(_ask(proxy)) for _ in range(50)]
        await resolver.begun.wait()
        tasks[0].cancel()  # whoever came first may leave
        go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert answers[1:] == [b"found"] * 49
        assert len(resolver.asked) == 1
        await site.cluster.aclose()

    asyncio.run(main())


def test_the_wait_ends_at_the_deadline() -> None:
    """A resolver that hangs costs a request its deadline, and no more."""

    async def main() -> None:
        class Hanging(Scripted):
            async def resolve(self, io: IO) -> Any:
                await asyncio.Event().wait()

        site = Site(Hanging())
        answer = await _ask(Proxy(site.cluster), seconds=0.02)
        assert answer in (503, 504)  # whose clock rings first
        await site.cluster.aclose()

    asyncio.run(main())


async def _ask(proxy: Proxy, seconds: float | None = None) -> Any:
    app = asgi_app(proxy) if seconds is None else asgi_app(proxy, Timeout(seconds))
    answer = await call_asgi(app)
    return answer.body if answer.status == 200 else answer.status


def test_take_over_waits_for_the_new_resolver() -> None:
    """A new description keeps the old destinations, and their state, until its resolver answers."""
    old = Site(Scripted(["http://a", "http://b"]))
    old.run()
    a = old.cluster.state.members[0]
    resolver = Scripted(OSError("down"))
    new = Site(resolver)
    new.cluster.take_over(old.cluster, clock=new.clock.now)
    assert new.cluster.state.members[0] is a
    new.run()
    assert new.names == ["http://a", "http://b"]
    resolver.says = ["http://a"]
    new.run(5.0)
    assert new.cluster.state.members == (a,)


def test_who_was_taken_over_asks_no_more() -> None:
    """A request that still reaches the old cluster does not begin its resolver anew."""
    old, new = Scripted(["http://old"]), Scripted(["http://new"])

    async def main() -> None:
        was, now = Site(old).cluster, Site(new).cluster
        assert await _ask(Proxy(was)) == b"old"
        now.take_over(was)
        asked = len(old.asked)
        assert await _ask(Proxy(was)) == b"old"  # until the new resolver has answered
        discovery = now.state.discovery
        assert discovery is not None
        await discovery._ask(now.state, AsyncIO())
        assert await _ask(Proxy(was)) == b"new"
        assert len(old.asked) == asked
        await was.aclose()
        await now.aclose()

    asyncio.run(main())


def test_a_reason_is_bounded() -> None:
    """A list that is wrong in a thousand places is not copied to the log."""
    site = Site(Scripted(["not a url"] * 10_000))
    site.run()
    assert len(site.events[0].reason) < 600


def test_nothing_is_asked_before_a_request() -> None:
    """A cluster that nobody uses opens nothing and asks nobody."""
    resolver = Scripted(["http://a"])
    Site(resolver)
    assert resolver.asked == []
    assert block(resolver.resolve(LoopClock())) == ["http://a"]
