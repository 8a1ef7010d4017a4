r"""A slow, strict reader of HTTP/1.1 requests, which shares no line with what it judges.

    read_request(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nrest")     # (Request(...), b"rest")
    read_request(b"GET / HTTP/1.1\r\nhos")                     # None: there is more to come

Whatever two readers could understand in two ways is an `Ambiguous`: nothing is forgiven that the
grammar of RFC 9112 does not say, and the framing is one field.
"""

from __future__ import annotations

from typing import NamedTuple

_DIGITS = b"0123456789"
_HEX = _DIGITS + b"abcdefABCDEF"
_ALPHA = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TOKEN = frozenset(_ALPHA + _DIGITS + b"!#$%&'*+-.^_`|~")
_VALUE = frozenset(b"\t" + bytes(range(32, 127)) + bytes(range(128, 256)))
_TARGET = frozenset(range(33, 127)) - frozenset(b"#")
_HOST = frozenset(_ALPHA + _DIGITS + b"-._~%!$&'()*+,;=:[]")


class Ambiguous(Exception):
    """What was received is not one plain request after another."""


class Request(NamedTuple):
    """One request; names in lower case, the body with its chunks undone."""

    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]]

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]


def read_requests(data: bytes) -> tuple[list[Request], bytes]:
    """All requests that have come whole, and what has come of the next."""
    requests: list[Request] = []
    while data:
        found = read_request(data)
        if found is None:
            break
        request, data = found
        requests.append(request)
    return requests, data


def read_request(data: bytes) -> tuple[Request, bytes] | None:
    """The first request and what follows it; None where it is not whole yet."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        _no_stray_line_end(data.removesuffix(b"\r"))
        return None
    line, *lines = data[:end].split(b"\r\n")
    method, target = _request_line(line)
    fields = [_field(line) for line in lines]
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) != 1 or not set(hosts[0]) <= _HOST:
        raise Ambiguous(f"the hosts are {hosts}")
    rest = data[end + 4 :]
    framing = [(name, value) for name, value in fields if name in _FRAMING]
    if len(framing) > 1:
        raise Ambiguous(f"more than one framing: {framing}")
    trailers: list[tuple[bytes, bytes]] = []
    if not framing:
        body = b""
    elif framing[0][0] == b"transfer-encoding":
        if framing[0][1] != b"chunked":
            raise Ambiguous(f"the coding {framing[0][1]!r}")
        chunks = _chunks(rest)
        if chunks is None:
            return None
        body, trailers, rest = chunks
    else:
        length = _number(framing[0][1], _DIGITS, 10)
        if len(rest) < length:
            return None
        body, rest = rest[:length], rest[length:]
    return Request(method, target, fields, body, trailers), rest


_FRAMING = (b"content-length", b"transfer-encoding")


def _request_line(line: bytes) -> tuple[bytes, bytes]:
    words = line.split(b" ")
    if len(words) != 3 or words[2] != b"HTTP/1.1":
        raise Ambiguous(f"the request line {line!r}")
    method, target, _ = words
    if not method or not set(method) <= _TOKEN:
        raise Ambiguous(f"the method {method!r}")
    if target != b"*" and (target[:1] != b"/" or not set(target) <= _TARGET):
        raise Ambiguous(f"the target {target!r}")
    return method, target


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name or not set(name) <= _TOKEN:
        raise Ambiguous(f"the field {line!r}")
    if not set(value) <= _VALUE:
        raise Ambiguous(f"the value of {line!r}")
    return name.lower(), value.strip(b" \t")


def _chunks(data: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes] | None:
    body = b""
    while True:
        line, ended, data = data.partition(b"\r\n")
        if not ended:
            return None
        size = _number(line, _HEX, 16)
        if not size:
            break
        if len(data) < size + 2:
            return None
        if data[size : size + 2] != b"\r\n":
            raise Ambiguous("a chunk that does not end where it said")
        body, data = body + data[:size], data[size + 2 :]
    trailers: list[tuple[bytes, bytes]] = []
    while True:
        line, ended, data = data.partition(b"\r\n")
        if not ended:
            return None
        if not line:
            return body, trailers, data
        trailers.append(_field(line))
        if trailers[-1][0] in (*_FRAMING, b"host", b"authorization", b"trailer"):
            raise Ambiguous(f"the trailer {line!r}")


def _number(text: bytes, digits: bytes, base: int) -> int:
    if not text or not set(text) <= set(digits) or len(text) > 18:
        raise Ambiguous(f"{text!r} is not a number")
    return int(text, base)


def _no_stray_line_end(head: bytes) -> None:
    plain = head.replace(b"\r\n", b"")
    if b"\r" in plain or b"\n" in plain or b"\x00" in plain:
        raise Ambiguous(f"a stray line end in {head[:200]!r}")
