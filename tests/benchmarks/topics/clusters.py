"""A proxy at full strength beside nginx: two destinations, outliers, retries, limits; three sizes.

nginx has one worker and the same two servers in its `upstream`, with connections that are kept. The
latencies are taken at half of what the gateway does at its most, on both at the same rate, by a
loader that does not wait for its answers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.contest import Contest
from tests.benchmarks.harness import Bench
from tests.benchmarks.report import Line, at_least, at_most
from tests.servers import Kind

NGINX = "nginx, one worker"
SIZES = {"64 KiB": 64 * 1024, "1 MiB": 1024 * 1024}
LEAST: dict[Kind, float] = {"uvicorn": 0.25, "granian": 0.35}
"""What part of nginx's requests a second, by server."""


def measure(bench: Bench) -> Iterator[Line]:
    yield from under_asgi(bench)
    yield from under_wsgi(bench)


def under_asgi(bench: Bench) -> Iterator[Line]:
    with tempfile.TemporaryDirectory(prefix="gatekit-") as folder, Contest(bench) as contest:
        for size in SIZES.values():
            Path(folder, str(size)).write_bytes(bytes(size))
        files = f"location /size/ {{ alias {folder}/; open_file_cache max=10; }}"
        two = contest.upstream(files), contest.upstream(files)
        for kind in LEAST:
            contest.serve(f"gatekit on {kind}", kind, "cluster_asgi", *two)
            contest.serve(f"static on {kind}", kind, "static_asgi", *two)
        contest.nginx(NGINX, *two)
        samples = contest.samples()
        for kind, least in LEAST.items():
            ours, static = f"gatekit on {kind}", f"static on {kind}"
            yield contest.line(samples, f"1 KiB, {kind}", ours, static, at_least(0.4))
            yield contest.line(samples, f"1 KiB, {kind}", ours, NGINX, at_least(least))
        if NGINX in contest.missing:
            return
        proxies = [NGINX, *(f"gatekit on {kind}" for kind in LEAST)]
        for label, size in SIZES.items():
            sized = contest.samples(f"/size/{size}", names=proxies)
            for kind, least in LEAST.items():
                ours = f"gatekit on {kind}"
                yield contest.line(sized, f"{label}, {kind}", ours, NGINX, at_least(least))
        for kind in LEAST:
            ours = f"gatekit on {kind}"
            rate = samples.median(ours) / 2
            latencies = contest.latencies({ours: rate, NGINX: rate})
            yield Line(
                f"99th percentile, {kind}",
                unit="ms",
                ours=latencies.median(ours),
                peer=latencies.median(NGINX),
                against=NGINX,
                ratio=latencies.ratio(ours, NGINX),
                budget=at_most(3),
                note=f"1 KiB, {rate:,.0f} a second",
            )


def under_wsgi(bench: Bench) -> Iterator[Line]:
    with Contest(bench) as contest:
        two = contest.upstream(), contest.upstream()
        contest.serve("gatekit", "granian-wsgi", "cluster_wsgi", *two)
        contest.serve("requests by hand", "granian-wsgi", "requests_wsgi", two[0])
        samples = contest.samples()
        peer = "requests by hand"
        yield contest.line(samples, "1 KiB, WSGI on granian", "gatekit", peer, at_least(10))
