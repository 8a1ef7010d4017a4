"""The proxy under WSGI: requests a second on granian with 8 threads, 32 connections, one KiB."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.contest import Contest
from tests.benchmarks.harness import Bench
from tests.benchmarks.report import Line, at_least


def measure(bench: Bench) -> Iterator[Line]:
    with Contest(bench) as contest:
        upstream = contest.upstream()
        for name, module in (
            ("gatekit", "gatekit_wsgi"),
            ("static", "static_wsgi"),
            ("urllib3 by hand", "urllib3_wsgi"),
            ("requests by hand", "requests_wsgi"),
        ):
            contest.serve(name, "granian-wsgi", module, upstream, threads=8)
        samples = contest.samples()
        for peer, budget in (
            ("requests by hand", at_least(10)),
            ("urllib3 by hand", None),
            ("static", at_least(0.2)),
        ):
            yield contest.line(samples, "gatekit on granian", "gatekit", peer, budget)
