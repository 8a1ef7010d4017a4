"""Those who wait: in tasks, in threads, in several loops at once."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest

from gatekit import Timeout, asgi, wsgi
from gatekit.limits import keys
from gatekit.middleware._waiters import AsyncWaiter
from gatekit.middleware.concurrency import ConcurrencyLimit
from gatekit.testing import Answer, call_asgi, call_wsgi
from tests.doors.messages import http_scope
from tests.middleware.crowd import Crowd, counts, threads, until

PATIENT = 20.0


async def queue_up(crowd: Crowd, *names: str) -> dict[str, asyncio.Task[Any]]:
    """One after another, each in its place before the next comes."""
    return {name: await crowd.arrive(name) for name in names}


async def drain(crowd: Crowd, tasks: dict[str, asyncio.Task[Any]]) -> None:
    """Lets everybody go in the order of their coming in."""

    def all_done() -> bool:
        for name in crowd.inside:
            crowd.let_go(name)
        return all(task.done() for task in tasks.values())

    await until(all_done)
    await asyncio.gather(*tasks.values())


@pytest.mark.parametrize(
    ("order", "expected"), [("fifo", ["1", "2", "3", "4"]), ("lifo", ["1", "4", "3", "2"])]
)
def test_the_order_of_tasks(order: Any, expected: list[str]) -> None:
    """First come first served, or the newest first; nobody who waits is refused."""

    async def main() -> None:
        crowd = Crowd(ConcurrencyLimit(1, queue=3, order=order, max_wait=PATIENT))
        tasks = await queue_up(crowd, "1", "2", "3", "4")
        assert counts(crowd.limit) == (1, 3)
        await drain(crowd, tasks)
        assert crowd.inside == expected
        assert [crowd.answer(name) for name in "1234"] == [200] * 4
        assert counts(crowd.limit) == (0, 0)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("order", "expected"), [("fifo", ["1", "2", "3", "4"]), ("lifo", ["1", "4", "3", "2"])]
)
def test_the_order_of_threads(order: Any, expected: list[str]) -> None:
    """The same under WSGI, where a thread stands for each that waits."""
    limit = ConcurrencyLimit(1, queue=3, order=order, max_wait=PATIENT)
    with threads(limit) as crowd:
        for name in "1234":
            crowd.arrive(name)
        assert counts(limit) == (1, 3)
        for position in range(4):
            crowd.until(lambda position=position: len(crowd.inside) > position)  # type: ignore[misc]
            crowd.let_go(crowd.inside[position])
        crowd.finish()
        assert crowd.inside == expected
        assert [answer.status for answer in crowd.answers.values()] == [200] * 4
    assert counts(limit) == (0, 0)


def test_a_full_queue_refuses_the_newcomer() -> None:
    """First come first served: there is no room for one more."""

    async def main() -> None:
        crowd = Crowd(ConcurrencyLimit(1, queue=1, max_wait=PATIENT))
        tasks = await queue_up(crowd, "1", "2", "3")
        await tasks["3"]
        assert crowd.answer("3") == 503
        assert crowd.limit.refused == {"the queue is full": 1}
        await drain(crowd, tasks)
        assert crowd.inside == ["1", "2"]

    asyncio.run(main())


def test_in_a_full_stack_the_oldest_gives_way() -> None:
    """Newest first: its client is the likeliest to have left."""

    async def main() -> None:
        crowd = Crowd(ConcurrencyLimit(1, queue=1, order="lifo", max_wait=PATIENT))
        tasks = await queue_up(crowd, "1", "2", "3")
        await tasks["2"]
        assert crowd.answer("2") == 503
        assert crowd.limit.refused == {"gave way to a newer one": 1}
        await drain(crowd, tasks)
        assert crowd.inside == ["1", "3"]

    asyncio.run(main())


def test_a_wait_that_was_too_long_is_refused() -> None:
    """After `max_wait` the client is told, and its place in line is free."""

    async def main() -> None:
        crowd = Crowd(ConcurrencyLimit(1, queue=5, max_wait=0.01))
        tasks = await queue_up(crowd, "1", "2")
        await tasks["2"]
        assert crowd.answer("2") == 503
        assert crowd.limit.refused == {"waited too long": 1}
        assert counts(crowd.limit) == (1, 0)
        await drain(crowd, tasks)

    asyncio.run(main())


def test_a_thread_that_waited_too_long_is_refused() -> None:
    """The same under WSGI."""
    limit = ConcurrencyLimit(1, queue=5, max_wait=0.01)
    with threads(limit) as crowd:
        crowd.arrive("1")
        crowd.send("2")
        crowd.until(lambda: "2" in crowd.answers)
        assert crowd.answers["2"].status == 503
        assert counts(limit) == (1, 0)
    assert limit.refused == {"waited too long": 1}


def test_nobody_waits_beyond_the_deadline() -> None:
    """A `Timeout` further out bounds the wait, and answers what is late with its 504."""

    async def main() -> Answer:
        limit = ConcurrencyLimit(1, queue=5, max_wait=600.0)
        crowd = Crowd(limit)
        first = await crowd.arrive("1")

        async def never(scope: Any, receive: Any, send: Any) -> None:
            raise AssertionError("must not be called")

        async with asyncio.timeout(PATIENT):
            answer = await call_asgi(asgi(never, Timeout(0.01), limit))
        assert limit.refused == {"waited too long": 1}
        crowd.let_go("1")
        await first
        return answer

    assert asyncio.run(main()).status == 504


def test_who_comes_late_to_its_turn_is_passed_over() -> None:
    """Where the loop was held up, a place is not given to those whose time is over."""

    async def main() -> None:
        limit = ConcurrencyLimit(1, queue=5, max_wait=PATIENT)
        crowd = Crowd(limit)
        tasks = await queue_up(crowd, "1", "2")
        # As if the loop had been held up until now: its timer has had no turn either.
        [bulkhead] = limit._here()._bulkheads.values()
        waiter = bulkhead.lanes[0].front("fifo").waiter
        assert isinstance(waiter, AsyncWaiter)
        waiter._deadline = 0.0
        crowd.let_go("1")
        await asyncio.gather(*tasks.values())
        assert crowd.answer("2") == 503
        assert crowd.inside == ["1"]
        assert limit.refused == {"waited too long": 1}

    asyncio.run(main())


def test_a_standing_queue_is_kept_short() -> None:
    """Once it has not been empty for `max_wait`, newcomers wait for `target_wait` only."""

    async def main() -> None:
        limit = ConcurrencyLimit(1, queue=9, max_wait=0.05, target_wait=0.001, key=keys.method)
        crowd = Crowd(limit)
        tasks = await queue_up(crowd, "1", "2")
        [bulkhead] = limit._here()._bulkheads.values()
        [lane] = bulkhead.lanes
        assert bulkhead.patience(lane, lane.since + 0.049) == 0.05
        assert bulkhead.patience(lane, lane.since + 0.051) == 0.001
        await drain(crowd, tasks)
        assert bulkhead.patience(lane, lane.since + 1.0) == 0.05

    asyncio.run(main())


def test_a_newcomer_does_not_overtake() -> None:
    """A place that is given back belongs to who waits, before that one has even noticed."""

    async def main() -> None:
        crowd = Crowd(ConcurrencyLimit(1, queue=2, max_wait=PATIENT))
        tasks = await queue_up(crowd, "1", "2")
        crowd.let_go("1")
        await tasks["1"]
        tasks["3"] = crowd.send("3")
        await drain(crowd, tasks)
        assert crowd.inside == ["1", "2", "3"]

    asyncio.run(main())


def test_keys_wait_for_themselves() -> None:
    """The queue of one key is no hindrance to another."""

    async def main() -> None:
        limit = ConcurrencyLimit(1, queue=1, max_wait=PATIENT, key=keys.query("of"))
        crowd = Crowd(limit)
        tasks = {}
        for name, query in [("1", b"of=a"), ("2", b"of=a"), ("3", b"of=b")]:
            tasks[name] = await crowd.arrive(name, query_string=query)
        assert crowd.inside == ["1", "3"]
        assert {one.key: (one.in_flight, one.waiting) for one in limit.status()} == {
            "a": (1, 1),
            "b": (1, 0),
        }
        await drain(crowd, tasks)
        assert limit.status() == []

    asyncio.run(main())


def test_a_place_goes_from_loop_to_loop_and_to_a_thread() -> None:
    """One counter for all: three event loops and a WSGI thread hand one permit on."""
    limit = ConcurrencyLimit(1, queue=9, max_wait=PATIENT)
    inside: list[str] = []
    together = threading.Lock()
    failures: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert together.acquire(blocking=False), "two at a time"
        inside.append(scope["path"])
        await asyncio.sleep(0)
        together.release()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def many() -> None:
        answers = await asyncio.gather(*(call_asgi(asgi(app, limit)) for _ in range(3)))
        assert [answer.status for answer in answers] == [200] * 3

    def loop() -> None:
        try:
            asyncio.run(many())
        except BaseException as error:
            failures.append(error)

    with threads(limit) as crowd:
        crowd.arrive("first")
        loops = [threading.Thread(target=loop) for _ in range(3)]
        for thread in loops:
            thread.start()
        crowd.until(lambda: counts(limit) == (1, 9))
        crowd.let_go("first")
        for thread in loops:
            thread.join(PATIENT)
    assert failures == []
    assert len(inside) == 9
    assert counts(limit) == (0, 0)


def test_a_loop_that_is_gone_does_not_keep_its_place() -> None:
    """Its request never finished, its loop was closed: the next in line is let in."""
    limit = ConcurrencyLimit(1, queue=2, max_wait=PATIENT)
    with threads(limit) as crowd:
        crowd.arrive("1")
        door = asgi(lambda *_: None, limit)  # type: ignore[arg-type]
        loop = asyncio.new_event_loop()
        # Kept, so that it is neither finished nor thrown away while its loop is gone.
        waits = door(http_scope(), None, None)  # type: ignore[arg-type]
        task = loop.create_task(waits)
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert counts(limit) == (1, 1)
        loop.close()
        crowd.arrive("2")
        crowd.let_go("1")
        crowd.until(lambda: "2" in crowd.inside)
        crowd.let_go("2")
        crowd.finish()
        assert counts(limit) == (0, 0)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        waits.close()


def test_threads_never_exceed_it() -> None:
    """Eight threads that hammer it are never more than three inside, and all get through."""
    limit = ConcurrencyLimit(3, queue=8, max_wait=PATIENT)
    inside, most, guard = 0, 0, threading.Lock()

    def app(environ: Any, start_response: Any) -> Any:
        nonlocal inside, most
        with guard:
            inside += 1
            most = max(most, inside)
        # Makes room for the others to be wrong in: all who could be inside have had a turn.
        os.sched_yield()
        with guard:
            inside -= 1
        start_response("200 OK", [])
        return [b"ok"]

    statuses: list[int] = []

    def hammer() -> None:
        door = wsgi(app, limit)
        statuses.extend(call_wsgi(door).status for _ in range(50))

    workers = [threading.Thread(target=hammer) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENT)
    assert statuses == [200] * 400
    assert 1 <= most <= 3
    assert counts(limit) == (0, 0)


@pytest.mark.parametrize(
    ("order", "expected"),
    [("fifo", ["0", "7", "3", "4", "1"]), ("lifo", ["0", "7", "4", "3", "1"])],
)
def test_the_more_important_go_first(order: Any, expected: list[str]) -> None:
    """Whoever came when; among equals the order decides."""

    async def main() -> None:
        importance = {"3": 5, "4": 5, "7": 9}
        crowd = Crowd(
            ConcurrencyLimit(
                1,
                queue=4,
                order=order,
                max_wait=PATIENT,
                priority=lambda request: importance.get(request.path[1:], 0),
            )
        )
        tasks = await queue_up(crowd, "0", "1", "3", "7", "4")
        await drain(crowd, tasks)
        assert crowd.inside == expected
        assert counts(crowd.limit) == (0, 0)

    asyncio.run(main())


@pytest.mark.parametrize(("order", "gone"), [("fifo", "2"), ("lifo", "1")])
def test_in_a_full_queue_the_least_important_gives_way(order: Any, gone: str) -> None:
    """To a more important one, and of those the one whose turn was last; never to a lesser one."""

    async def main() -> None:
        crowd = Crowd(
            ConcurrencyLimit(
                1,
                queue=2,
                order=order,
                max_wait=PATIENT,
                priority=lambda request: {"9": 1, "less": -1}.get(request.path[1:], 0),
            )
        )
        tasks = await queue_up(crowd, "0", "1", "2", "9")
        await tasks[gone]
        assert crowd.limit.refused == {"gave way to a more important one": 1}
        tasks |= await queue_up(crowd, "less")
        await tasks["less"]
        assert crowd.answer(gone) == crowd.answer("less") == 503
        assert crowd.limit.refused["the queue is full"] == 1
        await drain(crowd, tasks)
        assert crowd.inside[:2] == ["0", "9"]
        assert counts(crowd.limit) == (0, 0)

    asyncio.run(main())


def test_priorities_of_threads() -> None:
    """The same under WSGI."""
    limit = ConcurrencyLimit(
        1, queue=3, max_wait=PATIENT, priority=lambda request: int(request.path[1:])
    )
    with threads(limit) as crowd:
        for name in "1234":
            crowd.arrive(name)
        for position in range(4):
            crowd.until(lambda position=position: len(crowd.inside) > position)  # type: ignore[misc]
            crowd.let_go(crowd.inside[position])
        crowd.finish()
        assert crowd.inside == ["1", "4", "3", "2"]
    assert counts(limit) == (0, 0)
