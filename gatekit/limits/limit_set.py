"""The limits that hold for a request together, with all of them that can be written beforehand.

limits = LimitSet.of("100/minute;1000/hour", "gcra", scope="login")
claims = limits.claims("203.0.113.9")
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import ceil

from gatekit._core.decisions import Decision
from gatekit._core.messages import Request
from gatekit.limits.fields import policy_field
from gatekit.limits.keys import Keyring, Missing
from gatekit.limits.limit import Algorithm, LimitLike, as_limits
from gatekit.limits.meters import Meter, Standing, TokenBucket
from gatekit.limits.store import Claim

# Envoy's: from four fifths on a limit is worth an operator's attention.
_NEAR = 0.8


class LimitSet:
    """Some meters, and their lesser twins that count while the store is out of reach."""

    __slots__ = (
        "_head", "_near", "allow", "keyrings", "least", "local_meters", "meters", "near", "only",
        "policy", "scope",
    )  # fmt: skip

    def __init__(
        self,
        scope: str,
        meters: Sequence[Meter],
        local_meters: Sequence[Meter],
        keyrings: Sequence[Keyring | None],
    ) -> None:
        self.scope = scope
        self.meters = tuple(meters)
        self.local_meters = tuple(local_meters)
        self.keyrings = tuple(keyrings) if any(keyrings) else None
        self.policy = policy_field(self.meters)
        names = ", ".join(meter.name for meter in self.meters)
        self.allow = Decision(scope, "allow", f"within {names}")
        self.near = Decision(scope, "allow", f"near {names}")
        self._near = tuple(_most(meter) * (1 - _NEAR) for meter in self.meters)
        # For one meter all is at hand: itself, the bound to "near", and the field up to its number.
        self.only = self.meters[0] if len(self.meters) == 1 and not self.keyrings else None
        self.least = self._near[0]
        self._head = b'"%s";r=' % self.meters[0].name.encode("ascii")

    @classmethod
    def of(
        cls,
        value: LimitLike,
        algorithm: Algorithm,
        *,
        scope: str,
        missing: Missing = "anonymous",
        share: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> LimitSet:
        meters: list[Meter] = []
        local: list[Meter] = []
        keyrings: list[Keyring | None] = []
        for position, limit in enumerate(as_limits(value)):
            # What is counted by another key is counted apart: a tenant may be called as a user is.
            place = scope if limit.key is None else f"{scope}/{position}"
            built = limit.meters(algorithm, scope=place, clock=clock)
            meters += built
            local += limit.meters(algorithm, scope=place, share=share, clock=clock)
            ring = None if limit.key is None else Keyring(limit.key, missing)
            keyrings += [ring] * len(built)
        return cls(scope, meters, local, keyrings)

    def field(self, standing: Standing) -> tuple[bytes, bytes]:
        """`limit_field` for the only meter."""
        reset = ceil(standing.reset)
        return b"ratelimit", b"%b%d;t=%d" % (self._head, standing.remaining, reset)

    def claims(self, keys: Sequence[str], *, local: bool = False) -> list[Claim]:
        """`keys` holds one for all meters, or one for each."""
        meters = self.local_meters if local else self.meters
        if len(keys) == 1:
            key = keys[0]
            return [(key, meter) for meter in meters]
        return list(zip(keys, meters, strict=True))

    async def keys(self, request: Request, key: str) -> list[str] | None:
        """The key for each meter; None where one of them is missing and must not be."""
        if self.keyrings is None:
            return [key]
        found: list[str] = []
        for ring in self.keyrings:
            own = key if ring is None else await ring.find(request)
            if own is None:
                return None
            found.append(own)
        return found

    def admission(self, standings: Sequence[Standing]) -> Decision:
        """What to note of a request that was admitted."""
        for standing, near in zip(standings, self._near, strict=True):
            if standing.remaining < near or standing.over:
                return self.near
        return self.allow

    def violated(self, standings: Sequence[Standing]) -> list[str]:
        """The names of the limits that refuse."""
        return [
            meter.name
            for meter, standing in zip(self.meters, standings, strict=True)
            if standing.retry_after
        ]


def _most(meter: Meter) -> int:
    """What is left of it where nothing is used."""
    return meter.burst if isinstance(meter, TokenBucket) else meter.quota
