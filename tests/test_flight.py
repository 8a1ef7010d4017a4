"""Single flight: one fetch for all who ask at once, and nothing kept afterwards."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gatekit._core.flight import Flights
from gatekit._core.io import AsyncIO, BlockingIO, block

ASYNC = AsyncIO()
BLOCKING = BlockingIO()
PATIENCE = 10.0


def test_thousand_coroutines_make_one_fetch() -> None:
    """All get the result of the one that came first; a later one fetches anew."""

    async def scenario() -> None:
        flights: Flights[int] = Flights()
        fetched = 0
        go = asyncio.Event()

        async def work() -> int:
            nonlocal fetched
            fetched += 1
            await go.wait()
            return fetched

        joined = [asyncio.ensure_future(flights.join(ASYNC, "k", work)) for _ in range(1000)]
        await asyncio.sleep(0)
        go.set()
        assert set(await asyncio.gather(*joined)) == {1}
        assert await flights.join(ASYNC, "k", work) == 2

    asyncio.run(scenario())


def test_cancelled_leader_leaves_the_work_to_the_others() -> None:
    """Whoever came first may go: the fetch is not theirs alone."""

    async def scenario() -> None:
        flights: Flights[str] = Flights()
        go = asyncio.Event()

        async def work() -> str:
            await go.wait()
            return "keys"

        leader = asyncio.ensure_future(flights.join(ASYNC, "k", work))
        follower = asyncio.ensure_future(flights.join(ASYNC, "k", work))
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.wait([leader])
        go.set()
        assert leader.cancelled()
        assert await follower == "keys"

    asyncio.run(scenario())


def test_error_is_everybodys_and_not_kept() -> None:
    """A fetch that failed fails all who waited for it; the next one is made anew."""

    async def scenario() -> None:
        flights: Flights[str] = Flights()
        answers: list[OSError | str] = [OSError("down"), "keys"]

        async def work() -> str:
            await asyncio.sleep(0)
            answer = answers.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return answer

        joined = [flights.join(ASYNC, "k", work) for _ in range(3)]
        results = await asyncio.gather(*joined, return_exceptions=True)
        assert [type(result) for result in results] == [OSError] * 3
        assert await flights.join(ASYNC, "k", work) == "keys"

    asyncio.run(scenario())


@pytest.mark.parametrize("fails", [False, True])
def test_threads_wait_for_the_first(fails: bool) -> None:
    """Eight threads make one fetch between them, and all learn how it ended."""
    flights: Flights[int] = Flights()
    fetched: list[int] = []
    begun, go = threading.Event(), threading.Event()
    waiting = threading.Semaphore(0)
    results: list[object] = []

    async def work() -> int:
        fetched.append(1)
        begun.set()
        assert go.wait(PATIENCE)
        if fails:
            raise OSError("down")
        return 7

    def ask() -> None:
        waiting.release()
        try:
            results.append(block(flights.join(BLOCKING, "k", work)))
        except OSError as error:
            results.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    threads[0].start()
    assert begun.wait(PATIENCE)
    for thread in threads[1:]:
        thread.start()
    for _ in threads:
        assert waiting.acquire(timeout=PATIENCE)
    flight = next(iter(flights._threads.values()))
    while len(flight._condition._waiters) < 7:  # type: ignore[attr-defined]
        pass
    go.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert fetched == [1]
    assert results == (["down"] if fails else [7]) * 8
    assert not flights._threads
