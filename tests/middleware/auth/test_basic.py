"""Who calls, by name and password."""

from __future__ import annotations

import asyncio
import logging
import threading
from base64 import b64encode
from typing import Any

import pytest
from werkzeug.security import generate_password_hash

from gatekit import ConfigurationError, Request, asgi, wsgi
from gatekit.middleware.auth import basic
from gatekit.middleware.auth._passwords import decoy, matches
from gatekit.middleware.auth.basic import BasicAuth, hash_password
from gatekit.middleware.auth.identity import Identity
from gatekit.testing import Answer, call_asgi, exercise
from tests.conftest import Door
from tests.doors.spec import Spec
from tests.hammer import bare_asgi

# As cheap as a hash can be: these tests prove no strength.
CHEAP = "pbkdf2:sha256:1"


def cheap(password: str) -> str:
    return generate_password_hash(password, method=CHEAP)


def field(user: str, password: str, encoding: str = "utf-8") -> dict[str, str]:
    token = b64encode(f"{user}:{password}".encode(encoding)).decode()
    return {"authorization": f"Basic {token}"}


def ask(auth: BasicAuth, headers: dict[str, str]) -> tuple[int, Identity | None]:
    answer = exercise(auth, headers=headers)
    return answer.status, answer.request.identity


def test_the_app_finds_who_calls(door: Door) -> None:
    """The identity of the name, and no password; whoever has none is told how to ask."""
    auth = BasicAuth({"ada": cheap("lovelace")})
    found: list[Request] = []
    spec = Spec(before=found.append)
    assert door(spec, auth, headers=field("ada", "lovelace")).status == 200
    assert found[0].identity == Identity("ada", method="basic")
    assert "authorization" not in spec.seen[0]["headers"]
    answer = door(spec, auth)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="api", charset="UTF-8"'
    assert door(spec, auth, headers=field("ada", "byron")).status == 401
    assert door(spec, auth, headers=field("bob", "lovelace")).status == 401
    assert len(spec.seen) == 1
    auth.close()


@pytest.mark.parametrize("password", ["a:b:c", "", " ", "pässwörd", "密码", "x" * 300, '"\\'])
def test_any_password_will_do(password: str) -> None:
    """Colons, spaces, other scripts; the first colon ends the name."""
    auth = BasicAuth({"ada": cheap(password)})
    assert ask(auth, field("ada", password))[0] == 200
    assert ask(auth, field("ada", password + "x"))[0] == 401


def test_accents_may_be_typed_either_way() -> None:
    """One composed character and two combining ones are the same (NFC)."""
    auth = BasicAuth({"Zo\u00eb": cheap("na\u00efve")})
    assert ask(auth, field("Zoe\u0308", "nai\u0308ve"))[0] == 200
    assert matches(hash_password("nai\u0308ve"), "na\u00efve")


@pytest.mark.parametrize(
    "value",
    [
        "Basic !!!!",
        "Basic YWRh",  # no colon
        "Basic YWRhOmxvdmVsYWNl=",  # too much padding
        "Basic YWRhOm xvdmVsYWNl",
        "Basic YWRhOgBs",  # a NUL in the password
        "Basic " + b64encode(b"ada:a\nb").decode(),
        "Basic " + b64encode("ada:a\x85b".encode()).decode(),
        "Basic " + b64encode(b"ada:\xff\xfe").decode(),
        "Basic " + b64encode("ada:ü".encode("latin-1")).decode(),
        "Basic " + "A" * 5000,
    ],
)
def test_what_is_malformed(value: str) -> None:
    """It is a 401 with a challenge and takes no time to refuse."""
    calls: list[str] = []

    def verify(user: str, password: str) -> bool:
        calls.append(user)
        return True

    auth = BasicAuth(verify=verify)
    answer = exercise(auth, headers={"authorization": value})
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert calls == []


