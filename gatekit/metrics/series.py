"""Which series there are, and how many there may be.

    guard = Guard(make, most=1000, other=lambda key: key._replace(route="_other"))
    guard.find(Series("GET", "/orders/{id}", 200, "orders", "http"))

Whoever is asked for more distinct keys than `most` gives the one of `other` instead: an app that
makes up its route templates fills a bucket, and not the memory of whoever scrapes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from gatekit._core.outcome import Outcome

OTHER = "_other"
CLIENT_CLOSED = 499
"""The status of a request whose client left before there was any; no client ever sees it."""

# Of the semantic conventions for HTTP, in seconds.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
# A gateway's own part is a tenth of that.
OVERHEAD = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BYTES = (0.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8)

K = TypeVar("K")
V = TypeVar("V")

logger = logging.getLogger("gatekit")


class Series(NamedTuple):
    """One kind of request: method and route are labels already, status is 499 where none came."""

    method: str
    route: str
    status: int
    service: str
    scheme: str


class Tried(NamedTuple):
    """One kind of attempt; `result` is a status or the stage of a failure."""

    method: str
    service: str
    destination: str
    result: str


class Ruled(NamedTuple):
    policy: str
    decision: str


class Guard(Generic[K, V]):
    """Finds what was made for a key, or makes it, at most `most` times."""

    __slots__ = ("_known", "_make", "_most", "_other", "_others", "_what")

    def __init__(
        self, what: str, make: Callable[[K], V], *, most: int, other: Callable[[K], K]
    ) -> None:
        self._what = what
        self._make = make
        self._most = most
        self._other = other
        self._known: dict[K, V] = {}
        self._others: dict[K, V] = {}

    def find(self, key: K) -> V:
        found = self._known.get(key)
        return self._add(key) if found is None else found

    def _add(self, key: K) -> V:
        if len(self._known) < self._most:
            made = self._make(key)
            self._known[key] = made
            return made
        if not self._others:
            logger.warning(
                "there are %d series of %s: further ones count as %r", self._most, self._what, OTHER
            )
        key = self._other(key)
        found = self._others.get(key)
        if found is None:
            found = self._others[key] = self._make(key)
        return found

    def __len__(self) -> int:
        return len(self._known) + len(self._others)


def ending(outcome: Outcome) -> str:
    """What became of a request: `complete`, `failed` or `client_cancelled`."""
    return "client_cancelled" if outcome.ended == "abandoned" else outcome.ended


def other_series(series: Series) -> Series:
    return series._replace(route=OTHER, service=OTHER, scheme=OTHER)


def other_attempt(tried: Tried) -> Tried:
    return tried._replace(service=OTHER, destination=OTHER)


def other_ruling(ruled: Ruled) -> Ruled:
    return ruled._replace(policy=OTHER)
