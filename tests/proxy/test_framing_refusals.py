"""How what is ambiguous is refused: before anything is forwarded, and for good."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatekit import Proxy, asgi_app
from gatekit.testing import Answer, call_asgi
from gatekit.typing import ASGIApp, Receive, Scope
from gatekit.typing import Send as SendMessage
from tests.proxy.handlers import echo, through_asgi, through_wsgi


def scoped(app: ASGIApp, **changes: Any) -> ASGIApp:
    """The app as a server sees it that fills a scope in another way."""

    async def changed(scope: Scope, receive: Receive, send: SendMessage) -> None:
        await app({**scope, **changes}, receive, send)

    return changed


AMBIGUOUS: list[list[tuple[str, str]]] = [
    [("content-length", "5"), ("transfer-encoding", "chunked")],
    [("content-length", "5"), ("content-length", "6")],
    [("content-length", "+5")],
    [("transfer-encoding", "xchunked")],
    [("host", "a"), ("host", "b")],
    [("host", "a@b")],
]


@pytest.mark.parametrize("fields", AMBIGUOUS, ids=str)
def test_after_an_ambiguous_request_the_connection_ends(fields: list[tuple[str, str]]) -> None:
    """RFC 9112 §6.1: what follows may be the rest of a body, and would be taken for a request."""
    transport = echo()
    proxy = Proxy("http://users", transport=transport)
    answer = through_asgi(proxy, method="POST", headers=fields, body=b"hello")
    assert answer.status in (400, 501)
    assert answer.headers["connection"] == "close"
    assert transport.requests == []


def test_where_it_may_not_be_said_it_is_not() -> None:
    """A WSGI app must not use fields of one hop (PEP 3333); HTTP/2 has no such field."""
    proxy = Proxy("http://users", transport=echo())
    both = [("content-length", "5"), ("transfer-encoding", "chunked")]
    refused = through_wsgi(proxy, method="POST", headers=both, body=b"hello")
    assert refused.status == 400
    assert "connection" not in refused.headers
    app = scoped(asgi_app(proxy), http_version="2")
    second = asyncio.run(call_asgi(app, "POST", headers=[("content-length", "+5")]))
    assert second.status == 400
    assert "connection" not in second.headers


def test_a_refused_tunnel_ends_the_connection() -> None:
    """What a client sends after CONNECT is not HTTP, or only looks like it."""
    answer = through_asgi(Proxy("http://users", transport=echo()), method="CONNECT")
    assert (answer.status, answer.headers["connection"]) == (405, "close")


@pytest.mark.parametrize(("version", "status"), [("1.1", 400), ("1.0", 200), ("2", 200)])
def test_a_request_without_a_host(version: str, status: int) -> None:
    """RFC 9112 §3.2: in HTTP/1.1 a 400; before that there was no such field."""
    transport = echo()
    app = asgi_app(Proxy("http://users", transport=transport))

    async def call() -> Answer:
        return await call_asgi(scoped(app, http_version=version, headers=[]))

    assert asyncio.run(call()).status == status
    assert len(transport.requests) == (status == 200)


VARIANTS = [
    "x_forwarded_for",
    "x-forwarded_for",
    "x_forwarded_user",
    "x_real_ip",
    "content_length",
    "transfer_encoding",
    "proxy_authorization",
    "http2_settings",
]


def test_no_spelling_of_what_this_hop_says() -> None:
    """`underscores="allow"` is for a client's own fields; an upstream may read `_` as `-`."""
    transport = echo()
    proxy = Proxy("http://users", transport=transport, underscores="allow")
    fields = [*((name, "evil") for name in VARIANTS), ("x_own", "1")]
    through_asgi(proxy, headers=fields)
    sent = transport.requests[0].headers
    assert sent["x_own"] == "1"
    assert not set(sent) & set(VARIANTS)
