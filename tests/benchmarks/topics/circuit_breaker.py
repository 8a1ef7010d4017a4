"""What a closed circuit breaker adds to a call, beside those that users put around one today, µs.

The application announces the length of what it sends, as frameworks do. Without that the breaker
is told the end of each exchange, for the answer may break off, and that has a line of its own.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

import interlock
import pybreaker
from purgatory import AsyncCircuitBreakerFactory

from gatekit import Request, asgi, wsgi
from gatekit.middleware.circuit_breaker import CircuitBreaker
from gatekit.typing import ASGIApp, Message, Receive, Scope, Send, WSGIApp
from tests.benchmarks.harness import Bench, Samples
from tests.benchmarks.inprocess import Caller, noop
from tests.benchmarks.report import Line, at_most

KEYS = 10_000


async def announced(scope: Scope, receive: Receive, send: Send) -> None:
    """The smallest application that a framework might have made."""
    head: Message = {"type": "http.response.start", "status": 200}
    head["headers"] = [(b"content-length", b"0"), (b"content-type", b"text/plain")]
    await send(head)
    await send({"type": "http.response.body", "body": b""})


def announced_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("content-length", "0"), ("content-type", "text/plain")])
    return [b""]


def around(call: Callable[..., Awaitable[object]]) -> ASGIApp:
    """A peer, in the place that a middleware has."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await call(announced, scope, receive, send)

    return app


def by_purgatory() -> ASGIApp:
    factory = AsyncCircuitBreakerFactory()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with await factory.get_breaker("bench"):
            await announced(scope, receive, send)

    return app


def by_pybreaker() -> WSGIApp:
    breaker = pybreaker.CircuitBreaker()

    def app(environ: Any, start_response: Any) -> Any:
        return breaker.call(announced_wsgi, environ, start_response)

    return app


def keyed(keys: int) -> CircuitBreaker:
    """With so many circuits alive, of which each request takes another."""
    numbers = count()

    def key(_: Request) -> str:
        return str(next(numbers) % keys)

    breaker = CircuitBreaker(key=key, max_keys=keys)
    for number in range(keys):
        with breaker.guard(str(number)):
            pass
    return breaker


def measure_wsgi(app: WSGIApp, seconds: float = 0.05) -> float:
    """Microseconds a request."""
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for _ in range(100):
            environ: dict[str, Any] = {
                "REQUEST_METHOD": "GET",
                "SCRIPT_NAME": "",
                "PATH_INFO": "/",
                "QUERY_STRING": "",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "HTTP_HOST": "gateway.test",
                "REMOTE_ADDR": "127.0.0.1",
                "wsgi.url_scheme": "http",
            }
            answer = app(environ, lambda *_: lambda data: None)
            for _ in answer:
                pass
            if hasattr(answer, "close"):
                answer.close()
        done += 100
    return elapsed / done * 1e6


def measure(bench: Bench) -> Iterator[Line]:
    apps: dict[str, ASGIApp] = {
        "app": announced,
        "asgi": asgi(announced),
        "ours": asgi(announced, CircuitBreaker()),
        "slow calls": asgi(announced, CircuitBreaker(slow_threshold=60.0)),
        "interlock call": around(interlock.CircuitBreaker(name="call").call),
        "interlock call_async": around(interlock.CircuitBreaker(name="async").call_async),
        "purgatory": by_purgatory(),
        "10 keys": asgi(announced, keyed(10)),
        "many keys": asgi(announced, keyed(KEYS)),
        "silent asgi": asgi(noop),
        "silent ours": asgi(noop, CircuitBreaker()),
    }
    blocking: dict[str, WSGIApp] = {
        "wsgi app": announced_wsgi,
        "wsgi": wsgi(announced_wsgi),
        "wsgi ours": wsgi(announced_wsgi, CircuitBreaker()),
        "pybreaker": by_pybreaker(),
    }
    with Caller() as call:
        for name, app in apps.items():
            if call.status(app) != 200:
                raise AssertionError(f"{name} does not answer")
        samples = bench.alternate(
            {name: partial(call.measure, app) for name, app in apps.items()}
            | {name: partial(measure_wsgi, app) for name, app in blocking.items()}
        )
    yield from lines(samples)


def lines(samples: Samples) -> Iterator[Line]:
    ours = samples.added("ours", "asgi")
    for label in ("call", "call_async"):
        yield Line(
            "a closed circuit, ASGI",
            ours=ours,
            peer=samples.added(f"interlock {label}", "app"),
            against=f"interlock-cb {label}",
            budget=at_most(1 / 3),
        )
    yield Line(
        "a closed circuit, ASGI",
        ours=ours,
        peer=samples.added("purgatory", "app"),
        against="purgatory",
        note="which counts consecutive failures only",
    )
    yield Line(
        "a closed circuit, WSGI",
        ours=samples.added("wsgi ours", "wsgi"),
        peer=samples.added("pybreaker", "wsgi app"),
        against="pybreaker",
        note="which holds a lock during the call",
    )
    yield Line("and it looks for slow calls", ours=samples.added("slow calls", "asgi"))
    yield Line(
        f"one of {KEYS:,} keys",
        ours=samples.added("many keys", "asgi"),
        peer=samples.added("10 keys", "asgi"),
        against="one of 10",
        budget=at_most(1.5),
    )
    yield Line(
        "an answer of unknown length",
        ours=samples.added("silent ours", "silent asgi"),
        note="its end is waited for",
    )
