r"""Responses from bytes: a strict reader of HTTP/1.1 that knows no socket.

    reader = ResponseReader()
    reader.begin(b"GET")
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    reader.status, reader.headers, reader.take(), reader.complete, reader.persistent

## Theory of operation

An intermediary's security rests on one question: where does a message end? So nothing doubtful is
read, and nothing doubtful is written (`http1_request`).

A head is held back until its empty line has come, then a fresh llhttp parses it alone. So no
exchange inherits a parser's state, and the limits are exact. From the fields the framing is decided
here, by the rules of RFC 9112 §6.3 in their order: no body, chunks, a length, or all until the
close. Only chunks go through llhttp again; a body of known length is counted and passed on
uncopied.

`complete` says that the message has ended, `persistent` that its connection may carry another one.
Bytes beyond the end belong to nobody: they cost the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import httptools

from gatekit.errors import UpstreamError
from gatekit.proxy.transport.exchange import Headers, Informational
from gatekit.proxy.transport.http1_request import TEXT, tokens

_END: Final = b"\r\n\r\n"
_START: Final = b"HTTP/1."
_VERSIONS: Final = (b"HTTP/1.1 ", b"HTTP/1.0 ")
_CHUNKED_HEAD: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_WATCHED: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_KEPT: Final = frozenset({b"keep-alive"})
_CHUNK_ALLOWANCE: Final = 16 * 1024
"""Bytes of chunk sizes, extensions and trailers beyond what the data itself excuses."""


class ResponseReader:
    """Reads one response after another; one for each connection.

    After `feed`, `head_complete` says that `status`, `headers` and `informational` are there, and
    `take()` gives the pieces of the body that came. Raises `UpstreamError` with stage `protocol`,
    and from `eof` with `closed`; the connection is then of no more use.
    """

    __slots__ = (
        "_body_left",
        "_chunks",
        "_ended",
        "_excess",
        "_fields",
        "_framing",
        "_head_bytes",
        "_held",
        "_max_fields",
        "_max_head",
        "_no_body",
        "_on_informational",
        "_parser",
        "_payload",
        "_tail",
        "_upgrade",
        "_watched",
        "complete",
        "head_complete",
        "headers",
        "informational",
        "leftover",
        "persistent",
        "started",
        "status",
        "trailers",
        "upgraded",
    )

    def __init__(self, max_head: int = 64 * 1024, max_fields: int = 256) -> None:
        self._max_head = max_head
        self._max_fields = max_fields
        self._held = bytearray()
        self._parser: httptools.HttpResponseParser | None = None
        self.begin(b"GET")
        self.complete = True

    def begin(
        self,
        method: bytes,
        *,
        persistent: bool = True,
        upgrade: bool = False,
        on_informational: Callable[[int, Headers], None] | None = None,
    ) -> None:
        """Get ready for the answer to a request with `method`, whatever was read before."""
        self._no_body = method == b"HEAD"
        self._upgrade = upgrade
        self._on_informational = on_informational
        self._framing: Literal["head", "length", "chunked", "close"] = "head"
        self._head_bytes = 0
        self._held.clear()
        self._chunks: list[bytes] = []
        self.status = 0
        self.headers: Headers = []
        self.trailers: Headers = []
        self.informational: list[Informational] = []
        self.started = self.head_complete = self.complete = self.upgraded = False
        self.persistent = persistent
        self.leftover = b""

    @property
    def between_heads(self) -> bool:
        """A 1xx head has come whole, and nothing yet of the next one."""
        return not self._held and not self.head_complete

    def feed(self, data: bytes) -> None:
        """Read what the upstream sent; never no bytes at all, that is `eof`."""
        if self.complete:
            raise UpstreamError("protocol", "bytes after the end of the response")
        if self._framing == "head":
            self._feed_head(data)
        else:
            self._feed_body(data)

    def eof(self) -> None:
        """The upstream has closed its side; raises `closed` where the message is not whole."""
        if self._framing == "close":
            self.complete = True
        if self.complete:
            return
        if self._framing == "length":
            detail = f"the body ended {self._body_left} bytes short of its Content-Length"
        elif self._framing == "chunked":
            detail = "the body ended before its last chunk"
        elif self.started:
            detail = "the connection was closed within the head"
        else:
            detail = "the connection was closed without an answer"
        raise UpstreamError("closed", detail)

    def close(self) -> None:
        """Let go of the parser of chunks, which holds this reader in turn."""
        self._parser = None

    def take(self) -> list[bytes]:
        """The pieces of the body since the last call."""
        chunks, self._chunks = self._chunks, []
        return chunks

    def take_all(self) -> bytes:
        """The same in one piece."""
        chunks = self._chunks
        if not chunks:
            return b""
        self._chunks = []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    # llhttp calls these four, in a head and in chunks.

    def on_message_begin(self) -> None:
        if self._ended:
            raise ValueError("another message")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._fields.append((name, value))
        if name in _WATCHED:
            self._watched.append((name, value))

    def on_body(self, data: bytes) -> None:
        self._payload += len(data)
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        self._ended = True

    def _feed_head(self, data: bytes) -> None:
        self.started = True
        held = self._held
        while data:
            known = len(held)
            if known:
                held += data
                end = held.find(_END, max(known - 3, 0))
            else:
                end = data.find(_END)
            if end < 0:
                if not known:
                    held += data
                self._check_partial_head(known)
                return
            if known:
                data = bytes(held)
                held.clear()
            end += 4
            self._head_bytes += end
            if self._head_bytes > self._max_head:
                raise UpstreamError("protocol", f"the head is larger than {self._max_head} bytes")
            self._parse_head(data[:end])
            data = data[end:]
            if self.head_complete:
                break
        if self.upgraded:
            self.leftover = data
        elif data:
            if self.complete:
                self.persistent = False
            else:
                self._feed_body(data)

    def _check_partial_head(self, known: int) -> None:
        """Find at once what no further byte can mend; the first `known` bytes were checked."""
        held = self._held
        if not (held.startswith(_START) or _START.startswith(held)):
            raise UpstreamError("protocol", f"not a response in HTTP/1: {bytes(held[:40])!r}")
        if self._head_bytes + len(held) > self._max_head:
            raise UpstreamError("protocol", f"the head is larger than {self._max_head} bytes")
        if held.count(b"\n", known) != held.count(b"\r\n", max(known - 1, 0)):
            raise UpstreamError("protocol", "a line of the head does not end with CR LF")

    def _parse_head(self, head: bytes) -> None:
        if not head.startswith(_VERSIONS):
            raise UpstreamError("protocol", f"not a response in HTTP/1: {head[:40]!r}")
        self._fields: Headers = []
        self._watched: Headers = []
        self._ended = False
        parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise UpstreamError("protocol", f"{error} in the head") from None
        fields = self._fields
        if len(fields) > self._max_fields:
            raise UpstreamError("protocol", f"the head has more than {self._max_fields} fields")
        # llhttp refuses these too, in a value; but not in a reason phrase, nor in every release.
        if head.translate(None, TEXT) != b"\r\n" * (len(fields) + 2):
            raise UpstreamError("protocol", "a control character or a folded line in the head")
        if b" \r\n" in head or (b"\t" in head and b"\t\r\n" in head):
            # RFC 9110 §5.5: blanks around a value are no part of it; llhttp leaves those behind it.
            fields = [(name, value.rstrip(b" \t")) for name, value in fields]
        status = parser.get_status_code()
        if not 100 <= status <= 599:
            raise UpstreamError("protocol", f"{status} is not a status")
        if status < 200 and status != 101:
            self._inform(status, fields)
            return
        self.status = status
        self.headers = fields
        self.head_complete = True
        if status == 101:
            self._switch()
        else:
            self._decide_framing(head.startswith(b"HTTP/1.0"))

    def _inform(self, status: int, fields: Headers) -> None:
        """RFC 9110 §15.2: a client has to read any number of 1xx before the answer."""
        if status == 100:
            return
        self.informational.append((status, fields))
        if self._on_informational is not None:
            self._on_informational(status, fields)

    def _switch(self) -> None:
        if not self._upgrade:
            raise UpstreamError("protocol", "101 without having been asked to switch protocols")
        self.complete = self.upgraded = True
        self.persistent = False

    def _decide_framing(self, version_1_0: bool) -> None:
        length, coded, options = _framing_fields(self._watched)
        if coded:
            # RFC 9112 §6.1: in HTTP/1.0 "MUST treat the message as if the framing is faulty".
            if length is not None or version_1_0:
                raise UpstreamError("protocol", "chunked with a Content-Length, or in HTTP/1.0")
            self.headers = [field for field in self.headers if field[0] != b"transfer-encoding"]
        if b"close" in options or (version_1_0 and b"keep-alive" not in options):
            self.persistent = False
        if self._no_body or self.status in {204, 304} or length == 0:
            self.complete = True
        elif coded:
            self._framing = "chunked"
            self._begin_chunks()
        elif length is None:
            self._framing = "close"
            self.persistent = False
        else:
            self._framing = "length"
            self._body_left = length

    def _begin_chunks(self) -> None:
        # llhttp decodes, but it does not decide: it is told by a head of our own.
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(_CHUNKED_HEAD)
        self._fields = self.trailers
        self._watched = []
        self._ended = False
        self._excess = -_CHUNK_ALLOWANCE
        self._payload = 0
        self._tail = b""

    def _feed_body(self, data: bytes) -> None:
        if self._framing == "chunked":
            self._feed_chunks(data)
        elif self._framing == "close":
            self._chunks.append(data)
        else:
            left = self._body_left - len(data)
            if left < 0:
                self.persistent = False
                data = data[:left]
            self._chunks.append(data)
            self._body_left = left
            self.complete = left <= 0

    def _feed_chunks(self, data: bytes) -> None:
        assert self._parser is not None
        payload, pieces = self._payload, len(self._chunks)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self._ended:
                raise UpstreamError("protocol", f"{error} in a chunk") from None
            self.persistent = False
        # The line of a chunk is excused by the chunk itself, and by twice the data in it.
        excused = 3 * (self._payload - payload) + 16 * (len(self._chunks) - pieces)
        self._excess = max(self._excess + len(data) - excused, -_CHUNK_ALLOWANCE)
        if self._excess > 0 or len(self.trailers) > self._max_fields:
            raise UpstreamError("protocol", "more chunk extensions and trailers than data")
        self._tail = (self._tail + data[-6:])[-6:]
        if self._ended:
            if self._watched:
                raise UpstreamError("protocol", "a framing field in the trailers")
            self.trailers[:] = [(name, value.rstrip(b" \t")) for name, value in self.trailers]
            self.complete = True
            self.close()
            # llhttp passes over a CR LF between messages, where nothing may be.
            if not self._tail.endswith(_END) or self._tail == b"\r\n\r\n\r\n":
                self.persistent = False


def _framing_fields(watched: Headers) -> tuple[int | None, bool, set[bytes]]:
    """Content-Length, whether the body is chunked, and the options of Connection."""
    length: int | None = None
    coded = False
    options: set[bytes] = set()
    for name, value in watched:
        if name == b"connection":
            options |= _KEPT if value == b"keep-alive" else tokens(value)
        elif name == b"content-length":
            length = _length(value, length)
        elif coded or value.strip(b" \t").lower() != b"chunked":
            raise UpstreamError("protocol", f"Transfer-Encoding {value[:100]!r} is not chunked")
        else:
            coded = True
    return length, coded, options


def _length(value: bytes, known: int | None) -> int:
    digits = value.strip(b" \t")
    if known is not None or not digits.isdigit() or len(digits) > 18:
        raise UpstreamError("protocol", f"Content-Length {value[:100]!r} is not one number")
    return int(digits)
