"""Which pool an exchange gets: one for each origin, loop and process, whatever was asked last."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from collections.abc import Iterator

import pytest

from gatekit.proxy.transport.aio import LoopPool
from gatekit.proxy.transport.origin import TLS, Origin
from gatekit.proxy.transport.registry import Registry
from gatekit.proxy.transport.settings import Settings

ORIGIN = Origin("http://users:8001")


@pytest.fixture
def registry() -> Registry:
    return Registry(
        Settings(
            tls=TLS(),
            max_connections=1,
            max_pending=1,
            idle_ttl=60.0,
            max_head=1024,
            max_fields=10,
        )
    )


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def pool_of(
    registry: Registry, loop: asyncio.AbstractEventLoop, origin: Origin = ORIGIN
) -> LoopPool:
    async def find() -> LoopPool:
        return registry.of_loop(origin)

    return loop.run_until_complete(find())


def test_each_loop_keeps_its_own(registry: Registry, loop: asyncio.AbstractEventLoop) -> None:
    """Also where two loops take turns."""
    other = asyncio.new_event_loop()
    try:
        ours, theirs = pool_of(registry, loop), pool_of(registry, other)
        assert ours is not theirs
        assert pool_of(registry, loop) is ours
        assert pool_of(registry, other) is theirs
        assert pool_of(registry, loop, Origin("http://orders:8002")) is not ours
    finally:
        other.close()


@pytest.mark.parametrize("way", ["close", "aclose"])
def test_what_is_closed_is_not_given_again(
    registry: Registry, loop: asyncio.AbstractEventLoop, way: str
) -> None:
    """The exchange after it gets a pool that keeps its connections."""
    before = pool_of(registry, loop)
    if way == "close":
        registry.close()
    else:
        loop.run_until_complete(registry.aclose())
    assert pool_of(registry, loop) is not before


def test_a_loop_that_is_gone_is_not_kept(registry: Registry) -> None:
    """What was asked for last does not hold on to who asked."""
    loop = asyncio.new_event_loop()
    pool_of(registry, loop)
    loop.close()
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_has_its_own_on_the_same_loop(
    registry: Registry, loop: asyncio.AbstractEventLoop
) -> None:
    """A loop that was used before the fork, and is used again in the child."""
    before = pool_of(registry, loop)
    pid = os.fork()
    if pid == 0:
        # Nothing of pytest may run in the child, whatever happens.
        code = 2
        try:
            code = int(pool_of(registry, loop) is before)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert pool_of(registry, loop) is before
