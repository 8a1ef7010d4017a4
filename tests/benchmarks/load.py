"""A load over 32 connections: by `wrk` where it is on PATH, otherwise by a small loader of our own.

    requests_per_second = load(server.port, seconds=3.0)

Either runs in a process of its own. An answer that is not 200, or a connection that broke, is an
error: a fast failure must not look like speed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

WRK = shutil.which("wrk")
CONNECTIONS = 32


class LoadError(RuntimeError):
    """Some requests of a load were not answered by 200."""


def load(port: int, *, seconds: float, path: str = "/", connections: int = CONNECTIONS) -> float:
    """Requests a second, each answered by 200."""
    url = f"http://127.0.0.1:{port}{path}"
    if WRK:
        return by_wrk(WRK, url, seconds, connections)
    return by_loader(url, seconds, connections)


def paced(port: int, *, rate: float, seconds: float) -> float:
    """The 99th percentile of the latency in ms, at `rate` requests a second whatever is answered.

    Always by a loader of our own: `wrk` asks as fast as it is answered.
    """
    url = f"http://127.0.0.1:{port}/"
    words = [sys.executable, "-m", "tests.benchmarks.pace", url, str(rate), str(seconds)]
    result = json.loads(run(words, seconds))
    # A loader that cannot keep the pace would measure itself.
    if result["errors"] or result["answers"] < 0.95 * rate * seconds:
        raise LoadError(f"{url} at {rate:.0f}/s: {result}")
    return float(result["p99"])


def by_wrk(wrk: str, url: str, seconds: float, connections: int) -> float:
    # One thread: a second one would take the core that the gateway needs.
    words = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", url]
    text = run(words, seconds)
    if trouble := re.findall(r"Non-2xx.*|Socket errors.*", text):
        raise LoadError(f"{url}: {'; '.join(trouble)}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if found is None or float(found[1]) == 0:
        raise LoadError(f"{url}: {text}")
    return float(found[1])


def by_loader(url: str, seconds: float, connections: int) -> float:
    words = [sys.executable, "-m", "tests.benchmarks.loader", url, str(seconds), str(connections)]
    result = json.loads(run(words, seconds))
    if result["errors"] or not result["answers"]:
        raise LoadError(f"{url}: {result}")
    return float(result["answers"] / result["seconds"])


def run(words: list[str], seconds: float) -> str:
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=seconds * 3 + 20
    )
    if done.returncode:
        raise LoadError(f"{words[0]} ended with {done.returncode}: {done.stderr}")
    return done.stdout
