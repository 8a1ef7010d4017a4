"""What a thread holds of a response: the reader of its body, or the end of a tunnel.

    for data in BodyReader(connection):
        ...

Dropping one before its end closes the connection, in whatever thread the garbage collector runs.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Final, Protocol, Self

from gatekit.errors import UpstreamError

_READ_SIZE: Final = 64 * 1024


class Source(Protocol):
    """The connection, as far as the reader of a body is concerned."""

    def read_body(self) -> tuple[bytes, bool]: ...

    def abandon(self) -> None: ...


class BodyReader:
    """The rest of a response: a `Body`."""

    __slots__ = ("_error", "_source")

    def __init__(self, source: Source) -> None:
        self._source: Source | None = source
        self._error: BaseException | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        source = self._source
        if source is None:
            if self._error is not None:
                raise self._error
            raise StopIteration
        try:
            data, ended = source.read_body()
        except BaseException as error:
            self._error = error
            self.close()
            raise
        if ended:
            # From here on the connection belongs to another exchange.
            self._source = None
            if not data:
                raise StopIteration
        return data

    def close(self) -> None:
        """Before the end it costs the connection; after it, it does nothing."""
        source, self._source = self._source, None
        if source is not None:
            if self._error is None:
                self._error = UpstreamError("closed", "the body was closed by its reader")
            source.abandon()

    def __del__(self) -> None:
        self.close()


class TunnelEnd:
    """The connection after a 101: a `Tunnel`, for one thread that reads and one that writes."""

    __slots__ = ("_abandon", "_closed", "_leftover", "_lock", "_readable", "_socket", "_writable")

    def __init__(self, sock: socket.socket, leftover: bytes, abandon: Callable[[], None]) -> None:
        self._socket = sock
        self._leftover = leftover
        self._abandon = abandon
        self._closed = False
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(sock, select.POLLOUT)
        # OpenSSL allows one call at a time on a connection; none of these blocks.
        self._lock = Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        data, self._leftover = self._leftover, b""
        while not self._closed:
            if data:
                return data
            try:
                with self._lock:
                    data = self._socket.recv(_READ_SIZE)
                if not data or self._closed:
                    break
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self._readable.poll()
            except OSError as error:
                if not self._closed:
                    raise UpstreamError("reset", str(error)) from error
        raise StopIteration

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                with self._lock:
                    view = view[self._socket.send(view) :]
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self._writable.poll()
            except OSError as error:
                raise UpstreamError("closed" if self._closed else "reset", str(error)) from error

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with suppress(OSError):
            # A thread that waits in `poll` is woken by this, not by closing. An SSLSocket's own
            # method would go on in plain text.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        self._abandon()

    def __del__(self) -> None:
        self.close()
