"""The request writer: what is written, and what is refused before a byte of it is."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekit.errors import UpstreamError
from gatekit.proxy.transport.exchange import RequestBody, UpstreamRequest
from gatekit.proxy.transport.http1_request import BodyWriter, InvalidMessage, RequestWriter

AUTHORITY = b"users:8001"
Fields = list[tuple[bytes, bytes]]


def write(
    method: bytes = b"GET",
    target: bytes = b"/",
    headers: Fields | None = None,
    body: RequestBody = None,
) -> bytes:
    request = UpstreamRequest(method, target, headers or [], body)
    return RequestWriter().head(request, AUTHORITY)[0]


def lines(head: bytes) -> list[bytes]:
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


def test_a_head_is_the_line_the_fields_and_the_host() -> None:
    """Fields keep their order, their case and their duplicates; Host is the origin's by default."""
    head = write(
        b"GET", b"/a%2Fb?x=1&x=2", [(b"Accept", b"*/*"), (b"cookie", b"a=1"), (b"cookie", b"b")]
    )
    assert lines(head) == [
        b"GET /a%2Fb?x=1&x=2 HTTP/1.1",
        b"Accept: */*",
        b"cookie: a=1",
        b"cookie: b",
        b"host: users:8001",
    ]


def test_the_callers_host_is_kept() -> None:
    """A Host among the fields replaces the authority of the origin."""
    assert b"\r\nhost: public.example\r\n" in write(headers=[(b"Host", b"public.example")])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param(b"", b"content-length: 0", id="empty bytes"),
        pytest.param(b"abc", b"content-length: 3", id="bytes"),
        pytest.param(([], 5), b"content-length: 5", id="a stream of known length"),
        pytest.param(([], None), b"transfer-encoding: chunked", id="a stream"),
    ],
)
def test_the_body_decides_the_framing(body: RequestBody, field: bytes) -> None:
    """Exactly one framing field is written, from the body alone."""
    written = [line for line in lines(write(b"POST", body=body)) if b"content-length" in line]
    written += [line for line in lines(write(b"POST", body=body)) if b"transfer-enc" in line]
    assert written == [field]


def test_without_a_body_there_is_no_framing() -> None:
    """RFC 9112 §6.3: a request with neither field has no body."""
    assert lines(write(b"POST")) == [b"POST / HTTP/1.1", b"host: users:8001"]


def test_a_content_length_that_agrees_is_written_once() -> None:
    """The client's own length, and its repetition, become the one of the codec."""
    head = write(b"POST", headers=[(b"Content-Length", b"3")] * 2, body=b"abc")
    assert head.lower().count(b"content-length") == 1


def test_a_length_of_nought_without_a_body_is_kept() -> None:
    """A POST that announced no content says so upstream too, or some answer 411."""
    assert b"\r\ncontent-length: 0\r\n" in write(b"POST", headers=[(b"Content-Length", b"0")])


@pytest.mark.parametrize("value", [b"4", b"+3", b"3, 3", b" 3", b"", b"0x3", b"3" * 30])
def test_a_content_length_that_contradicts_is_refused(value: bytes) -> None:
    """Two lengths for one message are never reconciled."""
    with pytest.raises(InvalidMessage, match="Content-Length"):
        write(b"POST", headers=[(b"content-length", value)], body=b"abc")


def test_a_length_beside_a_stream_of_unknown_length_is_refused() -> None:
    """A length that nobody counts would be a promise nobody keeps."""
    with pytest.raises(InvalidMessage, match="Content-Length"):
        write(b"POST", headers=[(b"content-length", b"3")], body=([], None))


def test_a_transfer_encoding_of_the_caller_is_dropped() -> None:
    """The framing of the client's connection is not that of the upstream's."""
    fields = [(b"Transfer-Encoding", b"gzip, chunked")]
    assert b"transfer-encoding" not in write(b"POST", headers=fields, body=b"abc").lower()


@pytest.mark.parametrize("method", [b"", b"GE T", b"GET\r\nX: y", b"G\xc3T", b"(GET)", b"CONNECT"])
def test_a_method_that_is_no_token_is_refused(method: bytes) -> None:
    """And CONNECT, whose answer has no end that could be seen."""
    with pytest.raises(InvalidMessage):
        write(method)


def test_a_method_that_is_not_registered_is_written() -> None:
    """RFC 9110 §9.1: the list of methods is open."""
    assert write(b"PROPFIND").startswith(b"PROPFIND / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"/a b", id="space"),
        pytest.param(b"/a\tb", id="tab"),
        pytest.param(b"/a\r\nX: y", id="line end"),
        pytest.param(b"/a\nb", id="bare LF"),
        pytest.param(b"/\x00", id="NUL"),
        pytest.param(b"/\x7f", id="DEL"),
        pytest.param(b"/\xc3\xa9", id="not ASCII"),
        pytest.param(b"/a#b", id="fragment"),
        pytest.param(b"http://other/", id="absolute form"),
        pytest.param(b"other:80", id="authority form"),
        pytest.param(b"*", id="asterisk without OPTIONS"),
        pytest.param(b"/a\n", id="LF at the end"),
    ],
)
def test_a_target_that_is_no_path_is_refused(target: bytes) -> None:
    """Nothing but a path and query in visible ASCII can stand in the first line."""
    with pytest.raises(InvalidMessage, match="path and query"):
        write(target=target)


