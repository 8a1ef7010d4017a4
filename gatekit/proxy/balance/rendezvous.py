"""Every destination bids for a key, and the highest bid has it.

    Cluster("carts", destinations=[...], balance=Rendezvous(on="cookie:cart"))

Shares are exact by weight, without points or tables, and when a destination leaves its keys are
shared by all others by their weights. Each request costs a hash for each destination: up to a few
dozen of them it is the simplest way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from math import log
from random import Random
from typing import TYPE_CHECKING

from gatekit._core.messages import Request
from gatekit._core.options import known_keywords
from gatekit.errors import check
from gatekit.proxy.balance.hashing import KeyOf, On, key_of, on_problem
from gatekit.proxy.balance.weights import drawing

if TYPE_CHECKING:
    from gatekit.proxy.balance import Picker
    from gatekit.proxy.clusters.members import Member

_HALF_OPEN = 2.0**64


@known_keywords
class Rendezvous:
    """Highest random weight: the bid of a destination is its weight over `-log` of the hash."""

    moves_keys = True
    __slots__ = ("_key_of", "_on")

    def __init__(self, on: On) -> None:
        check("Rendezvous", on=on_problem(on))
        self._on = on
        self._key_of = key_of(on)

    def picker(self, members: Sequence[Member]) -> Picker:
        return _Bids(members, self._key_of)

    def __repr__(self) -> str:
        return f"Rendezvous(on={self._on!r})"


class _Bids:
    __slots__ = ("_bidders", "_draw", "_key_of")

    def __init__(self, members: Sequence[Member], key_of: KeyOf) -> None:
        self._bidders = [
            (member, member.destination.weight, blake2b(f"{member.name}\0".encode(), digest_size=8))
            for member in members
        ]
        self._key_of = key_of
        self._draw = drawing(members)

    def __call__(self, request: Request, _now: float, chance: Random) -> Member:
        key = self._key_of(request)
        if not key:
            return self._draw(chance)
        return max(self._bids(key), key=_bid)[1]

    def walk(self, request: Request, _now: float, chance: Random) -> Iterable[Member]:
        """From the highest bid to the lowest."""
        key = self._key_of(request) or chance.randbytes(8).hex()
        return [member for _, member in sorted(self._bids(key), key=_bid, reverse=True)]

    def _bids(self, key: str) -> list[tuple[float, Member]]:
        data = key.encode("utf-8", "surrogatepass")
        bids: list[tuple[float, Member]] = []
        for member, weight, named in self._bidders:
            hashed = named.copy()
            hashed.update(data)
            # Above 0 and below 1, whatever the hash is.
            part = (int.from_bytes(hashed.digest(), "big") + 0.5) / _HALF_OPEN
            bids.append((weight / -log(min(part, 1.0 - 2.0**-53)), member))
        return bids


def _bid(pair: tuple[float, object]) -> float:
    return pair[0]
