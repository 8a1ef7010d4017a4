"""The handshake: the upstream is asked first, and the client told what it said."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatekit import (
    CORS,
    ConfigurationError,
    Gateway,
    Proxy,
    RateLimit,
    Rejected,
    Request,
    Response,
    Route,
    WebSockets,
    asgi_app,
)
from gatekit.testing import call_asgi, upstream
from gatekit.typing import Handler
from tests.proxy.handlers import Send
from tests.proxy.loops import Run, until
from tests.proxy.sockets import Client, accept, accepting, echo, read_frame
from tests.proxy.upstream import Peer, Received, Upstream, answer, hang_up, silent


def names(request: Received) -> dict[bytes, list[bytes]]:
    """The fields of a request by name."""
    found: dict[bytes, list[bytes]] = {}
    for line in request.head.split(b"\r\n")[1:-2]:
        name, _, value = line.partition(b": ")
        found.setdefault(name.lower(), []).append(value)
    return found


OFFER = [
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
    ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
    ("sec-websocket-protocol", "chat, superchat"),
    ("sec-websocket-protocol", "chat"),
    ("origin", "https://app.example"),
    ("cookie", "session=1"),
    ("x-forwarded-for", "6.6.6.6"),
    ("te", "trailers"),
    ("connection", "x-hop"),
    ("x-hop", "1"),
    ("authorization", "Bearer token"),
]


def test_what_the_upstream_is_asked(run: Run) -> None:
    """End-to-end fields pass; the key is ours, no extension is offered, each subprotocol once."""

    async def main() -> None:
        app = asgi_app(Proxy(f"{server.url}/v1", strip_prefix="/chat"))
        async with Client(app, OFFER, target="/chat/caf%C3%A9?x=1&x=2") as client:
            await client.accepted()
            client.leave()

    with Upstream(echo) as server:
        run(main())
    [request] = server.requests
    assert request.head.startswith(b"GET /v1/caf%C3%A9?x=1&x=2 HTTP/1.1\r\n")
    fields = names(request)
    [key] = fields.pop(b"sec-websocket-key")
    assert len(key) == 24 and key != OFFER[0][1].encode()
    assert fields == {
        b"host": [f"127.0.0.1:{server.port}".encode()],
        b"connection": [b"Upgrade"],
        b"upgrade": [b"websocket"],
        b"sec-websocket-version": [b"13"],
        b"sec-websocket-protocol": [b"chat, superchat"],
        b"origin": [b"https://app.example"],
        b"cookie": [b"session=1"],
        b"authorization": [b"Bearer token"],
        b"x-forwarded-for": [b"127.0.0.1"],
        b"x-forwarded-proto": [b"http"],
        b"x-forwarded-host": [b"testserver"],
        b"x-forwarded-prefix": [b"/chat"],
        b"forwarded": [b'for=127.0.0.1;proto=http;host="testserver"'],
        b"via": [b"1.1 gatekit"],
    }


def test_the_accept_is_the_upstreams(run: Run) -> None:
    """Its subprotocol and fields reach the client; what the client's own server writes does not."""

    async def main() -> None:
        async with Client(asgi_app(Proxy(server.url)), OFFER) as client:
            message = await client.said()
            assert (message["type"], message["subprotocol"]) == ("websocket.accept", "superchat")
            assert message["headers"] == [
                (b"set-cookie", b"a=1"),
                (b"set-cookie", b"b=2"),
                (b"x-room", b"7"),
                (b"via", b"1.1 gatekit"),
            ]
            client.leave()

    fields = [b"Set-Cookie: a=1", b"Sec-WebSocket-Protocol: superchat", b"Set-Cookie: b=2"]
    fields += (b"X-Room: 7", b"Keep-Alive: 5", b"Date: today", b"Server: chat")

    def script(peer: Peer) -> None:
        accept(peer, *fields)
        read_frame(peer)

    with Upstream(script) as server:
        run(main())


