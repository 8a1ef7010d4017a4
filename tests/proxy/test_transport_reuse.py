"""Which connection carries the next request, and when the request is sent again."""

from __future__ import annotations

import threading

import pytest

from gatekit.errors import UpstreamError
from gatekit.proxy.transport import HTTPTransport, Origin, UpstreamRequest
from tests.proxy.conftest import Dial
from tests.proxy.upstream import Peer, Script, Upstream, answer, answer_and_close, hang_up

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


def answer_then(response: bytes, end: str) -> Script:
    """Answer one request; read the next one and end the connection, by FIN or by RST."""

    def play(peer: Peer) -> None:
        peer.read_request()
        peer.send(response)
        peer.read_head()
        if end == "reset":
            peer.reset()

    return play


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    ("method", "body"),
    [(b"GET", None), (b"HEAD", None), (b"PUT", b"x"), (b"DELETE", None), (b"OPTIONS", b"")],
)
def test_an_idempotent_request_is_sent_again(
    dial: Dial, method: bytes, body: bytes | None, end: str
) -> None:
    """RFC 9110 §9.2.2: once, on a new connection, if the idle one ended without a byte."""
    head = b"HTTP/1.1 204 X\r\n\r\n"
    with Upstream(answer_then(HELLO, end), answer(head)) as upstream:
        client = dial(upstream.url)
        client.get()
        assert client.send(UpstreamRequest(method, b"/", [], body)).status == 204
        assert upstream.connections == 2
        assert client.usage == (0, 1, 0)


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(UpstreamRequest(b"POST", b"/", [], b"x"), id="POST"),
        pytest.param(UpstreamRequest(b"PATCH", b"/", []), id="PATCH"),
        pytest.param(UpstreamRequest(b"PROPFIND", b"/", []), id="an unknown method"),
        pytest.param(UpstreamRequest(b"PUT", b"/", [], ([b"x"], 1)), id="a stream"),
    ],
)
def test_no_other_request_is_sent_again(dial: Dial, request_: UpstreamRequest, end: str) -> None:
    """It may have been acted on, or cannot be said twice."""
    with Upstream(answer_then(HELLO, end), answer(HELLO)) as upstream:
        client = dial(upstream.url)
        client.get()
        with pytest.raises(UpstreamError) as error:
            client.send(request_)
        assert error.value.stage in {"closed", "reset", "send"}
        assert upstream.connections == 1
        assert client.usage == (0, 0, 0)


@pytest.mark.parametrize("method", [b"POST", b"GET"])
def test_a_connection_that_has_ended_already_carries_nothing(dial: Dial, method: bytes) -> None:
    """Least of all what cannot be sent again, though the loop had no turn to hear of the end."""
    ended = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(HELLO)
        peer.half_close()
        ended.set()

    with Upstream(script, answer(HELLO)) as upstream:
        client = dial(upstream.url)
        client.get()
        assert ended.wait(10)
        assert client.send(UpstreamRequest(method, b"/", [], b"x")).status == 200
        assert upstream.connections == 2
        assert client.usage == (0, 1, 0)


def test_a_new_connection_that_ends_is_no_reason_to_try_again(dial: Dial) -> None:
    """Only an idle connection may have been closed before it knew of the request."""
    with Upstream(hang_up) as upstream:
        client = dial(upstream.url)
        with pytest.raises(UpstreamError, match="without an answer") as error:
            client.get()
        assert error.value.stage == "closed"
        assert upstream.connections == 1


def test_it_is_sent_again_only_once(dial: Dial) -> None:
    """The second failure is the caller's."""
    with Upstream(answer_then(HELLO, "close"), hang_up) as upstream:
        client = dial(upstream.url)
        client.get()
        with pytest.raises(UpstreamError):
            client.get()
        assert upstream.connections == 2


