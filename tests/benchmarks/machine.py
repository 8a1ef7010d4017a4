"""The line of hardware and software that every figure depends on."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def describe() -> str:
    """One line: processor, memory, system, interpreter, load, and the tools found on PATH."""
    packages = {name: package(name) for name in ("uvicorn", "granian", "uvloop")}
    parts = [
        f"{cores()} × {processor()}",
        memory(),
        f"{platform.system()} {platform.release()}",
        f"{platform.python_implementation()} {platform.python_version()}",
        f"load {os.getloadavg()[0]:.2f}",
        *(f"{name} {found}" for name, found in packages.items() if found),
        tool("nginx", "-v") or "no nginx: granian is the upstream",
        tool("wrk", "-v") or "no wrk: a loader in Python, which takes a share of the cores",
    ]
    return " · ".join(filter(None, parts))


def cores() -> int:
    """Those this process may use, which is what counts in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    return field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()


def memory() -> str:
    total = field("/proc/meminfo", "MemTotal")
    return f"{int(total.split()[0]) / 2**20:.0f} GiB" if total else ""


def field(path: str, name: str) -> str | None:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else None


def package(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def tool(name: str, option: str) -> str | None:
    path = shutil.which(name)
    if path is None:
        return None
    done = subprocess.run([path, option], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return f"{name} {found[0]}" if found else name
