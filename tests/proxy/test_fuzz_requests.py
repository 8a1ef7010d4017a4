"""Bounded fuzzing of what goes up: whatever a client sends, plain requests are written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekit import Proxy, asgi_app
from gatekit.errors import UpstreamError
from gatekit.proxy.transport.exchange import (
    AsyncBody,
    Body,
    Timeouts,
    UpstreamRequest,
    UpstreamResponse,
)
from gatekit.proxy.transport.http1_request import BodyWriter, InvalidMessage, RequestWriter
from gatekit.proxy.transport.origin import Origin
from gatekit.typing import Message
from tests.proxy.strict import Request, read_request
from tests.proxy.test_fuzz_answers import BOUNDED

NAMES = [
    b"host",
    b"Host",
    b"content-length",
    b"transfer-encoding",
    b"Transfer-Encoding",
    b"transfer_encoding",
    b"content_length",
    b"x_forwarded_for",
    b"connection",
    b"te",
    b"trailer",
    b"upgrade",
    b"expect",
    b"x-a",
    b"authorization",
    b"cookie",
    b"x-forwarded-for",
    b"forwarded",
    b"",
    b"x a",
    b"x-a:",
    b"x\r\nb",
    b"x\x00",
    b"\xe9",
]
VALUES = [
    b"",
    b"a",
    b"0",
    b"5",
    b"+5",
    b"5, 5",
    b"chunked",
    b"gzip, chunked",
    b"close",
    b"host, content-length, x-a",
    b"transfer-encoding",
    b"a\r\nB: c",
    b"a\nB: c",
    b"a\rB: c",
    b"\x00",
    b"\x7f",
    b"\x0b",
    b"\xe9",
    b"a\t b",
    b"100-continue",
    b"trailers",
]
TARGETS = [
    b"/",
    b"/a%2Fb?x=%0d%0a",
    b"*",
    b"",
    b"a",
    b"/a b",
    b"/a\r\nb",
    b"/\xe9",
    b"/a#b",
    b"http://b/",
    b"/a\x00",
    b"//b",
    b"/?a\tb",
]

names = st.one_of(st.sampled_from(NAMES), st.binary(max_size=8))
values = st.one_of(st.sampled_from(VALUES), st.binary(max_size=12))
fields = st.lists(st.tuples(names, values), max_size=6)
targets = st.one_of(st.sampled_from(TARGETS), st.binary(max_size=12).map(lambda raw: b"/" + raw))
methods = st.one_of(
    st.sampled_from(
        [b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"", b"G T", b"a\r"]
    ),
    st.binary(max_size=6),
)
bodies = st.one_of(
    st.none(),
    st.just(b""),
    st.just(b"hello"),
    st.just(b"GET / HTTP/1.1\r\nHost: evil\r\n\r\n"),
    st.binary(max_size=20),
    st.lists(st.binary(min_size=1, max_size=9), max_size=4).map(
        lambda pieces: (pieces, sum(map(len, pieces)))
    ),
    st.lists(st.binary(min_size=1, max_size=9), max_size=4).map(lambda pieces: (pieces, None)),
)


def written(request: UpstreamRequest) -> bytes:
    """All the bytes that a connection would be sent."""
    head, _ = RequestWriter().head(request, b"upstream:80")
    body = request.body
    if not isinstance(body, tuple):
        return head + (body or b"")
    writer = BodyWriter(body[1])
    assert isinstance(body[0], list)
    pieces = [bytes(writer.encode(piece)) for piece in body[0]]
    return b"".join([head, *pieces, writer.finish()])


def only(data: bytes) -> Request:
    """The one request that these bytes are, by a reader that forgives nothing."""
    found = read_request(data)
    assert found is not None
    request, rest = found
    assert rest == b""
    return request


@BOUNDED
@given(methods, targets, fields, bodies)
def test_what_is_written_is_one_request(
    method: bytes,
    target: bytes,
    fields: list[tuple[bytes, bytes]],
    body: bytes | tuple[list[bytes], int | None] | None,
) -> None:
    """Refused, or read by a strict reader as the one request that was meant."""
    with suppress(InvalidMessage):
        data = written(UpstreamRequest(method, target, fields, body))
        request = only(data)
        assert (request.method, request.target) == (method, target)
        expected = b"".join(body[0]) if isinstance(body, tuple) else (body or b"")
        assert request.body == expected
        skipped = (b"host", b"content-length", b"transfer-encoding")
        meant = [(name.lower(), value.strip(b" \t")) for name, value in fields]
        assert [field for field in request.fields if field[0] not in skipped] == [
            field for field in meant if field[0] not in skipped
        ]


@BOUNDED
@given(targets, fields, bodies)
def test_a_server_reads_it_so_too(
    target: bytes,
    fields: list[tuple[bytes, bytes]],
    body: bytes | tuple[list[bytes], int | None] | None,
) -> None:
    """h11 as the upstream: one request, its body as it was, and nothing behind it."""
    try:
        data = written(UpstreamRequest(b"POST", target, fields, body))
    except InvalidMessage:
        return
    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    read = b""
    event = server.next_event()
    assert isinstance(event, h11.Request)
    assert event.target == target
    while not isinstance(event := server.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        read += event.data
    assert read == (b"".join(body[0]) if isinstance(body, tuple) else (body or b""))
    assert server.trailing_data[0] == b""


class Writes:
    """A transport that only writes, and keeps it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def asend(
        self,
        origin: Origin,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None = None,
    ) -> UpstreamResponse[AsyncBody]:
        body = request.body
        if isinstance(body, tuple):
            assert not isinstance(body[0], (list, Iterator))
            pieces = [piece async for piece in body[0] if piece]  # type: ignore[union-attr]
            request.body = (pieces, body[1])
        self.sent.append(written(request))
        return UpstreamResponse(200, [], b"ok")

    def send(
        self,
        origin: Origin,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None = None,
    ) -> UpstreamResponse[Body]:
        raise NotImplementedError


