"""The first that is available; the others stand by.

    Cluster("mail", destinations=["http://main:8025", "http://spare:8025"], balance="first")

Unlike with priorities the order of the list is what counts, and one is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from gatekit._core.messages import Request

if TYPE_CHECKING:
    from gatekit.proxy.balance import Picker
    from gatekit.proxy.clusters.members import Member


@dataclass(frozen=True, slots=True)
class First:
    """Weights say nothing here, but that 0 takes no part."""

    def picker(self, members: Sequence[Member]) -> Picker:
        return _InOrder(members)


class _InOrder:
    __slots__ = ("_members",)

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members

    def __call__(self, request: Request, now: float, chance: Random) -> Member:
        return self._members[0]

    def walk(self, _request: Request, _now: float, _chance: Random) -> Sequence[Member]:
        return self._members
