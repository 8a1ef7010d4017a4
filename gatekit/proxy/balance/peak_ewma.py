"""Two are drawn, and the one where the request will probably wait less gets it.

    Cluster("search", destinations=[...], balance="peak_ewma")
    Cluster("search", destinations=[...], balance=PeakEWMA(decay=30))

What a request will wait is the member's latency, times the requests under way there and this one,
for its weight. The latency is a moving average of the seconds to the head, which follows a peak at
once and comes down slowly: a destination that has become slow is avoided before many had to wait.
One that fails fast does not look fast: a failure counts as a second at least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from random import Random
from typing import TYPE_CHECKING

from gatekit._core.messages import Request
from gatekit._core.options import known_keywords, seconds_problem
from gatekit.errors import check
from gatekit.proxy.balance.weights import drawing

if TYPE_CHECKING:
    from gatekit.proxy.balance import Picker
    from gatekit.proxy.clusters.members import Member

# What one is taken for of which nothing is known but that a request is under way there.
_UNKNOWN = 1.0


@known_keywords
@dataclass(frozen=True, slots=True)
class PeakEWMA:
    """`decay` is in seconds: so long after a peak about a third of it is still remembered."""

    decay: float = 10.0

    def __post_init__(self) -> None:
        check("PeakEWMA", decay=seconds_problem(self.decay))

    def picker(self, members: Sequence[Member]) -> Picker:
        draw = drawing(members)
        decay = self.decay

        def cost(member: Member, now: float) -> float:
            latency = member.latency
            if latency is None:
                return _UNKNOWN * member.in_flight / member.weight
            # Nothing heard for long is forgotten, or one that was slow once would never be tried.
            faded = latency * exp(min(member.latency_at - now, 0.0) / decay)
            return faded * (member.in_flight + 1) / member.weight

        def pick(_request: Request, now: float, chance: Random) -> Member:
            one = draw(chance)
            other = draw(chance)
            if other is one:
                other = draw(chance)
            return other if cost(other, now) < cost(one, now) else one

        return pick
