"""When a second attempt is sent beside the first one: a policy, and the times it rests on.

    Cluster("search", destinations=[...], hedge=Hedge(0.1))     # after 100 ms without a head
    Hedge("p95", max=2)                                         # when 95 of 100 had their head

The first *acceptable* answer wins, one that `Retry` would not try again; the others are given up
and their connections closed. Only requests without a streamed body are hedged, and only by the
methods listed: safe ones, unless you say otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from gatekit._core.options import (
    each_problem,
    integer_problem,
    known_keywords,
    seconds_problem,
    token_problem,
)
from gatekit.errors import check
from gatekit.proxy.attempts.latencies import Latencies

SAFE: Final[frozenset[str]] = frozenset({"GET", "HEAD", "OPTIONS"})
_PERCENTILE = re.compile(r"p([1-9][0-9](\.[0-9]+)?)")


@known_keywords
class Hedge:
    """`after` is in seconds, or a percentile of what attempts took to their head, as `"p95"`.

    With a percentile nothing is hedged before `min_samples` answers have been seen in the last
    minute. `max` bounds the attempts beside the first; each goes to another destination, if there
    is one, and counts against the retry budget of the cluster.
    """

    __slots__ = ("_after", "_share", "max", "methods", "min_samples")

    def __init__(
        self,
        after: float | str = "p95",
        *,
        max: int = 1,
        methods: Collection[str] = SAFE,
        min_samples: int = 100,
    ) -> None:
        check(
            "Hedge",
            after=_after_problem(after),
            max=integer_problem(max, 1),
            methods=each_problem(methods, token_problem),
            min_samples=integer_problem(min_samples, 1),
        )
        found = _PERCENTILE.fullmatch(after) if isinstance(after, str) else None
        self._share = None if found is None else float(found[1]) / 100
        self._after = 0.0 if isinstance(after, str) else float(after)
        self.max = max
        self.methods = frozenset(method.upper() for method in methods)
        self.min_samples = min_samples

    @property
    def needs_latencies(self) -> bool:
        """Whether somebody has to note what attempts take."""
        return self._share is not None

    def after(self, latencies: Latencies | None, now: float) -> float | None:
        """Seconds to wait for the head; None where it is not known yet."""
        if self._share is None or latencies is None:
            return self._after
        if latencies.count(now) < self.min_samples:
            return None
        return latencies.quantile(self._share, now)

    def __repr__(self) -> str:
        after = self._after if self._share is None else f"p{self._share * 100:g}"
        return f"Hedge({after!r}, max={self.max})"


def _after_problem(after: object) -> str | None:
    if isinstance(after, str):
        if _PERCENTILE.fullmatch(after):
            return None
        return f"{after!r} is not a percentile from 'p10' to 'p99.9'"
    return seconds_problem(after)
