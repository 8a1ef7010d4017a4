r"""Requests that two readers might understand differently, as raw bytes.

`CASE` in the bytes stands for a name of the case's own, so that an upstream can tell whose request
it was sent. `SMUGGLED` is a request that no reader may ever find: it is part of a body, or it hides
behind a framing that is not one.

`most` is the number of requests that a strict reader may see in the bytes, at most; a server may
always refuse. With `exactly` it may not: those are the plain ones, and prove that the corpus gets
through at all.
"""

from __future__ import annotations

from typing import NamedTuple

SMUGGLED = b"GET /smuggled/CASE HTTP/1.1\r\nHost: gateway.test\r\n\r\n"
SECOND = SMUGGLED.replace(b"smuggled", b"second")
_HOST = b"Host: gateway.test\r\n"


class Case(NamedTuple):
    name: str
    data: bytes
    most: int = 0
    exactly: bool = False


def post(fields: bytes, body: bytes = b"", *, line: bytes = b"POST /CASE HTTP/1.1") -> bytes:
    return line + b"\r\n" + _HOST + fields + b"\r\n" + body


def get(fields: bytes = b"") -> bytes:
    return post(fields, line=b"GET /CASE HTTP/1.1")


def line(start: bytes) -> bytes:
    return post(b"", line=start)


def length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n" % len(body)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


CHUNKED = b"Transfer-Encoding: chunked\r\n"
LAST = b"0\r\n\r\n"
HIDDEN = LAST + SMUGGLED
IN_CHUNK = chunk(SMUGGLED) + LAST
IN_TRAILER = chunk(b"hello") + b"0\r\n"

PLAIN = [
    Case("GET", get(), 1, True),
    Case("HEAD", line(b"HEAD /CASE HTTP/1.1"), 1, True),
    Case("DELETE with a query", line(b"DELETE /CASE?a=1&a=%2F HTTP/1.1"), 1, True),
    Case("a body with a length", post(b"Content-Length: 5\r\n", b"hello"), 1, True),
    Case("a body in chunks", post(CHUNKED, chunk(b"hello") + LAST), 1, True),
    Case("an empty body", post(b"Content-Length: 0\r\n"), 1, True),
    Case("two requests in a row", get() + get(), 2, True),
    Case("a request as a body", post(length(SMUGGLED), SMUGGLED), 1, True),
    Case("a request in a chunk", post(CHUNKED, IN_CHUNK), 1, True),
    Case("HTTP/1.0", b"GET /CASE HTTP/1.0\r\nHost: gateway.test\r\n\r\n", 1, True),
    Case("the coding in capitals", post(b"TRANSFER-ENCODING: CHUNKED\r\n", IN_CHUNK), 1),
    Case("a tab before the coding", post(b"Transfer-Encoding:\tchunked\r\n", IN_CHUNK), 1),
    Case("blanks after the coding", post(b"Transfer-Encoding: chunked  \r\n", IN_CHUNK), 1),
    Case("blanks around the length", post(b"Content-Length:  5 \r\n", b"hello"), 1),
    Case("obs-text in a value", get(b"X-A: caf\xe9\r\n"), 1),
    Case("a body on GET", get(length(SMUGGLED)) + SMUGGLED, 1),
    Case("chunks on GET", get(CHUNKED) + IN_CHUNK, 1),
    Case("an empty line in front", b"\r\n" + get(), 1),
    Case("another method", line(b"PURGE /CASE HTTP/1.1"), 1),
]

