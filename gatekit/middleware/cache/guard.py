"""What keeps a store's trouble away from the requests: a deadline, and a rest after failures.

found = await guard.ask(request.io, store.get, store.aget, key)     # None: as if there was nothing

After three failures in a row the store is left alone for a while, longer each time, up to ten
seconds; then one call is a trial. What changes is logged once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from gatekit._core.io import IO

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("gatekit")

_TRIPS_AFTER = 3
_SHORTEST = 0.5
_LONGEST = 10.0


class CacheGuard:
    """`failures` counts every call that was not answered in time, or not at all."""

    __slots__ = ("_open_for", "_row", "_store", "_timeout", "_until", "failures")

    def __init__(self, store: object, timeout: float) -> None:
        self._store = store
        self._timeout = timeout
        self._row = 0
        self._open_for = 0.0
        self._until = 0.0
        self.failures = 0

    async def ask(
        self,
        io: IO,
        sync: Callable[P, T],
        aio: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | None:
        """The answer, None if there is none in time."""
        if self._open_for:
            now = io.now()
            if now < self._until:
                return None
            # The trial of one: the others go on without until it is over.
            self._until = now + max(_SHORTEST, 2 * self._timeout)
        try:
            async with io.timeout(self._timeout):
                answer = await io.call(sync, aio, *args, **kwargs)
        except Exception as error:
            self._failed(io.now(), error)
            return None
        except BaseException:
            # Cancelled: it was the client's doing, and says nothing of the store.
            self._until = 0.0
            raise
        if self._row:
            self._row = 0
            if self._open_for:
                self._open_for = 0.0
                logger.warning("%r answers again", self._store)
        return answer

    def _failed(self, now: float, error: Exception) -> None:
        self.failures += 1
        self._row += 1
        if self._row < _TRIPS_AFTER:
            return
        if not self._open_for:
            # The message of a client library may hold a password; its kind says enough.
            logger.warning("%r does not answer: %s", self._store, type(error).__name__)
        self._open_for = min(2 * self._open_for, _LONGEST) if self._open_for else _SHORTEST
        self._until = now + self._open_for
