"""A list that does not change, where a resolver is asked for.

Cluster("orders", resolver=Static(["http://orders-1:8002", "http://orders-2:8002"]))
"""

from __future__ import annotations

from collections.abc import Collection

from gatekit._core.io import IO
from gatekit.errors import ConfigurationError, check
from gatekit.proxy.clusters.destination import Destination, Target, destinations_of


class Static:
    """Always the same destinations."""

    interval = 3600.0
    allow_empty = True

    def __init__(self, destinations: Collection[Destination | Target]) -> None:
        self._destinations: tuple[Destination, ...] = ()
        try:
            self._destinations = destinations_of(destinations)
        except ConfigurationError as error:
            check("Static", **error.problems)

    async def resolve(self, io: IO) -> tuple[Destination, ...]:
        return self._destinations
