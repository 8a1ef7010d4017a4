"""What another site's page can make a browser send does not get through."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from gatekit import ConfigurationError, Decision, asgi
from gatekit.middleware.client_ip import ClientIP
from gatekit.middleware.csrf import CSRF
from gatekit.testing import Answer, exercise
from tests.conftest import Door
from tests.doors.messages import Server, websocket_scope
from tests.doors.spec import Spec

OURS, APP, EVIL = "http://testserver", "https://app.example", "https://evil.example"
COOKIE = {"cookie": "session=1"}


def ask(csrf: CSRF, method: str = "POST", **call: Any) -> Answer:
    return exercise(csrf, method=method, **call)


def test_a_forged_request_does_not_reach_the_app(door: Door) -> None:
    """403 with a problem; what the site's own page sends gets through."""
    csrf, spec = CSRF(), Spec()
    forged = door(
        spec, csrf, method="POST", headers={"origin": EVIL, "sec-fetch-site": "cross-site"}
    )
    assert forged.status == 403
    assert json.loads(forged.body)["type"] == "urn:gatekit:csrf"
    assert spec.seen == []
    own = {"origin": OURS, "sec-fetch-site": "same-origin", **COOKIE}
    assert door(spec, csrf, method="POST", headers=own).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "Same-Origin"}, 403),
        ({"sec-fetch-site": "anything else"}, 403),
        ({"sec-fetch-site": ""}, 403),
        ({"sec-fetch-site": "cross-site", "origin": OURS}, 403),
        ({"sec-fetch-site": "same-origin", "origin": EVIL}, 200),  # the browser knows better
        ({"sec-fetch-site": "cross-site", "origin": APP}, 200),
        ({"origin": OURS}, 200),
        ({"origin": "https://testserver"}, 200),  # TLS may have ended in front
        ({"origin": "http://testserver:8000"}, 403),
        ({"origin": EVIL}, 403),
        ({"origin": APP}, 200),
        ({"origin": "https://app.example.evil.example"}, 403),
        ({"origin": "http://app.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({}, 200),
        (COOKIE, 403),
        ({"authorization": "Basic YTpi"}, 403),
        ({"authorization": "NTLM x"}, 403),
        ({"authorization": "Bearer x"}, 200),
        ({"x-api-key": "x"}, 200),
    ],
)
def test_what_a_browser_says(headers: dict[str, str], status: int) -> None:
    """`Sec-Fetch-Site` first, then `Origin`; without both only who brings nothing by itself."""
    assert ask(CSRF(trusted_origins=[APP]), headers=headers).status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "QUERY", "TRACE", "get", "X"])
def test_which_methods_are_looked_at(method: str) -> None:
    """All but the three that change nothing."""
    assert ask(CSRF(), method, headers={"sec-fetch-site": "cross-site"}).status == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_methods_pass(method: str) -> None:
    """Links from other sites lead here, and preflights come here."""
    assert ask(CSRF(), method, headers={"sec-fetch-site": "cross-site"}).status == 200


def test_two_answers_are_none() -> None:
    """Several values of either field are refused, whatever they are."""
    for name, value in (("sec-fetch-site", "same-origin"), ("origin", OURS)):
        assert ask(CSRF(), headers=[(name, value), (name, value)]).status == 403
        assert ask(CSRF(), headers={name: f"{value}, {value}"}).status == 403


@pytest.mark.parametrize(
    ("unmarked", "with_cookie", "without"),
    [("without-credentials", 403, 200), ("allow", 200, 200), ("deny", 403, 403)],
)
def test_what_is_no_browser(unmarked: Any, with_cookie: int, without: int) -> None:
    """A request without either field is from a program, or from a very old browser."""
    csrf = CSRF(unmarked=unmarked)
    assert ask(csrf, headers=COOKIE).status == with_cookie
    assert ask(csrf).status == without


