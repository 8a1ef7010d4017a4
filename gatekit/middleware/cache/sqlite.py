"""Answers in a file that all processes of one host share, and that outlives them.

    Cache(store="sqlite:///cache.db")
    Cache(store=SQLiteCache("/var/cache/shop.db", max_bytes=1 << 30))

The file is in write-ahead mode: readers wait for nobody. What was used longest ago goes when it is
full; use is noted to the minute. Under ASGI the file is used from a thread of the store's own: the
event loop never waits for a disk. It must not lie on a network file system.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from gatekit._core.options import (
    function_problem,
    integer_problem,
    known_keywords,
    seconds_problem,
)
from gatekit.errors import check
from gatekit.middleware.cache.entry import soften
from gatekit.middleware.cache.store import Found

P = ParamSpec("P")
T = TypeVar("T")

_SCHEMA = """
create table if not exists records (
  key blob primary key, record blob not null, size integer not null, expires real not null,
  used integer not null) without rowid;
create index if not exists by_use on records (used);
create table if not exists tags (
  tag text not null, key blob not null, primary key (tag, key)) without rowid;
create index if not exists tags_by_key on tags (key);
create table if not exists tombs (name blob primary key, epoch integer, dug real) without rowid;
create table if not exists leases (
  key blob primary key, owner blob not null, expires real not null) without rowid;
