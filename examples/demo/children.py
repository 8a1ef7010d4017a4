"""The demo's processes: started on ports that are already theirs, and never left behind.

    with Children() as children:
        catalog = children.start("catalog", "uvicorn", "examples.demo.catalog:app")
        children.wait_until_ready()

The socket of a process is bound here and handed over, so that its port is known before it runs and
nobody else can take it. It listens only once the app is loaded: accepting a connection is being
ready.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
READY = 30.0
"""Seconds until the last process must have accepted a connection: cold files on a busy machine."""
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 4.0
"""Seconds between SIGTERM and SIGKILL."""


class ChildEnded(Exception):
    """A process ended, or was not ready in time; the message holds the last lines that it wrote."""


class Child:
    """A running process, its address, and the last lines that it wrote."""

    def __init__(self, name: str, server: str, port: int, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.process = process
        self.on_line: Callable[[str], None] | None = None
        self.thread: threading.Thread | None = None
        self._lines: deque[str] = deque(maxlen=200)
        self._written = threading.Condition()

    def find_line(self, wanted: Callable[[str], bool], seconds: float = 5.0) -> str | None:
        """The first line for which `wanted` holds, once it is written; None if it never is."""
        with self._written:
            self._written.wait_for(lambda: any(map(wanted, self._lines)), seconds)
            return next(filter(wanted, self._lines), None)

    def last_lines(self) -> str:
        """What it wrote last, to look for a cause in."""
        with self._written:
            return "".join(f"\n    {line}" for line in list(self._lines)[-30:])

    def ended(self) -> ChildEnded:
        """What to say of it, when it is over."""
        status = self.process.poll()
        what = "is not ready" if status is None else f"has ended with status {status}"
        wrote = self.last_lines() or " nothing"
        return ChildEnded(f"{self.name} (pid {self.process.pid}) {what}. It wrote:{wrote}")

    def read(self) -> None:
        """Until the process closes its output."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._written:
                self._lines.append(line.rstrip("\n"))
                self._written.notify_all()
            if self.on_line is not None:
                with contextlib.suppress(BrokenPipeError):
                    self.on_line(line.rstrip("\n"))

    def close(self) -> None:
        """Gives back the pipes of a process that has ended."""
        if self.thread is not None:
            self.thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Children:
    """All processes together; leaving the block ends each of them by its own id."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._over: queue.SimpleQueue[Child] = queue.SimpleQueue()
        self._down: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A second Ctrl-C must not stop the stopping.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in ENDINGS}
        for child in self._children:
            child.process.terminate()
        deadline = time.monotonic() + GRACE
        for child in self._children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            child.close()
        for bound in self._down:
            bound.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def start(
        self, name: str, server: str, target: str, env: Mapping[str, str] | None = None
    ) -> Child:
        """Runs the app `target` under a server; see `serve`."""
        with bind() as bound:
            process = subprocess.Popen(
                [sys.executable, "-m", "examples.demo.serve", server, target, str(bound.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                cwd=ROOT,
                env={**os.environ, "PYTHONUTF8": "1", **(env or {})},
                pass_fds=[bound.fileno()],
                # Ctrl-C in a terminal goes to the demo alone, which then ends the others in order.
                start_new_session=True,
            )
            child = Child(name, server, bound.getsockname()[1], process)
        self._children.append(child)
        child.thread = threading.Thread(target=self._watch, args=[child], daemon=True)
        child.thread.start()
        return child

    def nobody(self) -> str:
        """The address of a service that is down: a port that is taken and refuses connections."""
        bound = bind()
        self._down.append(bound)
        return f"http://127.0.0.1:{bound.getsockname()[1]}"

    def wait_until_ready(self) -> None:
        """Returns when each of them accepts connections; `ChildEnded` if one does not get there."""
        deadline = time.monotonic() + READY
        for child in self._children:
            while not accepts(child.port):
                if time.monotonic() > deadline:
                    raise child.ended()
                self.check(0.02)

    def check(self, seconds: float | None = 0.0) -> None:
        """Waits so long, None for ever; `ChildEnded` as soon as one of them is over."""
        try:
            child = self._over.get(timeout=seconds)
        except queue.Empty:
            return
        raise child.ended()

    def _watch(self, child: Child) -> None:
        child.read()
        child.process.wait()
        self._over.put(child)


def bind() -> socket.socket:
    """A socket on a free port of this machine, which does not listen yet."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.bind(("127.0.0.1", 0))
    return bound


def accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
