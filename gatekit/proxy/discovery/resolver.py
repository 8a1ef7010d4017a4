"""What finds destinations: one method.

class Registry:
    interval = 10.0

    async def resolve(self, io):
        answer = await fetch(io, self.transport, self.endpoint, timeout=2.0)
        return [entry["url"] for entry in json.loads(answer.body)]

Cluster("orders", resolver=Registry())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from gatekit._core.io import IO
from gatekit.proxy.clusters.destination import Destination, Target


@dataclass(frozen=True, slots=True)
class Resolution:
    """An answer that says how long it holds: `ttl` in seconds, in place of the interval."""

    destinations: Sequence[Destination | Target]
    ttl: float


Answer: TypeAlias = "Sequence[Destination | Target] | Resolution"


class Resolver(Protocol):
    """Finds all destinations of a cluster; it is asked anew every `interval` seconds.

    What it raises, and a list that is empty or wrong, leaves the cluster as it is. It is never
    asked twice at once by one process. Three more attributes are looked for: `allow_empty`, with
    which an empty list is an answer; `timeout`, in seconds (5 by default), which the event loop
    keeps and under WSGI the resolver has to; and `async def watch(self, io, seconds)`, which
    returns after so many seconds, or earlier when it knows of a change.
    """

    @property
    def interval(self) -> float: ...

    async def resolve(self, io: IO) -> Answer: ...
