"""What keeps a store's trouble from becoming the app's: a deadline and a breaker around each call.

                      three failures in a row
        ┌────────┐ ─────────────────────────────▶ ┌──────┐
        │ closed │                                │ open │ ⟲ a failed trial: twice as long
        └────────┘ ◀───────────────────────────── └──────┘
                     one trial that is answered

Open, no call is made until its time is up; then one request at a time is a trial, and the others go
on without the store meanwhile. A trial that is cancelled says nothing: the next request is one.

Each change of state is logged once. What single failures there are is in `request.decisions`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import inf
from typing import cast

from gatekit._core.io import IO
from gatekit._core.latch import Latch
from gatekit.limits.meters import Standing
from gatekit.limits.store import Claim, Store, StoreUnavailable

logger = logging.getLogger("gatekit")

_TRIPS_AFTER = 3
# Seconds for which it is open: at first, and at most.
_SHORTEST = 0.5
_LONGEST = 10.0
# For a store that does not say: the default of those that do.
_TIMEOUT = 0.05


class Guard:
    """Calls `store`, or says at once that it is out of reach."""

    __slots__ = ("_failures", "_latch", "_open_for", "_trial", "_until", "store", "timeout")

    def __init__(self, store: Store) -> None:
        self.store = store
        timeout = cast("object", getattr(store, "timeout", _TIMEOUT))
        self.timeout = float(timeout) if isinstance(timeout, int | float) else _TIMEOUT
        self._latch = Latch()
        self._failures = 0
        self._open_for = 0.0
        self._until = 0.0
        self._trial: object = None

    @property
    def is_open(self) -> bool:
        """Whether the store is being left alone."""
        return self._open_for > 0

    async def take(
        self,
        io: IO,
        claims: Sequence[Claim],
        cost: int,
        forced: bool = False,
        deadline: float | None = None,
    ) -> list[Standing]:
        """`StoreUnavailable` if it cannot be had in time, which is `deadline` at the latest."""
        now = io.now()
        left = inf if deadline is None else deadline - now
        if left <= 0:
            raise StoreUnavailable(f"{self.store!r}: the request has no time left")
        trial = self._enter(now)
        try:
            async with io.timeout(min(self.timeout, left)):
                standings = await io.call(
                    self.store.take, self.store.atake, claims, cost, now, forced
                )
        except Exception as error:
            if left < self.timeout and isinstance(error, TimeoutError):
                # It was this request that had no more time, and it says nothing of the store.
                self._leave(trial)
            else:
                self._failed(io.now(), trial, error)
            raise StoreUnavailable(f"{self.store!r}: {type(error).__name__}") from error
        except BaseException:
            # Cancelled: it was the client's doing, and says nothing of the store.
            self._leave(trial)
            raise
        if self._failures or trial is not None:
            self._answered(trial)
        return standings

    def _enter(self, now: float) -> object:
        """None for an ordinary call, a token for a trial; raises while it is open."""
        if not self._open_for:
            return None
        lock = self._latch.take()
        try:
            # A trial that never came back, such as one in a thread that died, ends with its time.
            if now < self._until:
                raise StoreUnavailable(f"{self.store!r} is left alone after several failures")
            self._until = now + max(_SHORTEST, 2 * self.timeout)
            self._trial = trial = object()
            return trial
        finally:
            lock.release()

    def _failed(self, now: float, trial: object, error: Exception) -> None:
        lock = self._latch.take()
        try:
            self._failures += 1
            opens = not self._open_for and self._failures >= _TRIPS_AFTER
            if opens:
                self._open_for = _SHORTEST
            elif trial is not None and trial is self._trial:
                self._open_for = min(2 * self._open_for, _LONGEST)
            else:
                return
            self._trial = None
            self._until = now + self._open_for
        finally:
            lock.release()
        if opens:
            # The message of a client library may hold a password; its name says enough.
            logger.warning("%r does not answer: %s", self.store, describe(error))

    def _answered(self, trial: object) -> None:
        lock = self._latch.take()
        try:
            # A late answer to a call from before it opened says nothing of now.
            if self._open_for and (trial is None or trial is not self._trial):
                return
            closes = bool(self._open_for)
            self._failures = 0
            self._open_for = 0.0
            self._trial = None
        finally:
            lock.release()
        if closes:
            logger.warning("%r answers again", self.store)

    def _leave(self, trial: object) -> None:
        # Without the lock, as where coroutines are thrown away it must be: at worst two try.
        if trial is not None and trial is self._trial:
            self._until = 0.0


def describe(error: Exception) -> str:
    """The error's kind, and that of what caused it."""
    cause = error.__cause__ or error.__context__
    name = type(error).__name__
    return name if cause is None else f"{name} ({type(cause).__name__})"
