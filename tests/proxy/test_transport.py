"""One exchange after another, in every colour, against an upstream of bytes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gatekit.proxy.transport import Headers, InvalidMessage, UpstreamRequest
from tests.proxy.conftest import Dial
from tests.proxy.upstream import Peer, Upstream, answer, answer_and_close

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def test_small_answers_are_whole_and_share_a_connection(dial: Dial) -> None:
    """The connection is back in the pool when the response is in the caller's hands."""
    with Upstream(answer(HELLO, HELLO, HELLO)) as upstream:
        client = dial(upstream.url)
        for _ in range(3):
            response = client.get()
            assert (response.status, response.body) == (200, b"hello")
            assert client.usage == (0, 1, 0)
    assert upstream.connections == 1


def test_the_request_arrives_byte_for_byte(dial: Dial) -> None:
    """Path and query are not normalised, fields neither merged nor renamed, nothing is added."""
    with Upstream(answer(EMPTY)) as upstream:
        client = dial(upstream.url)
        fields = [(b"X-A", b"1"), (b"cookie", b"a"), (b"x-a", b"2"), (b"Host", b"public.example")]
        client.send(UpstreamRequest(b"DELETE", b"/a//../%2e%2F%zz?q=a+b&q=%20&&", fields))
    assert upstream.requests[0].head == (
        b"DELETE /a//../%2e%2F%zz?q=a+b&q=%20&& HTTP/1.1\r\n"
        b"X-A: 1\r\ncookie: a\r\nx-a: 2\r\nhost: public.example\r\n\r\n"
    )


def test_the_answer_comes_back_byte_for_byte(dial: Dial) -> None:
    """No cookie is kept, no redirect followed, nothing decompressed or merged."""
    head = (
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n"
    )
    with Upstream(answer(head + b"\x1f\x8b\x00\x00", EMPTY)) as upstream:
        client = dial(upstream.url)
        response = client.get()
        assert response.status == 302
        assert response.headers == [
            (b"location", b"/elsewhere"),
            (b"set-cookie", b"a=1"),
            (b"set-cookie", b"b=2"),
            (b"content-encoding", b"gzip"),
            (b"content-length", b"4"),
        ]
        assert response.body == b"\x1f\x8b\x00\x00"
        client.get()
    assert upstream.requests[1].values(b"cookie") == []


def test_head_and_body_leave_in_one_call(dial: Dial) -> None:
    """A small request is one segment: one system call here, one wake-up there."""
    arrived: list[bytes] = []

    def script(peer: Peer) -> None:
        arrived.append(peer.socket.recv(65536))
        peer.send(EMPTY)

    with Upstream(script) as upstream:
        dial(upstream.url).send(UpstreamRequest(b"POST", b"/", [], b"x" * 10_000))
    assert arrived[0].endswith(b"\r\n\r\n" + b"x" * 10_000)


def test_a_body_is_passed_on_as_it_comes(dial: Dial) -> None:
    """Each piece is there before the next one is sent: server-sent events depend on it."""
    steps = [threading.Event() for _ in range(3)]

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number, step in enumerate(steps):
            assert step.wait(10)
            peer.send(b"6\r\ndata %d\r\n" % number)
        peer.send(b"0\r\nX-Sum: 3\r\n\r\n")
        peer.read_to_end()

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        response = client.get()
        assert not isinstance(response.body, bytes)
        assert client.usage == (1, 0, 0)
        for number, step in enumerate(steps):
            step.set()
            assert client.next(response) == b"data %d" % number
        assert client.next(response) == b""
        assert response.trailers == [(b"x-sum", b"3")]
        assert client.usage == (0, 1, 0)


def test_a_large_body_comes_whole(dial: Dial) -> None:
    """In the order it was sent, with its length as the upstream said it."""
    body = bytes(range(256)) * 8192
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    with Upstream(answer(head + body, HELLO)) as upstream:
        client = dial(upstream.url)
        response = client.get()
        assert response.headers == [(b"content-length", b"%d" % len(body))]
        assert client.read(response) == body
        assert client.get().body == b"hello"
    assert upstream.connections == 1


