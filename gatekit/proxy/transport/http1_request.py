r"""Requests as bytes: HTTP/1.1 written so that it can be read in one way only.

    head, persistent = RequestWriter().head(request, b"users:8001")

Names are checked once and remembered. Values, target and method are checked together: the head
without the bytes that a value may hold must be exactly its own line ends. One more CR or LF, or any
other control, and it is not.

A request has one framing field, written from its body. A `Content-Length` among its fields must say
the same and is then dropped; a `Transfer-Encoding` there is dropped.
"""

from __future__ import annotations

import re
from typing import Final

from gatekit.errors import UpstreamError
from gatekit.proxy.transport.exchange import Headers, RequestBody, UpstreamRequest

TEXT: Final = bytes(byte for byte in range(256) if byte == 9 or (byte >= 32 and byte != 127))
"""RFC 9110 §5.5: what a field's value may hold: HTAB, SP, VCHAR and obs-text."""
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET: Final = re.compile(rb"/[!\"$-~]*")
_HOST: Final = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]]*")
_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_KNOWN_NAMES: Final = 1024
"""Names that a writer remembers; clients may send any number of others, checked each time."""


class InvalidMessage(ValueError):
    """A request that HTTP/1.1 cannot say, or would say with another meaning; nothing was sent."""


class RequestWriter:
    """Writes heads; one for all connections and threads of a transport."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def head(self, request: UpstreamRequest, authority: bytes) -> tuple[bytes, bool]:
        """The head, and whether the connection may carry another request after this one.

        `authority` is the `Host` of a request that has none. Raises `InvalidMessage`.
        """
        method, target = request.method, request.target
        if method not in _METHODS:
            _check_method(method)
        if not _TARGET.fullmatch(target) and (method, target) != (b"OPTIONS", b"*"):
            raise InvalidMessage(f"{target[:100]!r} is not a path and query in visible ASCII")
        known = self._known
        parts = [method, b" ", target, b" HTTP/1.1"]
        host = length = None
        persistent = True
        for name, value in request.headers:
            prefix = known.get(name)
            if prefix is None:
                lower = name.lower()
                if lower == b"transfer-encoding":
                    continue
                if lower == b"content-length":
                    length = _agreed("Content-Length", length, value)
                    continue
                if lower == b"host":
                    host = _agreed("Host", host, value)
                    continue
                if lower == b"connection":
                    persistent = persistent and b"close" not in tokens(value)
                prefix = self._learn(name, lower)
            parts += (prefix, value)
        if host is None:
            host = authority
        elif not _HOST.fullmatch(host):
            raise InvalidMessage(f"Host {host[:100]!r} is not a host and port")
        framing = _framing(request.body, length)
        line_ends = len(parts) // 2 + (2 if framing else 1)
        parts += (b"\r\nhost: ", host, framing, b"\r\n\r\n")
        head = b"".join(parts)
        if head.translate(None, TEXT) != b"\r\n" * line_ends:
            raise InvalidMessage(_culprit(request.headers))
        return head, persistent

    def _learn(self, name: bytes, lower: bytes) -> bytes:
        if not _TOKEN.fullmatch(name):
            raise InvalidMessage(f"the field name {name[:100]!r} is not a token")
        prefix = b"\r\n" + name + b": "
        if len(self._known) < _KNOWN_NAMES and lower != b"connection":
            self._known[name] = prefix
        return prefix


class BodyWriter:
    """Frames the stream of a body: `length` bytes exactly, or chunks where it is None.

    Raises `UpstreamError` with stage `body_client` where the stream has another length.
    """

    __slots__ = ("_finished", "_length", "_sent")

    def __init__(self, length: int | None) -> None:
        self._length = length
        self._sent = 0
        self._finished = False

    @property
    def is_whole(self) -> bool:
        """All was written that was announced, though the stream may not have said its end."""
        return self._finished or self._sent == self._length

    def encode(self, data: bytes | memoryview) -> bytes | memoryview:
        """A piece of the body, which must not be empty: an empty chunk is the last one."""
        if self._length is None:
            return b"".join((b"%x\r\n" % len(data), data, b"\r\n"))
        self._sent += len(data)
        if self._sent > self._length:
            raise UpstreamError("body_client", f"the body is longer than {self._length} bytes")
        return data

    def finish(self) -> bytes:
        """What is left to write after the last piece."""
        if self._length is None:
            self._finished = True
            return b"0\r\n\r\n"
        if self._sent < self._length:
            raise UpstreamError("body_client", f"the body has {self._sent} of {self._length} bytes")
        return b""


def tokens(value: bytes) -> set[bytes]:
    """The elements of a list of tokens, in lower case."""
    return {token.strip(b" \t") for token in value.lower().split(b",")}


def _check_method(method: bytes) -> None:
    if not _TOKEN.fullmatch(method):
        raise InvalidMessage(f"the method {method[:100]!r} is not a token")
    # RFC 9110 §9.3.6: a success makes the connection a tunnel, whatever its fields say.
    if method == b"CONNECT":
        raise InvalidMessage("CONNECT cannot be forwarded")


def _agreed(name: str, known: bytes | None, value: bytes) -> bytes:
    if known is not None and known != value:
        raise InvalidMessage(f"two {name} fields that differ")
    return value


def _framing(body: RequestBody, declared: bytes | None) -> bytes:
    """The one field that says where the request ends, after the end of the line before it."""
    if body is None:
        length = None if declared is None else 0
    elif isinstance(body, tuple):
        length = body[1]
    else:
        length = len(body)
    if declared is not None and not (
        declared.isdigit() and len(declared) < 20 and int(declared) == length
    ):
        raise InvalidMessage(f"Content-Length {declared[:100]!r} is not the length of the body")
    if length is not None:
        return b"\r\ncontent-length: %d" % length
    return b"" if body is None else b"\r\ntransfer-encoding: chunked"


def _culprit(headers: Headers) -> str:
    for name, value in headers:
        if value.translate(None, TEXT):
            return f"the value of {name.decode('ascii')} holds a control character"
    return "the head holds a control character"
