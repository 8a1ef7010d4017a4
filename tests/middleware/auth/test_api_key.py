"""Who calls, by an API key, through every door."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from gatekit import ConfigurationError, Request, asgi
from gatekit.keys import KeyManager, NewKey
from gatekit.keys.format import checksum
from gatekit.middleware.auth.api_key import ApiKeyAuth
from gatekit.middleware.auth.identity import Identity
from gatekit.testing import exercise, make_request
from tests.conftest import Door
from tests.doors.messages import Server, websocket_scope
from tests.doors.spec import Spec
from tests.keys.stubs import SECRET, Clock, Watched

PARTNER = "a-key-of-a-partner-0123456789"


class Desk:
    """A manager with a store that counts, and an authenticator that asks it."""

    def __init__(self, **options: Any) -> None:
        self.store = Watched()
        self.clock = Clock()
        self.keys = KeyManager(self.store, secret=SECRET, clock=self.clock)
        self.auth = ApiKeyAuth(self.keys, **{"track_use": False, **options})

    def ask(self, **call: Any) -> tuple[int, Identity | None]:
        answer = exercise(self.auth, **call)
        return answer.status, answer.request.identity

    def make(self, **options: Any) -> NewKey:
        return self.keys.create("acme", **options)


def test_the_app_finds_who_calls(door: Door) -> None:
    """The identity of the key, and not the key itself."""
    desk = Desk()
    made = desk.make(scopes=["a"], plan="pro")
    found: list[Request] = []
    spec = Spec(before=found.append)
    assert door(spec, desk.auth, headers={"x-api-key": made.text}).status == 200
    identity = found[0].identity
    assert identity is not None
    assert (identity.subject, [*identity.scopes], identity.plan) == ("acme", ["a"], "pro")
    assert (identity.method, identity.client_id) == ("api_key", made.record.id)
    assert "x-api-key" not in spec.seen[0]["headers"]


def test_nobody_comes_in_without_a_key(door: Door) -> None:
    """401 with a challenge that names no error; the app is not asked."""
    spec = Spec()
    answer = door(spec, Desk().auth)
    assert answer.status == 401
    assert answer.headers.getlist("www-authenticate") == ['ApiKey realm="api"']
    assert json.loads(answer.body)["type"] == "urn:gatekit:credentials-required"
    assert spec.seen == []


@pytest.mark.parametrize("flaw", ["expired", "revoked", "unknown", "wrong secret", "malformed"])
def test_no_bad_key_is_told_from_another(
    door: Door, flaw: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is the same whatever is wrong; the log has the reason and the public id."""
    desk = Desk()
    made = desk.make(expires_in=10)
    text = made.text
    if flaw == "expired":
        desk.clock.advance(10)
    elif flaw == "revoked":
        desk.keys.revoke(made.record.id)
    elif flaw == "unknown":
        text = KeyManager(Watched(), secret=SECRET).create("x").text
    elif flaw == "wrong secret":
        body = text[: len("gk_") + 17] + "0" * 32
        text = body + checksum(body.encode())
    else:
        text = "nonsense"
    spec = Spec()
    with caplog.at_level(logging.INFO, "gatekit.auth"):
        answer = door(spec, desk.auth, headers={"x-api-key": text})
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'ApiKey realm="api", error="invalid_token"'
    assert json.loads(answer.body) == {
        "type": "urn:gatekit:invalid-credentials",
        "title": "Unauthorized",
        "status": 401,
        "detail": "The API key is not valid.",
    }
    assert spec.seen == []
    assert flaw in caplog.text
    assert text not in caplog.text
    if flaw in {"expired", "revoked"}:
        [record] = [one for one in caplog.records if one.name == "gatekit.auth"]
        assert record.__dict__["who"] == made.record.id


@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({}, {"headers": {"authorization": "ApiKey {key}"}}),
        ({}, {"headers": {"Authorization": "apikey   {key}"}}),
        ({"schemes": ["Bearer"]}, {"headers": {"authorization": "Bearer {key}"}}),
        ({"header": "X-Token"}, {"headers": {"x-token": "{key}"}}),
        ({"cookie": "key"}, {"headers": {"cookie": "a=b; key={key}"}}),
        ({"query": "api_key"}, {"target": "/?a=b&api_key={key}"}),
    ],
)
def test_where_a_key_may_stand(options: dict[str, Any], call: dict[str, Any]) -> None:
    """And there only: by default neither cookie nor query are looked at. It goes no further."""
    desk = Desk(**options)
    made = desk.make()
    call = json.loads(json.dumps(call).replace("{key}", made.text))
    request = make_request(**call)
    answer = exercise(desk.auth, request=request)
    assert answer.status == 200
    assert made.text not in f"{request.headers!r}{request.query!r}"
    other = Desk(header="X-Other", schemes=["Other"])
    assert exercise(other.auth, request=make_request(**call)).status == 401


def test_a_key_may_go_on() -> None:
    """With `hide_credentials=False` the app sees it."""
    desk = Desk(hide_credentials=False)
    made = desk.make()
    request = make_request(headers={"x-api-key": made.text})
    exercise(desk.auth, request=request)
    assert request.headers["x-api-key"] == made.text


@pytest.mark.parametrize(
    "headers",
    [
        [("x-api-key", "{key}"), ("x-api-key", "{key}")],
        [("x-api-key", "{key}"), ("authorization", "ApiKey {key}")],
        [("authorization", "ApiKey {key}"), ("authorization", "ApiKey {key}")],
        [("authorization", "ApiKey {key}, ApiKey {key}")],
        [("authorization", "ApiKey")],
    ],
)
def test_two_keys_are_none(headers: list[tuple[str, str]]) -> None:
    """Who stands behind might read the other one: 400, even if both are the same."""
    desk = Desk()
    made = desk.make()
    filled = [(name, value.replace("{key}", made.text)) for name, value in headers]
    assert desk.ask(headers=filled) == (400, None)


