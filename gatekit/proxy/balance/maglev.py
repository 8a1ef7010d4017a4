"""A table that all destinations fill in turn: the evenest hash, at the price of one look.

    Cluster("carts", destinations=[...], balance=Maglev(on="client"))

Each destination has an order of its own in which it wants the places of the table; they take turns,
the heavier ones more often, until it is full. Shares differ by about one in a hundred. When one
leaves, a few keys of the others move as well: where that matters more than evenness, take a ring.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING

from gatekit._core.messages import Request
from gatekit._core.options import integer_problem, known_keywords
from gatekit.errors import check
from gatekit.proxy.balance.hashing import KeyOf, On, digest, key_of, on_problem
from gatekit.proxy.balance.weights import drawing

if TYPE_CHECKING:
    from gatekit.proxy.balance import Picker
    from gatekit.proxy.clusters.members import Member


@known_keywords
class Maglev:
    """`size` are the places of the table, a prime; a hundred for each destination are enough.

    The table is filled anew when a destination comes, goes, fails or returns; the default, good
    for 160 destinations, takes about 10 ms.
    """

    moves_keys = True
    __slots__ = ("_key_of", "_on", "_size")

    def __init__(self, on: On, *, size: int = 16_381) -> None:
        check("Maglev", on=on_problem(on), size=_size_problem(size))
        self._on = on
        self._key_of = key_of(on)
        self._size = size

    def picker(self, members: Sequence[Member]) -> Picker:
        return _Table(members, self._size, self._key_of)

    def __repr__(self) -> str:
        return f"Maglev(on={self._on!r})"


class _Table:
    __slots__ = ("_draw", "_key_of", "_members", "_owners")

    def __init__(self, members: Sequence[Member], size: int, key_of: KeyOf) -> None:
        self._owners = _filled(members, size)
        self._members = members
        self._key_of = key_of
        self._draw = drawing(members)

    def __call__(self, request: Request, _now: float, chance: Random) -> Member:
        key = self._key_of(request)
        if not key:
            return self._draw(chance)
        return self._owners[digest(key) % len(self._owners)]

    def walk(self, request: Request, _now: float, chance: Random) -> Iterable[Member]:
        """From the key's own place on, each member once."""
        key = self._key_of(request)
        return self._onwards(digest(key) if key else chance.getrandbits(64))

    def _onwards(self, start: int) -> Iterator[Member]:
        owners, seen = self._owners, set[str]()
        for step in range(len(owners)):
            owner = owners[(start + step) % len(owners)]
            if owner.name not in seen:
                seen.add(owner.name)
                yield owner
                if len(seen) == len(self._members):
                    return
        # A table that is too small has no place for some.
        yield from (member for member in self._members if member.name not in seen)


def _filled(members: Sequence[Member], size: int) -> list[Member]:
    heaviest = max(member.destination.weight for member in members)
    turns = [_turn(member, size) for member in members]
    shares = [member.destination.weight / heaviest for member in members]
    credit = [0.0] * len(members)
    owners: list[Member | None] = [None] * size
    free = size
    while True:
        for number, member in enumerate(members):
            credit[number] += shares[number]
            if credit[number] < 1.0:
                continue
            credit[number] -= 1.0
            place, skip = turns[number]
            while owners[place] is not None:
                place = (place + skip) % size
            owners[place] = member
            turns[number] = (place + skip) % size, skip
            free -= 1
            if not free:
                return [owner for owner in owners if owner is not None]


def _turn(member: Member, size: int) -> tuple[int, int]:
    """Where its order begins, and its step: with a prime size, that comes by every place."""
    hashed = blake2b(member.name.encode(), digest_size=16).digest()
    return (
        int.from_bytes(hashed[:8], "big") % size,
        int.from_bytes(hashed[8:], "big") % (size - 1) + 1,
    )


def _size_problem(size: object) -> str | None:
    problem = integer_problem(size, 2)
    if problem is None and isinstance(size, int):
        if size > 655_373:
            return f"must be at most 655373, not {size}"
        if any(size % factor == 0 for factor in range(2, int(size**0.5) + 1)):
            return f"{size} is not a prime: 5003, 16381 and 65537 are"
    return problem
