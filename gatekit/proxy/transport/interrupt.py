"""Ends an exchange that blocks another thread: the one attempt that lost to another.

    interrupt = Interrupt()
    UpstreamRequest(b"GET", b"/", [], interrupt=interrupt)      # sent by one thread
    interrupt.fire()                                            # by another: the first one wakes

The thread that waits for the head finds its connection closed, and cleans up as it always does. One
that is still connecting goes on until it has connected, and ends there.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Lock

from gatekit.errors import UpstreamError


class Interrupt:
    """`has_fired` stays so for good: what begins afterwards ends at once."""

    __slots__ = ("_lock", "_socket", "has_fired")

    def __init__(self) -> None:
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self.has_fired = False

    def bind(self, sock: socket.socket) -> None:
        """From now on this is the socket that somebody waits for."""
        with self._lock:
            if self.has_fired:
                raise UpstreamError("closed", "the attempt was given up")
            self._socket = sock

    def release(self) -> None:
        """The wait is over, and the connection may serve another exchange."""
        with self._lock:
            self._socket = None

    def fire(self) -> None:
        with self._lock:
            self.has_fired = True
            if self._socket is not None:
                with suppress(OSError):
                    # Closing would not wake who waits. An SSLSocket's own method would go on in
                    # plain text.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
