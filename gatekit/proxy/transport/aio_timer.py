"""The timer of an asyncio connection: lazy, so that an exchange makes no call into the event loop.

    timer = LazyTimer(loop, ring)
    timer.expect(60.0, "first_byte_timeout")    # written down; a handle is set if it is earlier
    timer.rest()                                # nothing is due; the handle stays where it is

A handle that was set for an earlier exchange rings, finds a later moment written down, and is set
for that one. So thousands of exchanges share one `call_later`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from gatekit.errors import Stage
from gatekit.proxy.transport.settings import NEVER


class LazyTimer:
    """Calls `ring` with the stage that is over.

    `limit` is the moment at which the exchange ends whatever it is doing, on the monotonic clock.
    """

    __slots__ = ("_at", "_due", "_handle", "_loop", "_ring", "_stage", "limit")

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[Stage], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None
        self._at = self._due = NEVER
        self._stage: Stage = "total_timeout"
        self.limit = NEVER

    def expect(self, seconds: float | None, stage: Stage) -> None:
        """From now on the upstream has `seconds`; None leaves only the limit of the exchange."""
        due = self.limit
        if seconds is None:
            stage = "total_timeout"
        else:
            at = monotonic() + seconds
            if at < due:
                due = at
            else:
                stage = "total_timeout"
        self._due = due
        self._stage = stage
        if due < self._at:
            self._set(due)

    def rest(self) -> None:
        """Nothing is expected of anyone."""
        self._due = NEVER

    def cancel(self) -> None:
        """For good."""
        self._due = NEVER
        self._ring = _nobody
        # No moment is earlier: no handle will be set again.
        self._at = -NEVER
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _set(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._at = at
        self._handle = self._loop.call_later(max(at - monotonic(), 0.0), self._wake)

    def _wake(self) -> None:
        self._handle = None
        self._at = NEVER
        # The clock of a loop is as coarse as a millisecond.
        if self._due <= monotonic() + 0.001:
            self._due = NEVER
            self._ring(self._stage)
        elif self._due != NEVER:
            self._set(self._due)


def _nobody(stage: Stage) -> None:
    """What a cancelled timer calls: it holds its connection no longer."""
