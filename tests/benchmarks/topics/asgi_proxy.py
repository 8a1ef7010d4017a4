"""The proxy under ASGI: requests a second, 32 connections, one KiB, beside today's peers."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.contest import Contest
from tests.benchmarks.harness import Bench
from tests.benchmarks.report import Line, at_least


def measure(bench: Bench) -> Iterator[Line]:
    with Contest(bench) as contest:
        upstream = contest.upstream()
        for kind in ("uvicorn", "granian"):
            contest.serve(f"gatekit on {kind}", kind, "gatekit_asgi", upstream)
            contest.serve(f"static on {kind}", kind, "static_asgi", upstream)
        contest.serve("aiohttp by hand", "uvicorn", "aiohttp_asgi", upstream)
        contest.serve("httpx by hand", "uvicorn", "httpx_asgi", upstream)
        contest.serve("fastapi-proxy-lib", "uvicorn", "proxylib_asgi", upstream)
        contest.nginx("nginx, one worker", upstream)
        samples = contest.samples()
        for ours, peer, budget in (
            ("gatekit on uvicorn", "fastapi-proxy-lib", at_least(30)),
            ("gatekit on uvicorn", "httpx by hand", None),
            ("gatekit on uvicorn", "aiohttp by hand", None),
            ("gatekit on uvicorn", "static on uvicorn", at_least(0.42)),
            ("gatekit on granian", "static on granian", at_least(0.42)),
            ("gatekit on uvicorn", "nginx, one worker", at_least(0.28)),
            ("gatekit on granian", "nginx, one worker", at_least(0.4)),
        ):
            yield contest.line(samples, ours, ours, peer, budget)