def test_after_a_byte_of_the_answer_it_is_not_sent_again(dial: Dial) -> None:
    """The upstream has begun to act on it."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(HELLO)
        peer.read_head()
        peer.send(b"H")

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        client.get()
        with pytest.raises(UpstreamError, match="within the head") as error:
            client.get()
        assert error.value.stage == "closed"
        assert upstream.connections == 1


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(HELLO + b"x", id="a byte beyond the length"),
        pytest.param(HELLO + HELLO, id="another response"),
        pytest.param(CHUNKS + b"\r\n", id="a line end beyond the chunks"),
        pytest.param(CHUNKS + b"HTTP/1.1 200 OK\r\n", id="a head beyond the chunks"),
        pytest.param(HELLO.replace(b"OK", b"OK\r\nConnection: close"), id="Connection: close"),
        pytest.param(CHUNKS.replace(b"OK", b"OK\r\nConnection: close"), id="chunks and close"),
        pytest.param(HELLO.replace(b"1.1", b"1.0"), id="HTTP/1.0"),
    ],
)
def test_connections_that_are_not_used_again(dial: Dial, response: bytes) -> None:
    """The answer itself is good; what its connection says next is not to be trusted."""
    with Upstream(answer(response)) as upstream:
        client = dial(upstream.url)
        for number in (1, 2):
            assert client.read(client.get()) == b"hello"
            assert client.usage == (0, 0, 0)
            assert upstream.connections == number


def test_a_request_that_says_close_ends_its_connection(dial: Dial) -> None:
    """RFC 9112 §9.6, though the upstream may not say it in turn."""
    with Upstream(answer(HELLO)) as upstream:
        client = dial(upstream.url)
        client.send(UpstreamRequest(b"GET", b"/", [(b"connection", b"close")]))
        assert client.usage == (0, 0, 0)


@pytest.mark.parametrize(
    "unsolicited", [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", b"\r\n", b""]
)
def test_what_an_idle_connection_says_is_never_an_answer(dial: Dial, unsolicited: bytes) -> None:
    """Bytes or an end that nobody asked for: the connection is closed, the next one is new."""
    asked, said = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(HELLO)
        assert asked.wait(10)
        if unsolicited:
            peer.send(unsolicited)
        else:
            peer.half_close()
        said.set()
        assert b"GET /second" not in peer.read_to_end()

    with Upstream(script, answer(HELLO)) as upstream:
        client = dial(upstream.url)
        client.get(b"/first")
        asked.set()
        assert said.wait(10)
        if "Loop" in type(client).__name__:
            client.settle(lambda: client.usage.idle == 0)
        assert client.get(b"/second").body == b"hello"
        assert upstream.connections == 2


def test_idle_connections_grow_old(dial: Dial) -> None:
    """With a time to live of nought each exchange has its own."""
    with Upstream(answer(HELLO)) as upstream:
        client = dial(upstream.url, HTTPTransport(idle_ttl=0))
        for number in (1, 2, 3):
            client.get()
            assert upstream.connections == number
        assert client.usage == (0, 1, 0)


def test_old_connections_of_other_origins_are_closed_too(dial: Dial) -> None:
    """A new connection anywhere is the occasion on which all pools are swept."""
    transport = HTTPTransport(idle_ttl=0)
    closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(HELLO)
        peer.read_to_end()
        closed.set()

    with Upstream(script) as first, Upstream(answer(HELLO)) as second:
        client = dial(first.url, transport)
        client.get()
        origin, client.origin = client.origin, Origin(second.url)
        client.get()
        client.settle(closed.is_set)
        client.origin = origin
        assert client.usage == (0, 0, 0)


def test_closing_leaves_what_is_in_flight_alone(dial: Dial) -> None:
    """It goes on to its end, and its connection is closed then; new exchanges connect anew."""
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        assert go.wait(10)
        peer.send(b"world")
        assert peer.read_to_end() == b""

    with Upstream(script, answer(HELLO)) as upstream:
        client = dial(upstream.url)
        response = client.get()
        client.transport.close()
        if "Loop" in type(client).__name__:
            client.runner.run(client.transport.aclose())  # type: ignore[attr-defined]
        go.set()
        assert client.read(response) == b"helloworld"
        assert client.usage == (0, 0, 0)
        assert client.get().body == b"hello"
        assert upstream.connections == 2


def test_two_answers_at_once_are_one_answer(dial: Dial) -> None:
    """A second response in the wake of the first is not given to the next request."""
    with Upstream(answer_and_close(HELLO + HELLO.replace(b"hello", b"wrong"), HELLO)) as upstream:
        client = dial(upstream.url)
        assert [client.get().body, client.get().body] == [b"hello", b"hello"]
        assert upstream.connections == 2
