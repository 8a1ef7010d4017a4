"""What `import gatekit` takes in a fresh interpreter, and which heavy third parties it loads."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

from tests.benchmarks.harness import Bench
from tests.benchmarks.report import Line, below

HEAVY = (
    *("aiohttp", "brotli", "cryptography", "django", "fastapi", "flask", "grpc", "httpx", "jwt"),
    *("limits", "numpy", "opentelemetry.sdk", "pkg_resources", "prometheus_client", "pydantic"),
    *("redis", "requests", "sqlalchemy", "starlette", "urllib3", "werkzeug.wrappers", "yaml"),
    "zstandard",
)
"""What a user who needs none of it should not wait for."""


def milliseconds(code: str) -> float:
    before = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return (time.perf_counter() - before) * 1e3


def loaded(code: str) -> list[str]:
    """The heavy modules found in `sys.modules` after `code`."""
    script = f"{code}\nimport sys\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return done.stdout.split()


def measure(bench: Bench) -> Iterator[Line]:
    contenders = {
        "gatekit": partial(milliseconds, "import gatekit"),
        "bare": partial(milliseconds, "pass"),
    }
    samples = bench.alternate(contenders, rounds=bench.rounds * 2 + 1)
    found = loaded("import gatekit")
    yield Line(
        "import gatekit, beyond a bare interpreter",
        unit="ms",
        ours=samples.added("gatekit", "bare"),
        budget=below(80),
        note=f"loads {', '.join(found)}" if found else "",
    )
    yield Line("bare interpreter", unit="ms", ours=samples.median("bare"))