def test_two_fields_are_none() -> None:
    """Two `Authorization` fields, also as one with a comma, are a 400."""
    auth = BasicAuth({"ada": cheap("lovelace")})
    value = field("ada", "lovelace")["authorization"]
    for headers in (
        [("authorization", value), ("authorization", value)],
        [("authorization", f"{value}, {value}")],
    ):
        assert exercise(auth, headers=headers).status == 400


def test_a_password_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was verified is remembered for `ttl` seconds; what was not, is not."""
    calls: list[str] = []

    def counted(stored: str, password: str) -> bool:
        calls.append(password)
        return matches(stored, password)

    monkeypatch.setattr(basic, "matches", counted)
    auth = BasicAuth({"ada": cheap("lovelace")}, ttl=60)
    io = exercise(auth, headers=field("ada", "lovelace")).request.io
    for _ in range(5):
        assert exercise(auth, headers=field("ada", "lovelace"), io=io).status == 200
    assert calls == ["lovelace"]
    assert exercise(auth, headers=field("ada", "byron"), io=io).status == 401
    assert exercise(auth, headers=field("ada", "byron"), io=io).status == 401
    assert len(calls) == 3
    io.advance(60)  # type: ignore[attr-defined]
    assert exercise(auth, headers=field("ada", "lovelace"), io=io).status == 200
    assert len(calls) == 4


def test_no_more_than_so_many_are_remembered() -> None:
    """And neither name nor password are what is kept."""
    auth = BasicAuth(verify=lambda user, password: True, max_entries=3)
    for number in range(10):
        assert ask(auth, field(f"user-{number}", "hush"))[0] == 200
    assert len(auth._known) == 3
    assert "hush" not in repr(vars(auth))


def test_a_name_and_password_are_no_other_pair() -> None:
    """`a` with `b:c` and `a:b` with `c` are told apart, for a name has no colon."""
    seen: list[tuple[str, str]] = []

    def verify(user: str, password: str) -> bool:
        seen.append((user, password))
        return True

    auth = BasicAuth(verify=verify)
    ask(auth, field("a", "b:c"))
    assert seen == [("a", "b:c")]


def test_an_unknown_name_costs_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash is computed for it too, by the same method."""
    methods: list[str] = []

    def counted(stored: str, password: str) -> bool:
        methods.append(stored.split("$", maxsplit=1)[0])
        return matches(stored, password)

    monkeypatch.setattr(basic, "matches", counted)
    auth = BasicAuth({"ada": cheap("lovelace")})
    ask(auth, field("ada", "byron"))
    ask(auth, field("nobody", "byron"))
    assert methods == [CHEAP, CHEAP]
    assert len(decoy(cheap("x"))) == len(decoy(cheap("y")))
    assert decoy(None).startswith("scrypt:")


@pytest.mark.parametrize("colour", ["async", "plain"])
def test_users_from_elsewhere(colour: str) -> None:
    """A function gives the hash of a name, or verifies by itself; async ones under ASGI."""
    stored = {"ada": cheap("lovelace")}

    async def find(user: str) -> str | None:
        return stored.get(user)

    async def verify(user: str, password: str) -> Identity | None:
        return Identity(user, tenant="t") if password == "lovelace" else None

    if colour == "plain":
        found = BasicAuth(stored.get)
        verified = BasicAuth(verify=lambda user, password: password == "lovelace")
    else:
        found, verified = BasicAuth(find), BasicAuth(verify=verify)

    async def call(auth: BasicAuth, password: str) -> Answer:
        return await call_asgi(asgi(bare_asgi, auth), headers=field("ada", password))

    for auth in (found, verified):
        assert asyncio.run(call(auth, "lovelace")).status == 200
        assert asyncio.run(call(auth, "byron")).status == 401
        if colour == "async":
            with pytest.raises(ConfigurationError, match="async"):
                wsgi(Spec().wsgi(), auth)
        auth.close()


def test_only_true_is_a_yes() -> None:
    """A function that answers with something else has verified nothing."""
    answers: list[object] = [1, "yes", None, object()]
    auth = BasicAuth(verify=lambda user, password: answers.pop())  # type: ignore[arg-type,return-value]
    for _ in range(4):
        assert ask(auth, field("ada", "x"))[0] == 401


