"""Several servers alive at once, loaded in turn.

    with Contest(bench) as contest:
        upstream = contest.upstream()
        contest.serve("gatekit", "uvicorn", "gatekit_asgi", upstream)
        contest.nginx("nginx", upstream)
        samples = contest.samples()

A server that is not loaded waits and costs nothing, so all are up during the whole contest. Each
must first answer with the kibibyte it is there to deliver.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Self

from tests.benchmarks.harness import Bench, Samples
from tests.benchmarks.load import load, paced
from tests.benchmarks.report import Budget, Line
from tests.net import request
from tests.servers import Kind, Server, StartupError, nginx, serve

KIB = b"x" * 1024
STATIC = f"""
keepalive_requests 10000000;
location / {{ default_type text/plain; return 200 '{KIB.decode()}'; }}
"""
PROXY = """
keepalive_requests 10000000;
location / {
    proxy_pass http://upstream;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
}
"""


class Contest:
    """Contenders by name; those that cannot run here are listed in `missing` with the reason."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.missing: dict[str, str] = {}
        self._ports: dict[str, int] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def upstream(self, locations: str = "") -> Server:
        """What every proxy forwards to: nginx, or the fastest Python server there is.

        `locations` are further ones, of nginx alone.
        """
        server = self._stack.enter_context(nginx(STATIC + locations))
        if server is None:
            application = "tests.benchmarks.apps.patient_asgi:app"
            server = self._stack.enter_context(serve("granian", application))
        return server

    def serve(
        self, name: str, kind: Kind, module: str, *upstreams: Server, threads: int = 8
    ) -> None:
        """Add a contender: an application of `tests.benchmarks.apps` on a real server."""
        target = f"tests.benchmarks.apps.{module}:app"
        urls = " ".join(upstream.url for upstream in upstreams)
        self.enter(name, serve(kind, target, env={"UPSTREAM": urls}, threads=threads))

    def nginx(self, name: str, *upstreams: Server) -> None:
        """Add nginx itself as a proxy: one worker, connections to the upstreams kept."""
        servers = " ".join(f"server 127.0.0.1:{upstream.port};" for upstream in upstreams)
        kept = "keepalive 64; keepalive_requests 10000000;"
        self.enter(name, nginx(PROXY, http=f"upstream upstream {{ {servers} {kept} }}"))

    def enter(self, name: str, context: AbstractContextManager[Server | None]) -> None:
        """Start a contender and see that it delivers; a peer that cannot start is a missing one."""
        try:
            server = self._stack.enter_context(context)
        except StartupError as error:
            if name.startswith("gatekit"):
                raise
            self.missing[name] = str(error).strip().splitlines()[-1]
            return
        if server is None:
            self.missing[name] = "not on PATH"
            return
        answer = request(server.port, "GET", "/")
        if (answer.status, answer.body) != (200, KIB):
            raise AssertionError(f"{name} answers {answer.status}: {answer.body[:200]!r}")
        self._ports[name] = server.port

    def line(
        self, samples: Samples, name: str, ours: str, peer: str, budget: Budget | None = None
    ) -> Line:
        """Ours beside one peer's, or the reason why there is no such figure."""
        for contender in (ours, peer):
            if contender in self.missing:
                note = f"{contender}: {self.missing[contender]}"
                return Line(name, against=peer, budget=budget, note=note)
        return Line(
            name,
            unit="req/s",
            ours=samples.median(ours),
            peer=samples.median(peer),
            against=peer,
            ratio=samples.ratio(ours, peer),
            budget=budget,
        )

    def samples(self, path: str = "/", *, names: Collection[str] | None = None) -> Samples:
        """Requests a second of each contender in each round."""
        seconds = self.bench.load_seconds
        ports = {name: self._ports[name] for name in self._ports if not names or name in names}
        self.bench.progress(f"loading {', '.join(ports)} with {path}")
        return self.bench.alternate(
            {name: partial(load, port, seconds=seconds, path=path) for name, port in ports.items()},
            rounds=self.bench.load_rounds,
        )

    def latencies(self, rates: Mapping[str, float]) -> Samples:
        """The 99th percentile in ms of each contender in each round, at that many a second."""
        seconds = self.bench.load_seconds
        self.bench.progress(f"pacing {', '.join(rates)}")
        return self.bench.alternate(
            {
                name: partial(paced, self._ports[name], rate=rate, seconds=seconds)
                for name, rate in rates.items()
            },
            rounds=self.bench.load_rounds,
        )
