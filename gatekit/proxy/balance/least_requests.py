"""The least busy of all gets the request.

    Cluster("reports", destinations=[...], balance="least_requests")
    Cluster("reports", destinations=[...], balance=LeastRequests(bias=0.5))

A destination has the score `weight / (in_flight + 1) ** bias`; of those with the highest one is
drawn. It looks at every destination for each request: for few of them, and long requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from gatekit._core.messages import Request
from gatekit._core.options import known_keywords, number_problem
from gatekit.errors import check

if TYPE_CHECKING:
    from gatekit.proxy.balance import Picker
    from gatekit.proxy.clusters.members import Member


@known_keywords
@dataclass(frozen=True, slots=True)
class LeastRequests:
    """`bias` says how much being busy counts: at 0 only the weight does."""

    bias: float = 1.0

    def __post_init__(self) -> None:
        check("LeastRequests", bias=number_problem(self.bias, 0))

    def picker(self, members: Sequence[Member]) -> Picker:
        bias = self.bias

        def pick(_request: Request, _now: float, chance: Random) -> Member:
            best: list[Member] = []
            highest = 0.0
            for member in members:
                score: float = member.weight / (member.in_flight + 1) ** bias
                if score > highest:
                    highest = score
                    best = [member]
                elif score == highest:
                    best.append(member)
            return best[0] if len(best) == 1 else best[int(chance.random() * len(best))]

        return pick
