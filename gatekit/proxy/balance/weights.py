"""Drawing one of several in proportion to their weights, in a time that hardly grows with them."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from gatekit.proxy.clusters.members import Member

Draw: TypeAlias = "Callable[[Random], Member]"


def drawing(members: Sequence[Member]) -> Draw:
    """A function that draws; all weights the same costs one number, else a bisection too."""
    count = len(members)
    if all_same(members):
        return lambda chance: members[int(chance.random() * count)]
    sums = list(accumulate(member.weight for member in members))
    whole, last = sums[-1], count - 1
    return lambda chance: members[bisect(sums, chance.random() * whole, 0, last)]


def all_same(members: Sequence[Member]) -> bool:
    weight = members[0].weight
    return all(member.weight == weight for member in members)