def test_subprotocols_may_be_restricted(run: Run) -> None:
    """Those that are not allowed are not offered on."""

    async def main() -> None:
        proxy = Proxy(server.url, websockets=WebSockets(subprotocols=["superchat"]))
        async with Client(asgi_app(proxy), OFFER) as client:
            assert (await client.said())["subprotocol"] is None
            client.leave()

    with Upstream(echo) as server:
        run(main())
    assert names(server.requests[0])[b"sec-websocket-protocol"] == [b"superchat"]


ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
SWITCH = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(answer(SWITCH + b"\r\n"), id="without an accept"),
        pytest.param(answer(SWITCH + ACCEPT + b"\r\n\r\n"), id="the accept of another key"),
        pytest.param(accepting(Peer.read_to_end, ACCEPT), id="two accepts"),
        pytest.param(
            accepting(Peer.read_to_end, b"Sec-WebSocket-Extensions: permessage-deflate"),
            id="an extension",
        ),
        pytest.param(
            accepting(Peer.read_to_end, b"Sec-WebSocket-Protocol: other"), id="another subprotocol"
        ),
        pytest.param(
            accepting(Peer.read_to_end, b"Sec-WebSocket-Protocol: chat, superchat"),
            id="two subprotocols",
        ),
        pytest.param(accepting(Peer.read_to_end, b"Upgrade: h2c"), id="two upgrades"),
        pytest.param(
            answer(b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
            id="an upgrade to h2c",
        ),
        pytest.param(answer(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n"), id="no Connection"),
        pytest.param(hang_up, id="nothing"),
    ],
)
def test_an_answer_that_is_none(run: Run, script: Any) -> None:
    """RFC 6455 §4.1: the client is told 502, and the connection is closed."""

    async def main() -> None:
        proxy = Proxy(server.url)
        async with Client(asgi_app(proxy), OFFER) as client:
            status, body = await client.denied()
            assert status == 502 and b"urn:gatekit:upstream-broken" in body
        assert proxy._switchboard.open == 0

    with Upstream(script) as server:
        run(main())


def test_a_refusal_of_the_upstream_is_given_on(run: Run) -> None:
    """Its status, fields and body are the denial response."""

    async def main() -> None:
        async with Client(asgi_app(Proxy(server.url))) as client:
            start = await client.said()
            assert start["status"] == 403
            assert (b"x-why", b"banned") in start["headers"]
            assert (await client.said())["body"] == b"go away"

    refusal = b"HTTP/1.1 403 X\r\nX-Why: banned\r\nContent-Length: 7\r\n\r\ngo away"
    with Upstream(answer(refusal)) as server:
        run(main())


def test_a_refusal_may_be_streamed(run: Run) -> None:
    """A body that comes in chunks reaches the client whole."""

    async def main() -> None:
        async with Client(asgi_app(Proxy(server.url))) as client:
            assert await client.denied() == (404, b"nothing here")

    chunks = b"7\r\nnothing\r\n5\r\n here\r\n0\r\n\r\n"
    with Upstream(
        answer(b"HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    ) as server:
        run(main())


def test_a_refusal_where_the_server_knows_no_denial(run: Run) -> None:
    """Then it is a close before the accept, which such servers answer with 403."""

    async def main() -> None:
        async with Client(asgi_app(Proxy(server.url)), can_be_denied=False) as client:
            assert await client.closed() == (1008, "")

    with Upstream(answer(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")) as server:
        run(main())


def test_an_upstream_that_is_not_there(run: Run) -> None:
    """502, as for any request."""

    async def main() -> None:
        async with Client(asgi_app(Proxy("http://127.0.0.1:1"))) as client:
            status, body = await client.denied()
            assert status == 502 and b"upstream-unreachable" in body

    run(main())


async def bearer(request: Request, call_next: Handler) -> Response:
    if request.headers.get("authorization") != "Bearer token":
        raise Rejected(401, headers={"www-authenticate": "Bearer"})
    return await call_next(request)


def test_every_middleware_sees_the_handshake(run: Run) -> None:
    """Authentication, a rate limit and CORS refuse it with their own status; nobody goes up."""
    limit = RateLimit("1/minute", key=lambda request: "one")
    cors = CORS(allow_origins=["https://app.example"])

    async def status(*headers: tuple[str, str]) -> int:
        async with Client(app, headers, target="/chat") as client:
            start = await client.said()
            if start["type"] == "websocket.accept":
                client.leave()
                return 101
            await client.said()
            return int(start["status"])

    async def main() -> None:
        token = ("authorization", "Bearer token")
        assert await status() == 401
        assert await status(token, ("origin", "https://evil.example")) == 403
        assert await status(token, ("origin", "https://app.example")) == 101
        assert await status(token) == 429

    with Upstream(echo) as server:
        app = Gateway(cors, bearer, limit, routes=[Route("/chat", Proxy(server.url))]).asgi()
        run(main())
    assert server.connections == 1


def test_a_handshake_that_is_replaced_on_its_way_out(run: Run) -> None:
    """The upstream, which had accepted, is let go."""

    async def refuses(request: Request, call_next: Handler) -> Response:
        assert (await call_next(request)).status == 101
        return Response.text("no", 418)

    async def main() -> None:
        proxy = Proxy(server.url)
        async with Client(asgi_app(proxy, refuses)) as client:
            assert await client.denied() == (418, b"no")
        assert proxy._switchboard.open == 0

    with Upstream(accepting(Peer.read_to_end)) as server:
        run(main())


def test_a_client_that_leaves_before_the_upstream_answers(run: Run) -> None:
    """The upstream is let go at once, and nothing is said to a client that is gone."""

    async def main() -> None:
        async with Client(asgi_app(Proxy(server.url))) as client:
            client.leave(1006)
        assert client._out.empty()

    with Upstream(silent) as server:
        run(main())


def test_one_that_is_cancelled_before_the_upstream_answers(run: Run) -> None:
    """A server that stops takes its upstreams with it."""

    async def main() -> None:
        async with Client(asgi_app(Proxy(server.url))) as client:
            await until(lambda: server.connections)
            client.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await client.task
            client.task = asyncio.create_task(asyncio.sleep(0))

    with Upstream(silent) as server:
        run(main())


def test_a_subprotocol_that_is_no_name(run: Run) -> None:
    """400: it could be read as something else further on."""

    async def main() -> None:
        async with Client(
            asgi_app(Proxy("http://chat")), [("sec-websocket-protocol", "a b")]
        ) as client:
            assert (await client.denied())[0] == 400

    run(main())


@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", "h2c, websocket", "websocket/13"])
def test_an_upgrade_to_websocket_where_there_is_none(send: Send, upgrade: str) -> None:
    """Under WSGI, or a server without WebSockets, a clear 501 and nothing upstream."""
    transport = upstream(lambda sent: Response.text("never"))
    headers = {"connection": "Upgrade", "upgrade": upgrade}
    answer = send(Proxy("http://chat", transport=transport), headers=headers)
    assert answer.status == 501 and "urn:gatekit:websocket-not-carried" in answer.text
    assert transport.requests == []


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.0", "IRC/6.9, RTA/x11", "websocketish"])
def test_any_other_upgrade_is_ignored(send: Send, upgrade: str) -> None:
    """RFC 9110 §7.8: it is this hop's, so the request goes on without it, as an ordinary one."""
    transport = upstream(lambda sent: Response.text("plain"))
    headers = {"connection": "Upgrade, HTTP2-Settings", "upgrade": upgrade, "http2-settings": "x"}
    answer = send(Proxy("http://chat", transport=transport), headers=headers)
    assert (answer.status, answer.text) == (200, "plain")
    sent = transport.requests[0].headers
    assert not {"upgrade", "connection", "http2-settings"} & set(sent)


@pytest.mark.parametrize(
    ("method", "connection"), [("POST", "Upgrade"), ("GET", "keep-alive"), ("HEAD", "Upgrade")]
)
def test_no_handshake_is_an_ordinary_request(send: Send, method: str, connection: str) -> None:
    """RFC 6455 §4.1: it is a GET whose `Connection` names the upgrade."""
    transport = upstream(lambda sent: Response(204))
    headers = {"connection": connection, "upgrade": "websocket"}
    proxy = Proxy("http://chat", transport=transport)
    assert send(proxy, method=method, headers=headers).status == 204
    assert "upgrade" not in transport.requests[0].headers


def test_websockets_may_be_refused(run: Run) -> None:
    """`websockets=False`: 501."""

    async def main() -> None:
        async with Client(asgi_app(Proxy("http://chat", websockets=False))) as client:
            status, body = await client.denied()
            assert status == 501 and b"urn:gatekit:websocket-not-carried" in body

    run(main())


def test_the_library_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are refused by name at construction; a proxy without does all else, and says 501."""
    monkeypatch.setattr("gatekit.proxy.websocket.options.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"gatekit-middleware\[websocket\]"):
        WebSockets()

    async def main() -> None:
        proxy = Proxy("http://chat", transport=upstream(lambda sent: Response.text("ok")))
        assert (await call_asgi(asgi_app(proxy))).status == 200
        async with Client(asgi_app(proxy)) as client:
            assert (await client.denied())[0] == 501

    run(main())


def test_wrong_options_are_told_together() -> None:
    """Each with the parameter's name; a misspelt one with the name that was meant."""
    with pytest.raises(ConfigurationError) as caught:
        WebSockets(max_message=0, idle=-1, ping_interval=True, drain=-1, subprotocols="chat")
    assert set(caught.value.problems) == {
        "max_message",
        "idle",
        "ping_interval",
        "drain",
        "subprotocols",
    }
    with pytest.raises(ConfigurationError, match="did you mean max_message"):
        WebSockets(max_mesage=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="websockets"):
        Proxy("http://chat", websockets=None)  # type: ignore[arg-type]
