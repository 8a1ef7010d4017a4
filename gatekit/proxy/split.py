"""Shares the requests of one route between versions of a service, by weight: a canary.

    stable = Cluster("stable", destinations=["http://orders-1:8002", "http://orders-2:8002"])
    canary = Cluster("canary", destinations=["http://orders-3:8003"])

    Route("/orders/*", Split({stable: 95, canary: 5}, sticky="identity"))
    Split({stable: 95, canary: 5}, sticky="cookie", override="header:x-version")
    Split({stable: 100, canary: Ramp(1, 50, begins=datetime(2027, 1, 4, 8, tzinfo=UTC), over=3600)})

Each version is a `Cluster`, a `Proxy` or any other handler, and is known by the cluster's name or
the handler's own. A request goes, in this order, where `override` says, where the client was
before, where the hash of its key falls, or where chance sends it.

**A cache further out mixes the versions.** Put it in front of neither, or in each of them.
"""

from __future__ import annotations

import time
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from random import Random, random
from typing import Literal, TypeAlias, TypeVar, cast

from gatekit._core.decisions import Decision, note
from gatekit._core.messages import Request, Response
from gatekit._core.options import (
    chance_problem,
    function_problem,
    known_keywords,
    name_problem,
    number_problem,
    seconds_problem,
    token_problem,
)
from gatekit.errors import ConfigurationError, check
from gatekit.limits.keys import cookie as cookie_of
from gatekit.proxy.balance.hashing import KeyOf, Source, digest, key_of, on_problem
from gatekit.proxy.clusters.cluster import Cluster
from gatekit.proxy.handler import Proxy
from gatekit.typing import Handler

V = TypeVar("V", bound="Cluster | Handler")

POLICY = "split"
_WHOLE = 2.0**64

Cause: TypeAlias = Literal["override", "cookie", "key", "chance"]


@known_keywords
@dataclass(frozen=True, slots=True)
class Ramp:
    """A weight that goes from `start` to `end`, evenly over `over` seconds from `begins` on.

    `begins` has a time zone, so that every process agrees on it, whenever it was started.
    """

    start: float
    end: float
    begins: datetime
    over: float

    def __post_init__(self) -> None:
        check(
            "Ramp",
            start=number_problem(self.start),
            end=number_problem(self.end),
            begins=_moment_problem(self.begins),
            over=seconds_problem(self.over),
        )

    def at(self, now: float) -> float:
        """`now` is in seconds since 1970."""
        part = min(max((now - self.begins.timestamp()) / self.over, 0.0), 1.0)
        return self.start + (self.end - self.start) * part


Weight: TypeAlias = "float | Ramp"


