"""Security header fields on every response."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatekit import ConfigurationError, Rejected, Request, Response, asgi, wsgi
from gatekit.middleware.security_headers import PRESETS, SecurityHeaders
from gatekit.testing import Answer, call_asgi, call_wsgi, exercise, make_request
from gatekit.typing import Handler
from tests.conftest import Door
from tests.doors.messages import Server, websocket_scope
from tests.doors.spec import Spec

HSTS = "strict-transport-security"


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_is_sent(door: Door, preset: str) -> None:
    """Every field of the preset reaches the client once, HSTS apart."""
    answer = door(Spec(), SecurityHeaders(preset))
    wanted = {name: [value] for name, value in PRESETS[preset].items() if name != HSTS}
    assert {name: answer.headers.getlist(name) for name in wanted} == wanted
    assert HSTS not in answer.headers


def test_an_app_error_has_them(door: Door) -> None:
    """A 500 is protected like any other page."""
    answer = door(Spec(error=RuntimeError("boom")), SecurityHeaders())
    assert (answer.status, answer.headers["x-content-type-options"]) == (500, "nosniff")


def test_a_refusal_has_them(door: Door) -> None:
    """So is what gatekit answers itself."""

    async def refuse(request: Request, call_next: Handler) -> Response:
        raise Rejected(401)

    answer = door(Spec(), SecurityHeaders(), refuse)
    assert (answer.status, answer.headers["x-frame-options"]) == (401, "DENY")


def test_the_apps_own_field_wins(door: Door) -> None:
    """One view may have rules of its own."""
    spec = Spec(headers=[("content-type", "text/html"), ("X-Frame-Options", "SAMEORIGIN")])
    answer = door(spec, SecurityHeaders())
    assert answer.headers.getlist("x-frame-options") == ["SAMEORIGIN"]
    answer = door(spec, SecurityHeaders(replace=True))
    assert answer.headers.getlist("x-frame-options") == ["DENY"]


def test_replacing_leaves_alone_what_is_not_set() -> None:
    """`replace` touches the fields of this middleware only."""
    app = Response(headers={"permissions-policy": "camera=()", "content-type": "text/html"})
    answer = exercise(SecurityHeaders(replace=True), app=lambda request: app)
    assert answer.headers["permissions-policy"] == "camera=()"


def test_software_is_not_named(door: Door) -> None:
    """Fields that help an attacker choose are removed."""
    spec = Spec(
        headers=[("content-type", "text/plain"), ("Server", "x/1.2"), ("X-Powered-By", "y")]
    )
    answer = door(spec, SecurityHeaders())
    assert "server" not in answer.headers
    assert "x-powered-by" not in answer.headers
    answer = door(spec, SecurityHeaders(remove=["X-Debug"]))
    assert answer.headers["x-powered-by"] == "y"


@pytest.mark.parametrize(("scheme", "sent"), [("https", True), ("http", False)])
def test_hsts_is_sent_over_https_only(scheme: str, sent: bool) -> None:
    """RFC 6797 §7.2: not over a connection that is not secure, under either door."""
    app = asgi(Spec().asgi(), SecurityHeaders())
    answers: list[Answer] = [
        asyncio.run(call_asgi(app, scheme=scheme)),
        call_wsgi(wsgi(Spec().wsgi(), SecurityHeaders()), scheme=scheme),
    ]
    assert [HSTS in answer.headers for answer in answers] == [sent, sent]


@pytest.mark.parametrize(("forwarded", "sent"), [("https", True), ("http", False), (None, False)])
def test_a_trusted_proxy_says_whether_it_was_https(forwarded: str | None, sent: bool) -> None:
    """Where `ClientIP` took the scheme from a trusted proxy, that is the one that counts."""
    request = make_request()
    request.forwarded_scheme = forwarded
    assert (HSTS in exercise(SecurityHeaders(), request=request).headers) is sent


def test_hsts_when_told_so() -> None:
    """`hsts_always` is for a proxy that ends TLS in silence."""
    assert HSTS in exercise(SecurityHeaders(hsts_always=True)).headers


def test_a_field_can_be_changed_and_left_out(door: Door) -> None:
    """Each field is an option; None leaves it out, a string takes its place or adds it."""
    middleware = SecurityHeaders(
        "web",
        content_security_policy="default-src 'self'",
        cross_origin_resource_policy=None,
        x_robots_tag="noindex",
    )
    answer = door(Spec(), middleware)
    assert answer.headers["content-security-policy"] == "default-src 'self'"
    assert "cross-origin-resource-policy" not in answer.headers
    assert answer.headers["x-robots-tag"] == "noindex"


def test_an_accepted_websocket_is_left_alone() -> None:
    """A 101 has nothing to protect; a refused handshake is a response like any other."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept", "headers": []})
        await send({"type": "websocket.close", "code": 1000})

    server = Server(websocket_scope(), [{"type": "websocket.connect"}])
    asyncio.run(server.run(asgi(app, SecurityHeaders())))
    assert list(server.sent[0]["headers"]) == []


def test_all_wrong_options_are_named() -> None:
    """A misspelt field is an error, not a field that no browser knows."""
    with pytest.raises(ConfigurationError) as caught:
        SecurityHeaders(
            "paranoid",
            remove="Server",
            contet_security_policy="default-src 'none'",
            referrer_policy="no-referrer\r\nset-cookie: a=1",
            x_frame_options="",
        )
    assert set(caught.value.problems) == {
        "preset",
        "remove",
        "contet_security_policy",
        "referrer_policy",
        "x_frame_options",
    }
