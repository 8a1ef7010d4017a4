"""A ring of points: the same key goes to the same destination, and few keys move when one leaves.

    Cluster("carts", destinations=[...], balance=RingHash(on="cookie:cart"))
    Cluster("tiles", destinations=[...], balance=RingHash(on="path", max_load=1.25))

Every destination has points on a ring, more for more weight, at places that its name alone decides.
A key belongs to the next point. When a destination leaves, its keys go to those whose points come
next, and all others stay.

With `max_load` no destination has more than that many times its fair share of the requests under
way: a key in great demand spills over to the next on the ring.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from random import Random
from struct import Struct
from typing import TYPE_CHECKING

from gatekit._core.messages import Request
from gatekit._core.options import integer_problem, known_keywords, number_problem
from gatekit.errors import check
from gatekit.proxy.balance.hashing import KeyOf, On, digest, key_of, on_problem
from gatekit.proxy.balance.weights import drawing

if TYPE_CHECKING:
    from gatekit.proxy.balance import Picker
    from gatekit.proxy.clusters.members import Member

# The ring is made when a destination comes, goes, fails or returns: more points take too long.
_MOST = 65_536
_EIGHT = Struct(">8Q")
_WHOLE = 2.0**64


@known_keywords
class RingHash:
    """`on` is what is hashed; `points` are those of a weight of 1, and more are more even.

    160 points keep each share within about a quarter of what it should be. `max_load` is a factor
    above 1; it makes a request cost time for each destination.
    """

    moves_keys = True
    __slots__ = ("_key_of", "_known", "_max_load", "_on", "_points")

    def __init__(self, on: On, *, points: int = 160, max_load: float | None = None) -> None:
        check(
            "RingHash",
            on=on_problem(on),
            points=integer_problem(points, 1),
            max_load=None if max_load is None else number_problem(max_load, 1, is_open=True),
        )
        self._on = on
        self._key_of = key_of(on)
        self._points = points
        self._max_load = max_load
        self._known: dict[tuple[str, int], list[float]] = {}

    def picker(self, members: Sequence[Member]) -> Picker:
        # Most often all but one were there before: a name's places are worked out once.
        places, before = self._counts(members), self._known
        self._known = {named: before.get(named) or _places(*named) for named in places}
        ring = _Ring(members, [self._known[named] for named in places], self._key_of)
        return ring if self._max_load is None else _Bounded(ring, members, self._max_load)

    def _counts(self, members: Sequence[Member]) -> list[tuple[str, int]]:
        counts = [self._points * member.destination.weight for member in members]
        scale = min(1.0, _MOST / sum(counts))
        return [
            (member.name, max(round(count * scale), 1))
            for member, count in zip(members, counts, strict=True)
        ]

    def __repr__(self) -> str:
        return f"RingHash(on={self._on!r})"


class _Ring:
    __slots__ = ("_draw", "_key_of", "_members", "_owners", "_places")

    def __init__(
        self, members: Sequence[Member], places: Sequence[Sequence[float]], key_of: KeyOf
    ) -> None:
        owner_of: dict[float, Member] = {}
        for member, own in zip(members, places, strict=True):
            owner_of.update(dict.fromkeys(own, member))
        self._places = sorted(owner_of)
        self._owners = [owner_of[place] for place in self._places]
        self._members = members
        self._key_of = key_of
        self._draw = drawing(members)

    def __call__(self, request: Request, _now: float, chance: Random) -> Member:
        key = self._key_of(request)
        if not key:
            return self._draw(chance)
        place = bisect(self._places, digest(key) / _WHOLE)
        return self._owners[place if place < len(self._owners) else 0]

    def walk(self, request: Request, now: float, chance: Random) -> Iterable[Member]:
        """Clockwise, each member once."""
        key = self._key_of(request)
        start = bisect(self._places, digest(key) / _WHOLE if key else chance.random())
        return self._clockwise(start)

    def _clockwise(self, start: int) -> Iterator[Member]:
        owners, seen = self._owners, set[str]()
        for step in range(len(owners)):
            owner = owners[(start + step) % len(owners)]
            if owner.name not in seen:
                seen.add(owner.name)
                yield owner
                if len(seen) == len(self._members):
                    return


class _Bounded:
    __slots__ = ("_max_load", "_members", "_ring", "_whole")

    def __init__(self, ring: _Ring, members: Sequence[Member], max_load: float) -> None:
        self._ring = ring
        self._members = members
        self._max_load = max_load
        self._whole = sum(member.destination.weight for member in members)

    def __call__(self, request: Request, now: float, chance: Random) -> Member:
        return next(iter(self.walk(request, now, chance)))

    def walk(self, request: Request, now: float, chance: Random) -> Iterable[Member]:
        """Those that have room first."""
        active = 1 + sum(member.in_flight for member in self._members)
        room = self._max_load * active / self._whole
        full: list[Member] = []
        for member in self._ring.walk(request, now, chance):
            if member.in_flight < room * member.destination.weight:
                yield member
            else:
                full.append(member)
        yield from full


def _places(name: str, count: int) -> list[float]:
    """The first `count` of an endless list that is the name's own, in order, from 0 to 1."""
    found: list[int] = []
    for number in range(0, count, 8):
        found += _EIGHT.unpack(blake2b(f"{name}\0{number}".encode()).digest())
    return sorted(place / _WHOLE for place in found[:count])