def test_options_may_ask_the_server_itself() -> None:
    """RFC 9112 §3.2.4: the asterisk form belongs to OPTIONS."""
    assert write(b"OPTIONS", b"*").startswith(b"OPTIONS * HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "name",
    [b"", b"a b", b"a:", b"a: b\r\nx", b"a\n", b"transfer-encoding: chunked\t", b"\xe9", b"a\x00"],
)
def test_a_name_that_is_no_token_is_refused(name: bytes) -> None:
    """Also after the writer has learned other names."""
    with pytest.raises(InvalidMessage, match="token"):
        write(headers=[(b"a", b"1"), (name, b"2")])


@pytest.mark.parametrize("byte", [*range(9), *range(10, 32), 127])
def test_a_value_with_a_control_character_is_refused(byte: int) -> None:
    """All but HTAB, alone or as part of a line end, at any place of the value."""
    for value in (b"a%cb" % byte, b"%c" % byte, b"a\r\n%c" % byte, b"\r\n\r\n%c" % byte):
        with pytest.raises(InvalidMessage, match="value of x-a"):
            write(headers=[(b"x-a", value)])


def test_tabs_and_obs_text_are_values() -> None:
    """RFC 9110 §5.5 allows both, and an intermediary passes them on."""
    assert b"\r\na: \xe9\t!\r\n" in write(headers=[(b"a", b"\xe9\t!")])


@pytest.mark.parametrize("host", [b"a b", b"a\xe9", b"a/b", b"a@b", b"a\tb", b"a\r\nx: y"])
def test_a_host_that_is_none_is_refused(host: bytes) -> None:
    """RFC 9112 §3.2: an upstream would have to answer 400."""
    with pytest.raises(InvalidMessage, match="Host"):
        write(headers=[(b"host", host)])


def test_two_hosts_are_refused() -> None:
    """RFC 9112 §3.2: only one of them could be routed by."""
    with pytest.raises(InvalidMessage, match="two Host"):
        write(headers=[(b"host", b"a"), (b"Host", b"b")])


@pytest.mark.parametrize(
    ("value", "persistent"),
    [(b"close", False), (b"te, Close", False), (b"keep-alive", True), (b"closed", True)],
)
def test_connection_close_ends_the_connection(value: bytes, persistent: bool) -> None:
    """RFC 9112 §9.6: who said close sends no further request."""
    writer = RequestWriter()
    request = UpstreamRequest(b"GET", b"/", [(b"Connection", value)])
    for _ in range(2):
        assert writer.head(request, AUTHORITY)[1] is persistent


def test_names_beyond_the_memory_of_the_writer_are_still_checked() -> None:
    """A client that invents names can neither fill the memory nor slip through."""
    writer = RequestWriter()
    for number in range(3000):
        writer.head(UpstreamRequest(b"GET", b"/", [(b"x-%d" % number, b"")]), AUTHORITY)
    assert len(writer._known) == 1024
    with pytest.raises(InvalidMessage):
        writer.head(UpstreamRequest(b"GET", b"/", [(b"x 1", b"")]), AUTHORITY)


class Parsed:
    """What llhttp, as a server, makes of a request."""

    def __init__(self, data: bytes) -> None:
        self.target = b""
        self.headers: Fields = []
        self.messages = 0
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_message_complete(self) -> None:
        self.messages += 1


@given(
    st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=12)), max_size=6),
    st.binary(max_size=8),
)
def test_whatever_is_written_is_read_back_as_the_same(fields: Fields, path: bytes) -> None:
    """No bytes in names, values or path make another message of it than the one that was meant."""
    target = b"/" + path
    try:
        head = write(b"POST", target, fields, b"")
    except InvalidMessage:
        return
    parsed = Parsed(head)
    framing = {b"host", b"content-length", b"transfer-encoding"}
    assert parsed.messages == 1
    assert parsed.target == target
    assert [
        (name, value.strip(b" \t")) for name, value in fields if name.lower() not in framing
    ] == [(name, value.strip(b" \t")) for name, value in parsed.headers if name not in framing]


def test_a_stream_of_unknown_length_travels_in_chunks() -> None:
    """RFC 9112 §7.1: the size in hexadecimal digits, the data, and nought at the end."""
    writer = BodyWriter(None)
    pieces = [writer.encode(b"x" * 26), writer.encode(memoryview(b"yz")), writer.finish()]
    assert b"".join(pieces) == b"1a\r\n" + b"x" * 26 + b"\r\n2\r\nyz\r\n0\r\n\r\n"


def test_a_stream_of_known_length_is_counted() -> None:
    """A byte too many or too few is the sender's error, found before the message would be wrong."""
    writer = BodyWriter(3)
    assert writer.encode(b"ab") == b"ab"
    with pytest.raises(UpstreamError, match="2 of 3 bytes") as short:
        writer.finish()
    with pytest.raises(UpstreamError, match="longer than 3 bytes") as long:
        writer.encode(b"cd")
    assert short.value.stage == long.value.stage == "body_client"
