"""How a destination that has just come, or come back, is given its share little by little.

    Cluster("orders", destinations=[...], slow_start=SlowStart(window=30))

After `t` seconds of the window its weight is
`weight * max(minimum, (t / window) ** (1 / aggression))`: an aggression above 1 gives more at the
beginning, one below 1 less.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from gatekit._core.options import known_keywords, number_problem, seconds_problem
from gatekit.errors import check

# A weight that grows is looked at anew so many times in a window.
_STEPS = 32


@known_keywords
@dataclass(frozen=True, slots=True)
class SlowStart:
    """`window` is in seconds; `minimum` is the part of the weight that it begins with."""

    window: float = 30.0
    aggression: float = 1.0
    minimum: float = 0.1

    def __post_init__(self) -> None:
        check(
            "SlowStart",
            window=seconds_problem(self.window),
            aggression=number_problem(self.aggression, is_open=True),
            minimum=number_problem(self.minimum, most=1, is_open=True),
        )

    def factor(self, since: float, now: float) -> float:
        """The part of the weight that one gets who began at `since`."""
        part = (now - since) / self.window
        if part >= 1.0:
            return 1.0
        grown: float = max(part, 0.0) ** (1.0 / self.aggression)
        return max(self.minimum, grown)

    def next_step(self, since: float, now: float) -> float:
        """When to ask again; never, once it has its whole weight."""
        if now - since >= self.window:
            return inf
        return min(now + self.window / _STEPS, since + self.window)
