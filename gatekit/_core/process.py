"""Which process this is, without a question to the kernel for each request.

    pools = self._processes.get(here.pid)

A fork that runs Python afterwards tells of itself (`os.register_at_fork`; a server written in C
calls `PyOS_AfterFork_Child`).
"""

from __future__ import annotations

import os


class Here:
    __slots__ = ("pid",)

    def __init__(self) -> None:
        self.note()

    def note(self) -> None:
        """In the child of a fork: it is another one now."""
        self.pid = os.getpid()


here = Here()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=here.note)
