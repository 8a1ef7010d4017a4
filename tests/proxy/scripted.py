"""Destinations that play a script, one entry for each request, behind a proxy without a socket."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, TypeAlias

from gatekit import Proxy, Response
from gatekit.errors import Stage, UpstreamError
from gatekit.proxy.attempts.retry import Retry
from gatekit.proxy.clusters.cluster import Cluster
from gatekit.testing import Answer, FakeIO, FunctionTransport, exercise, upstream
from gatekit.testing.upstreams import Sent

Entry: TypeAlias = "int | Stage | Response | Exception | Callable[[], Response]"


class NoChance(Random):
    """Every draw is in the middle: pauses are half of their bound."""

    def random(self) -> float:
        return 0.5


def scripted(**scripts: list[Entry]) -> FunctionTransport:
    """The destination `http://a` plays `a`; the last entry of a script is played for ever."""
    place = dict.fromkeys(scripts, 0)

    def play(sent: Sent) -> Response:
        name = sent.origin.host
        script = scripts[name]
        entry = script[min(place[name], len(script) - 1)]
        place[name] += 1
        if callable(entry):
            entry = entry()
        if isinstance(entry, str):
            raise UpstreamError(entry, f"{name} said so")
        if isinstance(entry, Exception):
            raise entry
        if isinstance(entry, int):
            return Response.text(f"{entry} of {name}", entry)
        return entry

    return upstream(play)


def cluster(transport: FunctionTransport, **options: Any) -> Cluster:
    """`http://a`, `http://b` … in turns, as many as the scripts of `transport`."""
    names = options.pop("names", "ab")
    options.setdefault("retry", Retry(chance=NoChance()))
    return Cluster(
        "orders",
        destinations=options.pop("destinations", [f"http://{name}" for name in names]),
        balance="round_robin",
        transport=transport,
        **options,
    )


def ask(described: Cluster, **call: Any) -> Answer:
    """One request through a proxy of the cluster, on a clock that stands still."""
    call.setdefault("io", FakeIO())
    return exercise(app=Proxy(described), **call)


def asked(transport: FunctionTransport) -> str:
    """Whom the requests went to, in order: `aba`."""
    return "".join(sent.origin.host for sent in transport.requests)


def is_at_rest(described: Cluster) -> bool:
    """Nothing is under way, not even in the books."""
    state = described.state
    return not (state.active or len(state.retrying) or any(m.in_flight for m in state.members))
