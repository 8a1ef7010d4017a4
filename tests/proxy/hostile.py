"""Answers of upstreams that are broken, or wish us ill: data for the tests of faults.

Of each, `ends` says what the client sees: a status, or `CUT` where the head is good and the body is
not; such an answer is a 502 as long as nothing of it was sent, and cut off after that. `EVIL` is an
answer that nobody asked for; it must never be the answer to another request.
"""

from __future__ import annotations

from typing import NamedTuple

CUT = 0

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HELLO = b"5\r\nhello\r\n"
EVIL = OK + b"Content-Length: 4\r\n\r\nevil"


class Broken(NamedTuple):
    name: str
    answer: bytes
    ends: int = 502
    body: bytes = b""
    method: str = "GET"


def field(text: bytes) -> bytes:
    return OK + text + b"\r\nContent-Length: 5\r\n\r\nhello"


_STARTS = [
    b"HTTP/1.1 20 OK",
    b"HTTP/1.1 2000 OK",
    b"HTTP/1.1 2x0 OK",
    b"HTTP/1.1 -200 OK",
    b"HTTP/1.1 099 OK",
    b"HTTP/1.1 000 OK",
    b"HTTP/1.1 600 OK",
    b"HTTP/1.1 999 OK",
    b"HTTP/1.1  200 OK",
    b"HTTP/1.1\t200 OK",
    b"HTTP/1.1 200\tOK",
    b"HTTP/1.1 OK",
    b"HTTP/1.1",
    b"HTTP/1.2 200 OK",
    b"HTTP/2 200 OK",
    b"HTTP/2.0 200 OK",
    b"HTTP/0.9 200 OK",
    b"HTTP/11 200 OK",
    b"http/1.1 200 OK",
    b"ICY 200 OK",
    b"200 OK",
    b" HTTP/1.1 200 OK",
    b"\r\nHTTP/1.1 200 OK",
    b"\x00HTTP/1.1 200 OK",
    b"\xef\xbb\xbfHTTP/1.1 200 OK",
    b"garbage\r\nHTTP/1.1 200 OK",
    b"HTTP/1.1 200 O\x00K",
    b"HTTP/1.1 200 O\rK",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade",
]

_FIELDS = [
    b"A: b\r\n c",
    b"A: b\r\n\tc",
    b" A: b",
    b"A : b",
    b"A\t: b",
    b"A",
    b": b",
    b"A b: c",
    b"A\x00: b",
    b"A\xe9: b",
    b"A(: b",
    b"A: b\x00c",
    b"A: b\rc",
    b"A: b\nB: c",
    b"A: b\r\r\nB: c",
    b"A: b\x01c",
    b"A: b\x7fc",
    b"Content-Length: 5",
    b"Content-Length: 6",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding:",
]

_FRAMINGS = [
    b"Content-Length: +5",
    b"Content-Length: -5",
    b"Content-Length: 0x5",
    b"Content-Length: 5 5",
    b"Content-Length: 5, 5",
    b"Content-Length: 5,",
    b"Content-Length: 5.0",
    b"Content-Length: 5_0",
    b"Content-Length: \xb2",
    b"Content-Length:",
    b"Content-Length: " + b"9" * 30,
    b"Content-Length : 5",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: identity, chunked",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding : chunked",
]

_CHUNKS = [
    b"g\r\nhello\r\n",
    b"-5\r\nhello\r\n",
    b"+5\r\nhello\r\n",
    b"0x5\r\nhello\r\n",
    b" 5\r\nhello\r\n",
    b"5 5\r\nhello\r\n",
    b"\r\nhello\r\n",
    b"ffffffffffffffff5\r\nhello\r\n",
    b"5\nhello\r\n",
    b"5\rhello\r\n",
    b"5\r\nhello\n",
    b"5\r\nhello!\r\n",
    b"5\r\nhelloxx0\r\n\r\n",
    b"5;a=\x00\r\nhello\r\n",
    b"0\r\nA\r\n\r\n",
    b"0\r\nA : b\r\n\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"0\r\nA: \x00\r\n\r\n",
    b"0\r\n" + b"A: b\r\n" * 5000,
    b"0\r\n" + b"A: " + b"b" * 50_000,
    b"1;" + b"a" * 50_000,
    b"1\r\nx\r\n" * 10 + b"0" * 50_000,
    b"5\r\nhel",
    b"5\r\nhello\r\n",
    b"0\r\n",
    b"",
]

