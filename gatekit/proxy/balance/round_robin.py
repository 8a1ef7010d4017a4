"""One after the other, the heavier ones more often, and well mixed.

    Cluster("orders", destinations=[...], balance="round_robin")

Each member has its next turn on a scale of its own, one step of `1 / weight` after the last; who is
first on the scale gets the request. With weights of 5, 1 and 1, each seven requests go 5, 1 and 1
ways, and the five do not go in a row. With equal weights it is the plain round.

Each process counts for itself, so several workers together are only nearly even.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from random import Random
from typing import TYPE_CHECKING

from gatekit._core.latch import Latch
from gatekit._core.messages import Request

if TYPE_CHECKING:
    from gatekit.proxy.balance import Picker
    from gatekit.proxy.clusters.members import Member


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """Weights are honoured exactly, over as many requests as they add up to."""

    def picker(self, members: Sequence[Member]) -> Picker:
        # Where the scale is now: who comes in later does not catch up on what it missed.
        turns = [member.turn - 1.0 / member.weight for member in members if member.turn]
        begun = max(turns, default=0.0)
        for place, member in enumerate(members):
            step = 1.0 / member.weight
            if not member.turn or not begun < member.turn <= begun + step:
                # Somewhere in its first step, and elsewhere than the others: that mixes them.
                member.turn = begun + step * (place + 0.5) / len(members)
        line = [(member.turn, place) for place, member in enumerate(members)]
        heapify(line)
        latch = Latch()

        def pick(_request: Request, _now: float, _chance: Random) -> Member:
            lock = latch.take()
            try:
                turn, place = line[0]
                member = members[place]
                member.turn = turn = turn + 1.0 / member.weight
                heapreplace(line, (turn, place))
                return member
            finally:
                lock.release()

        return pick
