"""Readiness goes off first: by hand, at the end of the lifespan, and on a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from gatekit import ConfigurationError, Gateway, Health
from gatekit.testing import call_asgi, call_wsgi
from tests import net
from tests.servers import ROOT, serve

APP = """
import signal
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from gatekit import Gateway, Health

health = Health()

@asynccontextmanager
async def lifespan(app):
    health.drain_on(signal.SIGTERM, delay=DELAY)
    yield

app = Gateway(routes=health.routes()).asgi(Starlette(lifespan=lifespan))
"""


def test_draining_is_not_ready_and_alive() -> None:
    """The report says so as well; `resume` ends it."""
    health = Health()
    app = Gateway(routes=health.routes()).wsgi()

    def statuses() -> list[int]:
        paths = ("/livez", "/readyz", "/health", "/startupz")
        return [call_wsgi(app, target=path).status for path in paths]

    assert statuses() == [200, 200, 200, 200]
    health.drain()
    assert statuses() == [200, 503, 503, 200]
    assert '"status":"draining"' in call_wsgi(app, target="/health").text
    health.resume()
    assert statuses() == [200, 200, 200, 200]
    app.close()
    assert statuses() == [200, 503, 503, 200]


def test_the_end_of_the_lifespan_turns_readiness_off() -> None:
    """In the loop that ended: the same objects in another one are ready again."""
    app = Gateway(routes=Health().routes()).asgi()

    async def lives() -> list[int]:
        statuses = [(await call_asgi(app, target="/readyz")).status]
        messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            pass

        await app({"type": "lifespan"}, receive, send)
        return [*statuses, (await call_asgi(app, target="/readyz")).status]

    assert asyncio.run(lives()) == [200, 503]
    assert asyncio.run(lives()) == [200, 503]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX signals")
def test_a_signal_is_handed_on_after_a_delay() -> None:
    """uvicorn serves on, not ready, until a second signal or the delay tells it to stop."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "parting_app.py").write_text(APP.replace("DELAY", "60"))
        with serve("uvicorn", "parting_app:app", cwd=Path(folder)) as server:
            assert net.request(server.address, "GET", "/readyz").status == 200
            os.kill(server.pid, signal.SIGTERM)
            # The handler runs before the next event: whoever asks later is told.
            answers = [net.request(server.address, "GET", path) for path in ("/readyz", "/livez")]
            while answers[0].status == 200:
                answers[0] = net.request(server.address, "GET", "/readyz")
            assert [answer.status for answer in answers] == [503, 200]
            os.kill(server.pid, signal.SIGTERM)
            assert server.process.wait(10) in (0, -signal.SIGTERM)


@pytest.mark.parametrize(("before", "code"), [("", -signal.SIGTERM), ("own", 7)])
def test_who_handled_the_signal_before_still_does(before: str, code: int) -> None:
    """The default ends the process; a handler of the server's is called."""
    script = """
import signal, sys, threading
from gatekit import Health
if sys.argv[1] == "own":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
health = Health()
health.drain_on(signal.SIGTERM, delay=0.01)
signal.raise_signal(signal.SIGTERM)
assert health._draining
while True:
    signal.pause()
"""
    done = subprocess.run([sys.executable, "-c", script, before], cwd=ROOT, timeout=20, check=False)
    assert done.returncode == code


def test_a_wrong_signal_is_named() -> None:
    """So is a delay that is none."""
    with pytest.raises(ConfigurationError) as caught:
        Health().drain_on("SIGTERM", delay=-1)  # type: ignore[arg-type]
    assert set(caught.value.problems) == {"signal", "delay"}
