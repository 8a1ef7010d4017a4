"""Keys over HTTP: who may, what is answered, and what is never."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from gatekit import ConfigurationError, Gateway, Route
from gatekit.keys import KeyAdmin, KeyManager, MemoryKeys
from gatekit.middleware.auth.identity import ANONYMOUS, Identity
from gatekit.testing import Answer, call_asgi, call_wsgi
from tests.keys.stubs import SECRET, Clock, Watched
from tests.middleware.auth.people import signed_in

ADMIN = Identity("root", roles=frozenset({"admin"}), method="bearer")


class Office:
    """A gateway with the handler at `/admin/keys`, asked through either door."""

    def __init__(self, *, identity: Identity | None = ADMIN, colour: str = "asgi") -> None:
        self.clock = Clock()
        self.store = Watched()
        self.keys = KeyManager(self.store, secret=SECRET, clock=self.clock)
        admin = KeyAdmin(self.keys, roles=["admin"], prefix="/admin/keys")
        self.gateway = Gateway(signed_in(identity), routes=[Route("/admin/keys/*", admin)])
        self.colour = colour

    def ask(self, method: str, path: str = "", body: object = None, **headers: str) -> Answer:
        given = b"" if body is None else json.dumps(body).encode()
        return self.send(method, path, given, {"content-type": "application/json", **headers})

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        target = f"/admin/keys{path}"
        if self.colour == "wsgi":
            return call_wsgi(self.gateway.wsgi(), method, target, headers=headers, body=body)
        return asyncio.run(
            call_asgi(self.gateway.asgi(), method, target, headers=headers, body=body)
        )


@pytest.fixture(params=["asgi", "wsgi"])
def office(request: pytest.FixtureRequest) -> Office:
    return Office(colour=request.param)


def test_the_whole_life_of_a_key(office: Office) -> None:
    """Made, listed, looked at, rotated and revoked; the key itself is in two answers only."""
    made = office.ask("POST", body={"subject": "acme", "scopes": ["a"], "expires_in": 3600})
    assert made.status == 201
    shown = json.loads(made.body)
    assert shown["key"].startswith(f"gk_{shown['id']}_")
    assert (shown["subject"], shown["scopes"], shown["state"]) == ("acme", ["a"], "active")
    assert shown["expires_at"] == office.clock.now + 3600

    rotated = office.ask("POST", f"/{shown['id']}/rotate", {"overlap": 60})
    new = json.loads(rotated.body)
    assert (rotated.status, new["key"] != shown["key"]) == (201, True)
    revoked = office.ask("DELETE", f"/{new['id']}")
    assert (revoked.status, json.loads(revoked.body)["state"]) == (200, "revoked")

    one = office.ask("GET", f"/{shown['id']}")
    assert json.loads(one.body)["replaced_by"] == new["id"]
    listed = office.ask("GET", "?subject=acme")
    assert {each["id"] for each in json.loads(listed.body)["keys"]} == {shown["id"], new["id"]}
    for answer in (made, rotated, revoked, one, listed):
        assert answer.headers["cache-control"] == "no-store"
        assert b"digest" not in answer.body
        for record in office.keys.list():
            assert record.digest.encode() not in answer.body
    for answer in (revoked, one, listed):
        assert shown["key"].encode() not in answer.body
        assert new["key"].encode() not in answer.body


@pytest.mark.parametrize(
    ("identity", "status"),
    [(None, 401), (ANONYMOUS, 401), (Identity("eve", method="bearer"), 403)],
)
def test_it_is_for_admins(identity: Identity | None, status: int) -> None:
    """Nobody else makes, sees or ends a key, and no store is asked for them."""
    office = Office(identity=identity)
    for method, path in (("GET", ""), ("POST", ""), ("DELETE", "/x"), ("PUT", "/y/z")):
        answer = office.ask(method, path, {"subject": "eve"})
        assert answer.status == status
        if status == 401:
            assert answer.headers["www-authenticate"] == 'Bearer realm="api"'
    assert office.keys.list() == []


def test_pages(office: Office) -> None:
    """`next` is where the following page begins, until there is none."""
    for _ in range(5):
        office.keys.create("acme")
    first = json.loads(office.ask("GET", "?limit=3").body)
    second = json.loads(office.ask("GET", f"?limit=3&after={first['next']}").body)
    assert (len(first["keys"]), len(second["keys"]), second["next"]) == (3, 2, None)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "subject"),
        ({"subject": ""}, "subject"),
        ({"subject": "acme", "scope": "a"}, "scope"),
        ({"subject": "acme", "scopes": "a"}, "scopes"),
        ({"subject": "acme", "expires_in": -1}, "expires_in"),
        ({"subject": "acme", "expires_in": "1"}, "expires_in"),
        ({"subject": "acme", "id": "mine"}, "id"),
        ({"subject": "acme", "digest": "00"}, "digest"),
        ([], "body"),
        ("x", "body"),
    ],
)
def test_what_is_no_key(office: Office, body: object, named: str) -> None:
    """Each problem is named in the answer, and nothing is made."""
    answer = office.ask("POST", body=body)
    assert answer.status == 422
    assert list(json.loads(answer.body)["errors"]) == [named]
    assert office.keys.list() == []


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[" * 10_000,
        b"\xff",
        b'{"subject": "' + b"\xff" + b'"}',
        b'{"subject": "a", "subject": "b"}',
        b'{"subject": "a", "roles": {"admin": 1}}',
        b'{"subject": "a", "expires_in": 1' + b"0" * 400 + b"}",
    ],
)
def test_garbage(office: Office, body: bytes) -> None:
    """What is not JSON, or says two things at once, is a 422, however deep it is nested."""
    answer = office.send("POST", "", body, {"content-type": "application/json"})
    assert answer.status == 422


def test_a_large_body_is_not_read(office: Office) -> None:
    """More than 16 KiB is a 413."""
    assert office.ask("POST", body={"subject": "x" * 20_000}).status == 413


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_no_foreign_form_makes_a_key(office: Office, kind: str) -> None:
    """What a page of another site can send without asking is refused by its type."""
    body = json.dumps({"subject": "eve"}).encode()
    for path in ("", "/x/rotate"):
        assert office.send("POST", path, body, {"content-type": kind}).status == 415
    assert office.keys.list() == []


def test_what_is_not_there(office: Office) -> None:
    """404 for an unknown key and for a path of no meaning, 405 with the methods there are."""
    for method, path in (("GET", "/zzzz"), ("DELETE", "/zzzz"), ("POST", "/zzzz/rotate")):
        answer = office.ask(method, path, {})
        assert json.loads(answer.body)["type"] == "urn:gatekit:no-such-key"
    assert office.ask("GET", "/a/b/c").status == 404
    assert office.ask("GET", "/%C3%A9").status == 404
    wrong = office.ask("PUT", "")
    assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD, POST")
    assert office.ask("POST", "/zzzz").headers["allow"] == "DELETE, GET, HEAD"
    assert office.ask("GET", "/zzzz/rotate").headers["allow"] == "POST"


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=" + "9" * 5000,
        "after=%00",
        "subject=%00",
        "&".join(["a=b"] * 11),
    ],
)
def test_odd_questions(office: Office, query: str) -> None:
    """A page of no size, or after nothing that could be an id, is a 422."""
    assert office.ask("GET", f"?{query}").status == 422


def test_a_key_that_is_over(office: Office) -> None:
    """Rotating it is a conflict."""
    made = office.keys.create("acme")
    office.keys.revoke(made.record.id)
    answer = office.ask("POST", f"/{made.record.id}/rotate", {})
    assert (answer.status, json.loads(answer.body)["type"]) == (409, "urn:gatekit:key-over")


def test_the_store_is_away(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """503, and neither the answer nor the log has the driver's own words."""
    office.store.error = ConnectionError("password=hush")
    with caplog.at_level(logging.WARNING, "gatekit.keys"):
        answer = office.ask("GET", "/zzzz")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert b"hush" not in answer.body
    assert "ConnectionError" in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"roles": ()}, "roles"),
        ({"roles": "admin"}, "roles"),
        ({"prefix": "admin"}, "prefix"),
        ({"prefix": "/admin/"}, "prefix"),
        ({"keys": MemoryKeys()}, "keys"),
        ({"role": "admin"}, "role"),
    ],
)
def test_wrong_options(options: dict[str, Any], parameter: str) -> None:
    """Above all it is never open to everybody."""
    keys = KeyManager(MemoryKeys(), secret=SECRET)
    with pytest.raises(ConfigurationError) as raised:
        KeyAdmin(**{"keys": keys, "roles": ["admin"], **options})
    assert list(raised.value.problems) == [parameter]
