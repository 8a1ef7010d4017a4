r"""An upstream that plays a script of bytes on raw sockets and keeps what it was sent.

    with Upstream(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as upstream:
        ...                                  # a client of 127.0.0.1:upstream.port
    assert upstream.requests[0].head.startswith(b"GET / HTTP/1.1\r\n")

A script is a function of one `Peer`, the upstream's end of one connection. The first connection
plays the first script, the second the second; the last script is played for all that follow. When
a script returns, its connection is closed in good order.

Whatever a script raises fails the test at the end of the `with`, unless the client had gone away.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias

PATIENCE = 10.0
"""Seconds after which a silent peer fails the test."""


class Received(NamedTuple):
    """One request as it came; the body with its chunks undone."""

    head: bytes
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        """The values of every field called `name`, in lower case."""
        lines = [line.split(b": ", 1) for line in self.head.split(b"\r\n")[1:] if line]
        return [value for key, value in lines if key.lower() == name]


class Peer:
    """The upstream's end of one connection."""

    def __init__(self, sock: socket.socket, upstream: Upstream) -> None:
        self.socket = sock
        self.upstream = upstream
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_head(self) -> bytes:
        """Up to the empty line; the body stays on the wire."""
        return self._read_until(b"\r\n\r\n")

    def read_request(self) -> Received:
        """One request, which is kept in `upstream.requests`."""
        head = self.read_head()
        length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
        if re.search(rb"\r\ntransfer-encoding: chunked", head, re.IGNORECASE):
            body = self._read_chunks()
        else:
            body = self.read_exactly(int(length[1]) if length else 0)
        request = Received(head, body)
        self.upstream.requests.append(request)
        return request

    def read_exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._receive()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def read_to_end(self) -> bytes:
        """Everything until the client closes or resets; the proof that it did."""
        try:
            while data := self.socket.recv(65536):
                self._buffer += data
        except ConnectionError:
            pass
        return self._buffer

    def half_close(self) -> None:
        """Send FIN; reading goes on."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Drop the connection with RST: a linger time of nought throws unsent data away."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def read_chunk(self) -> bytes:
        """One chunk of a body; empty at its end."""
        data = self.read_exactly(int(self._read_until(b"\r\n"), 16))
        assert self.read_exactly(2) == b"\r\n"
        return data

    def _read_chunks(self) -> bytes:
        body = b""
        while data := self.read_chunk():
            body += data
        return body

    def _read_until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._receive()
        return self.read_exactly(self._buffer.index(mark) + len(mark))

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError("the client closed the connection")
        self._buffer += data


Script: TypeAlias = Callable[[Peer], None]


def silent(peer: Peer) -> None:
    """Read whatever comes and say nothing."""
    peer.read_to_end()


def hang_up(peer: Peer) -> None:
    """Read one head and close."""
    peer.read_head()


def answer(*responses: bytes) -> Script:
    """Read a request before each response; after the last one wait for the client to close."""

    def play(peer: Peer) -> None:
        for response in responses:
            peer.read_request()
            peer.send(response)
        peer.read_to_end()

    return play


def answer_and_close(*responses: bytes) -> Script:
    """The same, but close after the last response."""

    def play(peer: Peer) -> None:
        for response in responses:
            peer.read_request()
            peer.send(response)

    return play


class Upstream:
    """A listening socket on a free port of 127.0.0.1, or on the Unix socket `uds`."""

    def __init__(
        self, *scripts: Script, uds: Path | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self._scripts = list(scripts)
        self._tls = tls
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        if uds is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.port: int = self._listener.getsockname()[1]
            self.url = f"http://127.0.0.1:{self.port}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(uds))
            self._listener.listen()
            self.url = f"unix:{uds}"

    def __enter__(self) -> Self:
        acceptor = threading.Thread(target=self._accept)
        self._threads.append(acceptor)
        acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A thread in `accept` is woken by this, not by closing.
        self._listener.shutdown(socket.SHUT_RDWR)
        for sock in self._sockets:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(PATIENCE)
        self._listener.close()
        assert not any(thread.is_alive() for thread in self._threads)
        if error is None and self._errors:
            raise self._errors[0]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE)
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            self._sockets.append(sock)
            thread = threading.Thread(target=self._play, args=(sock, script))
            self._threads.append(thread)
            thread.start()

    def _play(self, sock: socket.socket, script: Script) -> None:
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
                self._sockets.append(sock)
            script(Peer(sock, self))
        except (ConnectionError, ssl.SSLError):
            pass
        except BaseException as error:
            self._errors.append(error)
        finally:
            sock.close()
