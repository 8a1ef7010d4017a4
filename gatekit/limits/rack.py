"""One process's connection to the file of an `SQLiteStore`, one transaction at a time.

    with rack.transaction(until=time.monotonic() + 0.05) as rack:
        state = rack.read(row)

The wait for other threads, and then for other processes, ends at `until`. SQLite's own wait grows
to a tenth of a second, in which others pass by; this one asks again after half a millisecond.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Self

from gatekit.limits.meters import State
from gatekit.limits.store import StoreUnavailable

if TYPE_CHECKING:
    from sqlite3 import Connection

_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (
    place INTEGER PRIMARY KEY, row TEXT NOT NULL UNIQUE, meter TEXT NOT NULL,
    a REAL, b REAL, c REAL, expires REAL NOT NULL
)
"""
_READ = "SELECT a, b, c FROM buckets WHERE row = ?"
_WRITE = """
INSERT INTO buckets (row, meter, a, b, c, expires) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (row) DO UPDATE SET a = excluded.a, b = excluded.b, c = excluded.c,
    expires = excluded.expires
"""
# One transaction of so many looks at so many states and deletes the expired among them.
_SWEEP_EVERY = 50
_SWEPT = 200
# Seconds; a transaction of another process takes a tenth of it.
_PAUSE = 0.0005


class Rack:
    """Opens the file when first asked. Any error closes it, so that the next call opens it anew."""

    __slots__ = ("_connection", "_count", "_lock", "_path", "_place", "_threads")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._connection: Connection | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._count = 0
        self._place = 0

    def threads(self) -> ThreadPoolExecutor:
        """The one thread that an event loop leaves the waiting to."""
        if self._threads is None:
            with self._lock:
                if self._threads is None:
                    self._threads = ThreadPoolExecutor(1, "gatekit-sqlite")
        return self._threads

    @contextmanager
    def transaction(self, until: float) -> Generator[Self]:
        """Writes what was done in the block at its end, or nothing of it."""
        left = until - time.monotonic()
        if left <= 0 or not self._lock.acquire(timeout=left):
            raise StoreUnavailable(f"{self._path}: no turn before the deadline")
        try:
            connection = self._begin(until)
            try:
                yield self
                connection.execute("COMMIT")
            except BaseException:
                self._drop()
                raise
        finally:
            self._lock.release()

    def _begin(self, until: float) -> Connection:
        import sqlite3

        while True:
            try:
                connection = self._connection or self._open()
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                # The low byte: SQLITE_BUSY comes in several kinds.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    self._drop()
                    raise
                if time.monotonic() + _PAUSE >= until:
                    raise StoreUnavailable(f"{self._path} is busy") from error
                time.sleep(_PAUSE)
            else:
                return connection

    def _drop(self) -> None:
        """What was begun and not committed is undone by that."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> Connection:
        import sqlite3

        connection = sqlite3.connect(
            self._path, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # The file survives a crash of the host; the last transactions before it may not.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    @property
    def _open_connection(self) -> Connection:
        assert self._connection is not None
        return self._connection

    def read(self, row: str) -> State | None:
        found = self._open_connection.execute(_READ, (row,)).fetchone()
        if found is None:
            return None
        a, b, c = found
        return float(a) if b is None else (a, b) if c is None else (a, b, c)

    def write(self, row: str, meter: str, state: State, expires: float) -> None:
        parts = state if isinstance(state, tuple) else (state,)
        a, b, c = (*parts, None, None)[:3]
        self._open_connection.execute(_WRITE, (row, meter, a, b, c, expires))

    def delete(self, row: str) -> None:
        self._open_connection.execute("DELETE FROM buckets WHERE row = ?", (row,))

    def delete_scope(self, scope: str) -> None:
        self._open_connection.execute(
            "DELETE FROM buckets WHERE substr(meter, 1, ?) = ?", (len(scope) + 1, f"{scope}/")
        )

    def sweep(self, now: float) -> None:
        """Now and then, a stretch of the table further on."""
        self._count += 1
        if self._count % _SWEEP_EVERY:
            return
        connection = self._open_connection
        stretch = "SELECT place FROM buckets WHERE place > ? ORDER BY place LIMIT ?"
        last, count = connection.execute(
            f"SELECT max(place), count(*) FROM ({stretch})",  # noqa: S608 — of constants
            (self._place, _SWEPT),
        ).fetchone()
        connection.execute(
            "DELETE FROM buckets WHERE place > ? AND place <= ? AND expires <= ?",
            (self._place, last, now),
        )
        self._place = last if count == _SWEPT else 0

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False)
        with self._lock:
            self._drop()
