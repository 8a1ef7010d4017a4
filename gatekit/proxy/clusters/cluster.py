"""Several destinations of one service, and how they are used.

    Proxy(Cluster("orders", destinations=["http://orders-1:8002", "http://orders-2:8002"]))

    Cluster(
        "orders",
        destinations=[Destination("http://a:1", weight=3), Destination("http://b:1"), legacy_app],
        balance="p2c",
        health=HealthCheck("/health", interval=10),
        outliers=Outliers(consecutive=5),
        retry=Retry(retries=2),
        breaker=CircuitBreaker("orders"),
        pool=Pool(max_connections=50),
        slow_start=SlowStart(window=30),
    )

A cluster is a description: it never changes, opens nothing when it is made, and may be given to
several proxies. How its destinations are doing is `state`, which all of them share. A new
description goes on where an old one was with `take_over`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal, cast

from gatekit._core.options import (
    chance_problem,
    function_problem,
    integer_problem,
    kind_problem,
    known_keywords,
    seconds_problem,
    string_problem,
    token_problem,
)
from gatekit._core.windows import TimeWindow
from gatekit.errors import ConfigurationError, check
from gatekit.proxy.attempts.hedge import Hedge
from gatekit.proxy.attempts.retry import Retry
from gatekit.proxy.balance import Balancer, BalancerName, balance_problem, balancer_of
from gatekit.proxy.clusters.destination import Destination, Target, destinations_of
from gatekit.proxy.clusters.events import ClusterEvent, MemberStatus, OnEvent
from gatekit.proxy.clusters.members import ClusterState, Listener, Member
from gatekit.proxy.clusters.slow_start import SlowStart
from gatekit.proxy.transport import HTTPTransport, Transport
from gatekit.proxy.transport.exchange import Timeouts
from gatekit.proxy.transport.origin import TLS
from gatekit.typing import ASGIApp, SupportsClose, WSGIApp

if TYPE_CHECKING:
    from gatekit.middleware.circuit_breaker import CircuitBreaker
    from gatekit.proxy.clusters.affinity import Affinity
    from gatekit.proxy.clusters.health import HealthCheck
    from gatekit.proxy.discovery import Resolver

__all__ = [
    "Cluster",
    "ClusterEvent",
    "ClusterState",
    "Destination",
    "Member",
    "MemberStatus",
    "Pool",
    "SlowStart",
]


@known_keywords
@dataclass(frozen=True, slots=True)
class Pool:
    """The connections to each destination, of each event loop (or process, for threads).

    At most `max_connections`; `max_pending` requests wait for one; `idle_ttl` is in seconds.
    """

    max_connections: int = 100
    max_pending: int = 1000
    idle_ttl: float = 60.0

    def __post_init__(self) -> None:
        check(
            "Pool",
            max_connections=integer_problem(self.max_connections, 1),
            max_pending=integer_problem(self.max_pending),
            idle_ttl=seconds_problem(self.idle_ttl),
        )


@known_keywords
class Cluster:
    """`destinations` are URLs, apps of this process (ASGI or WSGI) and `Destination`s.

    A `resolver` finds them instead; with both, the list serves until the resolver has answered.
    `balance` is `"p2c"`, `"round_robin"`, `"random"`, `"least_requests"`, `"peak_ewma"`, `"first"`,
    or a balancer such as `RingHash(on="client")`. `affinity` keeps a client where it was.

    `panic` is the part of a tier that must be available for it to serve: when no tier has as many,
    idempotent requests go to all destinations, well or not. At 0, the default, that is when nobody
    is left; with None it never happens, and the answer is a 503. `zone` is where this process is:
    the destinations of the same zone come first.

    `retry` is by default `Retry()` where there may be more than one destination, and `outliers`
    ejects one that has not answered three attempts in a row; False is none. `breaker` has a
    circuit for each destination, by its name. A `transport` of one's own stands in for the
    connection pools. `on_event` is told of each `ClusterEvent`; it must not block.
    """

    __slots__ = (
        "_http", "_locals", "_pool", "_tls", "breaker", "hedge", "name", "retry", "state",
        "timeouts", "transport",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        *,
        destinations: Collection[Destination | Target] = (),
        resolver: Resolver | None = None,
        balance: Balancer | BalancerName = "p2c",
        affinity: Affinity | None = None,
        health: HealthCheck | None = None,
        outliers: Listener | Literal[False] | None = None,
        retry: Retry | Literal[False] | None = None,
        hedge: Hedge | None = None,
        breaker: CircuitBreaker | None = None,
        pool: Pool | None = None,
        timeouts: Timeouts | None = None,
        tls: TLS | None = None,
        transport: Transport | None = None,
        slow_start: SlowStart | None = None,
        panic: float | None = 0.0,
        zone: str | None = None,
        on_event: OnEvent | None = None,
        chance: Random | None = None,
    ) -> None:
        listed, wrong = _listed(destinations, has_resolver=resolver is not None)
        given = transport is not None
        check(
            "Cluster",
            name=token_problem(name),
            destinations=wrong,
            resolver=_lacks("resolve", resolver),
            balance=balance_problem(balance),
            affinity=_lacks("find", affinity),
            health=_lacks("run", health),
            outliers=None if outliers is False else _lacks("observe", outliers),
            retry=_retry_problem(retry, timeouts),
            hedge=kind_problem(Hedge, hedge),
            breaker=_lacks("enter", breaker),
            pool=kind_problem(Pool, pool) or (_NOT_BESIDE if given and pool is not None else None),
            timeouts=kind_problem(Timeouts, timeouts),
            tls=kind_problem(TLS, tls) or (_NOT_BESIDE if given and tls is not None else None),
            transport=_lacks("asend", transport),
            slow_start=kind_problem(SlowStart, slow_start)
            or _slow_start_problem(slow_start, balance),
            panic=_panic_problem(panic),
            zone=None if zone is None else string_problem(zone),
            on_event=function_problem(on_event),
            chance=chance_problem(chance),
        )
        self.name = name
        if retry is None and (len(listed) > 1 or resolver is not None):
            retry = Retry()
        self.retry: Retry | None = None if retry is False else retry
        self.hedge = hedge
        self.breaker = breaker
        self.timeouts = Timeouts() if timeouts is None else timeouts
        self._locals: list[SupportsClose] = []
        self._pool = Pool() if pool is None else pool
        self._tls = tls
        self._http: HTTPTransport | None = None
        if transport is None:
            transport = self._http = HTTPTransport(
                tls=tls,
                max_connections=self._pool.max_connections,
                max_pending=self._pool.max_pending,
                idle_ttl=self._pool.idle_ttl,
            )
        self.transport: Transport = transport
        self.state = ClusterState(
            name,
            listed,
            balancer=balancer_of(balance),
            transport_of=self._transport_of,
            affinity=affinity,
            breaker=breaker,
            listener=_listener(outliers, is_alone=len(listed) == 1 and resolver is None),
            slow_start=slow_start,
            panic=panic,
            zone=zone,
            on_event=on_event,
            chance=chance,
        )
        if self.retry is not None and self.retry.budget_window is not None:
            self.state.lately = TimeWindow(self.retry.budget_window)
        if resolver is not None:
            from gatekit.proxy.discovery import Discovery

            self.state.discovery = Discovery(resolver, chance)
            self.state.add_job("discovery", self.state.discovery.run)
        if health is not None:
            self.state.add_job("health", health.run)

    def take_over(self, old: Cluster, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Go on where `old`, an earlier description of this cluster, was.

        A destination that both have under the same name and at the same place keeps all that is
        known of it: what is in flight, its health, its ejection, its latency. The others of `old`
        drain. Requests that still reach `old` are answered by the destinations of this one. Idle
        connections are kept where both have the same `pool` and no `tls`, whose files may be new.
        """
        is_alike = self._pool == old._pool and self._tls is None and old._tls is None
        if is_alike and self._http is not None and old._http is not None:
            # From now on it is closed by this one alone.
            self._http = self.transport = old._http
            old._http = None
            for member in self.state.members:
                if not member.destination.is_local:
                    member.describe(member.destination, self.transport)
        self.state.take_over(old.state, clock())

    def status(self, *, clock: Callable[[], float] = time.monotonic) -> list[MemberStatus]:
        """How each destination is doing, as this process sees it."""
        return self.state.status(clock())

    def close(self) -> None:
        """Ends what runs beside the requests and closes idle connections.

        A transport that was given stays its owner's. The next request begins everything anew.
        """
        self.state.stop()
        if self._http is not None:
            self._http.close()
        for transport in self._locals:
            transport.close()

    async def aclose(self) -> None:
        """The same on the running event loop."""
        await self.state.astop()
        if self._http is not None:
            await self._http.aclose()
        for transport in self._locals:
            await transport.aclose()

    def _transport_of(self, destination: Destination) -> Transport:
        if not destination.is_local:
            return self.transport
        from gatekit.proxy.local.transport import AppTransport

        transport = AppTransport(cast("ASGIApp | WSGIApp", destination.target))
        self._locals.append(transport)
        return transport

    def __repr__(self) -> str:
        return f"Cluster({self.name!r})"


