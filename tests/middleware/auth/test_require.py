"""What an identity has to have to come in."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from gatekit import ConfigurationError, Decision, MisuseError, Request, asgi, wsgi
from gatekit.middleware.auth.identity import ANONYMOUS, Identity
from gatekit.middleware.auth.require import Require, Rule
from gatekit.testing import Answer, call_asgi, exercise, make_request
from tests.conftest import Door
from tests.doors.messages import Server, websocket_scope
from tests.doors.spec import Spec
from tests.hammer import bare_asgi
from tests.middleware.auth.people import BEARER, signed_in, someone

ADMIN = someone(roles={"admin", "staff"}, scopes={"a", "b"}, groups={"g"}, tenant="acme")


def ask(require: Require, identity: Identity | None = ADMIN, **call: Any) -> Answer:
    return exercise(signed_in(identity), require, **call)


def test_who_has_it_comes_in(door: Door) -> None:
    """And nobody else: 403 for somebody without it, 401 with the challenge for nobody."""
    require = Require(roles=["admin"])
    spec = Spec()
    assert door(spec, signed_in(ADMIN), require).status == 200
    refused = door(spec, signed_in(someone(roles={"staff"})), require)
    assert refused.status == 403
    assert json.loads(refused.body) == {
        "type": "urn:gatekit:forbidden",
        "title": "Forbidden",
        "status": 403,
        "detail": "This is not allowed.",
    }
    for nobody in (None, ANONYMOUS):
        answer = door(spec, signed_in(nobody, "Basic", BEARER), require)
        assert answer.status == 401
        assert ", ".join(answer.headers.getlist("www-authenticate")) == f"Basic, {BEARER}"
    assert len(spec.seen) == 1


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({}, True),
        ({"scopes": ["a", "b"]}, True),
        ({"scopes": "a b"}, True),
        ({"scopes": "a c"}, False),
        ({"any_scope": ["c", "a"]}, True),
        ({"any_scope": "c d"}, False),
        ({"roles": ["admin", "nobody"]}, True),
        ({"roles": ["nobody"]}, False),
        ({"roles": ["Admin"]}, False),
        ({"all_roles": ["admin", "staff"]}, True),
        ({"all_roles": ["admin", "nobody"]}, False),
        ({"groups": ["g", "h"]}, True),
        ({"groups": ["h"]}, False),
        ({"tenant": "acme"}, True),
        ({"tenant": ["other", "acme"]}, True),
        ({"tenant": []}, False),
        ({"tenant": "other"}, False),
        ({"tenant": lambda request: request.headers.get("x-tenant")}, False),
        ({"methods": ["GET"]}, True),
        ({"methods": ["POST"]}, False),
        ({"check": lambda identity, request: identity.subject == "ada"}, True),
        ({"check": lambda identity, request: False}, False),
        ({"check": lambda identity, request: Decision("p", "allow", "is ada")}, True),
        ({"check": lambda identity, request: Decision("p", "deny", "is not ada")}, False),
        ({"check": lambda identity, request: Decision("p", "error", "who knows")}, False),
        ({"decide": lambda identity, request: True}, True),
        ({"decide": lambda identity, request: False}, False),
        ({"roles": ["admin"], "scopes": ["c"]}, False),
        ({"roles": ["admin"], "scopes": ["a"], "tenant": "acme"}, True),
    ],
)
def test_what_may_be_asked_for(options: dict[str, Any], allowed: bool) -> None:
    """Every part that is given has to hold."""
    assert ask(Require(**options)).status == (200 if allowed else 403)


CLAIMS: dict[str, object] = {
    "email_verified": True,
    "level": 3,
    "amr": ["pwd", "otp"],
    "realm": {"roles": ["x"]},
    "https://ns.example/plan": "pro",
    "nothing": None,
}


@pytest.mark.parametrize(
    ("claims", "allowed"),
    [
        ({"email_verified": True}, True),
        ({"email_verified": 1}, False),
        ({"email_verified": "true"}, False),
        ({"level": 3}, True),
        ({"level": True}, False),
        ({"level": lambda level: isinstance(level, int) and level >= 2}, True),
        ({"level": {1, 2}}, False),
        ({"level": [2, 3]}, True),
        ({"level": []}, False),
        ({"amr": "otp"}, True),
        ({"amr": {"hwk", "otp"}}, True),
        ({"amr": "hwk"}, False),
        ({"realm.roles": "x"}, True),
        ({"realm.roles.x": "x"}, False),
        ({"https://ns.example/plan": "pro"}, True),
        ({"missing": "x"}, False),
        ({"nothing": lambda value: True}, False),
        ({"missing": lambda value: True}, False),
    ],
)
def test_claims(claims: dict[str, Any], allowed: bool) -> None:
    """A value, one of several, or a function; true is not 1; of an array one element is enough."""
    identity = someone(claims=CLAIMS)
    assert ask(Require(claims=claims), identity).status == (200 if allowed else 403)


def test_nobodys_tenant_is_not_the_same() -> None:
    """An identity without a tenant and a request without one do not fit."""
    require = Require(tenant=lambda request: request.headers.get("x-tenant"))
    assert ask(require, someone()).status == 403
    assert ask(require, ADMIN, headers={"x-tenant": "acme"}).status == 200


def test_what_roles_are_granted() -> None:
    """Directly, through roles that they include, in a circle too; worked out once."""
    grants = {
        "owner": ["admin", "billing"],
        "admin": ["editor", "users:write"],
        "editor": ["posts:write", "owner"],
    }
    write, bill = (
        Require(permissions=["posts:write"], grants=grants),
        Require(permissions=["billing", "users:write"], grants=grants),
    )
    for role in grants:
        assert ask(write, someone(roles={role})).status == 200
        assert ask(bill, someone(roles={role})).status == 200
    assert ask(write, someone(roles={"posts:write", "stranger"})).status == 403
    assert ask(write, someone(scopes={"posts:write"})).status == 403


def test_missing_scopes_are_told_to_tokens_only() -> None:
    """RFC 6750 §3.1 for a bearer token; a key's owner learns nothing of what is needed."""
    require = Require(scopes="orders.write orders.read")
    answer = ask(require, someone())
    assert answer.status == 403
    assert answer.headers["www-authenticate"] == (
        'Bearer error="insufficient_scope", scope="orders.read orders.write"'
    )
    assert json.loads(answer.body)["type"] == "urn:gatekit:insufficient-scope"
    for identity in (someone(method="api_key"), someone(method="basic")):
        other = ask(require, identity)
        assert (other.status, "www-authenticate" in other.headers) == (403, False)
        assert b"orders" not in other.body


