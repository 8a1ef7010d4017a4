"""WebSockets through the proxy: messages of one KiB there and back, and what an idle one holds."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import cast

from tests.benchmarks.harness import Bench
from tests.benchmarks.report import Line, at_least
from tests.benchmarks.resident import is_available, kib, processes
from tests.servers import Kind, Server, run, serve

CONNECTIONS = 32
IDLE = 10_000
TARGET = "tests.benchmarks.apps.gatekit_asgi:app"
ECHO = "tests.benchmarks.apps.websocket_echo"
RELAY = "tests.benchmarks.apps.websocket_relay"
PEER = "websockets by hand"
FRONTS: dict[str, tuple[str, ...]] = {
    "uvicorn": ("--ws", "websockets-sansio"),
    "uvicorn, wsproto": ("--ws", "wsproto"),
    "uvicorn, websockets": ("--ws", "websockets"),
    "hypercorn": ("--worker-class", "uvloop"),
    "granian": (),
}
PLAIN: dict[str, tuple[str, ...]] = {"uvicorn": ("--ws-per-message-deflate", "false")}


def measure(bench: Bench) -> Iterator[Line]:
    with ExitStack() as stack:
        upstream = stack.enter_context(module(ECHO, {}))
        env = {"UPSTREAM": upstream.url}
        servers = {PEER: stack.enter_context(module(RELAY, env))}
        for name, options in FRONTS.items():
            kind = cast("Kind", name.partition(",")[0])
            words = (*options, *PLAIN.get(kind, ()))
            servers[name] = stack.enter_context(serve(kind, TARGET, env=env, options=words))
        bench.progress(f"echoes through {', '.join(servers)}")
        contenders = {name: partial(load, bench, server.port) for name, server in servers.items()}
        samples = bench.alternate(contenders, rounds=bench.load_rounds)
        for name in FRONTS:
            yield Line(
                f"echo of 1 KiB, {name}",
                unit="msg/s",
                ours=samples.median(name),
                peer=samples.median(PEER),
                against=PEER,
                ratio=samples.ratio(name, PEER),
                budget=at_least(1) if name == "uvicorn" else None,
            )
    if is_available():
        yield from idle(bench)


def idle(bench: Bench) -> Iterator[Line]:
    """Each connection has two sockets in the gateway: as many as the machine allows."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(1_000 if bench.quick else IDLE, (files - 200) // 2)
    with module(ECHO, {}) as upstream:
        env = {"UPSTREAM": upstream.url}
        held: dict[str, float] = {}
        for name in (PEER, "uvicorn", "granian"):
            bench.progress(f"{count} idle connections through {name}")
            if name == PEER:
                context = module(RELAY, env)
            else:
                context = serve(cast("Kind", name), TARGET, env=env, options=PLAIN.get(name, ()))
            with context as server:
                held[name] = each(server, count)
        for name in ("uvicorn", "granian"):
            yield Line(
                f"one of {count} idle, {name}",
                unit="KiB",
                ours=held[name],
                peer=held[PEER],
                against=PEER,
            )


def each(server: Server, count: int) -> float:
    """KiB by which the server grows for each connection that it holds."""
    hold(server, 100, lambda: None)
    pids = processes(server)
    before = sum(kib(pid, "VmRSS") for pid in pids)
    grown: list[int] = []
    hold(server, count, lambda: grown.append(sum(kib(pid, "VmRSS") for pid in pids)))
    return (grown[0] - before) / count


def hold(server: Server, count: int, look: Callable[[], None]) -> None:
    words = [sys.executable, "-m", "tests.benchmarks.websocket_loader", str(server.port), "0"]
    with subprocess.Popen(
        [*words, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as loader:
        assert loader.stdout is not None
        if loader.stdout.readline() != "open\n":
            raise AssertionError(f"{count} connections were not opened")
        look()


def load(bench: Bench, port: int) -> float:
    """Messages a second, each of which came back whole."""
    words = [sys.executable, "-m", "tests.benchmarks.websocket_loader", str(port)]
    seconds = bench.load_seconds
    done = subprocess.run(
        [*words, str(seconds), str(CONNECTIONS)],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds * 3 + 20,
    )
    result = json.loads(done.stdout)
    if result["errors"] or not result["messages"]:
        raise AssertionError(f"port {port}: {result}")
    return float(result["messages"] / result["seconds"])


def module(name: str, env: dict[str, str]) -> AbstractContextManager[Server]:
    """A program of `tests.benchmarks.apps`, on a port of its own."""
    return run(lambda port: [sys.executable, "-m", name, "127.0.0.1", str(port)], env=env)