_CL_TE = length(HIDDEN)
TWO_FRAMINGS = [
    Case("length, then chunked", post(_CL_TE + CHUNKED, HIDDEN)),
    Case("chunked, then length", post(CHUNKED + _CL_TE, HIDDEN)),
    Case("a short length and chunks", post(b"Content-Length: 4\r\n" + CHUNKED, IN_CHUNK)),
    Case("length 0 and chunks", post(b"Content-Length: 0\r\n" + CHUNKED, IN_CHUNK)),
    Case("both on GET", get(_CL_TE + CHUNKED) + HIDDEN),
    Case("both in HTTP/1.0", post(_CL_TE + CHUNKED, HIDDEN, line=b"POST /CASE HTTP/1.0")),
    Case("chunks in HTTP/1.0", post(CHUNKED, IN_CHUNK, line=b"POST /CASE HTTP/1.0")),
    Case("chunks in HTTP/1.0, kept alive",
         post(b"Connection: keep-alive\r\n" + CHUNKED, HIDDEN, line=b"POST /CASE HTTP/1.0")),
]  # fmt: skip

_CODINGS = [
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunkedx",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b" Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: chunked\x0b",
    b"Transfer-Encoding: \x0cchunked",
    b"Transfer-Encoding: \x00chunked",
    b"Transfer-Encoding: chunked\x00",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: 'chunked'",
    b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding: chunked; a",
    b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding: chu nked",
    b"Transfer-Encoding: chunked chunked",
    b"Transfer-Encoding:",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: chunked\r\n ",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer_Encoding: chunked",
    b"Transfer-Encoding\x00: chunked",
    b"Transfer-Encoding;: chunked",
    b"Transfer-Encod\xc4\xb1ng: chunked",
    b"Transfer-Encoding: chun\xe2\x84\xaaed",
    b"Transfer-Encoding: chunked\xa0",
    b"Transfer-Encoding: chunked\x85",
    b"X-A: 1\nTransfer-Encoding: chunked",
    b"X-A: 1\rTransfer-Encoding: chunked",
    b"X-A: 1\r\r\nTransfer-Encoding: chunked",
    b"X-A\r\nTransfer-Encoding: chunked",
    b":\r\nTransfer-Encoding: chunked",
]
CODINGS = [
    Case(f"{coding!r} {kind}", post(fields + coding + b"\r\n", body), 1)
    for coding in _CODINGS
    for kind, fields, body in [
        ("alone", b"", IN_CHUNK),
        ("and a length", _CL_TE, HIDDEN),
    ]
]

_LENGTHS = [
    b"Content-Length: +%d",
    b"Content-Length: -%d",
    b"Content-Length: 0x%x",
    b"Content-Length: %d %d",
    b"Content-Length: %d,%d",
    b"Content-Length: 0, %d",
    b"Content-Length: %d, 0",
    b"Content-Length: %d;",
    b"Content-Length: %d.0",
    b"Content-Length: %de0",
    b'Content-Length: "%d"',
    b"Content-Length: _%d",
    b"Content-Length: %d_0",
    b"Content-Length: \x0b%d",
    b"Content-Length: %d\x0b",
    b"Content-Length: %d\x00",
    b"Content-Length: \xb2%d",
    b"Content-Length: \xd9\xa5%d",
    b"Content-Length: %d\xa0",
    b"Content-Length: 0\r\nContent-Length: %d",
    b"Content-Length: %d\r\nContent-Length: 0",
    b"Content-Length: %d\r\nContent-Length: %d",
    b"Content-Length : %d",
    b"Content-Length\t: %d",
    b" Content-Length: %d",
    b"Content-Length:\r\n %d",
    b"Content-Length: 0\r\n %d",
    b"Content-Length: %d\r\n 0",
    b"X-A: 1\nContent-Length: %d",
    b"X-A: 1\rContent-Length: %d",
    b"Content-Length\x00: %d",
    b"Content-Length: 000%d",
]
_SIZE = len(SMUGGLED)
LENGTHS = [
    *(
        Case(
            repr(text), post(text % ((_SIZE,) * text.count(b"%")) + b"\r\n", SMUGGLED), 1
        )
        for text in _LENGTHS
    ),
    Case("an underscore for a hyphen, after a length",
         post(b"Content-Length: 0\r\nContent_Length: 54\r\n", SECOND), 2),
    Case("an underscore for a hyphen", post(b"Content_Length: 54\r\n", SECOND), 2),
    Case("no length", post(b"Content-Length:\r\n", b"hello"), 1),
    Case("a huge length", post(b"Content-Length: " + b"9" * 30 + b"\r\n", b"hello")),
    Case("a length of 5,000 digits", post(b"Content-Length: " + b"9" * 5000 + b"\r\n", b"hello")),
    Case("a length beyond 64 bits", post(b"Content-Length: 18446744073709551621\r\n", b"hello")),
    Case("a shortened body", post(b"Content-Length: 50\r\n", b"hello"), 0),
]  # fmt: skip

