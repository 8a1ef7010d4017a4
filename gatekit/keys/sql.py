"""Keys in a table: SQLite in a file, PostgreSQL, or whatever else SQLAlchemy speaks to.

    KeyManager("sqlite:///keys.db", secret=SECRET)
    KeyManager(SQLKeys("postgresql+psycopg://gateway@db.example/shop", create=False), secret=SECRET)

The URLs are SQLAlchemy's. The table is made by the first call unless `create=False`; then `table()`
is its definition for a migration. Besides what is asked for by column, a record is JSON in one.

**Under ASGI** each call runs in a thread of the loop's own (`asyncio.to_thread`), so the event loop
never waits for the database; a thread that is late ends by the database's own timeouts. Keys in
use are remembered by `KeyManager`, so few requests come here.

SQLite runs in write-ahead mode, which needs shared memory: the file must not lie on a network file
system. Engines are made by the first call in each process.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatekit._core.options import flag_problem, known_keywords, seconds_problem, string_problem
from gatekit.errors import check
from gatekit.keys.record import NOT_REVOKED, KeyRecord, load

if TYPE_CHECKING:
    from sqlalchemy import URL, BindParameter, Engine, Table


@known_keywords
class SQLKeys:
    """Records in `table_name` of the database that `url` names.

    `timeout` is how many seconds a call waits for a connection, and for SQLite's lock or
    PostgreSQL's answer. `connect_args` go to the driver as they are.
    """

    __slots__ = (
        "_connect_args", "_create", "_engines", "_made", "_name", "_ready", "_url", "timeout",
    )  # fmt: skip

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 2.0,
        table_name: str = "gatekit_keys",
        create: bool = True,
        connect_args: Mapping[str, object] | None = None,
    ) -> None:
        check(
            "SQLKeys",
            url=url_problem(url),
            timeout=seconds_problem(timeout),
            table_name=string_problem(table_name),
            create=flag_problem(create),
        )
        from sqlalchemy import make_url

        self._url: URL = make_url(url)
        self._name = table_name
        self._create = create
        self._connect_args = connect_args
        self.timeout = timeout
        # A fork must not use its parent's connections, nor close them: they stay in the dictionary.
        self._engines: dict[int, Engine] = {}
        self._ready: set[int] = set()
        self._made: Table | None = None

    def table(self) -> Table:
        """The definition, bound to a `MetaData` of its own."""
        if self._made is None:
            from sqlalchemy import Column, Float, MetaData, String, Table, Text

            self._made = Table(
                self._name,
                MetaData(),
                Column("id", String(64), primary_key=True),
                Column("subject", String(255), nullable=False, index=True),
                Column("record", Text, nullable=False),
                Column("last_used_at", Float(53)),
            )
        return self._made

    def get(self, key_id: str) -> KeyRecord | None:
        table = self.table()
        with self._engine().connect() as connection:
            asked = table.select().where(table.c.id == key_id)
            row = connection.execute(asked).one_or_none()
        return None if row is None else load(row.record, row.last_used_at)

    async def aget(self, key_id: str) -> KeyRecord | None:
        return await asyncio.to_thread(self.get, key_id)

    def add(self, record: KeyRecord) -> None:
        from sqlalchemy.exc import IntegrityError

        values = {"id": record.id, "subject": record.subject, "record": record.dump()}
        try:
            with self._engine().begin() as connection:
                connection.execute(self.table().insert().values(**values))
        except IntegrityError as error:
            raise KeyError(record.id) from error

    async def aadd(self, record: KeyRecord) -> None:
        await asyncio.to_thread(self.add, record)

    def replace(self, record: KeyRecord) -> None:
        table = self.table()
        with self._engine().begin() as connection:
            is_open = table.c.record.contains(NOT_REVOKED, autoescape=True)
            change = table.update().where(table.c.id == record.id, is_open)
            done = connection.execute(change.values(subject=record.subject, record=record.dump()))
        if not done.rowcount:
            raise KeyError(record.id)

    async def areplace(self, record: KeyRecord) -> None:
        await asyncio.to_thread(self.replace, record)

    def page(self, after: str, limit: int, subject: str | None = None) -> list[KeyRecord]:
        table = self.table()
        asked = table.select().where(table.c.id > after).order_by(table.c.id).limit(limit)
        if subject is not None:
            asked = asked.where(table.c.subject == subject)
        with self._engine().connect() as connection:
            rows = connection.execute(asked).all()
        return [load(row.record, row.last_used_at) for row in rows]

    async def apage(self, after: str, limit: int, subject: str | None = None) -> list[KeyRecord]:
        return await asyncio.to_thread(self.page, after, limit, subject)

    def touch(self, uses: Mapping[str, float]) -> None:
        from sqlalchemy import bindparam, or_

        if not uses:
            return
        table = self.table()
        moment: BindParameter[float] = bindparam("moment")
        known = table.c.last_used_at
        change = (
            table.update()
            .where(table.c.id == bindparam("key"), or_(known.is_(None), known < moment))
            .values(last_used_at=moment)
        )
        # In one order in every process, so that two of them never wait for each other's rows.
        rows = [{"key": key, "moment": uses[key]} for key in sorted(uses)]
        with self._engine().begin() as connection:
            connection.execute(change, rows)

    async def atouch(self, uses: Mapping[str, float]) -> None:
        await asyncio.to_thread(self.touch, uses)

    def _engine(self) -> Engine:
        pid = os.getpid()
        engine = self._engines.get(pid)
        if engine is None:
            # Two threads may both have made one; the one that is left over is not connected.
            engine = self._engines.setdefault(pid, self._connect())
        if pid not in self._ready:
            if self._create:
                self._make(engine)
            self._ready.add(pid)
        return engine

    def _connect(self) -> Engine:
        from sqlalchemy import create_engine, event

        is_file = self._url.get_backend_name() == "sqlite"
        engine = create_engine(
            self._url,
            pool_timeout=self.timeout,
            pool_pre_ping=not is_file,
            connect_args=self._driver_options(),
        )
        if is_file:
            event.listen(engine, "connect", _write_ahead)
        return engine

    def _make(self, engine: Engine) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self.table().metadata.create_all(engine)
        except SQLAlchemyError:
            # Several began at once, and another one was faster: then it is there now.
            self.table().metadata.create_all(engine)

    def _driver_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self._url.get_backend_name() == "sqlite":
            options["timeout"] = self.timeout
        elif self._url.get_driver_name() in {"psycopg", "psycopg2"}:
            # libpq counts whole seconds and takes 1 for 2.
            options["connect_timeout"] = max(2, round(self.timeout))
            options["options"] = f"-c statement_timeout={round(self.timeout * 1000)}"
        return options | dict(self._connect_args or {})

    def close(self) -> None:
        """Closes the connections of this process; another call opens them again."""
        engine = self._engines.pop(os.getpid(), None)
        if engine is not None:
            engine.dispose()

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        return f"SQLKeys({self._url.render_as_string(hide_password=True)!r})"


def _write_ahead(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()


def url_problem(url: object) -> str | None:
    """Of a URL of SQLAlchemy's, whose password is never shown."""
    if not isinstance(url, str):
        return f"must be a URL such as sqlite:///keys.db, not {type(url).__name__}"
    if find_spec("sqlalchemy") is None:
        return "needs the extra `sql`: pip install 'gatekit-middleware[sql]'"
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        parsed = make_url(url)
        driver = parsed.get_dialect()
        driver.import_dbapi()
    except NoSuchModuleError:
        return f"{url.partition(':')[0]!r} is no database that SQLAlchemy knows"
    except (ArgumentError, ValueError):
        return "is not a URL that SQLAlchemy can read"
    except ImportError as error:
        return f"needs the driver {error.name}: pip install {error.name}"
    if parsed.get_backend_name() == "sqlite":
        name = parsed.database
        if not name or name == ":memory:":
            return "names no file; MemoryKeys keeps keys in memory"
        if not Path(name).parent.is_dir():
            return f"there is no folder {str(Path(name).parent)!r}"
    return None
