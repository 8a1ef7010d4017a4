"""A lock that the garbage collector may come across.

    lock = DeferringLock()
    with lock:
        ...                    # bookkeeping; the collector may run here, in this very thread
    lock.defer(forget)         # now, or as soon as whoever holds the lock lets go; never waits

A collector that waited for a lock which its own thread holds would wait for ever; one that did not
wait and went away would leave something undone. So what it has to do is queued, and whoever lets go
of the lock looks into the queue once more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock


class DeferringLock:
    """Not reentrant, except for `defer`."""

    __slots__ = ("_actions", "_lock")

    def __init__(self) -> None:
        self._lock = Lock()
        self._actions: deque[Callable[[], None]] = deque()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if self._actions:
            self._run()

    def defer(self, action: Callable[[], None]) -> None:
        """Do it under the lock: now where it is free, else when it becomes so."""
        self._actions.append(action)
        self._run()

    def _run(self) -> None:
        # An action that is queued after this thread has looked finds the lock free, or a holder
        # who has still to look.
        while self._actions and self._lock.acquire(blocking=False):
            try:
                while self._actions:
                    self._actions.popleft()()
            finally:
                self._lock.release()
