"""Whether the gateway and what it needs are well, for load balancers, orchestrators and people.

    health = Health({"database": database}, clusters={"orders": orders}, version="1.4.2")
    gateway = Gateway(BearerAuth(...), routes=[*health.routes(without=[BearerAuth]), ...])

`/health` tells of each service, `/livez` that the process answers, `/readyz` whether it should get
requests, `/startupz` whether it once could. Up and degraded are a 200, down and draining a 503.

**A service that is away is no reason to take the gateway away.** Checks are critical, clusters are
not: one that is down degrades the whole. `critical` names what counts, in place of that.

**Draining.** `drain()` turns readiness off, while all else goes on as before; so does the end of
the lifespan. `drain_on(signal.SIGTERM, delay=5)` does it first and lets the server stop later.

All checks run side by side, once for all who ask, and what they found holds for `ttl` seconds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal as signals
import time
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from gatekit._core.accept import accepted
from gatekit._core.compose import Predicate
from gatekit._core.flight import Flights
from gatekit._core.io import IO, resolve
from gatekit._core.messages import Request, Response
from gatekit._core.options import (
    flag_problem,
    function_problem,
    known_keywords,
    seconds_problem,
    value_problem,
)
from gatekit.errors import Rejected, check
from gatekit.health.check import Check, Question
from gatekit.health.options import (
    Clusters,
    both_problem,
    checks_problem,
    clusters_of,
    critical_problem,
    probe_of,
)
from gatekit.health.parting import drain_on
from gatekit.health.report import Overall, Service, Snapshot, draft, of_cluster, report
from gatekit.middleware._json_formatter import rfc3339
from gatekit.router import Excluded, Route

if TYPE_CHECKING:
    from gatekit.typing import Handler, Middleware

DRAFT = "application/health+json"

logger = logging.getLogger("gatekit.health")


@known_keywords
class Health:
    """`checks` are functions, or `Check`s, by the names of what they ask about.

    `clusters` are `Cluster`s, or `Cluster`s and `Proxy`s by name. `timeout` is what a check has, in
    seconds. `details` says who is told reasons, times and counts: nobody, everybody (True), or
    those requests for which a function says so; `addresses` adds the destinations one by one.
    `clock` gives seconds since 1970.
    """

    __slots__ = (
        "_addresses", "_clock", "_clusters", "_critical", "_details", "_draining", "_ended",
        "_flights", "_latest", "_probes", "_started", "_ttl", "_version",
    )  # fmt: skip

    def __init__(
        self,
        checks: Mapping[str, Question | Check] | None = None,
        *,
        clusters: Clusters = (),
        critical: Collection[str] | None = None,
        version: str | None = None,
        timeout: float = 2.0,
        ttl: float = 1.0,
        details: bool | Predicate = False,
        addresses: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        checks = {} if checks is None else checks
        named, wrong = clusters_of(clusters)
        check(
            "Health",
            checks=checks_problem(checks),
            clusters=wrong or both_problem(checks, named),
            critical=critical_problem(critical, checks, named),
            version=None if version is None else value_problem(version),
            timeout=seconds_problem(timeout),
            ttl=None if ttl == 0 and ttl is not False else seconds_problem(ttl),
            details=None
            if isinstance(details, bool)
            else function_problem(details, takes_async=True),
            addresses=flag_problem(addresses),
            clock=function_problem(clock),
        )
        self._probes = tuple(probe_of(name, one, timeout) for name, one in checks.items())
        self._clusters = named
        self._critical = frozenset(checks if critical is None else critical)
        self._version = version
        self._ttl = ttl
        self._details = (details,)
        self._addresses = addresses
        self._clock = clock
        self._flights: Flights[Snapshot] = Flights()
        self._latest: Snapshot | None = None
        self._started = False
        self._draining = False
        # The loop whose lifespan is over; another one may begin anew with the same objects.
        self._ended: Callable[[], object] | None = None

    async def __call__(self, request: Request) -> Response:
        """`/health`: everything there is to tell."""
        _only_reading(request)
        snapshot = await self._look(request.io)
        overall = self._overall(request.io, snapshot)
        shown = await self._may_see(request)
        if _wants_draft(request):
            members = draft(snapshot, overall, version=self._version, details=shown)
            return _answer(overall, members, DRAFT)
        members = report(
            snapshot,
            overall,
            version=self._version,
            details=shown,
            addresses=self._addresses,
        )
        return _answer(overall, members)

    async def live(self, request: Request) -> Response:
        """`/livez`: this process answers. Nothing is asked, so that nothing else can restart it."""
        _only_reading(request)
        return _answer("up", {"status": "up"})

    async def ready(self, request: Request) -> Response:
        """`/readyz`: whether requests should be sent here."""
        _only_reading(request)
        if self.is_draining(request.io):
            return _answer("draining", {"status": "draining"})
        overall = self._overall(request.io, await self._look(request.io))
        return _answer(overall, {"status": overall})

    async def startup(self, request: Request) -> Response:
        """`/startupz`: whether everything critical has been up once, in this process."""
        _only_reading(request)
        if not self._started:
            await self._look(request.io)
        overall: Overall = "up" if self._started else "starting"
        return _answer(overall, {"status": overall})

    def routes(
        self,
        *middlewares: Middleware,
        prefix: str = "",
        without: Sequence[Excluded] = (),
    ) -> list[Route]:
        """The four, for `Gateway(routes=[...])`; `without` is what probes go without."""
        handlers: dict[str, Handler] = {
            "/health": self,
            "/livez": self.live,
            "/readyz": self.ready,
            "/startupz": self.startup,
        }
        return [
            Route(prefix + path, handler, *middlewares, methods=["GET"], without=without)
            for path, handler in handlers.items()
        ]

    def drain(self) -> None:
        """Not ready from now on, in this process, until `resume`."""
        if not self._draining:
            self._draining = True
            logger.info("readiness is off: draining")

    def resume(self) -> None:
        """Ready again, if all is well."""
        self._draining, self._ended = False, None

    def drain_on(self, signal: signals.Signals, *, delay: float = 5.0) -> None:
        """On `signal`, drain; what handled it before gets it `delay` seconds later.

        Call it in the main thread of each serving process, after the server has set its own
        handlers: in a startup hook. A second signal is passed on at once.
        """
        drain_on(signal, self.drain, delay)

    def is_draining(self, io: IO) -> bool:
        """Whether readiness was turned off."""
        if self._draining:
            return True
        return self._ended is not None and io.is_async and self._ended() is _running()

    def close(self) -> None:
        self.drain()

    async def aclose(self) -> None:
        """The lifespan is over: no longer ready in this loop."""
        self._ended = weakref.ref(_running())

    def _overall(self, io: IO, snapshot: Snapshot) -> Overall:
        return "draining" if self.is_draining(io) else snapshot.overall

    async def _may_see(self, request: Request) -> bool:
        details = self._details[0]
        return details if isinstance(details, bool) else bool(await resolve(details(request)))

    async def _look(self, io: IO) -> Snapshot:
        latest = self._latest
        if latest is not None and io.now() - latest.at < self._ttl:
            return latest
        return await self._flights.join(io, None, lambda: self._ask(io))

    async def _ask(self, io: IO) -> Snapshot:
        began = io.now()
        runs = [(probe, probe.begin(io)) for probe in self._probes]
        services: list[Service] = []
        for probe, run in runs:  # they are all under way: to wait for one is to wait for all
            found = await probe.finish(io, run, began)
            services.append(Service(probe.name, found[0], probe.name in self._critical, *found[1:]))
        now = io.now()
        for name, cluster in self._clusters.items():
            cluster.state.begin(io)  # active checks must run before anybody is let in
            members = cluster.state.status(now)
            services.append(of_cluster(name, members, critical=name in self._critical))
        snapshot = Snapshot(services, now, rfc3339(self._clock()))
        _tell(self._latest, snapshot)
        self._latest = snapshot
        self._started = self._started or snapshot.overall != "down"
        return snapshot

    def __repr__(self) -> str:
        return f"<Health of {[*(probe.name for probe in self._probes), *self._clusters]}>"


def _answer(
    overall: Overall, members: Mapping[str, object], content_type: str = "application/json"
) -> Response:
    status = 200 if overall in ("up", "degraded") else 503
    headers = {"content-type": content_type, "cache-control": "no-store"}
    return Response(status, headers, json.dumps(members, separators=(",", ":")))


def _only_reading(request: Request) -> None:
    if request.method not in ("GET", "HEAD"):
        raise Rejected(
            405,
            "The methods here are GET, HEAD.",
            type="urn:gatekit:method-not-allowed",
            headers={"allow": "GET, HEAD"},
        )


def _wants_draft(request: Request) -> bool:
    """Only for who names it: whoever takes anything gets the usual one."""
    return accepted(request.headers.getlist("accept")).get(DRAFT, 0.0) > 0


def _tell(before: Snapshot | None, now: Snapshot) -> None:
    """One line for each service whose status is another one than before."""
    were = {} if before is None else {one.name: one.status for one in before.services}
    for service in now.services:
        if service.status != were.get(service.name, "up"):
            level = logging.INFO if service.status == "up" else logging.WARNING
            reason = f": {service.reason}" if service.reason else ""
            logger.log(level, "%s is %s%s", service.name, service.status, reason)


def _running() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()
