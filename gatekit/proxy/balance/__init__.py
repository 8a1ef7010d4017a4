"""How one of several destinations is chosen.

    Cluster("orders", destinations=[...], balance="round_robin")
    Cluster("carts", destinations=[...], balance=RingHash(on="cookie:cart"))

A balancer is a value; what it makes for a set of members, its picker, is thrown away as soon as one
of them comes, goes, fails or returns. What must outlive that is kept on the member.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from random import Random
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast

from gatekit._core.messages import Request

if TYPE_CHECKING:
    from gatekit.proxy.clusters.members import Member

Picker: TypeAlias = "Callable[[Request, float, Random], Member]"
BalancerName: TypeAlias = Literal[
    "p2c", "round_robin", "random", "least_requests", "peak_ewma", "first"
]


class Balancer(Protocol):
    """Makes a picker: a function of the request, the monotonic time and the source of chance.

    It is asked for two members or more, each with a weight above 0. A picker with a method
    `walk(request, now, chance)`, which gives all its members in the order that it would prefer, is
    asked for that when some of them are to be avoided.
    """

    def picker(self, members: Sequence[Member], /) -> Picker: ...


_HOMES: dict[str, tuple[str, str]] = {
    "p2c": ("power_of_two", "PowerOfTwo"),
    "round_robin": ("round_robin", "RoundRobin"),
    "random": ("random_choice", "RandomChoice"),
    "least_requests": ("least_requests", "LeastRequests"),
    "peak_ewma": ("peak_ewma", "PeakEWMA"),
    "first": ("first", "First"),
}


def balancer_of(balance: Balancer | BalancerName) -> Balancer:
    """The balancer of that name with its defaults, or the one that was given."""
    if not isinstance(balance, str):
        return balance
    module, name = _HOMES[balance]
    made: Balancer = getattr(import_module(f"gatekit.proxy.balance.{module}"), name)()
    return made


def balance_problem(balance: object) -> str | None:
    """What is wrong with it as the option of a cluster."""
    if isinstance(balance, str):
        known = ", ".join(map(repr, _HOMES))
        return None if balance in _HOMES else f"{balance!r} is none of {known}"
    if callable(cast("object", getattr(balance, "picker", None))) and not isinstance(balance, type):
        return None
    return f"must be a name or a balancer such as RingHash(on='client'), not {balance!r}"
