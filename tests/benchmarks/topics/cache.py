"""Hits and misses of the HTTP cache beside hishel, Flask-Caching, the bare app, nginx, Varnish."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import gatekit
from gatekit import Cache
from gatekit.middleware.cache import MemoryCache
from gatekit.middleware.cache.entry import Entry
from gatekit.testing import call_wsgi
from gatekit.typing import ASGIApp, Scope, WSGIApp
from tests.benchmarks.apps.cache_pages import asgi_page, wsgi_page
from tests.benchmarks.contest import STATIC, Contest
from tests.benchmarks.harness import Bench
from tests.benchmarks.inprocess import Caller, discard, empty, http_scope
from tests.benchmarks.report import Line, at_least, at_most, below
from tests.servers import nginx, serve

ENTRIES = 100_000
NGINX = """
keepalive_requests 10000000;
location / {{
    proxy_pass http://127.0.0.1:{port};
    proxy_cache bench;
    proxy_cache_valid 200 1h;
}}
"""


def measure(bench: Bench) -> Iterator[Line]:
    yield from in_process(bench)
    yield from misses(bench)
    yield under_wsgi(bench)
    yield memory(bench)
    yield from on_servers(bench)


def in_process(bench: Bench) -> Iterator[Line]:
    with ExitStack() as stack, Caller() as call:
        for size, label in ((1024, "1 KiB"), (65_536, "64 KiB")):
            apps: dict[str, ASGIApp] = {"gatekit": gatekit.asgi(asgi_page(size), Cache())}
            peer = hishel(size, stack)
            if peer is not None:
                apps["hishel"] = peer
            for name, app in apps.items():
                if call.status(app) != 200:
                    raise AssertionError(f"{name} does not answer")
            samples = bench.alternate(
                {name: partial(call.measure, app) for name, app in apps.items()}
            )
            what, budget = f"a hit of {label}, ASGI", at_most(1 / 20)
            if peer is None:
                note = "hishel is not installed"
                yield Line(what, ours=samples.median("gatekit"), budget=budget, note=note)
                continue
            yield Line(
                what,
                ours=samples.median("gatekit"),
                peer=samples.median("hishel"),
                ratio=samples.ratio("gatekit", "hishel"),
                against="hishel on SQLite",
                budget=budget,
            )


def hishel(size: int, stack: ExitStack) -> ASGIApp | None:
    """hishel's middleware as it comes, its database in a folder of its own."""
    if find_spec("hishel") is None or find_spec("anysqlite") is None:
        return None
    from hishel import AsyncSqliteStorage
    from hishel.asgi import ASGICacheMiddleware

    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gatekit-hishel-"))
    storage = AsyncSqliteStorage(database_path=str(Path(folder, "cache.db")))
    app: ASGIApp = ASGICacheMiddleware(asgi_page(size), storage=storage)
    return app


def misses(bench: Bench) -> Iterator[Line]:
    """What a first request costs more than it would without a cache, each of another URL."""
    apps: dict[str, ASGIApp] = {
        "base": asgi_page(1024),
        "stored": gatekit.asgi(asgi_page(1024), Cache()),
        "onion": gatekit.asgi(asgi_page(1024), passing),
    }
    count = itertools.count()
    with asyncio.Runner() as runner:
        samples = bench.alternate(
            {name: partial(many, runner, app, count) for name, app in apps.items()}
        )
    added = samples.added("stored", "base")
    yield Line("a miss that is stored, added", ours=added, budget=below(15))
    more = samples.added("stored", "onion")
    yield Line("the same beside a middleware that does nothing", ours=more)


async def passing(request: gatekit.Request, call_next: gatekit.Handler) -> gatekit.Response:
    return await call_next(request)


def many(runner: asyncio.Runner, app: ASGIApp, numbers: Iterator[int]) -> float:
    """Microseconds a request."""
    scopes: list[Scope] = [http_scope(f"/{next(numbers)}") for _ in range(2000)]

    async def run() -> float:
        before = time.perf_counter()
        for scope in scopes:
            await app(scope, empty, discard)
        return (time.perf_counter() - before) / len(scopes) * 1e6

    return runner.run(run())


