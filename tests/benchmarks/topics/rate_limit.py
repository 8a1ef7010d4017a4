"""What a limit costs, in memory and in Redis, beside slowapi and Flask-Limiter; a million keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from functools import partial
from random import Random

import gatekit
from gatekit.limits import MemoryStore
from gatekit.limits.limit_set import LimitSet
from gatekit.middleware.rate_limit import RateLimit
from gatekit.testing import call_wsgi
from gatekit.typing import ASGIApp, Scope, WSGIApp
from tests.benchmarks import peers
from tests.benchmarks.apps import limit_pages
from tests.benchmarks.contest import Contest
from tests.benchmarks.harness import Bench
from tests.benchmarks.inprocess import Caller, discard, empty, http_scope, noop
from tests.benchmarks.report import Line, at_most
from tests.net import request
from tests.redis_server import RedisServer, executable, redis_server
from tests.servers import Kind, Server, serve

PLENTY = "1000000000/hour"
MILLION = 1_000_000


def measure(bench: Bench) -> Iterator[Line]:
    yield from in_memory(bench)
    yield from under_wsgi(bench)
    yield live_keys(bench)
    if executable() is None:
        yield Line("in Redis", note="there is no Redis here")
    else:
        yield from in_redis(bench)


def in_memory(bench: Bench) -> Iterator[Line]:
    apps: dict[str, ASGIApp] = {
        "base": noop,
        "route": peers.starlette(),
        "slowapi": peers.limited(),
        "gatekit": gatekit.asgi(noop, RateLimit(PLENTY)),
        "bare": gatekit.asgi(noop, RateLimit(PLENTY, headers=None)),
        "two": gatekit.asgi(noop, RateLimit(f"{PLENTY};90000000000/day")),
        "sliding": gatekit.asgi(noop, RateLimit(PLENTY, algorithm="sliding-window")),
    }
    with Caller() as call:
        for name, app in apps.items():
            if (status := call.status(app)) != 200:
                raise AssertionError(f"{name} answers {status}")
        samples = bench.alternate({name: partial(call.measure, app) for name, app in apps.items()})
    for name, label in (
        ("gatekit", "in memory, ASGI, with its fields"),
        ("bare", "the same without fields"),
        ("two", "two limits"),
        ("sliding", "sliding window"),
    ):
        yield Line(
            label,
            ours=samples.added(name, "base"),
            peer=samples.added("slowapi", "route"),
            against="slowapi, which sends none",
            budget=at_most(1 / 5) if name in {"gatekit", "bare"} else None,
        )


def under_wsgi(bench: Bench) -> Iterator[Line]:
    from flask_limiter import Limiter
    from flask_limiter.util import get_remote_address

    flask, limited = limit_pages.flask(), limit_pages.flask()
    Limiter(get_remote_address, app=limited, default_limits=[PLENTY], storage_uri="memory://")
    apps: dict[str, WSGIApp] = {
        "flask": flask.wsgi_app,
        "Flask-Limiter": limited.wsgi_app,
        "gatekit": gatekit.wsgi(flask.wsgi_app, RateLimit(PLENTY)),
    }
    samples = bench.alternate({name: partial(wsgi_time, app) for name, app in apps.items()})
    yield Line(
        "in memory, WSGI, with its fields",
        ours=samples.added("gatekit", "flask"),
        peer=samples.added("Flask-Limiter", "flask"),
        against="Flask-Limiter, which sends none",
    )


def wsgi_time(app: WSGIApp, count: int = 500) -> float:
    """Microseconds a request."""
    before = time.perf_counter()
    for _ in range(count):
        call_wsgi(app)
    return (time.perf_counter() - before) / count * 1e6


def live_keys(bench: Bench) -> Line:
    """The middleware with ten live keys and with a million, its clients drawn at random."""
    [(_, meter)] = LimitSet.of("1000000/hour", "gcra", scope="rate-limit").claims(["x"])
    chance = Random(1)
    apps: dict[int, ASGIApp] = {}
    scopes: dict[int, list[Scope]] = {}
    for count in (10, MILLION):
        store = MemoryStore(max_keys=2 * MILLION)
        now = time.monotonic()
        for number in range(count):
            # Used up half, so that none of them expires while it is measured.
            store.take_one(address(number), meter, 500_000, now)
        if len(store) != count:
            raise AssertionError(f"{len(store)} of {count} keys are alive")
        apps[count] = gatekit.asgi(noop, RateLimit("1000000/hour", store=store))
        drawn = [address(chance.randrange(count)) for _ in range(20_000)]
        scopes[count] = [{**http_scope(), "client": (host, 50_000)} for host in drawn]
    scopes[0], apps[0] = scopes[MILLION], noop
    with asyncio.Runner() as runner:
        samples = bench.alternate(
            {
                str(count): partial(runner_time, runner, app, scopes[count])
                for count, app in apps.items()
            }
        )
    ours, peer = samples.added(str(MILLION), "0"), samples.added("10", "0")
    return Line(
        "a million live keys", ours=ours, peer=peer, against="ten live keys", budget=at_most(1.5)
    )


def address(number: int) -> str:
    return f"{number >> 16}.{number >> 8 & 255}.{number & 255}.1"


def runner_time(runner: asyncio.Runner, app: ASGIApp, scopes: list[Scope]) -> float:
    """Microseconds a request, each from another client."""

    async def run() -> float:
        before = time.perf_counter()
        for scope in scopes:
            await app(dict(scope), empty, discard)
        return (time.perf_counter() - before) / len(scopes) * 1e6

    return runner.run(run())


def in_redis(bench: Bench) -> Iterator[Line]:
    with redis_server() as redis, Contest(bench) as contest:
        env = {"REDIS": redis.url}
        contenders: tuple[tuple[str, Kind, str], ...] = (
            ("gatekit", "uvicorn", "limit_gatekit_asgi"),
            ("slowapi", "uvicorn", "limit_slowapi_asgi"),
            ("gatekit under WSGI", "gunicorn", "limit_gatekit_wsgi"),
            ("Flask-Limiter", "gunicorn", "limit_flask_wsgi"),
        )
        for name, kind, module in contenders:
            contest.enter(name, serve(kind, f"tests.benchmarks.apps.{module}:app", env=env))
        samples = contest.samples()
        yield contest.line(samples, "in Redis, ASGI", "gatekit", "slowapi")
        yield contest.line(samples, "in Redis, WSGI", "gatekit under WSGI", "Flask-Limiter")
        # Ours runs GET, SET and TIME inside of its script; slowapi asks twice more beside its own.
        for label, module, asked in (
            ("gatekit", "limit_gatekit_asgi", ("evalsha", "eval")),
            ("slowapi", "limit_slowapi_asgi", ("evalsha", "eval", "get", "ttl")),
        ):
            with serve("uvicorn", f"tests.benchmarks.apps.{module}:app", env=env) as server:
                count = trips(redis, server, asked)
            if label == "gatekit" and count != 1:
                raise AssertionError(f"{count} round trips a request")
            yield Line(f"round trips of {label}", note=f"{count:g} a request")


def trips(redis: RedisServer, server: Server, commands: Sequence[str]) -> float:
    """How many of these commands the server was sent for each request."""
    count = 200
    request(server.port, "GET", "/")
    redis.ask("CONFIG", "RESETSTAT")
    for _ in range(count):
        if request(server.port, "GET", "/").status != 200:
            raise AssertionError("a limit refused what it should not")
    return sum(map(redis.calls, commands)) / count