create table if not exists counts (name text primary key, value integer not null) without rowid;
insert or ignore into counts values ('epoch', 0), ('floor', 0), ('bytes', 0), ('version', 1);
"""
# Seconds for which a purge is remembered for what is being fetched meanwhile.
_MEMORY = 300.0
# An answer that is used is noted again only after so many seconds: a hit is a read.
_GRAIN = 60


@known_keywords
class SQLiteCache:
    """`path` is made if need be. `timeout` is the deadline of one call in seconds."""

    shared = True

    __slots__ = ("_clock", "_files", "_path", "max_bytes", "timeout")

    def __init__(
        self,
        path: str | Path,
        *,
        max_bytes: int = 256 * 1024 * 1024,
        timeout: float = 0.1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check(
            "SQLiteCache",
            path=_path_problem(path),
            max_bytes=integer_problem(max_bytes, 1),
            timeout=seconds_problem(timeout),
            clock=function_problem(clock),
        )
        self._path = Path(path)
        self.max_bytes = max_bytes
        self.timeout = timeout
        self._clock = clock
        self._files: dict[int, _File] = {}

    def get(self, key: bytes) -> Found:
        now = self._clock()
        with self._file.connection() as connection:
            epoch, record, used = connection.execute(
                "select (select value from counts where name = 'epoch'), r.record, r.used "
                "from (select 1) left join records r on r.key = ? and r.expires > ?",
                (key, now),
            ).fetchone()
            if record is not None and now - used > _GRAIN:
                # Where somebody writes just now, it is noted the next time.
                with suppress(sqlite3.OperationalError):
                    connection.execute("update records set used = ? where key = ?", (int(now), key))
        return Found(record, epoch)

    async def aget(self, key: bytes) -> Found:
        return await self._elsewhere(self.get, key)

    def put(self, key: bytes, record: bytes, ttl: float, tags: Sequence[str], epoch: int) -> bool:
        now = self._clock()
        if len(record) > self.max_bytes:
            return False
        with self._writing() as connection:
            if self._is_buried(connection, key, tags, epoch):
                return False
            self._drop(connection, [key])
            connection.execute(
                "insert into records values (?, ?, ?, ?, ?)",
                (key, record, len(record), now + ttl, int(now)),
            )
            connection.executemany(
                "insert or ignore into tags values (?, ?)", [(tag, key) for tag in tags]
            )
            self._count(connection, len(record))
            self._make_room(connection, now)
        return True

    async def aput(
        self, key: bytes, record: bytes, ttl: float, tags: Sequence[str], epoch: int
    ) -> bool:
        return await self._elsewhere(self.put, key, record, ttl, tags, epoch)

    def delete(self, keys: Sequence[bytes]) -> None:
        with self._writing() as connection:
            self._bury(connection, list(keys))
            self._drop(connection, keys)

    async def adelete(self, keys: Sequence[bytes]) -> None:
        await self._elsewhere(self.delete, keys)

    def purge(self, tags: Sequence[str], soft: bool) -> int:
        with self._writing() as connection:
            self._bury(connection, [tag.encode("utf-8", "surrogateescape") for tag in tags])
            keys = {
                row[0]
                for tag in tags
                for row in connection.execute(
                    "select r.key from tags t join records r on r.key = t.key where t.tag = ?",
                    (tag,),
                )
            }
            if not soft:
                self._drop(connection, list(keys))
                return len(keys)
            for key in keys:
                [record] = connection.execute(
                    "select record from records where key = ?", (key,)
                ).fetchone()
                connection.execute(
                    "update records set record = ? where key = ?", (soften(record), key)
                )
        return len(keys)

    async def apurge(self, tags: Sequence[str], soft: bool) -> int:
        return await self._elsewhere(self.purge, tags, soft)

    def clear(self) -> None:
        with self._writing() as connection:
            epoch = self._next_epoch(connection)
            connection.execute("update counts set value = ? where name = 'floor'", (epoch,))
            connection.execute("update counts set value = 0 where name = 'bytes'")
            for table in ("records", "tags", "tombs"):
                connection.execute(f"delete from {table}")  # noqa: S608 — one of three names

    async def aclear(self) -> None:
        await self._elsewhere(self.clear)

    def lease(self, key: bytes, owner: bytes, seconds: float) -> bool:
        now = self._clock()
        with self._writing() as connection:
            connection.execute("delete from leases where expires <= ?", (now,))
            done = connection.execute(
                "insert or ignore into leases values (?, ?, ?)", (key, owner, now + seconds)
            )
            return done.rowcount == 1

    async def alease(self, key: bytes, owner: bytes, seconds: float) -> bool:
        return await self._elsewhere(self.lease, key, owner, seconds)

    def release(self, key: bytes, owner: bytes) -> None:
        with self._writing() as connection:
            connection.execute("delete from leases where key = ? and owner = ?", (key, owner))

    async def arelease(self, key: bytes, owner: bytes) -> None:
        await self._elsewhere(self.release, key, owner)

    def close(self) -> None:
        file = self._files.pop(os.getpid(), None)
        if file is not None:
            file.close()

    async def aclose(self) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        with self._file.connection() as connection:
            connection.execute("begin immediate")
            try:
                yield connection
                connection.execute("commit")
            finally:
                # A commit may fail, and some failures have ended the transaction already.
                if connection.in_transaction:
                    connection.execute("rollback")

    def _is_buried(
        self, connection: sqlite3.Connection, key: bytes, tags: Sequence[str], epoch: int
    ) -> bool:
        [floor] = connection.execute("select value from counts where name = 'floor'").fetchone()
        if floor > epoch:
            return True
        names = [key, *(tag.encode("utf-8", "surrogateescape") for tag in tags)]
        return any(
            connection.execute(
                "select 1 from tombs where name = ? and epoch > ?", (name, epoch)
            ).fetchone()
            for name in names
        )

    def _bury(self, connection: sqlite3.Connection, names: Sequence[bytes]) -> None:
        now, epoch = self._clock(), self._next_epoch(connection)
        connection.execute("delete from tombs where dug < ?", (now - _MEMORY,))
        connection.executemany(
            "insert or replace into tombs values (?, ?, ?)", [(name, epoch, now) for name in names]
        )

    def _next_epoch(self, connection: sqlite3.Connection) -> int:
        connection.execute("update counts set value = value + 1 where name = 'epoch'")
        [epoch] = connection.execute("select value from counts where name = 'epoch'").fetchone()
        return int(epoch)

    def _drop(self, connection: sqlite3.Connection, keys: Sequence[bytes]) -> None:
        for key in keys:
            row = connection.execute("select size from records where key = ?", (key,)).fetchone()
            if row is not None:
                connection.execute("delete from records where key = ?", (key,))
                connection.execute("delete from tags where key = ?", (key,))
                self._count(connection, -row[0])

    def _count(self, connection: sqlite3.Connection, size: int) -> None:
        connection.execute("update counts set value = value + ? where name = 'bytes'", (size,))

    def _make_room(self, connection: sqlite3.Connection, now: float) -> None:
        [size] = connection.execute("select value from counts where name = 'bytes'").fetchone()
        if size <= self.max_bytes:
            return
        # A tenth at once, so that not every request has to.
        enough = self.max_bytes * 0.9
        victims: list[bytes] = []
        order = "select key, size from records order by expires > ?, used"
        for key, length in connection.execute(order, (now,)):
            if size <= enough:
                break
            victims.append(key)
            size -= length
        self._drop(connection, victims)

    @property
    def _file(self) -> _File:
        # A fork must not use its parent's connections, nor close them: they stay in the dictionary.
        pid = os.getpid()
        file = self._files.get(pid)
        return file or self._files.setdefault(pid, _File(self._path, self.timeout))

    async def _elsewhere(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        work = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._file.threads(), work)

    def __repr__(self) -> str:
        return f"SQLiteCache({str(self._path)!r})"


class _File:
    """The connections of one process: as many as have been in use at once."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._lock = threading.Lock()
        # Not one for each thread: some servers have a new thread for each request.
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._threads: ThreadPoolExecutor | None = None

    @contextmanager
    def connection(self) -> Generator[sqlite3.Connection]:
        try:
            found = self._idle.pop()
        except IndexError:
            found = self._connect()
        try:
            yield found
        finally:
            with self._lock:
                if not self._closed:
                    self._idle.append(found)
            if self._closed:
                found.close()

    def _connect(self) -> sqlite3.Connection:
        found = sqlite3.connect(
            self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False
        )
        try:
            found.execute("pragma journal_mode = wal")
            # A cache may lose its last writes when the host crashes.
            found.execute("pragma synchronous = normal")
            with self._lock:
                found.executescript(_SCHEMA)
        except BaseException:
            found.close()
            raise
        return found

    def threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(2, "gatekit-cache")
            return self._threads

    def close(self) -> None:
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, None
            idle, self._idle = self._idle, []
        if threads is not None:
            threads.shutdown()
        for connection in idle:
            connection.close()


def _path_problem(path: object) -> str | None:
    if not isinstance(path, str | Path) or path == "":
        return f"must be the path of a file, not {path!r}"
    if str(path) == ":memory:":
        return "':memory:' is shared by nobody; MemoryCache does the same and is faster"
    folder = Path(path).parent
    return None if folder.is_dir() else f"there is no folder {str(folder)!r}"
