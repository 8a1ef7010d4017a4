"""Before the head and after the body: early hints and trailers, where the server can send them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from gatekit import Proxy, asgi, asgi_app
from gatekit._core.messages import Request, Response
from gatekit.typing import Handler, Message
from tests.proxy.messages import exchange_h2, messages
from tests.proxy.sites import Site, site
from tests.proxy.upstream import Peer, Upstream, answer

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nLink: </b>\r\nX-A: 1\r\n\r\n"
BODY = b"5\r\nhello\r\n0\r\n"
TRAILERS = "http.response.trailers"
HINTS = "http.response.early_hint"
WANTED = [(b"te", b"trailers")]


def said(upstream_says: bytes, **call: object) -> tuple[list[Message], bytes]:
    """The messages of one exchange, and the head that went up."""
    with Upstream(answer(upstream_says)) as upstream:

        async def run() -> list[Message]:
            app = asgi_app(Proxy(upstream.url))
            sent = await messages(app, **call)  # type: ignore[arg-type]
            await app.aclose()
            return sent

        return asyncio.run(run()), upstream.requests[0].head.lower()


def test_trailers_are_passed_on() -> None:
    """Where the client asked and the server can: announced, and sent after the last of the body."""
    whole = CHUNKED + b"Trailer: X-Sum, Set-Cookie\r\n\r\n" + BODY
    trailers = b"X-Sum: 1\r\nSet-Cookie: a=1\r\nConnection-Id: 7\r\n\r\n"
    sent, head = said(whole + trailers, headers=WANTED, extensions=[TRAILERS])
    assert b"\r\nte: trailers\r\n" in head
    assert b"\r\nconnection: te\r\n" in head
    assert sent[0]["trailers"] is True
    assert (b"trailer", b"X-Sum, Set-Cookie") in sent[0]["headers"]
    assert b"".join(message["body"] for message in sent[1:-1]) == b"hello"
    assert sent[-1]["type"] == TRAILERS
    # A cookie after the body is one that caches and filters have not seen.
    assert sent[-1]["headers"] == [(b"x-sum", b"1"), (b"connection-id", b"7")]


@pytest.mark.parametrize(
    ("headers", "extensions"),
    [
        pytest.param([], [TRAILERS], id="a client that did not ask"),
        pytest.param(WANTED, [], id="a server that cannot"),
    ],
)
def test_trailers_are_dropped(headers: list[tuple[bytes, bytes]], extensions: list[str]) -> None:
    """RFC 9110 §6.5.1 allows it; then nothing announces them either."""
    whole = CHUNKED + b"Trailer: X-Sum\r\n\r\n" + BODY + b"X-Sum: 1\r\n\r\n"
    sent, head = said(whole, headers=headers, extensions=extensions)
    assert b"\r\nte:" not in head
    assert {message["type"] for message in sent} == {"http.response.start", "http.response.body"}
    assert "trailers" not in sent[0]
    assert b"trailer" not in dict(sent[0]["headers"])
    assert b"".join(message["body"] for message in sent[1:]) == b"hello"


def test_a_body_that_came_whole_without_trailers_promises_none() -> None:
    """Most answers have none, and cost no message more."""
    sent, _ = said(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", headers=WANTED, extensions=[TRAILERS]
    )
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert "trailers" not in sent[0]


def test_a_changed_body_has_no_trailers() -> None:
    """A checksum of what the upstream sent is a lie about what the client gets."""

    class Shout:
        def feed(self, data: bytes) -> bytes:
            return data.upper()

        def finish(self) -> bytes:
            return b"!"

    async def shout(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        response.filter(Shout())
        return response

    with Upstream(answer(CHUNKED + b"\r\n" + BODY + b"X-Sum: 1\r\n\r\n")) as upstream:

        async def run() -> list[Message]:
            app = asgi_app(Proxy(upstream.url), shout)
            sent = await messages(app, headers=WANTED, extensions=[TRAILERS])
            await app.aclose()
            return sent

        sent = asyncio.run(run())
    assert b"".join(message.get("body", b"") for message in sent) == b"HELLO!"
    assert sent[-1]["type"] == "http.response.body"


def test_early_hints_come_before_the_head() -> None:
    """The `Link` fields of each 103, and nothing else of it; other 1xx heads have no message."""
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    other = b"HTTP/1.1 102 Processing\r\nLink: </x>\r\n\r\n"
    sent, _ = said(EARLY + other + EARLY + ok, extensions=[HINTS])
    hint = {"type": HINTS, "links": [b"</a>; rel=preload", b"</b>"]}
    assert sent[:2] == [hint, hint]
    assert [message["type"] for message in sent[2:]] == [
        "http.response.start",
        "http.response.body",
    ]


def test_an_outer_door_lets_both_through() -> None:
    """They cross the middlewares of a door around an app that has a proxy mounted."""
    with Upstream(answer(EARLY + CHUNKED + b"\r\n" + BODY + b"X-Sum: 1\r\n\r\n")) as upstream:

        async def run() -> list[Message]:
            inner = asgi_app(Proxy(upstream.url))
            sent = await messages(asgi(inner), headers=WANTED, extensions=[TRAILERS, HINTS])
            await inner.aclose()
            return sent

        sent = asyncio.run(run())
    assert sent[0]["type"] == HINTS
    assert sent[-1] == {"type": TRAILERS, "headers": [(b"x-sum", b"1")]}


@pytest.fixture(scope="module")
def http2() -> Iterator[Site]:
    with site("hypercorn") as running:
        yield running


@pytest.mark.parametrize("trailers", [b"X-Sum: 1\r\n\r\n", b"\r\n"], ids=["trailers", "none"])
def test_under_http_2(http2: Site, trailers: bytes) -> None:
    """A server that can do both: the client sees hints, body and trailers as the upstream sent."""

    def play(peer: Peer, head: bytes) -> None:
        peer.send(EARLY + CHUNKED + b"\r\n" + BODY + trailers)

    http2.upstream_does("/both", play)
    seen = exchange_h2(http2.address, "/both", WANTED)
    assert [value for name, value in seen.early[0] if name == b"link"] == [
        b"</a>; rel=preload",
        b"</b>",
    ]
    assert seen.body == b"hello"
    assert seen.trailers == ([(b"x-sum", b"1")] if b"X-Sum" in trailers else [])
    assert exchange_h2(http2.address, "/both", []).trailers == []
