"""Two are drawn, and the less busy one of them gets the request.

    Cluster("orders", destinations=[...], balance="p2c")
    Cluster("orders", destinations=[...], balance=PowerOfTwo(choices=3))

It is the default: nearly as even as a look at all of them, at the price of a look at two, and one
that has just become idle is not rushed at by everybody at once. They are drawn in proportion to
their weights; busy is how many requests are under way there for its weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from gatekit._core.messages import Request
from gatekit._core.options import integer_problem, known_keywords
from gatekit.errors import check
from gatekit.proxy.balance.weights import all_same, drawing

if TYPE_CHECKING:
    from gatekit.proxy.balance import Picker
    from gatekit.proxy.clusters.members import Member


@known_keywords
@dataclass(frozen=True, slots=True)
class PowerOfTwo:
    """`choices` are drawn, two or more; more is more even, and less random."""

    choices: int = 2

    def __post_init__(self) -> None:
        check("PowerOfTwo", choices=integer_problem(self.choices, 2))

    def picker(self, members: Sequence[Member]) -> Picker:
        if self.choices == 2 and all_same(members):
            return _of_equals(members)
        return _of_several(members, self.choices)


def _of_equals(members: Sequence[Member]) -> Picker:
    count, others = len(members), len(members) - 1

    def pick(_request: Request, _now: float, chance: Random) -> Member:
        draw = chance.random
        first = int(draw() * count)
        second = int(draw() * others)
        if second >= first:
            second += 1
        one, other = members[first], members[second]
        return other if other.in_flight < one.in_flight else one

    return pick


def _of_several(members: Sequence[Member], choices: int) -> Picker:
    draw = drawing(members)
    further = range(choices - 1)

    def pick(_request: Request, _now: float, chance: Random) -> Member:
        best = draw(chance)
        for _ in further:
            other = draw(chance)
            # Where they are equally busy the first stays: so weights hold when nothing is.
            if other.in_flight * best.weight < best.in_flight * other.weight:
                best = other
        return best

    return pick
