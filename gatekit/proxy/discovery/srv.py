"""A destination for each service that SRV records name (RFC 2782).

    Cluster("orders", resolver=SRV("_http._tcp.orders.internal"))
    Cluster("orders", resolver=SRV("_orders._tcp.dc1.consul", nameservers=["10.0.0.2:8600"]))

Ports, priorities and weights are those of the records. The connection goes to the address of a
record's target, of which there may be several; `Host`, SNI and the check of the certificate say the
target's name, or `host`.
"""

from __future__ import annotations

from collections.abc import Sequence

from gatekit._core.aside import Aside
from gatekit._core.io import IO
from gatekit._core.options import known_keywords
from gatekit.errors import check
from gatekit.proxy.clusters.destination import Destination
from gatekit.proxy.discovery.names import (
    GRACE,
    Asker,
    Family,
    Scheme,
    Service,
    common_problems,
    name_problem,
)
from gatekit.proxy.discovery.resolver import Resolution
from gatekit.proxy.transport.origin import Origin

# RFC 2782: beside others a record of weight 0 has "a very small chance of being selected".
_SMALL = 0.01


@known_keywords
class SRV:
    """`name` is asked for anew when the answer expires, at the latest after `interval` seconds.

    The options are those of `DNS`. Needs the extra `dns`.
    """

    def __init__(
        self,
        name: str,
        *,
        scheme: Scheme = "http",
        host: str | None = None,
        family: Family = "any",
        interval: float = 30.0,
        nameservers: Sequence[str] = (),
        timeout: float = 5.0,
        allow_empty: bool = False,
    ) -> None:
        check(
            "SRV",
            name=name_problem(name),
            **common_problems(
                scheme=scheme,
                family=family,
                interval=interval,
                timeout=timeout,
                allow_empty=allow_empty,
                host=host,
                nameservers=nameservers,
                needs_extra=True,
            ),
        )
        self.name = name
        self.interval = interval
        self.timeout = timeout
        self.allow_empty = allow_empty
        self._scheme = scheme
        self._host = host
        self._family: Family = family
        self._asker = Asker(nameservers)
        self._aside = Aside()

    async def resolve(self, io: IO) -> Resolution:
        seconds = self.timeout
        found, ttl = await self._aside.call(
            io, self._asker.services, self.name, self._family, seconds, seconds=seconds + GRACE
        )
        heaviest: dict[int, int] = {}
        for service, _ in found:
            heaviest[service.priority] = max(heaviest.get(service.priority, 0), service.weight)
        # Two records of one target and port are one place; the first, of the best priority, counts.
        places: dict[tuple[str, int, str], Destination] = {}
        for service, address in sorted(found, key=lambda one: (one[0].priority, -one[0].weight)):
            place = (service.target, service.port, address)
            if place not in places:
                places[place] = self._destination(service, address, heaviest[service.priority])
        return Resolution(list(places.values()), min(ttl, self.interval))

    def _destination(self, service: Service, address: str, heaviest: int) -> Destination:
        host = (self._host or service.target).rstrip(".")
        return Destination(
            Origin(f"{self._scheme}://{host}:{service.port}", address=address),
            name=f"{service.target}:{service.port}/{address}",
            priority=service.priority,
            # Where all are 0, all are the same.
            weight=service.weight or (heaviest * _SMALL or 1),
        )