def under_wsgi(bench: Bench) -> Line:
    if find_spec("flask_caching") is None:
        return Line("a hit, WSGI", note="Flask-Caching is not installed")
    from flask import Flask
    from flask_caching import Cache as FlaskCache

    flask = Flask("page")
    caching = FlaskCache(flask, config={"CACHE_TYPE": "SimpleCache"})

    @flask.get("/")
    @caching.cached(timeout=3600)
    def page() -> str:
        return "x" * 1024

    apps: dict[str, WSGIApp] = {
        "gatekit": gatekit.wsgi(wsgi_page(1024), Cache()),
        "Flask-Caching": flask.wsgi_app,
    }
    samples = bench.alternate({name: partial(wsgi_time, app) for name, app in apps.items()})
    return Line(
        "a hit, WSGI",
        ours=samples.median("gatekit"),
        peer=samples.median("Flask-Caching"),
        ratio=samples.ratio("gatekit", "Flask-Caching"),
        against="Flask-Caching in memory",
        budget=at_most(1 / 3),
    )


def wsgi_time(app: WSGIApp, count: int = 500) -> float:
    """Microseconds a request."""
    before = time.perf_counter()
    for _ in range(count):
        call_wsgi(app)
    return (time.perf_counter() - before) / count * 1e6


def memory(bench: Bench) -> Line:
    """Resident memory for each stored byte of body and head, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", __name__], capture_output=True, text=True, check=True
    )
    ratio = float(done.stdout)
    return Line(
        f"{ENTRIES:,} answers of 1 KiB: memory for each byte",
        ratio=ratio,
        ours=ratio,
        peer=1.0,
        against="head and body",
        unit="MiB",
        budget=at_most(1.3),
    )


def resident() -> int:
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * 4096


def fill() -> float:
    store = MemoryCache(1 << 30)
    before, payload = resident(), 0
    for number in range(ENTRIES):
        body = b"%1024d" % number
        fields = [
            (b"content-type", b"text/plain"), (b"cache-control", b"public, max-age=3600"),
            (b"etag", b'"%16d"' % number), (b"content-length", b"1024"),
        ]  # fmt: skip
        entry = Entry(200, fields, body, born=0.0, lifetime=3600.0, keep=3600.0)
        store.keep(b"%16d" % number, entry, (), 0)
        payload += len(body) + sum(len(name) + len(value) for name, value in fields)
    return (resident() - before) / payload


def on_servers(bench: Bench) -> Iterator[Line]:
    with Contest(bench) as contest:
        for kind, ours, static in (
            ("uvicorn", "cache_gatekit_asgi", "static_asgi"),
            ("granian", "cache_gatekit_asgi", "static_asgi"),
            ("granian-wsgi", "cache_gatekit_wsgi", "static_wsgi"),
        ):
            for name, module in (("gatekit", ours), ("static", static)):
                target = f"tests.benchmarks.apps.{module}:app"
                contest.enter(f"{name} {kind}", serve(kind, target))  # type: ignore[arg-type]
        with nginx(STATIC) as origin:
            if origin is not None:
                zone = "proxy_cache_path cache keys_zone=bench:10m;"
                contest.enter("nginx", nginx(NGINX.format(port=origin.port), http=zone))
            samples = contest.samples()
            for kind in ("uvicorn", "granian", "granian-wsgi"):
                what = f"hits on {kind}"
                budget = at_least(0.6)
                yield contest.line(samples, what, f"gatekit {kind}", f"static {kind}", budget)
            if origin is not None:
                yield contest.line(samples, "hits on granian", "gatekit granian", "nginx")
    if shutil.which("varnishd") is None:
        yield Line("hits beside Varnish", note="varnishd is not on PATH")


if __name__ == "__main__":
    print(fill())