def test_users_that_cannot_be_had(caplog: pytest.LogCaptureFixture) -> None:
    """503, and no word of the error's own."""

    def broken(user: str) -> str | None:
        raise ConnectionError("password=hush")

    with caplog.at_level(logging.WARNING, "gatekit.auth"):
        answer = exercise(BasicAuth(broken), headers=field("ada", "x"))
    assert answer.status == 503
    assert "hush" not in caplog.text + answer.text


def test_the_loop_does_not_wait_for_a_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes are computed in threads; too many that wait for them are a 503."""
    go = threading.Event()
    began = threading.Event()

    def slow(stored: str, password: str) -> bool:
        began.set()
        go.wait(10)
        return matches(stored, password)

    monkeypatch.setattr(basic, "matches", slow)
    auth = BasicAuth({"ada": cheap("lovelace")}, workers=1, max_waiting=2)

    async def crowd() -> list[int]:
        app = asgi(bare_asgi, auth)
        waiting = [
            asyncio.create_task(call_asgi(app, headers=field("ada", f"guess-{number}")))
            for number in range(2)
        ]
        await asyncio.to_thread(began.wait, 10)
        third = await call_asgi(app, headers=field("ada", "lovelace"))
        go.set()
        return [third.status, *[(await task).status for task in waiting]]

    assert asyncio.run(crowd()) == [503, 401, 401]
    auth.close()


def test_many_with_the_same_password_are_one_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty first requests of one client wait for one computation."""
    calls: list[str] = []

    def counted(stored: str, password: str) -> bool:
        calls.append(password)
        return matches(stored, password)

    monkeypatch.setattr(basic, "matches", counted)
    auth = BasicAuth({"ada": cheap("lovelace")})

    async def crowd() -> list[Answer]:
        app = asgi(bare_asgi, auth)
        calls = [call_asgi(app, headers=field("ada", "lovelace")) for _ in range(50)]
        return await asyncio.gather(*calls)

    assert [answer.status for answer in asyncio.run(crowd())] == [200] * 50
    assert calls == ["lovelace"]
    auth.close()


def test_the_log_has_no_password(caplog: pytest.LogCaptureFixture) -> None:
    """And the name as a hash only: people type their password there."""
    auth = BasicAuth({"ada": cheap("lovelace")})
    with caplog.at_level(logging.INFO, "gatekit.auth"):
        ask(auth, field("typed-into-the-wrong-box", "hush"))
    [record] = caplog.records
    shown = f"{record.getMessage()} {record.__dict__['who']}"
    assert "wrong name or password" in shown
    assert "hush" not in shown
    assert "box" not in shown


def test_a_strong_hash() -> None:
    """What `hash_password` makes is scrypt, and is what Werkzeug reads."""
    stored = hash_password("lovelace")
    assert stored.startswith("scrypt:32768:8:1$")
    assert matches(stored, "lovelace")
    assert not matches(stored, "byron")
    assert ask(BasicAuth({"ada": stored}), field("ada", "lovelace"))[0] == 200


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({}, "users"),
        ({"users": {}}, "users"),
        ({"users": {"ada": "lovelace"}}, "users"),
        ({"users": {"a:b": cheap("x")}}, "users"),
        ({"users": {"a\n": cheap("x")}}, "users"),
        ({"users": {"ada": cheap("x")}, "verify": bool}, "users"),
        ({"users": "ada"}, "users"),
        ({"verify": "x"}, "verify"),
        ({"verify": lambda user, password: True, "ttl": 0}, "ttl"),
        ({"verify": lambda user, password: True, "workers": 0}, "workers"),
    ],
)
def test_wrong_options(options: dict[str, Any], parameter: str) -> None:
    """Above all a password that is not hashed, which is not shown."""
    with pytest.raises(ConfigurationError) as raised:
        BasicAuth(**options)
    assert parameter in raised.value.problems
    assert "lovelace" not in str(raised.value)
