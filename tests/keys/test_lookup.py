"""What is remembered of keys: how long, how much, and what a store that is away changes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from gatekit._core.io import AsyncIO, BlockingIO, block
from gatekit.keys import KeyManager, KeyRecord, KeysUnavailable, NewKey
from gatekit.keys.lookup import BadKey, KeyLookup
from gatekit.middleware.auth.identity import Identity
from gatekit.testing import FakeIO
from tests.keys.stubs import SECRET, Clock, Watched

OPTIONS: dict[str, Any] = {
    "ttl": 30.0,
    "negative_ttl": 5.0,
    "stale_for": 0.0,
    "timeout": 1.0,
    "max_entries": 100,
    "track_use": False,
}


class Desk:
    """A manager, its store, one lookup, and the clocks that they go by."""

    def __init__(self, **options: Any) -> None:
        self.store = Watched()
        self.clock = Clock()
        self.keys = KeyManager(self.store, secret=SECRET, clock=self.clock)
        self.lookup: KeyLookup = self.keys.lookup(**{**OPTIONS, **options})
        self.io = FakeIO()

    def find(self, text: str | NewKey) -> Identity:
        text = text if isinstance(text, str) else text.text
        return block(self.lookup.find(self.io, text.encode()))

    def flaw(self, text: str | NewKey) -> str:
        with pytest.raises(BadKey) as raised:
            self.find(text)
        return raised.value.flaw


def test_a_known_key_asks_nobody() -> None:
    """The store is asked once in `ttl` seconds, however often the key is presented."""
    desk = Desk()
    made = desk.keys.create("acme", scopes=["a"], roles=["r"], tenant="t", plan="pro")
    identity = desk.find(made)
    for _ in range(10):
        assert desk.find(made) is identity
    assert desk.store.calls["get"] == 1
    desk.io.advance(29.9)
    desk.find(made)
    assert desk.store.calls["get"] == 1
    desk.io.advance(0.2)
    desk.find(made)
    assert desk.store.calls["get"] == 2
    assert identity == Identity(
        "acme",
        client_id=made.record.id,
        scopes=frozenset({"a"}),
        roles=frozenset({"r"}),
        tenant="t",
        plan="pro",
        claims={"key_id": made.record.id, "key_name": ""},
        method="api_key",
    )


def test_what_is_no_key_asks_nobody() -> None:
    """A wrong shape, checksum, tag or secret part never gets as far as the store."""
    desk = Desk()
    made = desk.keys.create("acme")
    forged = KeyManager(Watched(), secret=b"an attacker's own secret").create("acme")
    last = "0" if made.text[-1] != "0" else "1"
    assert desk.flaw("nonsense") == "malformed"
    assert desk.flaw(made.text[:-1] + last) == "forged"
    assert desk.flaw(forged) == "forged"
    assert desk.store.calls["get"] == 0


def test_a_wrong_secret_for_a_known_key_asks_nobody() -> None:
    """Whoever has seen an id in a log drowns no store with it."""
    desk = Desk()
    made = desk.keys.create("acme")
    desk.find(made)
    head, _, tail = made.text.rpartition("_")
    for number in range(50):
        assert desk.flaw(f"{head}_{number:0{len(tail)}}") == "wrong secret"
    assert desk.store.calls["get"] == 1
    desk.find(made)


def test_an_unknown_key_is_remembered_for_a_while() -> None:
    """A key that was deleted asks the store once in `negative_ttl` seconds."""
    desk = Desk()
    gone = KeyManager(Watched(), secret=SECRET).create("acme")
    for _ in range(10):
        assert desk.flaw(gone) == "unknown"
    assert desk.store.calls["get"] == 1
    desk.io.advance(5.1)
    assert desk.flaw(gone) == "unknown"
    assert desk.store.calls["get"] == 2


def test_a_new_key_is_good_at_once() -> None:
    """Also if its id was asked for before it was there."""
    desk = Desk()
    other = KeyManager(Watched(), secret=SECRET)
    early = other.create("acme")
    assert desk.flaw(early) == "unknown"
    desk.store.add(early.record)
    desk.lookup.forget(early.record.id)
    assert desk.find(early).subject == "acme"


def test_the_unknown_push_out_nobody() -> None:
    """Five thousand ids of keys that are gone leave the one that is known where it is."""
    desk = Desk(max_entries=2)
    made = desk.keys.create("acme")
    desk.find(made)
    elsewhere = KeyManager(Watched(), secret=SECRET)
    for _ in range(5000):
        assert desk.flaw(elsewhere.create("x")) == "unknown"
    calls = desk.store.calls["get"]
    desk.find(made)
    assert desk.store.calls["get"] == calls
    assert len(desk.lookup._absent) <= 4096


def test_no_more_than_so_many_are_remembered() -> None:
    """The one that was looked up longest ago is forgotten first."""
    desk = Desk(max_entries=3)
    made = [desk.keys.create(f"user-{number}") for number in range(4)]
    for one in made:
        desk.find(one)
    assert len(desk.lookup._known) == 3
    before = desk.store.calls["get"]
    desk.find(made[3])
    assert desk.store.calls["get"] == before
    desk.find(made[0])
    assert desk.store.calls["get"] == before + 1


def test_the_end_of_a_key_is_kept_to_the_second() -> None:
    """A remembered key that expires is refused then, not when it would be looked up again."""
    desk = Desk()
    made = desk.keys.create("acme", expires_in=10)
    desk.find(made)
    desk.clock.advance(9.9)
    desk.find(made)
    desk.clock.advance(0.1)
    assert desk.flaw(made) == "expired"
    assert desk.store.calls["get"] == 1


def test_a_revoked_key_is_refused_at_once() -> None:
    """By a lookup of the manager that revoked it; by others when their time is over."""
    desk = Desk()
    made = desk.keys.create("acme")
    other = Desk()
    other.lookup._store = desk.store
    desk.find(made)
    other.find(made)
    desk.keys.revoke(made.record.id)
    assert desk.flaw(made) == "revoked"
    assert other.find(made).subject == "acme"
    other.io.advance(30)
    assert other.flaw(made) == "revoked"


def test_the_store_is_away() -> None:
    """A key that would have to be looked up cannot be told good or bad."""
    desk = Desk()
    made = desk.keys.create("acme")
    desk.store.error = ConnectionError("password=hush")
    with pytest.raises(KeysUnavailable) as raised:
        desk.find(made)
    assert "hush" not in str(raised.value)


def test_known_keys_outlive_the_store() -> None:
    """For `stale_for` seconds beyond `ttl`, and then no longer."""
    desk = Desk(stale_for=60.0)
    made, ends = desk.keys.create("acme"), desk.keys.create("acme", expires_in=45)
    desk.find(made)
    desk.find(ends)
    desk.store.error = ConnectionError()
    for seconds in (31.0, 50.0):
        desk.io.advance(seconds - 31.0 if seconds > 31 else seconds)
        assert desk.find(made).subject == "acme"
    desk.clock.advance(50)
    assert desk.flaw(ends) == "expired"  # its own end counts all the same
    desk.io.advance(60)
    with pytest.raises(KeysUnavailable):
        desk.find(made)


def test_a_store_that_fails_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """After three failures in a row nobody asks it for a second; the log says both."""
    desk = Desk()
    made = [desk.keys.create("acme") for _ in range(10)]
    desk.store.error = ConnectionError("password=hush")
    with caplog.at_level(logging.WARNING, "gatekit.keys"):
        for one in made:
            with pytest.raises(KeysUnavailable):
                desk.find(one)
        assert desk.store.calls["get"] == 3
        desk.store.error = None
        desk.io.advance(1.0)
        desk.find(made[0])
        desk.find(made[1])
    assert [record.getMessage().split()[-1] for record in caplog.records] == [
        "ConnectionError",
        "again",
    ]
    assert "hush" not in caplog.text


def test_a_hundred_ask_together() -> None:
    """Requests that come while a key is looked up wait for the one call, under ASGI."""
    desk = Desk()
    made = desk.keys.create("acme")
    desk.store.turns = 5

    async def crowd() -> list[Identity]:
        io = AsyncIO()
        text = made.text.encode()
        return await asyncio.gather(*(desk.lookup.find(io, text) for _ in range(100)))

    assert len(asyncio.run(crowd())) == 100
    assert desk.store.calls["aget"] == 1


def test_a_store_that_hangs_is_late() -> None:
    """Under ASGI the deadline holds, whoever waits; who leaves early takes nobody along."""
    desk = Desk(timeout=0.01)
    made = desk.keys.create("acme")
    desk.store.hangs = True

    async def wait() -> list[object]:
        io = AsyncIO()
        tasks = [asyncio.create_task(desk.lookup.find(io, made.text.encode())) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    first, *others = asyncio.run(wait())
    assert isinstance(first, asyncio.CancelledError)
    assert [type(other) for other in others] == [KeysUnavailable] * 2
    assert desk.store.calls["aget"] == 1


def test_uses_are_written_once_a_minute() -> None:
    """Beside the requests, once for each key, however often it is used meanwhile."""
    desk = Desk(track_use=True)
    one, other = desk.keys.create("acme"), desk.keys.create("acme")

    async def use() -> None:
        io = AsyncIO()
        for _ in range(3):
            for made in (one, other):
                await desk.lookup.find(io, made.text.encode())
            for _ in range(5):
                await asyncio.sleep(0)
        await desk.lookup.aclose()

    asyncio.run(use())
    written = [(key, moment) for uses in desk.store.touched for key, moment in uses.items()]
    assert sorted(written) == sorted((made.record.id, desk.clock.now) for made in (one, other))


def test_uses_are_written_from_a_thread() -> None:
    """Under WSGI a thread of its own writes them."""
    desk = Desk(track_use=True)
    made = desk.keys.create("acme")
    io = BlockingIO()
    block(desk.lookup.find(io, made.text.encode()))
    for thread in list(desk.lookup._background._threads):
        thread.join(5)
    assert desk.store.touched == [{made.record.id: desk.clock.now}]
    desk.lookup.close()


def test_a_recent_use_is_not_written_again() -> None:
    """What another worker wrote half a minute ago is new enough."""
    desk = Desk(track_use=True)
    made = desk.keys.create("acme")
    desk.store.touch({made.record.id: desk.clock.now - 30})
    desk.store.touched.clear()
    desk.find(made)
    assert desk.lookup._uses == {}
    desk.io.advance(31)
    desk.find(made)
    for thread in list(desk.lookup._background._threads):
        thread.join(5)
    assert desk.store.touched == [{made.record.id: desk.clock.now}]


def test_uses_that_cannot_be_written_are_nobodys_error(caplog: pytest.LogCaptureFixture) -> None:
    """The request is answered, and the log says that a use was lost."""
    desk = Desk(track_use=True)
    made = desk.keys.create("acme")

    async def use() -> None:
        await desk.lookup.find(AsyncIO(), made.text.encode())
        desk.store.error = ConnectionError()
        for _ in range(5):
            await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING, "gatekit.keys"):
        asyncio.run(use())
    assert "did not take the last uses: ConnectionError" in caplog.text


def test_a_record_that_is_broken_is_the_stores_fault() -> None:
    """A hash that is none lets nobody in, and is no 500."""
    desk = Desk()
    made = desk.keys.create("acme")
    desk.store._records[made.record.id] = desk.store._records[made.record.id].__class__(
        id=made.record.id, digest="not hexadecimal", subject="acme"
    )
    with pytest.raises(KeysUnavailable):
        desk.find(made)


def test_an_answer_from_before_a_change_is_not_remembered() -> None:
    """Whoever asks after `revoke` has returned is refused, though a slow answer lands later."""
    desk = Desk()
    made = desk.keys.create("acme")

    async def run() -> None:
        io, text = AsyncIO(), made.text.encode()
        reached, go_on = asyncio.Event(), asyncio.Event()
        old = desk.store.get(made.record.id)

        async def slow(key_id: str) -> KeyRecord | None:
            reached.set()
            await go_on.wait()
            return old

        desk.store.aget = slow  # type: ignore[method-assign]
        first = asyncio.create_task(desk.lookup.find(io, text))
        await reached.wait()
        del desk.store.aget
        await desk.keys.arevoke(made.record.id)
        with pytest.raises(BadKey, match="revoked"):
            await desk.lookup.find(io, text)
        go_on.set()
        await first
        with pytest.raises(BadKey, match="revoked"):
            await desk.lookup.find(io, text)

    asyncio.run(run())