@known_keywords
class Split:
    """`versions` maps each one to its weight; one of weight 0 gets what `override` sends there.

    `sticky` keeps a client at its version: `"cookie"` with a cookie that the answer sets, named
    `cookie`; whatever a hash takes (`"client"`, `"identity"`, `"header:…"`, a function) without
    one. Where the later of two versions gains weight, only the clients that move to it change.
    `override` is `"header:…"`, `"cookie:…"`, `"query:…"` or a function, and the value the name of a
    version: whoever can send it chooses. `name` keeps the hashes and cookies of several apart.
    """

    __slots__ = (
        "_chance", "_clock", "_cookie", "_cookie_of", "_handlers", "_key_of", "_names", "_notes",
        "_override", "_sums", "_weights", "name",
    )  # fmt: skip

    def __init__(
        self,
        versions: Mapping[V, Weight],
        *,
        sticky: Source | None = None,
        override: Source | None = None,
        name: str = "split",
        cookie: str | None = None,
        chance: Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        by_cookie = sticky == "cookie"
        if not isinstance(cast("object", versions), Mapping):
            problem = f"must be a mapping of versions to weights, not {versions!r}"
            raise ConfigurationError("Split", {"versions": problem})
        names = [_name_of(version) for version in versions]
        check(
            "Split",
            versions=_versions_problem(versions, names),
            sticky=None if sticky is None or by_cookie else on_problem(sticky),
            override=None if override is None else on_problem(override),
            name=token_problem(name),
            cookie=None
            if cookie is None
            else name_problem(cookie) or (None if by_cookie else "needs sticky='cookie'"),
            chance=chance_problem(chance),
            clock=function_problem(clock),
        )
        self.name = name
        self._handlers: list[Handler] = [
            Proxy(version) if isinstance(version, Cluster) else version for version in versions
        ]
        self._names = {name: place for place, name in enumerate(names)}
        self._override: KeyOf | None = None if override is None else key_of(override)
        self._key_of: KeyOf | None = None if sticky is None or by_cookie else key_of(sticky)
        self._cookie = (cookie or f"gatekit-{name}") if by_cookie else ""
        self._cookie_of = cookie_of(self._cookie) if by_cookie else None
        self._chance = random if chance is None else chance.random
        self._clock = clock
        self._notes: dict[tuple[int, Cause], Decision] = {}
        self._weights: tuple[Weight, ...] = ()
        self._sums: list[float] | None = None
        self._weigh(tuple(versions.values()))

    async def __call__(self, request: Request) -> Response:
        place, cause = self._choose(request)
        decision = self._notes.get((place, cause))
        if decision is None:
            reason = f"{list(self._names)[place]} by {cause}"
            decision = self._notes[place, cause] = Decision(POLICY, "allow", reason)
        note(request, decision)
        response = await self._handlers[place](request)
        if self._cookie and cause == "chance":
            self._bind(request, response, place)
        return response

    def reweigh(self, weights: Mapping[str, Weight]) -> None:
        """Other weights from now on, by name; those that are left out stay as they are."""
        unknown = [name for name in weights if name not in self._names]
        new = tuple(
            weights.get(name, old) for name, old in zip(self._names, self._weights, strict=True)
        )
        problem = f"there is no {unknown[0]!r}; {_known(self._names)}" if unknown else None
        check("Split.reweigh", weights=problem or _weights_problem(new))
        self._weigh(new)

    def weights(self) -> dict[str, float]:
        """As they are now, ramps worked out."""
        now = self._clock()
        return {
            name: _weight_at(weight, now)
            for name, weight in zip(self._names, self._weights, strict=True)
        }

    def gatekit_parts(self) -> Iterable[object]:
        """What a door closes and inspects."""
        return self._handlers

    def _choose(self, request: Request) -> tuple[int, Cause]:
        if self._override is not None:
            place = self._names.get(self._override(request) or "")
            if place is not None:
                return place, "override"
        sums = self._sums or self._sums_at(self._clock())
        if self._cookie_of is not None:
            place = self._names.get(self._cookie_of(request) or "")
            if place is not None and sums[place] > (sums[place - 1] if place else 0.0):
                return place, "cookie"
        if self._key_of is not None:
            key = self._key_of(request)
            if key:
                part = digest(f"{self.name}\0{key}") / _WHOLE
                return _place(sums, part), "key"
        return _place(sums, self._chance()), "chance"

    def _bind(self, request: Request, response: Response, place: int) -> None:
        line = f"{self._cookie}={list(self._names)[place]}; Path=/; HttpOnly; SameSite=Lax"
        is_secure = (request.forwarded_scheme or request.scheme) in ("https", "wss")
        response.headers.add("set-cookie", f"{line}; Secure" if is_secure else line)

    def _weigh(self, weights: tuple[Weight, ...]) -> None:
        self._weights = weights
        is_fixed = not any(isinstance(weight, Ramp) for weight in weights)
        self._sums = self._sums_at(0.0) if is_fixed else None

    def _sums_at(self, now: float) -> list[float]:
        return list(accumulate(_weight_at(weight, now) for weight in self._weights))

    def __repr__(self) -> str:
        return f"Split({list(self._names)})"


def _place(sums: list[float], part: float) -> int:
    # A part next to 1 could round up to the whole, and past the last of any weight.
    point = min(part * sums[-1], sums[-1] * (1.0 - 2.0**-53))
    return bisect(sums, point)


def _weight_at(weight: Weight, now: float) -> float:
    return weight.at(now) if isinstance(weight, Ramp) else weight


def _name_of(version: object) -> str:
    if isinstance(version, Proxy):
        return version.cluster.name
    for found in (getattr(version, "name", None), getattr(version, "__name__", None)):
        if isinstance(found, str) and found:
            return found
    return type(version).__name__


def _known(names: Iterable[str]) -> str:
    return f"known are {', '.join(map(repr, names))}"


def _versions_problem(versions: Mapping[V, Weight], names: list[str]) -> str | None:
    for version, name in zip(cast("Mapping[object, Weight]", versions), names, strict=True):
        if not isinstance(version, Cluster) and not callable(version):
            return f"{version!r} is neither a cluster nor a handler"
        if names.count(name) > 1:
            return f"two are named {name!r}: give each a Cluster with a name of its own"
        if token_problem(name):
            return f"{name!r} is not a name that a header field can hold"
    return _weights_problem(tuple(versions.values()))


def _weights_problem(weights: tuple[Weight, ...]) -> str | None:
    problems = [number_problem(weight) for weight in weights if not isinstance(weight, Ramp)]
    wrong = [problem for problem in problems if problem]
    if wrong:
        return "; ".join(wrong)
    # A ramp may be at 0 before it begins, or after: something else must always have a weight.
    for weight in weights:
        if isinstance(weight, Ramp):
            if weight.start and weight.end:
                return None
        elif weight:
            return None
    return "nothing would ever have a weight: all are 0"


def _moment_problem(moment: object) -> str | None:
    if not isinstance(moment, datetime):
        return f"must be a datetime, not {moment!r}"
    return None if moment.tzinfo is not None else "needs a time zone"
