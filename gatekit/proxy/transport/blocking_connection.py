"""One blocking connection: a socket, and the waits for it, none longer than its limit.

## What surprises

Each call into the kernel lets another thread have the interpreter, and costs two changes of thread
where many run. So a plain socket waits for its answer inside one `recv`, which the kernel ends when
the time that is left is over (`SO_RCVTIMEO`); all that must not wait says so for itself.

Over TLS, or where the socket only seems to block because a library of green threads has put its own
in place, the socket is non-blocking and every wait is a `poll`. So is, for both, the wait to send:
an early answer is seen while a body is being sent. No limit is overrun by a peer that dribbles.

A connection belongs to one thread at a time: the one that took it out of the pool, then the one
that reads the body. Only a tunnel may be read and written by two.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
from collections.abc import Iterable
from math import ceil
from time import monotonic
from typing import Final, Protocol, TypeAlias

from gatekit.errors import Stage, UpstreamError
from gatekit.proxy.transport.blocking_body import BodyReader, TunnelEnd
from gatekit.proxy.transport.exchange import Body, Timeouts, UpstreamRequest, UpstreamResponse
from gatekit.proxy.transport.http1 import ResponseReader
from gatekit.proxy.transport.http1_request import BodyWriter
from gatekit.proxy.transport.settings import NEVER, SMALL_BODY, slices

_READ_SIZE: Final = 64 * 1024
_READABLE: Final = select.POLLIN
_BOTH: Final = select.POLLIN | select.POLLOUT
_LONGEST_POLL: Final = 2**31 - 1
_LOST: Final = frozenset({"closed", "reset", "send"})

Response: TypeAlias = UpstreamResponse[Body]


class Home(Protocol):
    """The pool, as far as a connection is concerned."""

    def lend(self, connection: Connection) -> None:
        """Hold on to it while a response does."""
        ...

    def release(self, connection: Connection) -> None:
        """Take it back whole."""
        ...

    def switch(self, connection: Connection) -> None:
        """The same for a tunnel, which gives its place back at once."""
        ...

    def forget(self, connection: Connection) -> None:
        """A tunnel is closed."""
        ...

    def discard(self, connection: Connection) -> None:
        """Take back the place of one that is closed."""
        ...


class Connection:
    """A connection and the exchange on it."""

    __slots__ = (
        "_at_once",
        "_blocks",
        "_first_byte",
        "_home",
        "_idle",
        "_limit",
        "_patience",
        "_poll",
        "_reader",
        "_sent_all",
        "_socket",
        "_tls",
        "_whole",
        "closed",
        "idle_since",
        "served",
        "stale",
    )

    def __init__(self, sock: socket.socket, reader: ResponseReader, home: Home) -> None:
        self._socket = sock
        self._tls = isinstance(sock, ssl.SSLSocket)
        sock.setblocking(not self._tls)
        self._blocks = os.get_blocking(sock.fileno())
        if not self._blocks:
            sock.setblocking(False)
        self._at_once = socket.MSG_DONTWAIT if self._blocks else 0
        self._patience = 0
        self._reader = reader
        self._home = home
        self._poll = select.poll()
        self._poll.register(sock, _READABLE)
        self._limit = self._whole = NEVER
        self._first_byte: float | None = None
        self._idle: float | None = None
        self._sent_all = True
        self.closed = False
        self.stale = False
        self.served = 0
        self.idle_since = 0.0

    def exchange(
        self,
        request: UpstreamRequest,
        head: bytes,
        persistent: bool,
        timeouts: Timeouts,
        limit: float,
        whole: float,
    ) -> Response:
        """Write `request` and wait for the head of its answer.

        `limit` holds until the head, `whole` until the last byte.
        """
        self.served += 1
        self._whole = whole
        self._limit = limit
        self._first_byte = timeouts.first_byte
        self._idle = timeouts.idle
        reader = self._reader
        reader.begin(
            request.method,
            persistent=persistent,
            upgrade=request.upgrade,
            on_informational=request.on_informational,
        )
        interrupt = request.interrupt
        try:
            if interrupt is not None:
                interrupt.bind(self._socket)
            try:
                self._send_request(head, request)
            except UpstreamError as error:
                if error.stage in _LOST and not reader.started:
                    raise UpstreamError("send", error.detail) from error
                raise
            due = self._due(self._first_byte)
            while not reader.head_complete:
                self._read(due, "first_byte_timeout")
                if reader.between_heads:
                    due = self._due(self._first_byte)
        except BaseException as error:
            if interrupt is not None:
                interrupt.release()
            lost = isinstance(error, UpstreamError) and error.stage in _LOST
            self.stale = lost and not reader.started
            self.abandon()
            raise
        if interrupt is not None:
            interrupt.release()
        return self._answer()

    def is_dead(self) -> bool:
        """While idle: the upstream has closed it, or sent what nobody asked for."""
        if not self._poll.poll(0):
            return False
        if not self._tls:
            return True
        try:
            # A session ticket is TLS's own and gives no byte.
            return self._receive() is not None
        except UpstreamError:
            return True

    def shut(self) -> None:
        """Close it, with no word to the pool."""
        self.closed = True
        self._reader.close()
        self._socket.close()

    def abandon(self) -> None:
        """Close it in the middle of an exchange, and give its place back."""
        if not self.closed:
            self.shut()
            if self._reader.upgraded:
                self._home.forget(self)
            else:
                self._home.discard(self)

    def read_body(self) -> tuple[bytes, bool]:
        """What has come of the body, and whether that was its end; bytes are missing only there."""
        reader = self._reader
        while True:
            data = reader.take_all()
            if reader.complete:
                self._finish()
                return data, True
            if data:
                return data, False
            self._read(self._due(self._idle), "idle_timeout")

    def _answer(self) -> Response:
        self._limit = self._whole
        reader = self._reader
        if not self._sent_all:
            # RFC 9112 §9.3: after a request that was not sent to its end there is no other one.
            reader.persistent = False
        response: Response = UpstreamResponse(
            reader.status, reader.headers, b"", reader.trailers, reader.informational
        )
        if reader.upgraded:
            self._home.switch(self)
            self._socket.setblocking(False)
            response.body = TunnelEnd(self._socket, reader.leftover, self.abandon)
        elif reader.complete:
            response.body = reader.take_all()
            self._finish()
        else:
            self._home.lend(self)
            response.body = BodyReader(self)
        return response

    def _finish(self) -> None:
        if self._reader.persistent:
            self._home.release(self)
        else:
            self.abandon()

    def _send_request(self, head: bytes, request: UpstreamRequest) -> None:
        body = request.body
        if body is None:
            self._sent_all = self._write(head)
        elif isinstance(body, tuple):
            stream, length = body
            if not isinstance(stream, Iterable):
                raise TypeError("a thread cannot read the body of a request asynchronously")
            self._sent_all = self._send_stream(head, stream, length)
        elif len(body) <= SMALL_BODY:
            self._sent_all = self._write(head + body)
        else:
            self._sent_all = self._send_stream(head, slices(body), len(body))

    def _send_stream(
        self, head: bytes, stream: Iterable[bytes | memoryview], length: int | None
    ) -> bool:
        if not self._write(head):
            return False
        writer = BodyWriter(length)
        for data in stream:
            if not data:
                continue
            piece = writer.encode(data)
            if self._is_answered() or not self._write(piece):
                return False
        return self._write(writer.finish())

    def _write(self, data: bytes | memoryview) -> bool:
        """Write all of it; False where the answer, or the end, has come before."""
        if not data:
            return True
        sent = self._send(data)
        if sent == len(data):
            return True
        view = memoryview(data)
        self._poll.modify(self._socket, _BOTH)
        try:
            while sent >= 0:
                view = view[sent:]
                if not view:
                    return True
                events = self._wait(self._due(self._idle), "idle_timeout")
                if events & ~select.POLLOUT and self._is_answered():
                    return False
                sent = self._send(view)
        finally:
            self._poll.modify(self._socket, _READABLE)
        return False

    def _send(self, data: bytes | memoryview) -> int:
        """The bytes that were taken; -1 where the upstream takes no more, but may have answered."""
        try:
            return self._socket.send(data, self._at_once)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0
        except OSError as error:
            if self._is_answered():
                return -1
            raise UpstreamError("send", str(error)) from error

    def _is_answered(self) -> bool:
        """Read what is there, without waiting."""
        while not self._reader.head_complete:
            if not self._poll.poll(0):
                return False
            data = self._receive()
            if data is None:
                return False
            self._feed(data)
        return True

    def _read(self, due: float, stage: Stage) -> None:
        """Wait for bytes and read them."""
        if self._limit != NEVER and self._limit <= monotonic():
            # Bytes that are there already would need no waiting.
            raise UpstreamError("total_timeout", "the time for the exchange is over")
        if self._blocks:
            self._feed(self._receive_until(due, stage))
            return
        data = None
        while data is None:
            self._wait(due, stage)
            # No record of TLS is larger than what is read: a poll sees all that is left.
            data = self._receive()
        self._feed(data)

    def _receive_until(self, due: float, stage: Stage) -> bytes:
        """`_wait` and `_receive` in one call into the kernel, which is told the time only anew."""
        if self._limit < due:
            due = self._limit
            stage = "total_timeout"
        patience = hundredths(due)
        if patience != self._patience:
            timeval = struct.pack("@ll", patience // 100, patience % 100 * 10_000)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
            self._patience = patience
        try:
            return self._socket.recv(_READ_SIZE)
        except BlockingIOError:
            raise UpstreamError(stage, "the upstream was silent for too long") from None
        except OSError as error:
            raise UpstreamError("reset", str(error)) from error

    def _feed(self, data: bytes) -> None:
        if data:
            self._reader.feed(data)
        else:
            self._reader.eof()

    def _receive(self) -> bytes | None:
        """Bytes; none at all at the end of the stream, None where there are none yet."""
        try:
            return self._socket.recv(_READ_SIZE, self._at_once)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLEOFError:
            raise UpstreamError(
                "closed", "the connection ended without TLS's close_notify"
            ) from None
        except OSError as error:
            raise UpstreamError("reset", str(error)) from error

    def _due(self, seconds: float | None) -> float:
        return NEVER if seconds is None else monotonic() + seconds

    def _wait(self, due: float, stage: Stage) -> int:
        """Wait until the socket is ready, and say for what."""
        if self._limit < due:
            due = self._limit
            stage = "total_timeout"
        events = self._poll.poll(milliseconds(due))
        if not events:
            raise UpstreamError(stage, "the upstream was silent for too long")
        return events[0][1]


def hundredths(due: float) -> int:
    """The time until `due` as the socket is told it: coarse enough to be the same for the next one.

    Rounded up, so that no wait ends before it; 0 is for ever.
    """
    if due == NEVER:
        return 0
    return min(max(ceil((due - monotonic()) * 100), 1), _LONGEST_POLL)


def milliseconds(due: float) -> int | None:
    """The time until `due` as `poll` takes it; rounded up, so that no wait ends before it."""
    if due == NEVER:
        return None
    return min(max(ceil((due - monotonic()) * 1000), 0), _LONGEST_POLL)
