"""Background work: one job to a process, in the colour that asked, ended by `close`."""

from __future__ import annotations

import asyncio
import logging
import os
import threading

import pytest

from gatekit._core.background import Background
from gatekit._core.io import IO, AsyncIO, BlockingIO

BLOCKING = BlockingIO()
ASYNC = AsyncIO()
PATIENCE = 10.0


def test_kept_job_runs_once_in_threads() -> None:
    """However often it is asked for, one thread runs it, until it is closed."""
    background = Background("test")
    begun: list[str] = []
    runs = threading.Event()
    over = threading.Event()

    async def job(io: IO) -> None:
        assert not io.is_async
        begun.append(threading.current_thread().name)
        runs.set()
        try:
            await io.sleep(3600)
        finally:
            over.set()

    for _ in range(5):
        background.keep(BLOCKING, job)
    assert runs.wait(PATIENCE)
    background.close()
    assert over.wait(PATIENCE)
    assert begun == ["gatekit test"]


async def _forever(io: IO) -> None:
    await io.sleep(3600)


def test_kept_job_begins_anew_in_another_loop() -> None:
    """A job whose loop is gone is not alive, whatever it was doing."""
    background = Background("test")
    loops: list[asyncio.AbstractEventLoop] = []

    async def job(io: IO) -> None:
        loops.append(asyncio.get_running_loop())
        await io.sleep(3600)

    async def ask() -> None:
        background.keep(ASYNC, job)
        background.keep(ASYNC, job)
        await asyncio.sleep(0)

    asyncio.run(ask())
    asyncio.run(ask())
    assert len(loops) == 2
    assert loops[0] is not loops[1]


def test_aclose_ends_the_tasks_of_its_loop() -> None:
    """When it returns, nothing of the part runs in the loop."""

    async def scenario() -> None:
        background = Background("test")
        before = asyncio.all_tasks()
        background.keep(ASYNC, _forever)
        background.spawn(ASYNC, _forever)
        await asyncio.sleep(0)
        await background.aclose()
        assert asyncio.all_tasks() == before

    asyncio.run(scenario())


def test_threads_are_bounded() -> None:
    """A job for which no thread is free is refused, and one that ended makes room."""
    background = Background("test", threads=1)
    go = threading.Event()
    ended = threading.Event()

    async def job(_: IO) -> None:
        go.wait(PATIENCE)
        ended.set()

    assert background.spawn(BLOCKING, job)
    assert not background.spawn(BLOCKING, job)
    go.set()
    assert ended.wait(PATIENCE)
    for thread in threading.enumerate():
        if thread.name == "gatekit test":
            thread.join(PATIENCE)
    assert background.spawn(BLOCKING, job)


def test_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What a job raises is one record of the logger, and the next job runs."""
    background = Background("refresh")

    async def job(_: IO) -> None:
        raise ValueError("no")

    async def scenario() -> None:
        background.spawn(ASYNC, job)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with caplog.at_level(logging.ERROR, "gatekit"):
        asyncio.run(scenario())
    assert [record.getMessage() for record in caplog.records] == [
        "background work of refresh raised"
    ]


def test_child_of_a_fork_has_its_own() -> None:
    """A forked process does not take the parent's thread for one of its own."""
    background = Background("test")
    runs = threading.Event()

    async def job(io: IO) -> None:
        runs.set()
        await io.sleep(3600)

    background.keep(BLOCKING, job)
    assert runs.wait(PATIENCE)
    runs.clear()
    child = os.fork()
    if child == 0:
        runs = threading.Event()
        background.keep(BLOCKING, job)
        os._exit(0 if runs.wait(PATIENCE) else 1)
    _, status = os.waitpid(child, 0)
    background.close()
    assert os.waitstatus_to_exitcode(status) == 0
