"""How many of something are under way, counted exactly without a lock.

    tally.add()
    ...
    tally.remove()        # from any thread, and from the garbage collector in the midst of `add`
    len(tally)

A number that is read, changed and written back can lose a step between two threads, and a lock can
be waited for by the very thread that holds it, where the garbage collector throws a coroutine away.
To append to a list and to take from its end are one step each.
"""

from __future__ import annotations


class Tally:
    __slots__ = ("_ones",)

    def __init__(self) -> None:
        self._ones: list[None] = []

    def add(self) -> None:
        self._ones.append(None)

    def remove(self) -> None:
        self._ones.pop()

    def clear(self) -> None:
        """In the child of a fork: what its parent has under way is not under way here."""
        self._ones.clear()

    def __len__(self) -> int:
        return len(self._ones)
