"""A cluster whose destinations a resolver finds, on a clock of the test's."""

from __future__ import annotations

from random import Random
from typing import Any

from gatekit import Cluster, ClusterEvent, Response
from gatekit._core.io import IO
from gatekit.proxy.discovery import Discovery, Resolver
from gatekit.testing import upstream
from tests.proxy.loop_clock import LoopClock


class Scripted:
    """Gives what `says` holds: a list, a resolution, an exception, or a function of those."""

    def __init__(self, says: Any = (), interval: float = 10.0, **more: Any) -> None:
        self.says = says
        self.interval = interval
        self.asked: list[float] = []
        for name, value in more.items():
            setattr(self, name, value)

    async def resolve(self, io: IO) -> Any:
        self.asked.append(io.now())
        said = self.says() if callable(self.says) else self.says
        if isinstance(said, Exception):
            raise said
        return said


class Even(Random):
    """No jitter, neither way."""

    def random(self) -> float:
        return 0.5


class Site:
    """A cluster with a resolver, its job on a clock of the test's."""

    def __init__(self, resolver: Resolver, **options: Any) -> None:
        options.setdefault("chance", Even())
        self.events: list[ClusterEvent] = []
        self.cluster = Cluster(
            "orders",
            resolver=resolver,
            transport=upstream(lambda sent: Response.text(sent.origin.host)),
            on_event=self.events.append,
            **options,
        )
        self.clock = LoopClock()
        assert self.cluster.state.discovery is not None
        self.discovery: Discovery = self.cluster.state.discovery

    def run(self, seconds: float = 0.1) -> None:
        self.clock.run(lambda io: self.discovery.run(self.cluster.state, io), seconds)

    @property
    def names(self) -> list[str]:
        return [member.name for member in self.cluster.state.members]

    @property
    def told(self) -> list[str]:
        return [f"{event.kind} {event.destination}".strip() for event in self.events]