_NOT_BESIDE = "is the transport's own business where one is given"


def _listed(
    destinations: object, *, has_resolver: bool
) -> tuple[tuple[Destination, ...], str | None]:
    try:
        listed = destinations_of(destinations)
    except ConfigurationError as error:
        return (), error.problems["destinations"]
    if listed or has_resolver:
        return listed, None
    return (), "is empty, and there is no resolver to find any"


def _listener(outliers: Listener | Literal[False] | None, *, is_alone: bool) -> Listener | None:
    if outliers is False or (outliers is None and is_alone):
        return None
    if outliers is not None:
        return outliers
    # One that is gone fails fast, looks idle, and would be given most of the requests.
    from gatekit.proxy.clusters.outliers import Outliers

    return Outliers(
        consecutive=None,
        gateway_consecutive=None,
        unanswered_consecutive=3,
        failure_rate=None,
        base_ejection=10.0,
        max_ejection=60.0,
        max_ejected=1.0,
    )


def _lacks(method: str, value: object) -> str | None:
    if value is None or (hasattr(value, method) and not isinstance(value, type)):
        return None
    return f"{value!r} has no method {method!r}"


def _retry_problem(retry: object, timeouts: object) -> str | None:
    if retry is None or retry is False:
        return None
    if not isinstance(retry, Retry):
        return f"must be Retry(...), or False for none, not {retry!r}"
    return retry.total_problem(timeouts.total) if isinstance(timeouts, Timeouts) else None


def _slow_start_problem(slow_start: object, balance: object) -> str | None:
    if slow_start is not None and getattr(balance, "moves_keys", False):
        return f"does not go with {balance!r}: a key that moves a little later moves twice"
    return None


def _panic_problem(panic: object) -> str | None:
    if panic is None:
        return None
    if not isinstance(panic, int | float) or isinstance(panic, bool) or not 0 <= panic <= 1:
        return f"must be a part from 0 to 1, or None, not {panic!r}"
    return None
