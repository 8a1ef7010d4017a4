"""Every store keeps records alike: in memory, SQLite, Redis and PostgreSQL, in either colour."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatekit import ConfigurationError
from gatekit.keys import KeyManager, KeyRecord, KeyStore, RedisKeys, SQLKeys
from gatekit.keys.record import load
from gatekit.typing import SupportsClose

SECRET = b"a secret of thirty-two bytes ..."
RECORD = KeyRecord(
    id="aaaa",
    digest="00ff",
    subject="Zoë & Söhne",
    name="nightly",
    scopes=frozenset({"a", "b"}),
    roles=frozenset({"r"}),
    groups=frozenset({"g"}),
    tenant="t",
    plan="pro",
    created_at=1.5,
    expires_at=1_900_000_000.25,
)


class Colour:
    """Calls a store's methods, the blocking or the other ones, by their plain names."""

    def __init__(self, store: KeyStore, *, is_async: bool) -> None:
        self.store = store
        self.is_async = is_async

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not self.is_async:
            return getattr(self.store, name)  # type: ignore[no-any-return]

        def call(*arguments: Any) -> Any:
            async def run() -> Any:
                try:
                    return await getattr(self.store, f"a{name}")(*arguments)
                finally:
                    if isinstance(self.store, SupportsClose):
                        await self.store.aclose()

            return asyncio.run(run())

        return call


@pytest.fixture(params=["blocking", "async"])
def colour(request: pytest.FixtureRequest, store: KeyStore) -> Colour:
    return Colour(store, is_async=request.param == "async")


def test_a_record_comes_back(colour: Colour) -> None:
    """As it was written, to the last fraction of a second; what is not there is None."""
    colour.add(RECORD)
    assert colour.get("aaaa") == RECORD
    assert colour.get("bbbb") is None


def test_an_id_is_taken_once(colour: Colour) -> None:
    """The second one is refused and the first one stays."""
    colour.add(RECORD)
    with pytest.raises(KeyError):
        colour.add(replace(RECORD, subject="somebody else"))
    assert colour.get("aaaa") == RECORD


def test_a_record_is_replaced(colour: Colour) -> None:
    """All but when it was last used; one that is not there is not made."""
    colour.add(RECORD)
    colour.touch({"aaaa": 77.5})
    colour.replace(replace(RECORD, revoked_at=99.5))
    assert colour.get("aaaa") == replace(RECORD, revoked_at=99.5, last_used_at=77.5)
    with pytest.raises(KeyError):
        colour.replace(replace(RECORD, id="bbbb"))
    assert colour.get("bbbb") is None


def test_uses_only_go_forward(colour: Colour) -> None:
    """An earlier moment that comes late changes nothing, and an unknown id makes nothing."""
    colour.add(RECORD)
    colour.touch({"aaaa": 50.5, "zzzz": 50.5})
    colour.touch({"aaaa": 40.5})
    colour.touch({})
    assert colour.get("aaaa").last_used_at == 50.5
    assert colour.get("zzzz") is None
    colour.touch({"aaaa": 60.5})
    assert colour.get("aaaa").last_used_at == 60.5


def test_pages(colour: Colour) -> None:
    """In the order of ids, so many at a time, of all subjects or of one."""
    for number in range(7):
        subject = "odd" if number % 2 else "even"
        colour.add(replace(RECORD, id=f"k{number}", subject=subject))
    ids = [[record.id for record in colour.page(after, 3)] for after in ("", "k2", "k5", "k6")]
    assert ids == [["k0", "k1", "k2"], ["k3", "k4", "k5"], ["k6"], []]
    assert [record.id for record in colour.page("", 2, "odd")] == ["k1", "k3"]
    assert [record.id for record in colour.page("k3", 2, "odd")] == ["k5"]
    assert colour.page("", 5, "nobody") == []


def test_one_manager_sees_what_another_made(tmp_path: Path) -> None:
    """Two objects on one file are one store."""
    url = f"sqlite:///{tmp_path}/keys.db"
    one, other = KeyManager(url, secret=SECRET), KeyManager(url, secret=SECRET)
    made = one.create("acme")
    assert other.get(made.record.id) == made.record
    one.close()
    other.close()


def work(url: str, count: int) -> None:
    keys = KeyManager(url, secret=SECRET)
    for _ in range(count):
        keys.create("acme")
    keys.close()


