"""Asks a resolver again and again, and gives a cluster what it answers.

    discovery = Discovery(resolver)
    state.add_job("discovery", discovery.run)           # beside the requests
    await discovery.arrive(state, request.io, limit)    # a request that has nobody to go to waits

Only requests that come before the first answer, to a cluster without a list of its own, ever wait
for it; all of them for the same one, and once: if it fails they are refused, and so are those that
follow, until one succeeds. A failure is asked about again after a second, two, four, up to the
interval.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from gatekit._core.flight import Flights
from gatekit._core.io import IO
from gatekit.errors import ConfigurationError
from gatekit.proxy.clusters.destination import Destination, destinations_of
from gatekit.proxy.discovery.resolver import Resolution, Resolver

if TYPE_CHECKING:
    from gatekit.proxy.clusters.members import ClusterState

logger = logging.getLogger("gatekit")

_JITTER = 0.1
_TIMEOUT = 5.0
_FIRST_RETRY = 1.0

# A resolver that keeps its time itself knows what of it goes on; the limit here is for the others.
_GRACE = 0.5

# A list may be wrong in a thousand places.
_LONGEST_REASON = 500

# RFC 2181 §8 lets an answer hold for no time at all; nobody is to be asked without a pause.
_LEAST = 1.0


class DiscoveryStatus(NamedTuple):
    """`age` are the seconds since the last good answer, None where there was none.

    `failures` counts those in a row since; `reason` is that of the last.
    """

    cluster: str
    age: float | None
    destinations: int
    failures: int
    reason: str


class Discovery:
    """One resolver at work for one cluster, in this process."""

    def __init__(self, resolver: Resolver, chance: Random | None = None) -> None:
        self._resolver = resolver
        self._chance = Random() if chance is None else chance  # noqa: S311 — it hides nothing
        self._timeout: float = getattr(resolver, "timeout", _TIMEOUT)
        self._allow_empty: bool = getattr(resolver, "allow_empty", False)
        self._flights: Flights[float] = Flights()
        self._applied: tuple[Destination, ...] | None = None
        self._answered_at: float | None = None
        self._failures = 0
        self._reason = ""

    @property
    def has_answered(self) -> bool:
        """Whether there has been a good answer."""
        return self._answered_at is not None

    def status(self, state: ClusterState, now: float) -> DiscoveryStatus:
        age = None if self._answered_at is None else now - self._answered_at
        return DiscoveryStatus(state.name, age, len(state.members), self._failures, self._reason)

    async def run(self, state: ClusterState, io: IO) -> None:
        """Asks for ever: the work of a `Background`."""
        watch = getattr(self._resolver, "watch", None)
        while True:
            if self._answered_at is None and not self._failures:
                pause = await self._flights.join(io, None, lambda: self._ask(state, io))
            else:
                # Nobody waits for it, so that it may end with the job.
                pause = await self._ask(state, io)
            if watch is None or self._failures:
                await io.sleep(pause)
            else:
                await watch(io, pause)

    async def arrive(self, state: ClusterState, io: IO, deadline: float | None) -> None:
        """Waits for the first answer, if there was none yet, good or bad; no longer than allowed.

        The resolver bounds the time of it, and under an event loop so does `deadline`.
        """
        if self._answered_at is not None or self._failures:
            return
        left = None if deadline is None else max(deadline - io.now(), 0.0)
        try:
            async with io.timeout(left):
                await self._flights.join(io, None, lambda: self._ask(state, io))
        except TimeoutError:
            pass

    async def _ask(self, state: ClusterState, io: IO) -> float:
        """One question; after how many seconds the next one is due."""
        try:
            async with io.timeout(self._timeout + _GRACE):
                answer = await self._resolver.resolve(io)
            if isinstance(answer, Resolution):
                listed, pause = answer.destinations, max(answer.ttl, _LEAST)
            else:
                listed, pause = answer, self._resolver.interval
            self._apply(state, listed, io.now())
        except Exception as error:
            pause = self._failed(state, error, io.now())
        return pause * (1.0 + _JITTER * (2.0 * self._chance.random() - 1.0))

    def _apply(self, state: ClusterState, answer: Sequence[object], now: float) -> None:
        listed = destinations_of(answer)
        if not listed and not self._allow_empty:
            raise LookupError("the answer is empty")
        if listed != self._applied:
            state.update(listed, now, "resolved")
            self._applied = listed
        self._answered_at = now
        if self._failures:
            self._failures = 0
            self._reason = ""
            state.tell("", "resolver_recovered", f"{len(listed)} destinations", now)

    def _failed(self, state: ClusterState, error: Exception, now: float) -> float:
        self._failures += 1
        self._reason = _reason(error, self._timeout)
        if self._failures == 1:
            state.tell("", "resolver_failed", self._reason, now)
            if not isinstance(error, OSError | LookupError | ValueError):
                # TimeoutError is an OSError, ConfigurationError a ValueError: those are expected.
                logger.error("the resolver of cluster %s raised", state.name, exc_info=error)
        retry = _FIRST_RETRY * 2.0 ** min(self._failures - 1, 16)
        return min(retry, self._resolver.interval)


def _reason(error: Exception, timeout: float) -> str:
    whole = _whole_reason(error, timeout)
    return whole if len(whole) <= _LONGEST_REASON else f"{whole[:_LONGEST_REASON]}…"


def _whole_reason(error: Exception, timeout: float) -> str:
    if isinstance(error, ConfigurationError):
        return "; ".join(error.problems.values())
    if isinstance(error, TimeoutError):
        return str(error) or f"no answer within {timeout:.3g} s"
    return f"{type(error).__name__}: {error}"
