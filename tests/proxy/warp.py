"""An event loop whose clock jumps: where nothing is left to do but wait, the time is over.

with asyncio.Runner(loop_factory=WarpLoop) as runner:
    runner.run(main())          # a sleep of an hour takes no time

For code that waits for timers and for its own tasks only: it never waits for a socket.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any


class WarpLoop(asyncio.SelectorEventLoop):
    """Its time begins at 1000 and stands still while there is something to do."""

    def __init__(self) -> None:
        self._now = 1000.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


class _Selector(selectors.BaseSelector):
    def __init__(self, loop: WarpLoop) -> None:
        self._loop = loop
        self._inner = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._inner.select(0)
        if not ready:
            assert timeout is not None, "everything waits, and no timer is set"
            self._loop.advance(max(timeout, 0.0))
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def close(self) -> None:
        self._inner.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._inner.get_map()
