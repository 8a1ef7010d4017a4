"""Real servers on free loopback ports, each stopped by the process id that was started.

    with serve("uvicorn", "tests.apps.echo:app") as server:
        assert request(server.address, "GET", "/").status == 200

A server is ready when it accepts a connection, and waiting for that is bounded. It runs in a
process group of its own: leaving the block sends SIGTERM to the server, and after `GRACE` seconds
SIGKILL to whatever is left of its group. When the block fails, the end of the server's log is added
to the error as a note.

**Ports.** The number is reserved by a socket that is bound and never listens, so that the kernel
gives it to nobody else while the server starts; a server that finds it in use in spite of that is
started once more on another.

`gunicorn` and `granian` accept connections before their workers have imported the application, so
an application that cannot be imported shows there in the first request and in the log.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, assert_never

from tests.net import Address

Kind: TypeAlias = Literal["uvicorn", "hypercorn", "granian", "granian-wsgi", "gunicorn", "waitress"]

ASGI_SERVERS: tuple[Kind, ...] = ("uvicorn", "hypercorn", "granian")
WSGI_SERVERS: tuple[Kind, ...] = ("gunicorn", "waitress", "granian-wsgi")

ROOT = Path(__file__).resolve().parent.parent
NGINX = shutil.which("nginx")
READY = 20.0
"""Seconds a server has to accept its first connection: a cold interpreter on a busy machine."""
GRACE = 4.0
"""Seconds between SIGTERM and SIGKILL."""


class StartupError(RuntimeError):
    """A server ended, or accepted nothing, before it was ready; the message carries its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `port` is 0 and `url` has no port when it listens on the socket `uds`."""

    port: int
    url: str
    pid: int
    log_file: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    uds: Path | None = None

    @property
    def address(self) -> Address:
        """What `tests.net` connects to."""
        return self.uds or self.port

    def log(self) -> str:
        """What the server has printed so far, both streams."""
        return self.log_file.read_text(errors="replace")


@contextmanager
def serve(
    kind: Kind,
    target: str,
    *,
    env: Mapping[str, str] | None = None,
    workers: int = 1,
    threads: int = 8,
    cwd: Path | None = None,
    uds: bool = False,
    options: Sequence[str] = (),
) -> Iterator[Server]:
    """Run the application `target` ("module:attribute") from `cwd`, which joins its import path.

    `threads` counts for WSGI servers only, `workers` for all but waitress; `options` are further
    words of the server's own command line.
    """
    folder = (cwd or ROOT).resolve()

    def command(listen: Address) -> list[str]:
        words = server_command(kind, target, listen, workers, threads)
        return [sys.executable, "-m", *words[:1], *options, *words[1:]]

    variables = {**(env or {}), "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    with run(command, env=variables, cwd=folder, uds=uds) as server:
        yield server


@contextmanager
def nginx(server: str, *, http: str = "", main: str = "") -> Iterator[Server | None]:
    """Run nginx with one worker, or yield None where it is not installed.

    `server` is the inside of the `server` block and lacks its `listen`; `http` and `main` are
    further directives of those levels (upstreams, maps, a limit of open files).
    """
    if NGINX is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="gatekit-nginx-") as name:
        folder = Path(name)

        def command(listen: Address) -> list[str]:
            path = folder / "nginx.conf"
            path.write_text(nginx_conf(folder, listen, server, http, main))
            return [str(NGINX), "-p", name, "-e", "stderr", "-c", str(path)]

        with run(command, cwd=folder) as running:
            yield running


@contextmanager
def run(
    command: Callable[[Address], list[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    uds: bool = False,
) -> Iterator[Server]:
    """Run any server process; `command` is given the address it must listen on."""
    with tempfile.TemporaryDirectory(prefix="gatekit-") as name:
        folder = Path(name)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        server = start(command, folder, environment, cwd, uds)
        try:
            yield server
        except BaseException as error:
            error.add_note(f"--- log of {server.url} ---\n{server.log()[-4000:]}")
            raise
        finally:
            stop(server.process)


def start(
    command: Callable[[Address], list[str]],
    folder: Path,
    environment: Mapping[str, str],
    cwd: Path,
    uds: bool,
) -> Server:
    """Start the process and wait until it accepts; a port taken meanwhile costs one retry."""
    attempt = 1
    while True:
        holder = None if uds else reserve()
        address: Address = holder.getsockname()[1] if holder else folder / "server.sock"
        log = folder / f"server-{attempt}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command(address),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=dict(environment),
                start_new_session=True,
            )
        try:
            if wait_until_ready(process, address):
                if isinstance(address, Path):
                    return Server(0, f"unix:{address}", process.pid, log, process, address)
                return Server(address, f"http://127.0.0.1:{address}", process.pid, log, process)
        except BaseException:
            stop(process)
            raise
        finally:
            if holder:
                holder.close()
        stop(process)
        said = log.read_text(errors="replace")
        if attempt == 2 or "in use" not in said.lower():
            raise StartupError(f"{process.args!r} did not start:\n{said}")
        attempt += 1


def wait_until_ready(process: subprocess.Popen[bytes], address: Address) -> bool:
    """True at the first accepted connection; False when the process ended or `READY` has passed."""
    deadline = time.monotonic() + READY
    while time.monotonic() < deadline:
        try:
            with open_socket(address):
                return True
        except OSError:
            pass
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        return False
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL for the whole group, which holds what the server itself started."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + GRACE
    while group_is_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.005)


def group_is_alive(group: int) -> bool:
    """Whether a process of the group still runs; one that only waits for its parent does not."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat")]
    except OSError:
        return True
    # proc(5): pid (comm) state ppid pgrp …, where comm may hold blanks and parentheses.
    fields = (stat.rpartition(")")[2].split() for stat in stats)
    living = [state for state, _parent, pgrp, *_ in fields if int(pgrp) == group and state != "Z"]
    return bool(living) or not stats


