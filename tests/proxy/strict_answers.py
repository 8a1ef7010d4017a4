r"""A slow, strict reader of HTTP/1.1 responses, which shares no line with what it judges.

    read_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"GET")

The answer, `None` where there is more to come, or `Ambiguous`. A body that ends with the connection
is whole at the end of `data`. It is written from the grammar of RFC 9112, to be read beside it.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.proxy.strict import Ambiguous

_DIGITS = b"0123456789"
_HEX = _DIGITS + b"abcdefABCDEF"
_TOKEN = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" + _DIGITS + b"!#$%&'*+-.^_`|~"
)
_TEXT = frozenset(b"\t" + bytes(range(32, 127)) + bytes(range(128, 256)))

Fields = list[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """`rest` is what came after its end; `until_close` says that nothing could have."""

    status: int
    fields: Fields
    body: bytes
    trailers: Fields
    rest: bytes
    until_close: bool = False
    extended: bool = False
    """There were chunk extensions, which are read here more leniently than anywhere."""


def read_answer(data: bytes, method: bytes) -> Answer | None:
    while True:
        head, ended, data = data.partition(b"\r\n\r\n")
        if not ended:
            return None
        version, status, fields = _head(head)
        if status == 101:
            raise Ambiguous("nobody asked to switch")
        if status >= 200:
            break
    length, chunked = _framing(version, fields)
    if chunked:
        fields = [field for field in fields if field[0] != b"transfer-encoding"]
    if method == b"HEAD" or status in (204, 304):
        return Answer(status, fields, b"", [], data)
    if chunked:
        return _chunks(status, fields, data)
    if length is None:
        return Answer(status, fields, data, [], b"", until_close=True)
    if len(data) < length:
        return None
    return Answer(status, fields, data[:length], [], data[length:])


def _head(head: bytes) -> tuple[bytes, int, Fields]:
    line, *lines = head.split(b"\r\n")
    version, status, reason = line[:8], line[9:12], line[12:]
    if version not in (b"HTTP/1.0", b"HTTP/1.1") or line[8:9] != b" ":
        raise Ambiguous(f"the status line {line!r}")
    if len(status) != 3 or not set(status) <= set(_DIGITS) or not 100 <= int(status) <= 599:
        raise Ambiguous(f"the status {status!r}")
    if (reason and reason[:1] != b" ") or not set(reason) <= _TEXT:
        raise Ambiguous(f"the reason {reason!r}")
    return version, int(status), [_field(line) for line in lines]


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name or not set(name) <= _TOKEN or not set(value) <= _TEXT:
        raise Ambiguous(f"the field {line!r}")
    return name.lower(), value.strip(b" \t")


def _framing(version: bytes, fields: Fields) -> tuple[int | None, bool]:
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        raise Ambiguous("two framings")
    if codings:
        if version == b"HTTP/1.0" or codings[0].lower() != b"chunked":
            raise Ambiguous(f"the coding {codings[0]!r}")
        return None, True
    if not lengths:
        return None, False
    if not lengths[0] or not set(lengths[0]) <= set(_DIGITS) or len(lengths[0]) > 18:
        raise Ambiguous(f"the length {lengths[0]!r}")
    return int(lengths[0]), False


def _chunks(status: int, fields: Fields, data: bytes) -> Answer | None:
    body, extended = b"", False
    while True:
        line, ended, data = data.partition(b"\r\n")
        if not ended:
            return None
        size, semicolon, extension = line.partition(b";")
        extended = extended or bool(semicolon)
        if not set(extension) <= _TEXT:
            raise Ambiguous(f"the extension {extension!r}")
        if not size or not set(size) <= set(_HEX):
            raise Ambiguous(f"the size {size!r}")
        count = int(size, 16)
        if not count:
            break
        if len(data) < count + 2:
            return None
        if data[count : count + 2] != b"\r\n":
            raise Ambiguous("a chunk that does not end where it said")
        body, data = body + data[:count], data[count + 2 :]
    trailers: Fields = []
    while True:
        line, ended, data = data.partition(b"\r\n")
        if not ended:
            return None
        if not line:
            return Answer(status, fields, body, trailers, data, extended=extended)
        trailers.append(_field(line))
        if trailers[-1][0] in (b"content-length", b"transfer-encoding", b"connection"):
            raise Ambiguous("a framing field in the trailers")
