"""Rules by path and method: which one decides, and what no rule may be got around by."""

from __future__ import annotations

import random
from typing import Any

import pytest

from gatekit import ConfigurationError, PathRules, Route, Router
from gatekit.middleware.auth.identity import Identity
from gatekit.middleware.auth.require import Require, Rule
from gatekit.testing import exercise
from tests.conftest import Door
from tests.doors.spec import Spec
from tests.middleware.auth.people import signed_in, someone

READER, ADMIN = someone(scopes={"read"}), someone(scopes={"read", "write"}, roles={"admin"})
RULES = [
    Rule("/health", public=True),
    Rule("/orders/*", methods=["GET"], scopes=["read"]),
    Rule("/orders/*", scopes=["write"]),
    Rule("/orders/{id}/notes", methods=["POST"], scopes=["read"]),
    Rule("/admin/*", roles=["admin"]),
    Rule("/admin/secrets/*", deny=True),
    Rule("/admin/secrets/mine", roles=["admin"]),
    Rule("/me"),
]


def status(require: Require, identity: Identity | None, method: str, target: str) -> int:
    return exercise(signed_in(identity), require, method=method, target=target).status


@pytest.mark.parametrize(
    ("identity", "method", "target", "expected"),
    [
        (None, "GET", "/health", 200),
        (None, "GET", "/me", 401),
        (READER, "DELETE", "/me", 200),
        (READER, "GET", "/orders", 200),
        (READER, "GET", "/orders/7/lines", 200),
        (READER, "HEAD", "/orders/7", 200),
        (READER, "POST", "/orders", 403),
        (ADMIN, "POST", "/orders", 200),
        (READER, "POST", "/orders/7/notes", 200),
        (READER, "GET", "/orders/7/notes", 200),
        (READER, "DELETE", "/orders/7/notes", 403),
        (READER, "get", "/orders", 403),
        (READER, "post", "/orders/7/notes", 403),
        (READER, "delete", "/me", 200),
        (None, "get", "/health", 200),
        (READER, "GET", "/admin", 403),
        (ADMIN, "GET", "/admin", 200),
        (ADMIN, "GET", "/admin/x/y", 200),
        (ADMIN, "GET", "/admin/secrets", 403),
        (ADMIN, "GET", "/admin/secrets/x", 403),
        (ADMIN, "GET", "/admin/secrets/mine", 403),
        (ADMIN, "GET", "/elsewhere", 403),
        (ADMIN, "GET", "/", 403),
        (None, "GET", "/elsewhere", 401),
        (ADMIN, "GET", "/Health", 403),
        (ADMIN, "GET", "/health/", 403),
    ],
)
def test_which_rule_decides(
    identity: Identity | None, method: str, target: str, expected: int
) -> None:
    """The most specific that names the method; a denial over all; without a rule nobody."""
    assert status(Require(rules=RULES), identity, method, target) == expected


AROUND = [
    "//admin",
    "/admin//x",
    "/admin/../health",
    "/health/../admin",
    "/./admin",
    "/%2fadmin",
    "/%2Fadmin",
    "/health%2f..%2fadmin",
    "/health/..%2fadmin",
    "/health/%2e%2e/admin",
    "/health%00/admin",
    "/health;/../admin",
    "/health/..;/admin",
    "/health\\..\\admin",
    "/health%5c..%5cadmin",
    "/%61dmin",
    "/admin%2fx",
    "/adm%69n/x",
    "/admin;x=1",
    "/health;x=1/../admin",
    "/%zzadmin",
    "/admin%3f",
    "/admin%23",
    "/admin%3fx=1",
    "/admin%252fx",
    "/%252e%252e/admin",
    "/%2561dmin",
]


@pytest.mark.parametrize("target", AROUND)
def test_there_is_no_way_around(door: Door, target: str) -> None:
    """However the path is written, who may not see `/admin` does not get to the app."""
    spec = Spec()
    rules = [Rule("/health/*", public=True), Rule("/admin/*", roles=["admin"])]
    answer = door(spec, signed_in(READER), Require(rules=rules), target=target.replace("\\", "%5C"))
    assert answer.status in {400, 403}
    assert spec.seen == []


@pytest.mark.parametrize("target", sorted({*AROUND} - {"/health%00/admin", "/%zzadmin"}))
def test_nor_one_that_only_some_paths_are_protected_from(target: str) -> None:
    """The same with `protected`: a path that somebody could read as one of them is refused."""
    rules = [Rule("/admin/*", roles=["admin"])]
    require = Require(rules=rules, protected=["/admin/*"])
    assert status(require, READER, "GET", target) == 403
    assert status(require, None, "GET", target) == 401