_CHUNKS = [
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b" 5\r\nhello\r\n0\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"\t5\r\nhello\r\n0\r\n\r\n",
    b"5_\r\nhello\r\n0\r\n\r\n",
    b"0_5\r\nhello\r\n0\r\n\r\n",
    b"5,5\r\nhello\r\n0\r\n\r\n",
    b"5.0\r\nhello\r\n0\r\n\r\n",
    b"g\r\nhello\r\n0\r\n\r\n",
    b"\r\nhello\r\n0\r\n\r\n",
    b"\xb25\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
    b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    b"fffffffffffffffe\r\nhello\r\n0\r\n\r\n",
    b"7fffffffffffffff\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\r\n0\r\n\r\n",
    b"5\rhello\r\n0\r\n\r\n",
    b"5\r\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello\r0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhelloXX0\r\n\r\n",
    b"5\r\nhello!\r\n0\r\n\r\n",
    b"5\r\nhel\r\n0\r\n\r\n",
    b"5\x00\r\nhello\r\n0\r\n\r\n",
    b"5;\nhello\r\n0\r\n\r\n",
    b"5;a\nX\r\nhello\r\n0\r\n\r\n",
    b"5;a\rX\r\nhello\r\n0\r\n\r\n",
    b"5;a=\x00\r\nhello\r\n0\r\n\r\n",
    b'5;a="\r\nhello\r\n0\r\n\r\n',
    b"5;" + b"a" * 70_000 + b"\r\nhello\r\n0\r\n\r\n",
    b"0\n\n",
    b"0\r\n\n",
    b"0\r\r",
    b"0;a\n\r\n",
    b"0x0\r\n\r\n",
    b"-0\r\n\r\n",
]
CHUNKS = [
    *(Case(f"chunks {text[:40]!r}", post(CHUNKED, text + SMUGGLED)) for text in _CHUNKS),
    Case("a chunk extension", post(CHUNKED, b'5;a=b;c="d"\r\nhello\r\n' + LAST), 1),
    Case("zeros before a size", post(CHUNKED, b"0005\r\nhello\r\n0000\r\n\r\n"), 1),
    Case("a last chunk with an extension", post(CHUNKED, b"5\r\nhello\r\n0;a=b\r\n\r\n"), 1),
    Case("chunks without an end", post(CHUNKED, b"5\r\nhello\r\n")),
    Case("a size without an end", post(CHUNKED, b"5")),
    *(
        Case(f"trailer {field!r}", post(CHUNKED, IN_TRAILER + field + b"\r\n\r\n"), 1)
        for field in (
            b"X-Checksum: 1",
            b"Content-Length: 5",
            b"Transfer-Encoding: chunked",
            b"Host: evil.test",
            b"Authorization: Basic eDp5",
            b"X-Forwarded-For: 6.6.6.6",
            b"Connection: close",
            b"X-A : 1",
            b"X-A: \x00",
            b"X-A: 1\r\n folded",
        )
    ),
    Case("a request for a trailer", post(CHUNKED, chunk(b"hello") + b"0\r\n" + SMUGGLED)),
    Case("a declared trailer",
         post(CHUNKED + b"Trailer: X-A\r\n", b"5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n"), 1),
]  # fmt: skip
