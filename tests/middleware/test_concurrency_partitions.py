"""Shares of a limit that are guaranteed, and what is lent of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatekit import Request
from gatekit.middleware.concurrency import ConcurrencyLimit
from tests.middleware.crowd import Crowd, counts, until

PATIENT = 20.0


def by_name(request: Request) -> str | None:
    """`/live-1` is of the partition `live`."""
    return request.path.strip("/").partition("-")[0]


def partitioned(limit: int, *, queue: int = 0, **options: Any) -> ConcurrencyLimit:
    return ConcurrencyLimit(
        limit,
        queue=queue,
        max_wait=PATIENT,
        partitions={"live": 0.5, "batch": 0.25},
        partition=by_name,
        **options,
    )


async def come(crowd: Crowd, *names: str) -> dict[str, asyncio.Task[Any]]:
    return {name: await crowd.arrive(name) for name in names}


async def go(crowd: Crowd, tasks: dict[str, asyncio.Task[Any]]) -> None:
    def all_done() -> bool:
        for name in crowd.inside:
            crowd.let_go(name)
        return all(task.done() for task in tasks.values())

    await until(all_done)
    assert counts(crowd.limit) == (0, 0)


def test_what_is_free_is_lent() -> None:
    """One partition may have all places while nobody else wants them."""

    async def main() -> None:
        crowd = Crowd(partitioned(4, queue=4))
        tasks = await come(crowd, "batch-1", "batch-2", "batch-3", "batch-4")
        assert len(crowd.inside) == 4
        await go(crowd, tasks)

    asyncio.run(main())


def test_what_was_lent_comes_back_first() -> None:
    """An owner below its share goes before those who have more than theirs and came earlier."""

    async def main() -> None:
        crowd = Crowd(partitioned(4, queue=4))
        tasks = await come(crowd, "batch-1", "batch-2", "batch-3", "batch-4")
        tasks |= await come(crowd, "batch-5", "live-1", "live-2", "live-3")
        assert counts(crowd.limit) == (4, 4)
        for position in range(3):
            crowd.let_go(f"batch-{position + 1}")
            await until(lambda position=position: len(crowd.inside) == 5 + position)  # type: ignore[misc]
        # Half of 4 is 2; the third of `live` has to wait behind who came before it.
        assert crowd.inside[4:] == ["live-1", "live-2", "batch-5"]
        await go(crowd, tasks)

    asyncio.run(main())


def test_it_is_never_more_than_the_limit() -> None:
    """Not even for an owner: what stands behind has only so many places."""

    async def main() -> None:
        crowd = Crowd(partitioned(4, queue=4))
        tasks = await come(crowd, "batch-1", "batch-2", "batch-3", "batch-4", "live-1")
        assert counts(crowd.limit) == (4, 1)
        await go(crowd, tasks)

    asyncio.run(main())


def test_without_borrowing_an_owner_never_waits() -> None:
    """`borrow=False` keeps shares free; what is nobody's share is for whoever comes."""

    async def main() -> None:
        crowd = Crowd(partitioned(4, borrow=False))
        # One is its own and one is nobody's; two are kept for `live`.
        tasks = await come(crowd, "batch-1", "batch-2", "batch-3")
        assert crowd.answer("batch-3") == 503
        tasks |= await come(crowd, "live-1", "live-2", "live-3")
        assert crowd.answer("live-3") == 503
        assert crowd.inside == ["batch-1", "batch-2", "live-1", "live-2"]
        await go(crowd, tasks)

    asyncio.run(main())


def test_a_name_that_is_not_listed_owns_nothing() -> None:
    """It has what is nobody's, and what is lent."""

    async def main() -> None:
        crowd = Crowd(partitioned(4, borrow=False))
        tasks = await come(crowd, "other-1", "other-2")
        assert crowd.answer("other-2") == 503
        await go(crowd, tasks)

    asyncio.run(main())


def test_each_partition_has_a_queue_of_its_own() -> None:
    """A crowd in one line does not keep others from theirs."""

    async def main() -> None:
        crowd = Crowd(partitioned(4, queue=1))
        tasks = await come(crowd, *(f"batch-{number}" for number in range(6)), "live-1")
        assert crowd.answer("batch-5") == 503
        assert counts(crowd.limit) == (4, 2)
        await go(crowd, tasks)

    asyncio.run(main())


def test_the_status_tells_what_each_has() -> None:
    """Share, in flight, waiting and what remains, by partition; what is not listed comes last."""

    async def main() -> None:
        limit = partitioned(8, borrow=False)
        crowd = Crowd(limit)
        tasks = await come(crowd, "batch-1", "live-1")
        [status] = limit.status()
        assert (status.limit, status.in_flight, status.remaining) == (8, 2, 6)
        assert [tuple(part) for part in status.partitions] == [
            ("live", 4, 1, 0, 5),
            ("batch", 2, 1, 0, 3),
            (None, 0, 0, 0, 2),
        ]
        await go(crowd, tasks)

    asyncio.run(main())


@pytest.mark.parametrize("limit", [10, 100, 1000])
@pytest.mark.parametrize("percent", [10, 28, 29, 33, 57, 58, 99, 100])
def test_shares_are_not_lost_in_binary(limit: int, percent: int) -> None:
    """0.29 of 100 is 29, although the product is a little less as a float."""
    options: dict[str, Any] = {"partition": by_name, "borrow": False}
    held = ConcurrencyLimit(limit, partitions={"live": percent / 100}, **options)
    assert held.status()[0].partitions[0].share == limit * percent // 100
