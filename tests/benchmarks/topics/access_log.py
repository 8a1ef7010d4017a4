"""What the access log and the decision trace add to a request, µs; the log with its handler off."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from functools import partial

import gatekit
from gatekit import AccessLog, DecisionTrace, Errors, Health, QueueSink, Request, Response
from gatekit.typing import ASGIApp, Handler
from tests.benchmarks.harness import Bench
from tests.benchmarks.inprocess import Caller, http_scope, noop
from tests.benchmarks.report import Line, at_most


class Nowhere(logging.Handler):
    """A record that is made, and written by nobody."""

    def handle(self, record: logging.LogRecord) -> bool:
        return True


class Void(io.TextIOBase):
    """A stream that keeps nothing."""

    def write(self, text: str, /) -> int:
        return len(text)


async def nothing(request: Request, call_next: Handler) -> Response:
    return await call_next(request)


def logger(name: str, handler: logging.Handler, level: int = logging.INFO) -> logging.Logger:
    made = logging.getLogger(f"bench.access_log.{name}")
    made.setLevel(level)
    made.propagate = False
    made.handlers = [handler]
    return made


def measure(bench: Bench) -> Iterator[Line]:
    sink = QueueSink(Nowhere(), capacity=1_000_000)
    stream = logging.StreamHandler(Void())
    stream.setFormatter(gatekit.JSONFormatter())
    apps: dict[str, ASGIApp] = {
        "base": noop,
        "nothing": gatekit.asgi(noop, nothing),
        "off": gatekit.asgi(noop, AccessLog(logger("off", Nowhere(), logging.ERROR))),
        "made": gatekit.asgi(noop, AccessLog(logger("made", Nowhere()))),
        "left out": gatekit.asgi(noop, AccessLog(logger("sample", Nowhere()), sample=0.0)),
        "queue": gatekit.asgi(noop, AccessLog(logger("queue", sink))),
        "json": gatekit.asgi(noop, AccessLog(logger("json", stream))),
        "trace": gatekit.asgi(noop, DecisionTrace(key=b"k" * 32)),
        "errors": gatekit.asgi(noop, Errors()),
        "health": gatekit.asgi_app(Health({"a": lambda: True}, ttl=3600)),
    }
    with Caller() as call:
        for name, app in apps.items():
            if (status := call.status(app, http_scope())) != 200:
                raise AssertionError(f"{name} answers {status}")
        samples = bench.alternate(
            {name: partial(call.measure, app, http_scope()) for name, app in apps.items()}
        )
    sink.close()
    yield Line("one that does nothing", ours=samples.added("nothing", "base"))
    yield Line("AccessLog, its level off", ours=samples.added("off", "base"))
    yield Line("AccessLog, record made", ours=samples.added("made", "base"))
    yield Line("AccessLog, not in the sample", ours=samples.added("left out", "base"))
    yield Line("AccessLog into a QueueSink", ours=samples.added("queue", "base"))
    yield Line("AccessLog, written as JSON", ours=samples.added("json", "base"))
    yield Line(
        "DecisionTrace, not asked for",
        ours=samples.median("trace"),
        peer=samples.median("nothing"),
        against="one that does nothing",
        ratio=samples.ratio("trace", "nothing"),
        budget=at_most(1.5),
    )
    yield Line("Errors, no error", ours=samples.added("errors", "base"))
    yield Line("/health, findings that hold", ours=samples.median("health"))
