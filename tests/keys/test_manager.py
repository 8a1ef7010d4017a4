"""Making, replacing and ending keys, in either colour."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gatekit import ConfigurationError
from gatekit.keys import KeyManager, KeyOver, KeyRecord, KeyStore, MemoryKeys, NoSuchKey
from gatekit.typing import SupportsClose
from tests.keys.stubs import SECRET, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(clock: Clock) -> KeyManager:
    return KeyManager(MemoryKeys(), secret=SECRET, clock=clock)


def test_the_whole_life_of_a_key(store: KeyStore, clock: Clock) -> None:
    """In each store: made, seen, rotated, revoked, and listed to the end."""
    keys = KeyManager(store, secret=SECRET, clock=clock)
    made = keys.create("acme", name="ci", scopes=["a"], plan="pro", expires_in=100)
    assert keys.get(made.record.id) == made.record
    assert made.record.expires_at == clock.now + 100
    clock.advance(40)
    new = keys.rotate(made.record.id, overlap=10)
    old = keys.get(made.record.id)
    assert (old.expires_at, old.replaced_by) == (clock.now + 10, new.record.id)
    assert new.record.expires_at == clock.now + 100
    assert (new.record.name, [*new.record.scopes], new.record.plan) == ("ci", ["a"], "pro")
    assert keys.revoke(new.record.id).revoked_at == clock.now
    clock.advance(10)
    assert [record.state(clock.now) for record in keys.list()] == [
        {made.record.id: "expired", new.record.id: "revoked"}[record.id] for record in keys.list()
    ]
    assert len(keys.list(subject="acme")) == 2


def test_the_same_in_an_event_loop(store: KeyStore, clock: Clock) -> None:
    """Each method has its twin."""
    keys = KeyManager(store, secret=SECRET, clock=clock)

    async def live() -> None:
        made = await keys.acreate("acme", roles=["r"])
        assert await keys.aget(made.record.id) == made.record
        new = await keys.arotate(made.record.id, overlap=0)
        assert (await keys.arevoke(new.record.id)).revoked_at == clock.now
        assert {record.id for record in await keys.alist()} == {made.record.id, new.record.id}
        if isinstance(store, SupportsClose):
            await keys.aclose()

    asyncio.run(live())


def test_an_overlap_does_not_outlast_the_key(keys: KeyManager, clock: Clock) -> None:
    """A key that ends sooner anyway ends then."""
    made = keys.create("acme", expires_in=5)
    keys.rotate(made.record.id, overlap=100)
    assert keys.get(made.record.id).expires_at == clock.now + 5


def test_what_is_over_is_not_rotated(keys: KeyManager, clock: Clock) -> None:
    """Revoked, expired or replaced already: a new key would come out of nothing."""
    revoked, expired, replaced = (keys.create("acme", expires_in=5) for _ in range(3))
    keys.revoke(revoked.record.id)
    keys.rotate(replaced.record.id)
    with pytest.raises(KeyOver, match="replaced"):
        keys.rotate(replaced.record.id)
    clock.advance(5)
    with pytest.raises(KeyOver, match="revoked"):
        keys.rotate(revoked.record.id)
    with pytest.raises(KeyOver, match="expired"):
        keys.rotate(expired.record.id)
    assert len(keys.list()) == 4


def test_revoking_twice_keeps_the_first_moment(keys: KeyManager, clock: Clock) -> None:
    """The record tells when it ended in truth."""
    made = keys.create("acme")
    first = keys.revoke(made.record.id)
    clock.advance(10)
    assert keys.revoke(made.record.id) == first


@pytest.mark.parametrize("key_id", ["0" * 16, "", "../x", "é", "a\0b", "a" * 5000])
def test_no_such_key(keys: KeyManager, key_id: str) -> None:
    """An id that is none asks no store for nonsense."""
    for method in (keys.get, keys.rotate, keys.revoke):
        with pytest.raises(NoSuchKey):
            method(key_id)


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"subject": ""}, "subject"),
        ({"subject": 7}, "subject"),
        ({"subject": "x" * 256}, "subject"),
        ({"subject": "a\nb"}, "subject"),
        ({"scopes": "read"}, "scopes"),
        ({"scopes": ["read write"]}, "scopes"),
        ({"scopes": [{}]}, "scopes"),
        ({"roles": [7]}, "roles"),
        ({"groups": ["a\0"]}, "groups"),
        ({"tenant": 7}, "tenant"),
        ({"plan": ["pro"]}, "plan"),
        ({"name": None}, "name"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": float("nan")}, "expires_in"),
        ({"expires_in": True}, "expires_in"),
    ],
)
def test_what_a_key_cannot_have(keys: KeyManager, options: Any, parameter: str) -> None:
    """It is named, and nothing is stored."""
    with pytest.raises(ConfigurationError) as raised:
        keys.create(**{"subject": "acme", **options})
    assert list(raised.value.problems) == [parameter]
    assert keys.list() == []


def test_wrong_options() -> None:
    """All problems at once, and no secret in them."""
    with pytest.raises(ConfigurationError) as raised:
        KeyManager("nonsense", secret=b"hush", prefix="-", clock="now")  # type: ignore[arg-type]
    assert list(raised.value.problems) == ["store", "secret", "prefix", "clock"]
    assert "hush" not in str(raised.value)


def test_nothing_is_shown(keys: KeyManager) -> None:
    """Neither the secret nor a hash is in a repr."""
    made = keys.create("acme")
    assert SECRET.decode() not in repr(keys)
    assert made.record.digest not in repr(made)
    assert made.text not in repr(made)


def test_a_rotation_does_not_undo_a_revocation_beside_it() -> None:
    """The key that was made meanwhile is revoked, too."""

    class Slow(MemoryKeys):
        def add(self, record: KeyRecord) -> None:
            super().add(record)
            if len(keys.list()) == 2:
                keys.revoke(made.record.id)

    keys = KeyManager(Slow(), secret=SECRET)
    made = keys.create("acme")
    with pytest.raises(KeyOver):
        keys.rotate(made.record.id)
    assert [record.revoked_at is None for record in keys.list()] == [False, False]


def test_two_may_revoke_at_once() -> None:
    """It is revoked since the first of them."""

    class Slow(MemoryKeys):
        def replace(self, record: KeyRecord) -> None:
            if record.revoked_at == 2.0:
                super().replace(replace(record, revoked_at=1.0))
            super().replace(record)

    keys = KeyManager(Slow(), secret=SECRET, clock=lambda: 2.0)
    made = keys.create("acme")
    assert keys.revoke(made.record.id).revoked_at == 1.0
