"""The clock of one WebSocket: its idle time, its lifetime and the pings to its upstream.

vigil = Vigil(options, watched)      # in the running loop
vigil.active()                       # a message has passed
vigil.stop()

One timer for all three, set to what is due next; a message costs a look at the clock and no timer.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from gatekit._core.conversation import Cause
from gatekit.proxy.websocket.options import WebSockets

_NEVER: Final = float("inf")
_GOING_AWAY: Final = 1001
_JITTER: Final = 0.1
"""The part of a time by which connections that began together are spread."""
# The clock of a loop is as coarse as a millisecond.
_GRAIN: Final = 0.001


class Watched(Protocol):
    """The connection, as far as its clock is concerned."""

    def end(self, cause: Cause, code: int, reason: str) -> None: ...

    def ping(self) -> None: ...

    def is_alive(self) -> bool:
        """Whether the upstream has shown itself since the last ping."""
        ...

    def lose(self) -> None:
        """The upstream is not there any more."""
        ...


class Vigil:
    """Begins when it is made; `stop` ends it."""

    __slots__ = (
        "_at",
        "_handle",
        "_idle",
        "_interval",
        "_loop",
        "_pinged",
        "_until",
        "_watched",
        "seen",
    )

    def __init__(
        self, options: WebSockets, loop: asyncio.AbstractEventLoop, watched: Watched
    ) -> None:
        now = loop.time()
        chance = options.chance.random
        self._loop = loop
        self._watched: Watched | None = watched
        self._idle = options.idle
        self._interval = options.ping_interval
        self._until, self._at = _NEVER, _NEVER
        if options.max_lifetime is not None:
            self._until = now + options.max_lifetime * (1 - _JITTER * chance())
        if self._interval is not None:
            self._at = now + self._interval * (1 - _JITTER * chance())
        self._pinged = False
        self.seen = now
        """When the last message passed."""
        self._handle: asyncio.TimerHandle | None = None
        self._set()

    def stop(self) -> None:
        self._watched = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _set(self) -> None:
        due = min(self._until, self._at)
        if self._idle is not None:
            due = min(due, self.seen + self._idle)
        self._handle = None if due == _NEVER else self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        watched = self._watched
        if watched is None:
            return
        now = self._loop.time() + _GRAIN
        if now >= self._until:
            watched.end("lifetime", _GOING_AWAY, "the connection has lasted long enough")
        elif self._idle is not None and now >= self.seen + self._idle:
            watched.end("idle", _GOING_AWAY, "the connection was idle")
        elif now >= self._at:
            if self._pinged and not watched.is_alive():
                watched.lose()
            else:
                self._pinged = True
                self._at = now + (self._interval or 0.0)
                watched.ping()
        if self._watched is not None:
            self._set()