def test_the_reason_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """With a hash of who it was, and not in the answer."""
    with caplog.at_level(logging.INFO, "gatekit.auth"):
        answer = ask(Require(roles=["auditor"]), target="/books")
    [record] = caplog.records
    assert record.getMessage() == "require refused GET /books: none of the roles"
    who = record.__dict__["who"]
    assert (len(who), "ada" in who) == (32, False)
    assert answer.request.decisions == [Decision("require", "deny", "none of the roles")]
    assert b"roles" not in answer.body


def test_in_the_shadow(caplog: pytest.LogCaptureFixture) -> None:
    """What would be refused passes, and is noted and logged."""
    with caplog.at_level(logging.INFO, "gatekit.auth"):
        refused = ask(Require(roles=["auditor"], shadow=True))
        nobody = ask(Require(shadow=True), None)
        fine = ask(Require(roles=["admin"], shadow=True))
    assert [answer.status for answer in (refused, nobody, fine)] == [200, 200, 200]
    outcomes = [answer.request.decisions[-1].outcome for answer in (refused, nobody, fine)]
    assert outcomes == ["shadow_deny", "shadow_deny", "allow"]
    assert [record.getMessage().split()[1:4] for record in caplog.records] == [
        ["would", "have", "refused"]
    ] * 2


def test_it_can_hide() -> None:
    """A 404 as the gateway's own, for nobody and for somebody; no challenge gives it away."""
    for identity in (None, someone()):
        answer = ask(Require(roles=["admin"], hide=True), identity)
        assert answer.status == 404
        assert json.loads(answer.body)["type"] == "urn:gatekit:no-route"
        assert "www-authenticate" not in answer.headers