def test_processes_begin_together(tmp_path: Path) -> None:
    """Four that find no table all make their keys."""
    url = f"sqlite:///{tmp_path}/keys.db"
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work, args=(url, 5)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    store = SQLKeys(url)
    assert len(store.page("", 100)) == 20
    store.close()


def test_no_key_lies_in_the_file(tmp_path: Path) -> None:
    """Neither the key nor its secret half can be read from what SQLite wrote."""
    keys = KeyManager(f"sqlite:///{tmp_path}/keys.db", secret=SECRET)
    made = keys.create("acme")
    keys.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert made.record.digest.encode() in content
    assert made.text.rpartition("_")[2].encode() not in content


def test_the_table_may_be_somebody_elses_to_make(tmp_path: Path) -> None:
    """With `create=False` a table that is missing is an error of the store."""
    store = SQLKeys(f"sqlite:///{tmp_path}/keys.db", create=False)
    with pytest.raises(Exception, match="no such table"):
        store.get("aaaa")
    assert store.table().columns.keys() == ["id", "subject", "record", "last_used_at"]
    store.close()


def test_a_lock_is_waited_for_so_long(tmp_path: Path) -> None:
    """Another connection that holds SQLite's lock is an error when the time is over."""
    store = SQLKeys(f"sqlite:///{tmp_path}/keys.db", timeout=0.05)
    store.add(RECORD)
    other = sqlite3.connect(tmp_path / "keys.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Exception, match="locked"):
        store.add(replace(RECORD, id="bbbb"))
    assert store.get("aaaa") == RECORD  # readers do not wait in write-ahead mode
    other.close()
    store.close()


def test_records_of_a_later_version_are_read() -> None:
    """A member that nobody knows here is left out; one that is missing is an error."""
    text = RECORD.dump().replace("{", '{"colour":"blue",', 1)
    assert load(text) == RECORD
    for broken in ("[]", "{}", "nonsense"):
        with pytest.raises(ValueError):
            load(broken)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////no/such/folder/keys.db", "there is no folder"),
        ("nosuchdb://host/x", "no database that SQLAlchemy knows"),
        ("postgresql+nosuchdriver://host/x", "no database"),
        ("mysql+aiomysql://host/x", "needs the driver"),
        ("redis+sentinel://host", "names no service"),
        ("keys.db", "must be a URL"),
    ],
)
def test_wrong_urls(url: str, says: str) -> None:
    """Each says what is wrong with it, before anything is connected."""
    with pytest.raises(ConfigurationError, match=says):
        KeyManager(url, secret=SECRET)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is imported that needs it."""
    monkeypatch.setattr("gatekit.keys.sql.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"gatekit-middleware\[sql\]"):
        KeyManager("sqlite:///keys.db", secret=SECRET)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"gatekit-middleware\[redis\]"):
        KeyManager("redis://localhost", secret=SECRET)


def test_half_a_store_is_none() -> None:
    """An object of one's own needs both colours of each method."""

    class Half:
        def get(self, key_id: str) -> None: ...

    with pytest.raises(ConfigurationError, match=r"no aget\(\)"):
        KeyManager(Half(), secret=SECRET)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "store",
    [SQLKeys("postgresql+psycopg://me:hush@host/x"), RedisKeys("redis://me:hush@host/0")],
    ids=["sql", "redis"],
)
def test_no_password_is_shown(store: KeyStore) -> None:
    """Not in the store's own name, which is what logs have."""
    assert "host" in repr(store)
    assert "hush" not in repr(store)


def test_a_revocation_is_not_taken_back(colour: Colour) -> None:
    """Who read the record before it was revoked cannot write it over."""
    colour.add(RECORD)
    colour.replace(replace(RECORD, revoked_at=5.0))
    with pytest.raises(KeyError):
        colour.replace(replace(RECORD, name='"revoked_at":null'))
    assert colour.get("aaaa").revoked_at == 5.0


def test_a_text_that_looks_like_a_revocation_is_none(colour: Colour) -> None:
    """Names are people's own."""
    colour.add(replace(RECORD, name='"revoked_at":5'))
    colour.replace(replace(RECORD, name="b"))
    assert colour.get("aaaa").name == "b"