def test_a_bearer_token_of_another_kind_is_left() -> None:
    """With the scheme `Bearer` a token that is no key is as if there were none."""
    desk = Desk(schemes=["Bearer"], optional=True)
    made = desk.make()
    assert desk.ask(headers={"authorization": f"Bearer {made.text}"})[0] == 200
    status, identity = desk.ask(headers={"authorization": "Bearer eyJ.eyJ.sig"})
    assert status == 200
    assert identity is not None
    assert identity.is_anonymous
    wrong = made.text[:-1] + ("0" if made.text[-1] != "0" else "1")
    assert desk.ask(headers={"authorization": f"Bearer {wrong}"})[0] == 401


def test_public_paths_and_preflights() -> None:
    """Need no key; a path that could be read in two ways does."""
    desk = Desk(public=["/health", "/docs/*"])
    for target in ("/health", "/docs", "/docs/a/b"):
        assert desk.ask(target=target)[0] == 200
    for target in ("/healthy", "//health", "/docs/../admin", "/docs%2f..%2fadmin", "/Health"):
        assert desk.ask(target=target)[0] == 401
    preflight = {"origin": "https://a.example", "access-control-request-method": "PUT"}
    assert desk.ask(method="OPTIONS", headers=preflight)[0] == 200
    assert desk.ask(method="OPTIONS")[0] == 401


def test_the_store_is_away(door: Door) -> None:
    """503 with `Retry-After`; who is known to be no key is still a 401."""
    desk = Desk()
    made = desk.make()
    desk.store.error = ConnectionError("password=hush")
    answer = door(Spec(), desk.auth, headers={"x-api-key": made.text})
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert b"hush" not in answer.body
    assert door(Spec(), desk.auth, headers={"x-api-key": "nonsense"}).status == 401


def test_keys_of_the_configuration(door: Door) -> None:
    """A mapping of keys to subjects or whole identities needs no store."""
    ada = Identity("ada", roles=frozenset({"admin"}))
    auth = ApiKeyAuth({PARTNER: "partner", "another-key-0123456789": ada})
    found: list[Request] = []
    spec = Spec(before=found.append)
    for key in (PARTNER, "another-key-0123456789"):
        assert door(spec, auth, headers={"x-api-key": key}).status == 200
    assert door(spec, auth, headers={"x-api-key": PARTNER[:-1]}).status == 401
    one, other = (request.identity for request in found)
    assert one == Identity("partner", method="api_key")
    assert other == Identity("ada", roles=frozenset({"admin"}), method="api_key")
    assert PARTNER not in repr(auth)
    assert PARTNER not in repr(vars(auth))


def test_a_websocket_needs_a_key() -> None:
    """The handshake is refused without one, and let through with one."""
    desk = Desk()
    made = desk.make()

    async def accept(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    for headers, kind in (
        ([], "websocket.close"),
        ([(b"x-api-key", made.text.encode())], "websocket.accept"),
    ):
        scope = websocket_scope(headers=[(b"host", b"testserver"), *headers])
        server = Server(scope, [{"type": "websocket.connect"}])
        asyncio.run(server.run(asgi(accept, desk.auth)))
        assert server.kinds == [kind]


@pytest.mark.parametrize("junk", ["\x00", "é", "x" * 100_000, "gk_", "%00", "' OR 1=1 --"])
def test_hostile_keys(junk: str) -> None:
    """Whatever is sent is a 401, and the store hears nothing of it."""
    desk = Desk(query="key")
    request = make_request()
    request.headers.replace([(b"host", b"x"), (b"x-api-key", junk.encode("latin-1", "replace"))])
    assert exercise(desk.auth, request=request).status == 401
    assert desk.store.calls["get"] == 0


@pytest.mark.parametrize(
    ("keys", "options", "parameter"),
    [
        ("sqlite:///keys.db", {}, "keys"),
        ({}, {}, "keys"),
        ({"short": "x"}, {}, "keys"),
        ({PARTNER: 7}, {}, "keys"),
        ({PARTNER: ""}, {}, "keys"),
        ({"with space 0123456789": "x"}, {}, "keys"),
        ({PARTNER: "x"}, {"header": "a b"}, "header"),
        ({PARTNER: "x"}, {"header": None, "schemes": ()}, "header"),
        ({PARTNER: "x"}, {"schemes": "Bearer"}, "schemes"),
        ({PARTNER: "x"}, {"cookie": "a=b"}, "cookie"),
        ({PARTNER: "x"}, {"query": "a&b"}, "query"),
        ({PARTNER: "x"}, {"ttl": 0}, "ttl"),
        ({PARTNER: "x"}, {"stale_for": -1}, "stale_for"),
        ({PARTNER: "x"}, {"max_entries": 0}, "max_entries"),
        ({PARTNER: "x"}, {"public": "/health"}, "public"),
        ({PARTNER: "x"}, {"optional": "no"}, "optional"),
        ({PARTNER: "x"}, {"tll": 5}, "tll"),
    ],
)
def test_wrong_options(keys: Any, options: dict[str, Any], parameter: str) -> None:
    """Each is named, and no key is shown."""
    with pytest.raises(ConfigurationError) as raised:
        ApiKeyAuth(keys, **options)
    assert list(raised.value.problems) == [parameter]
    for key in keys:
        assert key == "sqlite:///keys.db" or key not in str(raised.value) or len(key) == 1
