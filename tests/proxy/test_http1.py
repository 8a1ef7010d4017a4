"""The response reader: where a response ends, and what is no response at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekit.errors import UpstreamError
from gatekit.proxy.transport.exchange import Headers
from gatekit.proxy.transport.http1 import ResponseReader
from tests.proxy.reading import CHUNKED, OK, read, refused


@pytest.mark.parametrize("step", [0, 1, 2, 3, 7])
def test_a_response_of_known_length(step: int) -> None:
    """Fields come in order, duplicates kept, names in lower case, values as they were."""
    reader = read(
        OK + b"Set-Cookie: a=1\r\nSET-COOKIE:  b=2\r\nX-A: \xe9\r\nContent-Length: 5\r\n\r\nhello",
        step=step,
    )
    assert reader.status == 200
    assert reader.headers == [
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"x-a", b"\xe9"),
        (b"content-length", b"5"),
    ]
    assert reader.take_all() == b"hello"
    assert (reader.complete, reader.persistent) == (True, True)


@pytest.mark.parametrize("step", [0, 1, 2, 3, 7])
def test_a_response_in_chunks(step: int) -> None:
    """The coding is undone and its field dropped; the trailers follow the body."""
    data = CHUNKED + b"5;a=b\r\nhello\r\n06\r\n world\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n"
    reader = read(data, step=step)
    assert reader.headers == []
    assert b"".join(reader.take()) == b"hello world"
    assert reader.trailers == [(b"x-sum", b"1"), (b"y", b"2")]
    assert (reader.complete, reader.persistent) == (True, True)


def test_a_response_until_the_close() -> None:
    """With neither length nor chunks the end of the connection is the end of the body."""
    reader = read(OK + b"\r\nhello")
    assert (reader.complete, reader.persistent) == (False, False)
    reader.eof()
    assert (reader.complete, reader.take_all()) == (True, b"hello")


@pytest.mark.parametrize(
    ("status", "method"),
    [(200, b"HEAD"), (404, b"HEAD"), (204, b"GET"), (304, b"GET")],
)
@pytest.mark.parametrize(
    "field", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""]
)
def test_no_body_whatever_the_fields_say(status: int, method: bytes, field: bytes) -> None:
    """RFC 9112 §6.3: HEAD, 204 and 304 end with the head, and the connection goes on."""
    reader = read(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, field), method)
    assert (reader.complete, reader.persistent, reader.take_all()) == (True, True, b"")


def test_content_length_of_an_answer_to_head_is_kept() -> None:
    """It says what GET would have brought."""
    assert read(OK + b"Content-Length: 5\r\n\r\n", b"HEAD").headers == [(b"content-length", b"5")]


@pytest.mark.parametrize("step", [0, 1])
def test_informational_heads_come_before_the_answer(step: int) -> None:
    """100 is swallowed, others are kept, and none has a body even if it claims one."""
    seen: list[tuple[int, Headers]] = []
    reader = ResponseReader()
    reader.begin(b"GET", on_informational=lambda status, fields: seen.append((status, fields)))
    data = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 199 X\r\nContent-Length: 5\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok"
    )
    for start in range(0, len(data), step or len(data)):
        reader.feed(data[start : start + (step or len(data))])
    assert seen == reader.informational
    assert seen == [(103, [(b"link", b"</a>")]), (199, [(b"content-length", b"5")])]
    assert (reader.status, reader.take_all()) == (200, b"ok")


@pytest.mark.parametrize(
    ("head", "persistent"),
    [
        (OK + b"Connection: close\r\n", False),
        (OK + b"Connection: keep-alive, Close\r\n", False),
        (OK + b"Connection: x\r\nConnection: close\r\n", False),
        (OK + b"Connection: keep-alive\r\n", True),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", True),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\n", False),
        (b"HTTP/1.0 200 OK\r\nProxy-Connection: keep-alive\r\n", False),
    ],
)
def test_who_keeps_the_connection(head: bytes, persistent: bool) -> None:
    """RFC 9112 §9.3, rule by rule; the same for HEAD, which llhttp would see otherwise."""
    assert read(head + b"Content-Length: 1\r\n\r\nx").persistent is persistent
    assert read(head + b"Content-Length: 1\r\n\r\n", b"HEAD").persistent is persistent


@pytest.mark.parametrize("rest", [b"x", b"\r\n", b"\n", OK + b"Content-Length: 0\r\n\r\n"])
@pytest.mark.parametrize(
    ("message", "method"),
    [
        pytest.param(OK + b"Content-Length: 2\r\n\r\nok", b"GET", id="length"),
        pytest.param(OK + b"Content-Length: 0\r\n\r\n", b"GET", id="no length"),
        pytest.param(OK + b"Content-Length: 2\r\n\r\n", b"HEAD", id="HEAD"),
        pytest.param(CHUNKED + b"2\r\nok\r\n0\r\n\r\n", b"GET", id="chunks"),
        pytest.param(CHUNKED + b"2\r\nok\r\n0\r\nA: b\r\n\r\n", b"GET", id="trailers"),
        pytest.param(b"HTTP/1.1 204 X\r\n\r\n", b"GET", id="204"),
    ],
)
def test_bytes_beyond_the_end_cost_the_connection(
    message: bytes, method: bytes, rest: bytes
) -> None:
    """The response is whole, but what follows was never asked for: RFC 9112 §9.2."""
    plain = read(message, method)
    for split in range(1, len(message + rest)):
        reader = ResponseReader()
        reader.begin(method)
        reader.feed((message + rest)[:split])
        if split < len(message):
            reader.feed((message + rest)[split:])
        elif split > len(message):
            assert reader.complete
        else:
            # The driver gives it back here; what comes now finds it idle.
            continue
        assert (reader.complete, reader.persistent) == (True, False)
        assert (reader.headers, reader.trailers) == (plain.headers, plain.trailers)
        assert reader.take_all() in {b"ok", b""}


def test_a_complete_reader_takes_no_more() -> None:
    """Until the next request nothing can be an answer."""
    with pytest.raises(UpstreamError, match="after the end"):
        read(OK + b"Content-Length: 0\r\n\r\n").feed(b"x")


BAD_HEADS = {
    "Content-Length and Transfer-Encoding": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding and Content-Length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "the same length twice": b"Content-Length: 5\r\nContent-Length: 5\r\n",
    "a list of lengths": b"Content-Length: 5, 5\r\n",
    "a plus sign": b"Content-Length: +5\r\n",
    "a minus sign": b"Content-Length: -5\r\n",
    "a hexadecimal length": b"Content-Length: 0x5\r\n",
    "an inner blank": b"Content-Length: 5 5\r\n",
    "an empty length": b"Content-Length:\r\n",
    "a huge length": b"Content-Length: 99999999999999999999\r\n",
    "a length of 19 digits": b"Content-Length: 1234567890123456789\r\n",
    "a length in other digits": "Content-Length: \u0665\r\n".encode(),
    "gzip, chunked": b"Transfer-Encoding: gzip, chunked\r\n",
    "chunked, gzip": b"Transfer-Encoding: chunked, gzip\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "chunked, chunked": b"Transfer-Encoding: chunked, chunked\r\n",
    "xchunked": b"Transfer-Encoding: xchunked\r\n",
    "quoted chunked": b'Transfer-Encoding: "chunked"\r\n',
    "identity": b"Transfer-Encoding: identity\r\n",
    "vertical tab": b"Transfer-Encoding: \x0bchunked\r\n",
    "a blank before the colon": b"Content-Length : 5\r\n",
    "a tab before the colon": b"X\t: 5\r\n",
    "a folded line": b"X: a\r\n b\r\n",
    "a folded line with a tab": b"X: a\r\n\tb\r\n",
    "a line that begins with a blank": b" X: a\r\n",
    "no colon": b"X\r\n",
    "no name": b": a\r\n",
    "a name that is not ASCII": b"X\xe9: a\r\n",
    "a bare LF": b"X: a\nY: b\r\n",
    "a bare CR": b"X: a\rY: b\r\n",
    "CR CR LF": b"X: a\r\r\n",
    "NUL": b"X: a\x00b\r\n",
    "another control": b"X: a\x01b\r\n",
    "DEL": b"X: a\x7f\r\n",
}


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("fields", BAD_HEADS.values(), ids=BAD_HEADS.keys())
def test_a_head_with_two_meanings_is_refused(fields: bytes, step: int) -> None:
    """Whatever might end the message elsewhere for another reader ends the exchange here."""
    with pytest.raises(UpstreamError) as error:
        read(OK + fields + b"\r\nhello", step=step)
    assert error.value.stage == "protocol"


BAD_LINES = {
    "HTTP/0.9": b"hello",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2's frames": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "HTTP/0.9 by name": b"HTTP/0.9 200 OK\r\n\r\n",
    "lower case": b"http/1.1 200 OK\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "an empty line before": b"\r\n" + OK + b"\r\n",
    "a status below 100": b"HTTP/1.1 099 X\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 X\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 X\r\n\r\n",
    "a status above 599": b"HTTP/1.1 600 X\r\n\r\n",
    "a status with a letter": b"HTTP/1.1 20x X\r\n\r\n",
    "a signed status": b"HTTP/1.1 +20 X\r\n\r\n",
    "two blanks": b"HTTP/1.1  200 X\r\n\r\n",
    "no blank": b"HTTP/1.1 200X\r\n\r\n",
    "a control in the reason": b"HTTP/1.1 200 O\x01K\r\n\r\n",
    "a bare CR in the reason": b"HTTP/1.1 200 O\rK\r\n\r\n",
    "101 unasked": b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a bare LF after the line": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
}


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("data", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_what_is_no_response_in_http1_is_refused(data: bytes, step: int) -> None:
    """And at once, before an empty line that may never come."""
    with pytest.raises(UpstreamError) as error:
        read(data, step=step)
    assert error.value.stage == "protocol"


@pytest.mark.parametrize("field", [b"Content-Length: 5", b"X: 1"])
def test_transfer_encoding_in_http_1_0_is_refused(field: bytes) -> None:
    """RFC 9112 §6.1: the framing of such a message is faulty."""
    refused(b"HTTP/1.0 200 OK\r\n" + field + b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


@pytest.mark.parametrize("step", [0, 1])
def test_a_head_may_be_as_large_as_the_limit_and_no_larger(step: int) -> None:
    """To the byte; and a line that never ends is found when the limit is passed."""
    head = OK + b"X: " + b"a" * (1024 - len(OK) - 3 - 4) + b"\r\n\r\n"
    assert len(head) == 1024
    assert read(head, step=step, reader=ResponseReader(1024)).head_complete
    with pytest.raises(UpstreamError, match="larger than 1023"):
        read(head, step=step, reader=ResponseReader(1023))
    with pytest.raises(UpstreamError, match="larger than 1023"):
        read(head[:-4] * 2, step=step, reader=ResponseReader(1023))


def test_informational_heads_count_against_the_limit() -> None:
    """An upstream cannot send heads for ever."""
    reader = ResponseReader(1024)
    assert "larger" in refused(b"HTTP/1.1 102 X\r\n\r\n" * 100, reader=reader)


def test_too_many_fields_are_refused() -> None:
    """In the head and in the trailers."""
    fields = b"".join(b"X-%d: a\r\n" % number for number in range(11))
    assert "more than 10 fields" in refused(OK + fields + b"\r\n", reader=ResponseReader(8192, 10))
    refused(CHUNKED + b"0\r\n" + fields + b"\r\n", reader=ResponseReader(8192, 10))


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 200 O", "within the head"),
        (OK + b"Content-Length: 5\r\n\r\nhel", "2 bytes short"),
        (CHUNKED + b"5\r\nhello\r\n", "before its last chunk"),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", "before its last chunk"),
    ],
)
def test_an_end_before_the_end_is_an_error(data: bytes, detail: str) -> None:
    """Never a body that is silently shorter."""
    reader = read(data) if data else ResponseReader()
    if not data:
        reader.begin(b"GET")
    with pytest.raises(UpstreamError, match=detail) as error:
        reader.eof()
    assert error.value.stage == "closed"


def test_switching_protocols_hands_over_what_follows() -> None:
    """The bytes after a 101 that was asked for are not HTTP any more."""
    head = b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    reader = read(head + b"\x81\x00", upgrade=True)
    assert (reader.status, reader.upgraded, reader.leftover) == (101, True, b"\x81\x00")
    assert (reader.complete, reader.persistent) == (True, False)


def test_an_upgrade_may_be_declined() -> None:
    """RFC 9110 §7.8: a server may answer as if it had not been asked."""
    reader = read(
        OK + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok", upgrade=True
    )
    assert (reader.status, reader.upgraded, reader.take_all()) == (200, False, b"ok")


def test_a_reader_serves_one_response_after_another() -> None:
    """Nothing of an exchange is left for the next one."""
    reader = ResponseReader()
    for message in (
        CHUNKED + b"2\r\nok\r\n0\r\nX: y\r\n\r\n",
        OK + b"Content-Length: 2\r\n\r\nok",
        b"HTTP/1.1 103 X\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok",
    ):
        read(message, reader=reader)
        assert (reader.complete, reader.persistent, reader.take_all()) == (True, True, b"ok")
    assert (reader.trailers, len(reader.informational)) == ([], 1)


def test_a_head_that_was_given_up_is_forgotten() -> None:
    """Whatever was read before, `begin` begins."""
    reader = read(b"HTTP/1.1 404 ")
    assert read(OK + b"Content-Length: 0\r\n\r\n", reader=reader).status == 200


@given(st.binary(max_size=60), st.lists(st.integers(1, 40), max_size=8))
def test_no_bytes_make_it_fail_otherwise(data: bytes, cuts: list[int]) -> None:
    """Garbage is refused as `protocol`, and read the same in whatever pieces it comes."""
    seen: list[tuple[object, object]] = []
    for pieces in ([], cuts):
        reader = ResponseReader()
        reader.begin(b"GET")
        rest = CHUNKED + data
        try:
            for cut in [*pieces, len(rest)]:
                piece, rest = rest[:cut], rest[cut:]
                if piece and not reader.complete:
                    reader.feed(piece)
            seen.append((reader.complete, reader.take_all()))
        except UpstreamError as error:
            seen.append((error.stage, None))
    assert seen[0] == seen[1]