async def _through(
    proxy: Proxy, method: str, target: bytes, fields: list[tuple[bytes, bytes]], pieces: list[bytes]
) -> int:
    path, _, query = target.partition(b"?")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "headers": [(name.lower(), value) for name, value in fields],
    }
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
    ]
    messages.append({"type": "http.request"})
    statuses: list[int] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await asgi_app(proxy)(scope, receive, send)
    return statuses[0]


framings = st.sampled_from(
    [
        [],
        [(b"content-length", b"10")],
        [(b"transfer-encoding", b"chunked")],
        [(b"content-length", b"10"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"10"), (b"content-length", b"9")],
    ]
)


@BOUNDED
@given(
    st.sampled_from(["GET", "POST", "OPTIONS", "CONNECT", "B\xe9", "A B", "\r\n"]),
    targets,
    framings,
    fields,
    st.lists(st.just(b"hello"), max_size=3),
    st.sampled_from(["upstream", "pass"]),
)
def test_a_hostile_client_changes_nothing_of_the_form(
    method: str,
    target: bytes,
    framing: list[tuple[bytes, bytes]],
    fields: list[tuple[bytes, bytes]],
    pieces: list[bytes],
    host: str,
) -> None:
    """Through the whole proxy: what a server may hand over is refused, or one plain request."""
    transport = Writes()
    proxy = Proxy("http://upstream", transport=transport, host=host, underscores="allow")
    given_fields = [(b"host", b"gateway.test"), *framing, *fields]
    with asyncio.Runner() as runner:
        status = runner.run(_through(proxy, method, target, given_fields, pieces))
    assert status == 200 or 400 <= status < 500 or status == 501
    assert len(transport.sent) == (status == 200)
    for data in transport.sent:
        request = only(data)
        assert request.body == b"".join(pieces)[: len(request.body)]
        sent = {name for name, _ in request.fields}
        assert not sent & {b"connection", b"te", b"trailer", b"upgrade", b"expect"}
        assert not sent & {b"x_forwarded_for", b"transfer_encoding", b"content_length"}


def test_a_stream_of_another_length_is_refused() -> None:
    """A body that is longer or shorter than announced would be the next request's beginning."""
    for pieces in ([b"hell"], [b"hello!"], [b"hel", b"lo!"]):
        with pytest.raises(UpstreamError):
            written(UpstreamRequest(b"POST", b"/", [], (pieces, 5)))
