"""Counts in a file that all processes of one host share: exact among them, without a server.

    RateLimit("100/minute", store="sqlite:///limits.db")
    RateLimit("100/minute", store=SQLiteStore("/var/lib/shop/limits.db"))

One transaction a request, in write-ahead mode, so that eight workers on one key admit exactly the
limit. The wait for another process's transaction counts into the deadline. Keys are hashed before
they are written, with `secret` if there is one.

**Under ASGI** the file is used from one thread of the store's own: the event loop never waits for a
disk. **After a crash of the host** the last transactions may be gone; the file is not damaged.

Write-ahead mode needs shared memory: the file must not lie on a network file system. The clock is
the host's wall clock, which its processes share and which survives a restart.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from gatekit._core.options import function_problem, known_keywords, seconds_problem
from gatekit.errors import check
from gatekit.limits.guard import Guard
from gatekit.limits.meters import Standing
from gatekit.limits.rack import Rack
from gatekit.limits.secrecy import hashed, secret_problem
from gatekit.limits.store import Claim

P = ParamSpec("P")
T = TypeVar("T")


@known_keywords
class SQLiteStore:
    """Counts in the file `path`, which is made if need be.

    `timeout` is the deadline of one call in seconds. `secret` keys the hash of what is written.
    `clock` gives seconds on a clock that every process agrees on.
    """

    __slots__ = ("_clock", "_path", "_processes", "_secret", "guard", "timeout")

    def __init__(
        self,
        path: str | Path,
        *,
        timeout: float = 0.05,
        secret: bytes = b"",
        clock: Callable[[], float] = time.time,
    ) -> None:
        check(
            "SQLiteStore",
            path=_path_problem(path),
            timeout=seconds_problem(timeout),
            secret=secret_problem(secret),
            clock=function_problem(clock),
        )
        self._path = Path(path)
        self.timeout = timeout
        # Of the store, not of a policy: what one learns of its trouble all of them know.
        self.guard = Guard(self)
        self._secret = secret
        self._clock = clock
        self._processes: dict[int, Rack] = {}

    def take(
        self, claims: Sequence[Claim], cost: int, now: float, forced: bool = False
    ) -> list[Standing]:
        return self._take(time.monotonic() + self.timeout, claims, cost, forced)

    async def atake(
        self, claims: Sequence[Claim], cost: int, now: float, forced: bool = False
    ) -> list[Standing]:
        until = time.monotonic() + self.timeout
        return await self._elsewhere(self._take, until, claims, cost, forced)

    def _take(
        self, until: float, claims: Sequence[Claim], cost: int, forced: bool
    ) -> list[Standing]:
        rows = [(hashed(f"{meter.id}\0{key}", self._secret), meter) for key, meter in claims]
        with self._file.transaction(until) as rack:
            # Asked for only now: before the wait it would be earlier than in the state.
            now = self._clock()
            states = [rack.read(row) for row, _ in rows]
            taken = [
                meter.take(state, now, cost, forced)
                for (_, meter), state in zip(rows, states, strict=True)
            ]
            if any(standing.retry_after for _, standing in taken):
                return [
                    standing if standing.retry_after else meter.take(state, now, 0)[1]
                    for (_, standing), (_, meter), state in zip(taken, rows, states, strict=True)
                ]
            if cost:
                for (row, meter), (state, _) in zip(rows, taken, strict=True):
                    rack.write(row, meter.id, state, meter.expires(state, now))
                rack.sweep(now)
        return [standing for _, standing in taken]

    def clear(self, claims: Sequence[Claim]) -> None:
        self._clear(time.monotonic() + self.timeout, claims)

    async def aclear(self, claims: Sequence[Claim]) -> None:
        await self._elsewhere(self._clear, time.monotonic() + self.timeout, claims)

    def _clear(self, until: float, claims: Sequence[Claim]) -> None:
        with self._file.transaction(until) as rack:
            for key, meter in claims:
                rack.delete(hashed(f"{meter.id}\0{key}", self._secret))

    def clear_scope(self, scope: str) -> None:
        self._clear_scope(time.monotonic() + self.timeout, scope)

    async def aclear_scope(self, scope: str) -> None:
        await self._elsewhere(self._clear_scope, time.monotonic() + self.timeout, scope)

    def _clear_scope(self, until: float, scope: str) -> None:
        with self._file.transaction(until) as rack:
            rack.delete_scope(scope)

    @property
    def _file(self) -> Rack:
        # A fork must not use its parent's connection, nor close it: it stays in the dictionary.
        pid = os.getpid()
        return self._processes.get(pid) or self._processes.setdefault(pid, Rack(self._path))

    async def _elsewhere(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        work = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._file.threads(), work)

    def close(self) -> None:
        """Closes the file in this process; another request opens it again."""
        file = self._processes.pop(os.getpid(), None)
        if file is not None:
            file.close()

    async def aclose(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self._path)!r})"


def _path_problem(path: object) -> str | None:
    if not isinstance(path, str | Path) or path == "":
        return f"must be the path of a file, not {path!r}"
    if str(path) == ":memory:":
        return "':memory:' is shared by nobody; MemoryStore does the same and is faster"
    folder = Path(path).parent
    return None if folder.is_dir() else f"there is no folder {str(folder)!r}"
