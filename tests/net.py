r"""A raw HTTP/1.1 test client on plain sockets: what is sent and what came back, byte for byte.

    status, headers, body = request(server.port, "GET", "/a%2Fb?x=1", headers=[("Accept", "*/*")])

    with connect(server.port) as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
        client.reset()

Nothing is normalised on the way: `raw` adds nothing at all, `request` adds `Host` and the framing
of its body only where the caller gave none, and the names of received fields keep their case. Every
socket has a deadline, so that a server which never answers fails the test instead of hanging it.

An *address* is a port on 127.0.0.1 or the path of a Unix socket.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias

Address: TypeAlias = int | Path
Fields: TypeAlias = Sequence[tuple[str, str]]

TIMEOUT = 10.0
"""Seconds a socket may be silent before the test fails with `TimeoutError`."""


class Answer(NamedTuple):
    """One final response; a body in chunks is joined, nothing else is changed."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        """The values of every field called `name`, in the order received."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """The one value of `name`; a repeated field is an error in the test's own expectation."""
        values = self.values(name)
        if len(values) > 1:
            raise AssertionError(f"{name} came {len(values)} times: {values}")
        return values[0] if values else None


class TruncatedError(ConnectionError):
    """The connection ended before the message did."""


class Connection:
    """An open connection, which may be left half-sent, half-closed or reset.

    After `read()`, `informational` holds the 1xx heads seen before the answer, and `trailers` the
    fields after the last chunk.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.informational: list[Answer] = []
        self.trailers: list[tuple[str, str]] = []
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_request(
        self,
        method: str,
        target: str,
        headers: Fields = (),
        body: bytes | Iterable[bytes] | None = None,
    ) -> None:
        """Write one request; an iterable body goes out in chunks, one for each item."""
        self.send(request_head(method, target, headers, body))
        if isinstance(body, bytes):
            self.send(body)
        elif body is not None:
            for chunk in body:
                self.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.send(b"0\r\n\r\n")

    def read(self, method: str = "GET") -> Answer:
        """The next final response. `method` is the request's: an answer to HEAD has no body."""
        while True:
            head = self.read_head()
            if head.status >= 200 or head.status == 101:
                break
            self.informational.append(head)
        return head._replace(body=self._read_body(method, head))

    def read_head(self) -> Answer:
        """The next head, informational or final; its body stays on the wire."""
        line, *fields = self.read_until(b"\r\n\r\n")[:-4].decode("latin-1").split("\r\n")
        version, status, *_reason = line.split(" ", 2)
        if not version.startswith("HTTP/1."):
            raise AssertionError(f"not a status line: {line!r}")
        return Answer(int(status), [parse_field(field) for field in fields], b"")

    def read_until(self, mark: bytes) -> bytes:
        """Everything up to and with `mark`."""
        while (found := self._buffer.find(mark)) < 0:
            self._receive()
        return self._take(found + len(mark))

    def read_exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._receive()
        return self._take(size)

    def read_to_end(self) -> bytes:
        """Everything until the peer closes; a reset raises `ConnectionResetError`."""
        while data := self.socket.recv(65536):
            self._buffer += data
        return self._take(len(self._buffer))

    def buffered(self) -> bytes:
        """What has arrived beyond what was read."""
        return bytes(self._buffer)

    def is_closed_by_peer(self) -> bool:
        """Wait for the peer's next sign: True if it is the end of the connection."""
        if self._buffer:
            return False
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return True
        self._buffer += data
        return not data

    def half_close(self) -> None:
        """Send FIN; reading goes on."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Drop the connection with RST: a linger time of nought throws unsent data away."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise TruncatedError(f"closed by the peer after {bytes(self._buffer[:2000])!r}")
        self._buffer += data

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _read_body(self, method: str, head: Answer) -> bytes:
        if method == "HEAD" or head.status in (101, 204, 304):
            return b""
        if codings := head.values("transfer-encoding"):
            if codings != ["chunked"]:
                raise AssertionError(f"unknown framing: {codings}")
            return self._read_chunks()
        if (length := head.header("content-length")) is not None:
            return self.read_exactly(int(length))
        return self.read_to_end()

    def _read_chunks(self) -> bytes:
        body = bytearray()
        while size := int(self.read_until(b"\r\n").split(b";")[0], 16):
            body += self.read_exactly(size)
            if self.read_exactly(2) != b"\r\n":
                raise AssertionError("a chunk does not end with CR LF")
        while (line := self.read_until(b"\r\n")) != b"\r\n":
            self.trailers.append(parse_field(line[:-2].decode("latin-1")))
        return bytes(body)


def connect(address: Address, *, timeout: float = TIMEOUT) -> Connection:
    """Open a connection and send nothing."""
    if isinstance(address, Path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        sock.connect(str(address))
    else:
        sock = socket.create_connection(("127.0.0.1", address), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(sock)


def raw(address: Address, data: bytes, *, timeout: float = TIMEOUT) -> bytes:
    """Send exactly `data` and return what came back until the server closed the connection."""
    with connect(address, timeout=timeout) as connection:
        connection.send(data)
        return connection.read_to_end()


def request(
    address: Address,
    method: str,
    target: str,
    headers: Fields = (),
    body: bytes | Iterable[bytes] | None = None,
    *,
    timeout: float = TIMEOUT,
) -> Answer:
    """One request on a connection of its own."""
    with connect(address, timeout=timeout) as connection:
        connection.send_request(method, target, headers, body)
        return connection.read(method)


def request_head(
    method: str, target: str, headers: Fields = (), body: bytes | Iterable[bytes] | None = None
) -> bytes:
    """A request head, with `Host` and the body's framing where the caller gave none."""
    given = {name.lower() for name, _ in headers}
    fields = list(headers)
    if "host" not in given:
        fields.insert(0, ("Host", "gateway.test"))
    if body is not None and not given & {"content-length", "transfer-encoding"}:
        fields.append(
            ("Content-Length", str(len(body)))
            if isinstance(body, bytes)
            else ("Transfer-Encoding", "chunked")
        )
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def parse_field(line: str) -> tuple[str, str]:
    """Split one field line; the name keeps its case, the value loses the blanks around it."""
    name, colon, value = line.partition(":")
    if not colon or not name or name != name.strip():
        raise AssertionError(f"not a field line: {line!r}")
    return name, value.strip(" \t")
