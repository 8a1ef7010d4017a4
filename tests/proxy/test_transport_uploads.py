"""Bodies of requests: whole ones, streams, and streams that end otherwise than they said."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from gatekit.errors import UpstreamError
from gatekit.proxy.transport import RequestBody, UpstreamRequest
from tests.proxy.conftest import Dial
from tests.proxy.upstream import Peer, Upstream, answer

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"
LARGE = bytes(range(256)) * 8192


def post(body: RequestBody) -> UpstreamRequest:
    return UpstreamRequest(b"POST", b"/upload", [], body)


@pytest.mark.parametrize(
    ("body", "received", "framing"),
    [
        pytest.param(None, b"", (b"content-length", []), id="none"),
        pytest.param(b"", b"", (b"content-length", [b"0"]), id="empty"),
        pytest.param(b"abc", b"abc", (b"content-length", [b"3"]), id="bytes"),
        pytest.param(LARGE, LARGE, (b"content-length", [b"2097152"]), id="large bytes"),
        pytest.param(
            ([b"ab", b"", b"c"], 3), b"abc", (b"content-length", [b"3"]), id="a stream of 3 bytes"
        ),
        pytest.param(
            ([b"ab", b"", b"c"], None), b"abc", (b"transfer-encoding", [b"chunked"]), id="a stream"
        ),
        pytest.param(([], 0), b"", (b"content-length", [b"0"]), id="an empty stream of 0 bytes"),
        pytest.param(([], None), b"", (b"transfer-encoding", [b"chunked"]), id="an empty stream"),
        pytest.param(
            ([LARGE, LARGE], None),
            LARGE * 2,
            (b"transfer-encoding", [b"chunked"]),
            id="a large stream",
        ),
    ],
)
def test_a_body_arrives_as_it_was_given(
    dial: Dial, body: RequestBody, received: bytes, framing: tuple[bytes, list[bytes]]
) -> None:
    """With one framing field, and the connection is good for another request."""
    with Upstream(answer(HELLO, HELLO)) as upstream:
        client = dial(upstream.url)
        for _ in range(2):
            assert client.send(post(body)).body == b"hello"
            assert client.usage == (0, 1, 0)
    assert [request.body for request in upstream.requests] == [received, received]
    for request in upstream.requests:
        assert request.values(framing[0]) == framing[1]
    assert upstream.connections == 1


def test_a_stream_is_sent_as_it_comes(dial: Dial) -> None:
    """Its first piece has arrived before its second is asked for."""
    arrived = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        assert peer.read_exactly(10) == b"5\r\nfirst\r\n"
        arrived.set()
        assert peer.read_exactly(16) == b"6\r\nsecond\r\n0\r\n\r\n"
        peer.send(HELLO)
        peer.read_to_end()

    def stream() -> Iterator[bytes]:
        yield b"first"
        assert arrived.wait(10)
        yield b"second"

    with Upstream(script) as upstream:
        assert dial(upstream.url).send(post((stream(), None))).body == b"hello"


@pytest.mark.parametrize(
    ("stream", "length", "detail"),
    [
        ([b"ab"], 3, "2 of 3 bytes"),
        ([], 1, "0 of 1 bytes"),
        ([b"ab", b"cd"], 3, "longer than 3 bytes"),
        ([b"abcd"], 3, "longer than 3 bytes"),
        ([b"a"], 0, "longer than 0 bytes"),
    ],
)
def test_a_stream_of_another_length_is_never_whole(
    dial: Dial, stream: list[bytes], length: int, detail: str
) -> None:
    """The upstream sees a message that breaks off, and no byte beyond what was announced."""
    received: list[bytes] = []
    closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        received.append(peer.read_to_end())
        closed.set()

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        with pytest.raises(UpstreamError, match=detail) as error:
            client.send(post((stream, length)))
        assert error.value.stage == "body_client"
        assert client.usage == (0, 0, 0)
        client.settle(closed.is_set)
    assert length == 0 or len(received[0]) < length


@pytest.mark.parametrize("length", [None, 10])
def test_an_error_of_the_stream_passes_through(dial: Dial, length: int | None) -> None:
    """The client went away: its error is the caller's, and the upstream gets no whole message."""
    received: list[bytes] = []
    closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        received.append(peer.read_to_end())
        closed.set()

    def stream() -> Iterator[bytes]:
        yield b"first"
        raise LookupError("the client went away")

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        with pytest.raises(LookupError, match="the client went away"):
            client.send(post((stream(), length)))
        assert client.usage == (0, 0, 0)
        client.settle(closed.is_set)
    assert not received[0].endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("end", ["stay", "close"])
@pytest.mark.parametrize("length", [None, 1 << 40])
def test_an_early_answer_ends_the_upload(dial: Dial, length: int | None, end: str) -> None:
    """It is delivered at once, the stream is asked for no more, the connection not used again."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(TOO_LARGE)
        if end == "stay":
            peer.read_to_end()
        else:
            peer.half_close()
            peer.read_to_end()

    pieces = 0

    def stream() -> Iterator[bytes]:
        nonlocal pieces
        while True:
            pieces += 1
            yield b"x" * 65536

    with Upstream(script, answer(HELLO)) as upstream:
        client = dial(upstream.url)
        response = client.send(post((stream(), length)))
        assert (response.status, client.read(response)) == (413, b"no")
        seen = pieces
        assert client.usage == (0, 0, 0)
        assert client.get().body == b"hello"
        assert upstream.connections == 2
        assert pieces == seen


def test_an_early_answer_to_large_bytes(dial: Dial) -> None:
    """An upstream that answers and does not read gets no more of them."""
    answered = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(TOO_LARGE)
        answered.wait(10)

    with Upstream(script, answer(HELLO)) as upstream:
        client = dial(upstream.url)
        response = client.send(post(b"x" * 50_000_000))
        assert (response.status, client.read(response)) == (413, b"no")
        answered.set()
        assert client.usage == (0, 0, 0)


def test_an_early_answer_may_go_on(dial: Dial) -> None:
    """Its body is read to its end, though the request was never sent to its own."""
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nhello")
        assert go.wait(10)
        peer.send(b"world")
        peer.read_to_end()

    def stream() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        response = client.send(post((stream(), None)))
        assert response.status == 403
        go.set()
        assert client.read(response) == b"helloworld"
        assert client.usage == (0, 0, 0)


@pytest.mark.parametrize("end", ["close", "reset"])
def test_an_upstream_that_hangs_up_during_an_upload(dial: Dial, end: str) -> None:
    """Without an answer it is an error of sending, and never tried again."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.read_exactly(100_000)
        if end == "reset":
            peer.reset()

    def stream() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    with Upstream(script) as upstream:
        client = dial(upstream.url)
        with pytest.raises(UpstreamError) as error:
            client.send(post((stream(), None)))
        assert error.value.stage == "send"
        assert client.usage == (0, 0, 0)
        assert upstream.connections == 1


def test_an_invalid_length_is_found_before_the_stream_is_touched(dial: Dial) -> None:
    """A Content-Length that contradicts the stream's is refused, and nothing was read of it."""
    touched = False

    def stream() -> Iterator[bytes]:
        nonlocal touched
        touched = True
        yield b"x"

    with Upstream(answer(HELLO)) as upstream:
        client = dial(upstream.url)
        request = UpstreamRequest(b"POST", b"/", [(b"content-length", b"2")], (stream(), 1))
        with pytest.raises(ValueError, match="Content-Length"):
            client.send(request)
    assert not touched
