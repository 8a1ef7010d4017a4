"""A lock that survives a fork.

    lock = latch.take()
    try:
        ...
    finally:
        lock.release()

A process that is forked while another thread of its parent holds a lock inherits it locked, and
nobody is there to release it. So each process has a lock of its own, and only who finds the lock
taken asks which process this is: what is not contended pays nothing.
"""

from __future__ import annotations

import os
from threading import Lock


class Latch:
    """For a few bytecodes at a time, and never across an await or a call into a user's code."""

    __slots__ = ("_locks", "lock")

    def __init__(self) -> None:
        self.lock = Lock()
        self._locks = {os.getpid(): self.lock}

    def take(self) -> Lock:
        """Waits until no other thread holds it; the caller releases what it is given."""
        lock = self.lock
        return lock if lock.acquire(False) else self.wait()

    def wait(self) -> Lock:
        """`take`, once the lock was found taken."""
        pid = os.getpid()
        lock = self.lock = self._locks.get(pid) or self._locks.setdefault(pid, Lock())
        lock.acquire()
        return lock