def test_only_some_paths_are_protected() -> None:
    """Below them a path without a rule is refused; the others pass, odd ones too."""
    require = Require(rules=[Rule("/api/orders/*")], protected=["/api/*"])
    assert status(require, None, "GET", "/index.html") == 200
    assert status(require, None, "GET", "/files//a%2Fb") == 200
    assert status(require, None, "GET", "/api") == 401
    assert status(require, READER, "GET", "/api/users") == 403
    assert status(require, READER, "GET", "/api/orders/7") == 200


def test_the_default_may_be_to_allow() -> None:
    """Then only what a rule is for is asked; what could be read as that is refused."""
    require = Require(rules=[Rule("/admin/*", roles=["admin"])], default="allow")
    assert status(require, None, "GET", "/") == 200
    assert status(require, None, "GET", "/a//b") == 200
    assert status(require, None, "GET", "/admin") == 401
    assert status(require, READER, "GET", "//admin") == 403
    assert status(require, READER, "GET", "/admin/x") == 403


def test_what_paths_may_hold() -> None:
    """`paths` lifts a refusal, as for a `Router`."""
    rules = [Rule("/files/{name}")]
    assert status(Require(rules=rules), READER, "GET", "/files/a%2Fb") == 403
    lifted = Require(rules=rules, paths=PathRules(allow=["%2F"]))
    assert status(lifted, READER, "GET", "/files/a%2Fb") == 200


def test_rules_of_one_route() -> None:
    """A path that is mounted is matched below its mount."""
    require = Require(rules=[Rule("/x", public=True)])
    answer = exercise(require, target="/x")
    assert answer.status == 200
    assert answer.request.decisions[-1].outcome == "skip"


def test_it_agrees_with_the_router() -> None:
    """A thousand random paths find the rule that a router would send them to."""
    dice = random.Random(7)
    words = ["a", "b", "c", "{id}", "*"]

    async def answer(request: Any) -> Any: ...

    for _ in range(30):
        texts: set[str] = set()
        for _ in range(6):
            parts = [dice.choice(words[:4]) for _ in range(dice.randint(1, 3))]
            tail = ["*"] if dice.random() < 0.3 else []
            texts.add("/" + "/".join(parts + tail).replace("{id}", "{p}", 1))
        fit = [text for text in texts if text.count("{") < 2]
        shapes = {tuple("?" if "{" in part else part for part in text.split("/")) for text in fit}
        if len(shapes) < len(fit):
            continue
        rules = {text: Rule(text, roles=[text]) for text in fit}
        require = Require(rules=list(rules.values()))
        router = Router(*(Route(text, answer) for text in fit))
        for _ in range(30):
            path = "/" + "/".join(dice.choice("abcx") for _ in range(dice.randint(1, 4)))
            request = exercise(target=path).request
            found = router._table.find(request)
            expected = getattr(getattr(found, "route", None), "path", None)
            identity = someone(roles={expected} if expected else set())
            assert status(require, identity, "GET", path) == (200 if expected else 403)


@pytest.mark.parametrize(
    ("path", "options", "parameter"),
    [
        ("admin", {}, "path"),
        ("/a//b", {}, "path"),
        ("/a", {"roles": "x"}, "roles"),
        ("/a", {"methods": "GET"}, "methods"),
        ("/a", {"public": True, "roles": ["x"]}, "public"),
        ("/a", {"deny": True, "roles": ["x"]}, "deny"),
        ("/a", {"deny": True, "public": True}, "public"),
        ("/a", {"role": ["x"]}, "role"),
    ],
)
def test_wrong_rules(path: str, options: dict[str, Any], parameter: str) -> None:
    """Each mistake is named, with the path of its rule."""
    with pytest.raises(ConfigurationError) as raised:
        Rule(path, **options)
    assert list(raised.value.problems) == [parameter]


@pytest.mark.parametrize("target", ["/admin/..;/%2E%2E%5Cadmin%25%30%30", "/%61dmin%25%30%30"])
def test_with_protected_paths_too_no_reading_gets_around(target: str) -> None:
    """Whoever decodes twice and cuts at a NUL would be at `/admin`."""
    rules = Require(rules=RULES, protected=["/admin/*"])
    assert status(rules, READER, "GET", target) == 403
    assert status(rules, READER, "GET", "/elsewhere/100%25") == 200


def test_a_method_in_small_letters_is_no_way_around() -> None:
    """Flask and Django take it for the one in capitals, so that one's rule has to agree."""
    rules = Require(
        rules=[
            Rule("/orders/*", methods=["DELETE"], roles=["admin"]),
            Rule("/orders/*", scopes=["read"]),
        ]
    )
    for method, expected in (("PATCH", 200), ("patch", 200), ("DELETE", 403), ("delete", 403)):
        assert status(rules, READER, method, "/orders/7") == expected