def test_preflights_pass() -> None:
    """By the standard they carry no credentials; another OPTIONS does not pass."""
    preflight = {"origin": "https://a.example", "access-control-request-method": "PUT"}
    require = Require(roles=["admin"])
    assert ask(require, None, method="OPTIONS", headers=preflight).status == 200
    assert ask(require, None, method="OPTIONS").status == 401


def test_a_websocket_is_asked_too() -> None:
    """Its handshake is refused like any request."""

    async def accept(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    for identity, kind in ((ADMIN, "websocket.accept"), (someone(), "websocket.close")):
        server = Server(websocket_scope(), [{"type": "websocket.connect"}])
        app = asgi(accept, signed_in(identity), Require(roles=["admin"]))
        asyncio.run(server.run(app))
        assert server.kinds == [kind]


async def is_ada(identity: Identity, request: Request) -> bool:
    await asyncio.sleep(0)
    return identity.subject == "ada"


def test_an_async_check() -> None:
    """Is awaited under ASGI, and refused by a WSGI door before the first request."""
    for identity, status in ((ADMIN, 200), (someone(subject="bob"), 403)):
        app = asgi(bare_asgi, signed_in(identity), Require(check=is_ada))
        assert asyncio.run(call_asgi(app)).status == status
    for options in (
        {"check": is_ada},
        {"decide": is_ada},
        {"rules": [Rule("/*", check=is_ada)]},
    ):
        with pytest.raises(ConfigurationError, match="async"):
            wsgi(Spec().wsgi(), Require(**options))


@pytest.mark.parametrize("answer", [1, "yes", None, object()])
def test_only_true_is_a_yes(answer: Any) -> None:
    """What is neither a bool nor a `Decision` is the author's mistake, and lets nobody in."""
    with pytest.raises(MisuseError):
        ask(Require(check=lambda identity, request: answer))
    with pytest.raises(MisuseError):
        ask(Require(claims={"a": lambda value: answer}), someone(claims={"a": 1}))


def test_a_check_that_raises_lets_nobody_in(door: Door) -> None:
    """It is a 500, and the app is not asked."""

    def broken(identity: Identity, request: Request) -> bool:
        raise LookupError("no such row")

    spec = Spec()
    answer = door(spec, signed_in(ADMIN), Require(check=broken))
    assert answer.status == 500
    assert spec.seen == []


def test_it_goes_by_this_request() -> None:
    """One object serves all of them, and keeps nothing of any."""
    require = Require(check=lambda identity, request: request.path == f"/{identity.subject}")
    assert ask(require, someone(subject="a"), request=make_request(target="/a")).status == 200
    assert ask(require, someone(subject="b"), request=make_request(target="/a")).status == 403


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"roles": "admin"}, "roles"),
        ({"role": ["admin"]}, "role"),
        ({"scopes": ["a b"]}, "scopes"),
        ({"claims": ["a"]}, "claims"),
        ({"tenant": 7}, "tenant"),
        ({"check": True}, "check"),
        ({"decide": "x"}, "decide"),
        ({"methods": "GET"}, "methods"),
        ({"grants": ["x"]}, "grants"),
        ({"grants": {"a": "b"}}, "grants"),
        ({"permissions": ["x"]}, "grants"),
        ({"permissions": ["x"], "grants": {"a": ["y"]}}, "grants"),
        ({"rules": []}, "rules"),
        ({"rules": ["/x"]}, "rules"),
        ({"rules": [Rule("/x")], "roles": ["a"]}, "rules"),
        ({"rules": [Rule("/x"), Rule("/x", roles=["a"])]}, "rules"),
        ({"rules": [Rule("/x")], "protected": "/x"}, "protected"),
        ({"rules": [Rule("/x")], "protected": ["x"]}, "protected"),
        ({"rules": [Rule("/x")], "default": "maybe"}, "default"),
        ({"default": "allow"}, "default"),
        ({"protected": ["/x"]}, "protected"),
        ({"hide": 1}, "hide"),
        ({"shadow": "yes"}, "shadow"),
        ({"name": "a b"}, "name"),
    ],
)
def test_wrong_options(options: dict[str, Any], parameter: str) -> None:
    """Each is named."""
    with pytest.raises(ConfigurationError) as raised:
        Require(**options)
    assert list(raised.value.problems) == [parameter]