def test_a_body_until_the_close(dial: Dial) -> None:
    """It ends with the connection, which is not used again."""
    with Upstream(answer_and_close(b"HTTP/1.1 200 OK\r\n\r\nhello")) as upstream:
        client = dial(upstream.url)
        assert client.read(client.get()) == b"hello"
        assert client.usage == (0, 0, 0)


@pytest.mark.parametrize(
    ("method", "response"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    ],
)
def test_answers_without_a_body(dial: Dial, method: bytes, response: bytes) -> None:
    """They are whole with the head, and their connection serves on."""
    with Upstream(answer(response, HELLO)) as upstream:
        client = dial(upstream.url)
        assert client.send(UpstreamRequest(method, b"/", [])).body == b""
        assert client.get().body == b"hello"
    assert upstream.connections == 1


def test_early_hints_arrive_before_the_answer(dial: Dial) -> None:
    """The callback is told while the upstream is still at work; 100 is nobody's business."""
    hinted = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        assert hinted.wait(10)
        peer.send(HELLO)

    seen: list[tuple[int, Headers]] = []

    def on_informational(status: int, fields: Headers) -> None:
        seen.append((status, fields))
        hinted.set()

    with Upstream(script) as upstream:
        request = UpstreamRequest(b"GET", b"/", [], on_informational=on_informational)
        response = dial(upstream.url).send(request)
        assert (response.status, response.body) == (200, b"hello")
    assert seen == response.informational == [(103, [(b"link", b"</a>")])]


def test_a_callback_that_fails_fails_the_exchange(dial: Dial) -> None:
    """Its error reaches the caller, and the connection is not left half-read."""

    def on_informational(status: int, fields: Headers) -> None:
        raise LookupError("from the callback")

    with Upstream(answer(b"HTTP/1.1 103 X\r\n\r\n" + HELLO)) as upstream:
        client = dial(upstream.url)
        with pytest.raises(LookupError, match="from the callback"):
            client.send(UpstreamRequest(b"GET", b"/", [], on_informational=on_informational))
        assert client.usage == (0, 0, 0)


def test_an_invalid_request_opens_no_connection(dial: Dial) -> None:
    """It is refused before anything is taken or written."""
    with Upstream(answer(HELLO)) as upstream:
        client = dial(upstream.url)
        for fields in ([(b"a b", b"")], [(b"a", b"\r\nx: y")]):
            with pytest.raises(InvalidMessage):
                client.send(UpstreamRequest(b"GET", b"/", fields))
        assert client.usage == (0, 0, 0)
    assert upstream.connections == 0


def test_unix_sockets(dial: Dial, tmp_path: Path) -> None:
    """Named as `unix:/path`, or with a base path as `http+unix://`."""
    path = tmp_path / "app.sock"
    with Upstream(answer(HELLO), uds=path) as upstream:
        assert dial(upstream.url).get().body == b"hello"
        quoted = str(path).replace("/", "%2F")
        client = dial(f"http+unix://{quoted}/base")
        assert client.get().body == b"hello"
        assert client.origin.base == b"/base"
    assert upstream.requests[0].values(b"host") == [b"localhost"]


def test_a_name_is_resolved(dial: Dial) -> None:
    """And every address of it is tried: `localhost` may be ::1 first, where nobody listens."""
    with Upstream(answer(HELLO)) as upstream:
        client = dial(f"http://localhost:{upstream.port}")
        assert client.get().body == b"hello"
    assert upstream.requests[0].values(b"host") == [b"localhost:%d" % upstream.port]


def test_a_response_may_come_in_any_pieces(dial: Dial) -> None:
    """Byte by byte, head and chunks."""
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n"

    def script(peer: Peer) -> None:
        for _ in range(2):
            peer.read_request()
            for byte in data:
                peer.send(bytes([byte]))
        peer.read_to_end()

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        for _ in range(2):
            response = client.get()
            assert client.read(response) == b"hello"
            assert response.trailers == [(b"a", b"b")]
    assert upstream.connections == 1
