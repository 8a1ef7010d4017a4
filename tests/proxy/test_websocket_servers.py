"""WebSockets through every ASGI server: what each lets through, and what it keeps to itself."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Close
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.proxy.sockets import CLOSE, CONTINUED, closing, frame, read_frame, switch
from tests.proxy.upstream import Peer, Upstream
from tests.servers import Kind, run, serve

REASON = "é" * 61 + "x"
CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 4999]


class Front(NamedTuple):
    """A server: what it tells of a client's close, and whether its accepts have fields."""

    kind: Kind
    options: tuple[str, ...] = ()
    tells_close: bool = True
    tells_reason: bool = True
    sends_fields: bool = True


FRONTS = {
    "uvicorn": Front("uvicorn", ("--ws", "websockets-sansio")),
    "uvicorn-wsproto": Front("uvicorn", ("--ws", "wsproto")),
    "uvicorn-websockets": Front("uvicorn", ("--ws", "websockets")),
    "hypercorn": Front("hypercorn", tells_close=False),
    "granian": Front("granian", tells_reason=False, sends_fields=False),
}


class Setup(NamedTuple):
    """A server before an upstream that behaves as the path says."""

    front: Front
    url: str
    ends: queue.Queue[tuple[int, bytes] | None]
    late: threading.Event

    def connect(self, path: str) -> ClientConnection:
        offer = [Subprotocol("chat"), Subprotocol("superchat")]
        return connect(self.url + path, subprotocols=offer, proxy=None, open_timeout=10)

    def end_of(self, path: str) -> Close | None:
        """The close frame that a client is sent, None where it is dropped."""
        with self.connect(path) as client, pytest.raises(ConnectionClosed) as caught:
            client.recv(timeout=10)
        return caught.value.rcvd


@pytest.fixture(scope="module", params=FRONTS)
def setup(request: pytest.FixtureRequest) -> Iterator[Setup]:
    front = FRONTS[request.param]
    ends: queue.Queue[tuple[int, bytes] | None] = queue.Queue()
    late = threading.Event()

    def script(peer: Peer) -> None:
        handshake = peer.read_request()
        path = handshake.head.split(b" ")[1].decode()
        if path == "/deny":
            peer.send(b"HTTP/1.1 418 X\r\nX-Why: pot\r\nDate: now\r\nContent-Length: 3\r\n\r\ntea")
            return
        if path == "/late":
            assert late.wait(10)
        choice = b"Sec-WebSocket-Protocol: superchat"
        switch(peer, handshake, choice, b"Set-Cookie: a=1", b"Set-Cookie: b=2", b"Date: now")
        if path == "/lost":
            return
        if path.startswith("/close/"):
            peer.send(closing(int(path[7:]), REASON.encode()))
            read_frame(peer)
            return
        while True:
            try:
                opcode, data = read_frame(peer)
            except ConnectionError:
                ends.put(None)
                return
            peer.send(reply(opcode, data))
            if opcode == CLOSE:
                ends.put((opcode, data))
                return

    target = "tests.proxy.gateway_app:app"
    with Upstream(script) as upstream:
        env = {"UPSTREAM": upstream.url}
        with serve(front.kind, target, env=env, options=front.options) as server:
            yield Setup(front, server.url.replace("http", "ws", 1), ends, late)


def reply(opcode: int, data: bytes) -> bytes:
    """The same back; a message in two frames."""
    if opcode == CLOSE:
        return frame(CLOSE, data)
    return frame(opcode, data[:10], fin=False) + frame(CONTINUED, data[10:])


def test_messages_and_fields(setup: Setup) -> None:
    """Large and fragmented messages, either way; the subprotocol and each cookie."""
    with setup.connect("/") as client:
        assert client.subprotocol == "superchat"
        assert client.response is not None
        cookies = client.response.headers.get_all("set-cookie")
        assert cookies == (["a=1", "b=2"] if setup.front.sends_fields else [])
        for message in ("κόσμε" * 20_000, bytes(100_000)):
            client.send(message)
            assert client.recv(timeout=10) == message
        client.send(["frag", "ments ", "of one"])
        assert client.recv(timeout=10) == "fragments of one"
    setup.ends.get(timeout=10)


def test_the_upstreams_close(setup: Setup) -> None:
    """Every code and reason reaches the client."""
    for code in CODES:
        assert setup.end_of(f"/close/{code}") == Close(code, REASON)


def test_the_clients_close(setup: Setup) -> None:
    """Its code and reason reach the upstream, as far as the server tells of them."""
    for code in CODES:
        with setup.connect("/") as client:
            client.close(code, REASON)
        reason = REASON.encode() if setup.front.tells_reason else b""
        expected = (CLOSE, code.to_bytes(2, "big") + reason) if setup.front.tells_close else None
        assert setup.ends.get(timeout=10) == expected


def test_a_client_that_is_dropped(setup: Setup) -> None:
    """The upstream is let go, with a close or without."""
    with setup.connect("/") as client:
        client.socket.close()
    assert setup.ends.get(timeout=10) in (None, (CLOSE, b""))


def test_an_upstream_that_is_dropped(setup: Setup) -> None:
    """The client is told 1011."""
    assert setup.end_of("/lost") == Close(1011, "")


def test_a_refusal(setup: Setup) -> None:
    """Status, fields and body of the upstream's."""
    with pytest.raises(InvalidStatus) as caught:
        setup.connect("/deny")
    response = caught.value.response
    assert (response.status_code, bytes(response.body or b"")) == (418, b"tea")
    assert response.headers["x-why"] == "pot"


def test_a_handshake_that_takes_its_time(setup: Setup) -> None:
    """The door has begun to listen to the client by then, and the first message is not lost."""
    timer = threading.Timer(0.1, setup.late.set)
    timer.start()
    with setup.connect("/late") as client:
        client.send(b"early")
        assert client.recv(timeout=10) == b"early"
    timer.join()
    setup.ends.get(timeout=10)


def test_the_example() -> None:
    """A chat behind the gateway: two people talk, and one is told goodbye."""
    words = [sys.executable, "-m", "examples.websocket_proxy", "--port"]
    with run(lambda port: [*words, str(port)]) as server:
        url = f"{server.url.replace('http', 'ws', 1)}/chat?name="
        with connect(f"{url}ada", proxy=None) as ada, connect(f"{url}bob", proxy=None) as bob:
            assert ada.recv(timeout=10) == "ada is here"
            assert ada.recv(timeout=10) == bob.recv(timeout=10) == "bob is here"
            bob.send("hello")
            assert ada.recv(timeout=10) == bob.recv(timeout=10) == "bob: hello"
            bob.send("bye")
            with pytest.raises(ConnectionClosed) as caught:
                bob.recv(timeout=10)
            assert caught.value.rcvd == Close(4000, "see you")
