"""A destination for each address of a name.

    Cluster("orders", resolver=DNS("orders.internal", port=8002))
    Cluster("orders", resolver=DNS("orders.internal", port=443, scheme="https", ttl=True))

The connection goes to the address; `Host`, SNI and the check of the certificate keep to the name.
"""

from __future__ import annotations

from collections.abc import Sequence

from gatekit._core.aside import Aside
from gatekit._core.io import IO
from gatekit._core.options import flag_problem, known_keywords
from gatekit.errors import check
from gatekit.proxy.clusters.destination import Destination
from gatekit.proxy.clusters.health_options import required_port_problem
from gatekit.proxy.discovery.names import (
    GRACE,
    Asker,
    Family,
    Scheme,
    common_problems,
    look_up,
    name_problem,
)
from gatekit.proxy.discovery.resolver import Answer, Resolution
from gatekit.proxy.transport.origin import Origin


@known_keywords
class DNS:
    """`name` is looked up every `interval` seconds, by the system, within `timeout` seconds.

    With `ttl` the name servers are asked directly, and anew when their answer expires: no sooner
    than after a second, no later than after `interval`. That, and `nameservers` ("10.0.0.2" or
    "10.0.0.2:5353"), needs the extra `dns`. `family` is `"any"`, `"ipv4"` or `"ipv6"`. `host`
    takes the place of the name in `Host`, SNI and the certificate.
    """

    def __init__(
        self,
        name: str,
        *,
        port: int,
        scheme: Scheme = "http",
        host: str | None = None,
        family: Family = "any",
        interval: float = 30.0,
        ttl: bool = False,
        nameservers: Sequence[str] = (),
        timeout: float = 5.0,
        allow_empty: bool = False,
    ) -> None:
        check(
            "DNS",
            name=name_problem(name),
            port=required_port_problem(port),
            ttl=flag_problem(ttl),
            **common_problems(
                scheme=scheme,
                family=family,
                interval=interval,
                timeout=timeout,
                allow_empty=allow_empty,
                host=host,
                nameservers=nameservers,
                needs_extra=ttl is True or bool(nameservers),
            ),
        )
        self.name = name
        self.interval = interval
        self.timeout = timeout
        self.allow_empty = allow_empty
        self._port = port
        self._family: Family = family
        self._url = f"{scheme}://{(host or name).rstrip('.')}:{port}"
        self._ttl = ttl
        self._asker = Asker(nameservers) if ttl or nameservers else None
        self._aside = Aside()

    async def resolve(self, io: IO) -> Answer:
        asker, seconds = self._asker, self.timeout
        if asker is None:
            found = await self._aside.call(
                io, look_up, self.name, self._port, self._family, seconds=seconds
            )
            return [self._destination(address) for address in found]
        addresses, ttl = await self._aside.call(
            io, asker.addresses, self.name, self._family, seconds, seconds=seconds + GRACE
        )
        destinations = [self._destination(address) for address in addresses]
        return Resolution(destinations, min(ttl, self.interval)) if self._ttl else destinations

    def _destination(self, address: str) -> Destination:
        name = f"[{address}]:{self._port}" if ":" in address else f"{address}:{self._port}"
        return Destination(Origin(self._url, address=address), name=name)
