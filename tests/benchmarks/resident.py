"""Resident memory of a server's worker process, from /proc.

process = worker(server)
grown = growth(process, lambda: download(server, 2**30))
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.servers import Server


def is_available() -> bool:
    return Path("/proc/self/status").exists()


def processes(server: Server) -> list[int]:
    """The process ids of a server and of all that it started: whichever answers is among them."""
    return [
        int(path.name)
        for path in Path("/proc").glob("[0-9]*")
        if group_of(path) == server.pid and kib(int(path.name), "VmRSS")
    ]


def growth(pids: Sequence[int], work: Callable[[], None]) -> float:
    """MiB between the resident memory before `work` and its peak meanwhile, summed up."""
    before = sum(kib(pid, "VmRSS") for pid in pids)
    for pid in pids:
        # proc(5): writing 5 sets the peak (VmHWM) to the present size.
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    work()
    return (sum(kib(pid, "VmHWM") for pid in pids) - before) / 1024


def kib(pid: int, name: str) -> int:
    """A figure of /proc/PID/status; nought for a process that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = re.search(rf"^{name}:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) if found else 0


def group_of(process: Path) -> int | None:
    try:
        return os.getpgid(int(process.name))
    except OSError:
        return None
