"""What a proxy is given as its upstream where that is no cluster, made into one.

found, wrong = destinations_in(["http://orders-1:8002", legacy_app])
options = Options(timeouts=None, tls=None, max_connections=50, max_pending=None, transport=None)
options.problems(has_cluster=False)
options.cluster(found)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gatekit._core.options import integer_problem, kind_problem, token_problem
from gatekit.errors import ConfigurationError
from gatekit.proxy.clusters.cluster import Cluster, Pool
from gatekit.proxy.clusters.destination import Destination, destinations_of
from gatekit.proxy.transport import Transport
from gatekit.proxy.transport.exchange import Timeouts
from gatekit.proxy.transport.origin import TLS

_THE_CLUSTERS = "is an option of the Cluster"


class Options(NamedTuple):
    """What a `Proxy` may say of an upstream that is not described by a `Cluster`."""

    timeouts: Timeouts | None
    tls: TLS | None
    max_connections: int | None
    max_pending: int | None
    transport: Transport | None

    def problems(self, *, has_cluster: bool) -> dict[str, str | None]:
        if has_cluster:
            return {
                name: None if value is None else _THE_CLUSTERS
                for name, value in self._asdict().items()
            }
        connections, pending = self.max_connections, self.max_pending
        return {
            "timeouts": kind_problem(Timeouts, self.timeouts),
            "tls": kind_problem(TLS, self.tls),
            "max_connections": None if connections is None else integer_problem(connections, 1),
            "max_pending": None if pending is None else integer_problem(pending),
            "transport": _wrong_transport(self.transport),
        }

    def cluster(self, destinations: tuple[Destination, ...]) -> Cluster:
        name = destinations[0].origin.host
        pool = Pool(
            max_connections=100 if self.max_connections is None else self.max_connections,
            max_pending=1000 if self.max_pending is None else self.max_pending,
        )
        return Cluster(
            "upstream" if token_problem(name) else name,
            destinations=destinations,
            timeouts=self.timeouts,
            tls=None if self.transport is not None else self.tls,
            pool=None if self.transport is not None else pool,
            transport=self.transport,
        )


def destinations_in(upstream: object) -> tuple[tuple[Destination, ...], str | None]:
    """The destinations of anything but a cluster, and what is wrong with it."""
    is_many = _is_many(upstream)
    if not is_many and not isinstance(upstream, str | Destination) and not callable(upstream):
        return (), f"must be a URL, such as 'http://users:8001', not {upstream!r}"
    try:
        found = destinations_of(upstream if is_many else [upstream])
    except ConfigurationError as error:
        return (), "; ".join(error.problems.values())
    return found, None if found else "is an empty list"


def _is_many(upstream: object) -> bool:
    return not isinstance(upstream, str | bytes | Mapping) and hasattr(upstream, "__iter__")


def _wrong_transport(transport: object) -> str | None:
    if transport is None or (hasattr(transport, "send") and hasattr(transport, "asend")):
        return None
    return f"must have the methods of a Transport, send and asend; {transport!r} has not"