def test_behind_a_proxy() -> None:
    """The host and scheme that a trusted proxy reports are those that the page is compared with."""
    trusted = ClientIP(trusted=["127.0.0.1"], allowed_hosts=["shop.example"])
    headers = {
        "x-forwarded-host": "shop.example",
        "x-forwarded-proto": "https",
        "origin": "https://shop.example",
    }
    assert exercise(trusted, CSRF(), method="POST", headers=headers).status == 200
    assert exercise(CSRF(), method="POST", headers=headers).status == 403
    headers["origin"] = "http://shop.example"
    assert exercise(trusted, CSRF(), method="POST", headers=headers).status == 403


def test_a_field_of_our_own() -> None:
    """With `header` a script must send it; a form cannot, and the origin counts all the same."""
    csrf = CSRF(header="X-CSRF")
    field = {"x-csrf": "1"}
    assert ask(csrf, headers={"origin": OURS}).status == 403
    assert ask(csrf, headers={"origin": OURS, **field}).status == 200
    assert ask(csrf, headers={"origin": EVIL, **field}).status == 403
    assert ask(csrf, headers={**COOKIE, **field}).status == 200
    assert ask(csrf, headers=COOKIE).status == 403
    assert ask(csrf).status == 403
    assert ask(csrf, "GET").status == 200


def test_webhooks_are_exempt() -> None:
    """By path, matched as in routes; one that could be read in two ways is not exempt."""
    csrf = CSRF(exempt=["/hooks/*"])
    headers = {"sec-fetch-site": "cross-site"}
    assert ask(csrf, target="/hooks/pay", headers=headers).status == 200
    for target in ("/orders", "/hooks/../orders", "/hooks/..%2forders", "//hooks/pay"):
        assert ask(csrf, target=target, headers=headers).status == 403


def test_in_the_shadow(caplog: pytest.LogCaptureFixture) -> None:
    """What would be refused passes, and is noted and logged."""
    with caplog.at_level(logging.WARNING, "gatekit.csrf"):
        answer = ask(CSRF(shadow=True), headers={"origin": EVIL})
    assert answer.status == 200
    assert answer.request.decisions == [Decision("csrf", "shadow_deny", "from another origin")]
    assert "let pass a forged request: from another origin" in caplog.text


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ([(b"origin", b"http://testserver")], "websocket.accept"),
        ([(b"origin", EVIL.encode())], "websocket.close"),
        ([(b"origin", EVIL.encode()), (b"x-csrf", b"1")], "websocket.close"),
        ([(b"cookie", b"a=b")], "websocket.close"),
        ([], "websocket.accept"),
    ],
)
def test_a_websocket_is_looked_at(headers: list[tuple[bytes, bytes]], kind: str) -> None:
    """Its handshake is a GET with cookies that no browser stops; it can carry no field of ours."""

    async def accept(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    scope = websocket_scope(headers=[(b"host", b"testserver"), *headers])
    server = Server(scope, [{"type": "websocket.connect"}])
    asyncio.run(server.run(asgi(accept, CSRF(header="X-CSRF"))))
    assert server.kinds == [kind]


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"trusted_origins": ["*"]}, "trusted_origins"),
        ({"trusted_origins": ["null"]}, "trusted_origins"),
        ({"trusted_origins": APP}, "trusted_origins"),
        ({"trusted_origins": ["app.example"]}, "trusted_origins"),
        ({"header": "a b"}, "header"),
        ({"token": b"secret"}, "token"),
        ({"exempt": ["hooks"]}, "exempt"),
        ({"exempt": "/hooks"}, "exempt"),
        ({"unmarked": "maybe"}, "unmarked"),
        ({"shadow": 1}, "shadow"),
        ({"origins": [APP]}, "origins"),
    ],
)
def test_wrong_options(options: dict[str, Any], parameter: str) -> None:
    """Each is named; above all a list that would admit everybody."""
    with pytest.raises(ConfigurationError) as raised:
        CSRF(**options)
    assert list(raised.value.problems) == [parameter]
