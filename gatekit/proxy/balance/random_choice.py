"""Any of them, in proportion to their weights.

    Cluster("orders", destinations=[...], balance="random")

It knows nothing of how busy they are: of use where many small gateways share the same destinations,
and to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from gatekit._core.messages import Request
from gatekit.proxy.balance.weights import drawing

if TYPE_CHECKING:
    from gatekit.proxy.balance import Picker
    from gatekit.proxy.clusters.members import Member


@dataclass(frozen=True, slots=True)
class RandomChoice:
    """One number of chance for each request, and nothing remembered."""

    def picker(self, members: Sequence[Member]) -> Picker:
        draw = drawing(members)

        def pick(_request: Request, _now: float, chance: Random) -> Member:
            return draw(chance)

        return pick