HEADS = [
    *(Broken(repr(text), text + b"\r\nContent-Length: 5\r\n\r\nhello") for text in _STARTS),
    *(Broken(repr(text), field(text)) for text in _FIELDS),
    *(Broken(repr(text), OK + text + b"\r\n\r\nhello") for text in _FRAMINGS),
    Broken("chunks in HTTP/1.0", CHUNKED.replace(b"1.1", b"1.0") + HELLO + b"0\r\n\r\n"),
    Broken("LF for CR LF", field(b"A: b").replace(b"\r\n", b"\n")),
    Broken("nothing", b""),
    Broken("half a head", b"HTTP/1.1 200 OK\r\nContent-Le"),
    Broken("a head without an end", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"),
    Broken("a large head", field(b"A: " + b"b" * 100_000)),
    Broken("a head that never ends", OK + b"A: b\r\n" * 20_000),
    Broken("many fields", field(b"\r\n".join([b"A: b"] * 300))),
    Broken("a flood of 103", b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" * 5000),
    Broken("a flood of 100", b"HTTP/1.1 100 Continue\r\n\r\n" * 5000),
    Broken("100 and nothing more", b"HTTP/1.1 100 Continue\r\n\r\n"),
    Broken("102 with a broken field", b"HTTP/1.1 102 X\r\nA : b\r\n\r\n" + EVIL),
    Broken("HTTP/2", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00\x03\x00\x00\x00\x64" * 3),
    Broken("TLS", b"\x15\x03\x01\x00\x02\x02\x46"),
    Broken("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
    Broken("HTTP/0.9", b"<html>hello</html>\r\n\r\n"),
]

BODIES = [
    *(Broken(f"chunks {text[:40]!r}", CHUNKED + HELLO + text, CUT, b"hello") for text in _CHUNKS),
    Broken("a short body", OK + b"Content-Length: 9\r\n\r\nhello", CUT, b"hello"),
    Broken("no body at all", OK + b"Content-Length: 9\r\n\r\n", CUT),
]

ODD = [
    Broken("more than its length", OK + b"Content-Length: 5\r\n\r\nhello" + EVIL, 200, b"hello"),
    Broken("more after its chunks", CHUNKED + HELLO + b"0\r\n\r\n" + EVIL, 200, b"hello"),
    Broken("more after nothing", OK + b"Content-Length: 0\r\n\r\n" + EVIL, 200),
    Broken("an empty line more", OK + b"Content-Length: 5\r\n\r\nhello\r\n", 200, b"hello"),
    Broken("204 with a length", b"HTTP/1.1 204 No\r\nContent-Length: 36\r\n\r\n" + EVIL, 204),
    Broken("204 in chunks", CHUNKED.replace(b"200 OK", b"204 No") + EVIL, 204),
    Broken("304 with a body", b"HTTP/1.1 304 No\r\nContent-Length: 36\r\n\r\n" + EVIL, 304),
    Broken("304 in chunks", CHUNKED.replace(b"200 OK", b"304 No") + EVIL, 304),
    Broken("205 with a body", b"HTTP/1.1 205 No\r\nContent-Length: 36\r\n\r\n" + EVIL, 205),
    Broken("205 in chunks", CHUNKED.replace(b"200 OK", b"205 No") + HELLO, 205),
    Broken("a body for HEAD", OK + b"Content-Length: 36\r\n\r\n" + EVIL, 200, b"", "HEAD"),
    Broken("chunks for HEAD", CHUNKED + HELLO + b"0\r\n\r\n" + EVIL, 200, b"", "HEAD"),
    Broken("until the close", OK + b"\r\n" + EVIL, 200, EVIL),
    Broken("HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello" + EVIL, 200, b"hello"),
    Broken("a lie about gzip", field(b"Content-Encoding: gzip"), 200, b"hello"),
    Broken("no reason", b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
    Broken("103 first", b"HTTP/1.1 103 E\r\nA: b\r\n\r\n" * 3 + field(b"A: b"), 200, b"hello"),
]  # fmt: skip