def reserve() -> socket.socket:
    """A free port of 127.0.0.1, held until the socket is closed.

    With SO_REUSEADDR on both sides a second socket may bind the port as long as nobody listens,
    while the kernel itself no longer hands it out.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


def open_socket(address: Address) -> socket.socket:
    if isinstance(address, Path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(address))
        except OSError:
            sock.close()
            raise
        return sock
    return socket.create_connection(("127.0.0.1", address), timeout=1.0)


def server_command(
    kind: Kind, target: str, listen: Address, workers: int, threads: int
) -> list[str]:
    """The words after `python -m`."""
    bind = f"unix:{listen}" if isinstance(listen, Path) else f"127.0.0.1:{listen}"
    host_port = (
        ["--uds", str(listen)]
        if isinstance(listen, Path)
        else ["--host", "127.0.0.1", "--port", str(listen)]
    )
    count = ["--workers", str(workers)]
    match kind:
        case "uvicorn":
            quiet = ["--log-level", "warning", "--no-access-log"]
            return ["uvicorn", *host_port, *count, *quiet, target]
        case "hypercorn":
            return ["hypercorn", "--bind", bind, *count, target]
        case "granian":
            return ["granian", "--interface", "asgi", *host_port, *count, target]
        case "granian-wsgi":
            pool = ["--blocking-threads", str(threads)]
            return ["granian", "--interface", "wsgi", *host_port, *count, *pool, target]
        case "gunicorn":
            pool = ["--worker-class", "gthread", "--threads", str(threads)]
            return ["gunicorn", "--bind", bind, *count, *pool, "--graceful-timeout", "2", target]
        case "waitress":
            where = f"--unix-socket={listen}" if isinstance(listen, Path) else f"--listen={bind}"
            return ["waitress", where, f"--threads={threads}", target]
        case _:
            assert_never(kind)


def nginx_conf(folder: Path, listen: Address, server: str, http: str, main: str) -> str:
    """A configuration in the foreground that writes nowhere but to `folder` and stderr."""
    where = f"unix:{listen}" if isinstance(listen, Path) else f"127.0.0.1:{listen}"
    temporary = "\n".join(
        f"    {kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Started by root, the worker would become `nobody`, who cannot read a private temporary folder.
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
{user}
{main}
events {{ worker_connections 1024; }}
http {{
    access_log off;
{temporary}
    {http}
    server {{
        listen {where};
        {server}
    }}
}}
"""
