"""A lock that survives a fork.

    lock = latch.take()
    try:
        ...
    finally:
        lock.release()

A process that is forked while another thread of its parent holds a lock inherits it locked, and
nobody is there to release it. So a child gets fresh locks, before it has a second thread.
"""

from __future__ import annotations

import os
from threading import Lock
from weakref import WeakSet


class Latch:
    """For a few bytecodes at a time, and never across an await or a call into a user's code.

    Nor may it be waited for where a coroutine is thrown away: the garbage collector does that in
    whatever thread it comes by, that which holds the lock among them.
    """

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = Lock()
        _latches.add(self)

    def take(self) -> Lock:
        """Waits until no other thread holds it; the caller releases what it is given."""
        lock = self.lock
        lock.acquire()
        return lock


def _renew() -> None:
    for latch in _latches:
        latch.lock = Lock()


# One hook for all: one for each could not be taken back. Nobody else learns who is in it.
_latches: WeakSet[Latch] = WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
