"""A real PostgreSQL server on a free loopback port, stopped by the process that was started.

    with postgres_server() as url:
        SQLKeys(url)

It is `initdb` and `postgres` from PATH. The server refuses to run as root, so root starts it as the
user `postgres`. Nothing is flushed to disk.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.redis_server import free_port

READY = 20.0
"""Seconds a server has to begin to listen."""


def missing() -> str | None:
    """Why no server can be started here, None if one can."""
    for program in ("initdb", "postgres"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    if os.getuid() == 0 and not any(user.pw_name == "postgres" for user in pwd.getpwall()):
        return "root has no user `postgres` to start the server as"
    return None


@contextmanager
def postgres_server() -> Generator[str]:
    """The URL of a database for as long as the block."""
    user = "postgres" if os.getuid() == 0 else None
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="gatekit-postgres-") as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user)
        data = folder / "data"
        words = ["initdb", "-D", str(data), "-A", "trust", "-U", "gatekit", "--no-sync"]
        subprocess.run(words, user=user, cwd=folder, check=True, capture_output=True)
        words = ["postgres", "-D", str(data), "-p", str(port), "-k", str(folder), "-F"]
        words += ["-h", "127.0.0.1"]
        log = folder / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(words, user=user, cwd=folder, stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + READY
            while b"ready to accept connections" not in log.read_bytes() or not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the server did not start:\n{log.read_text()}")
                time.sleep(0.02)
            yield f"postgresql+psycopg://gatekit@127.0.0.1:{port}/postgres"
        finally:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
