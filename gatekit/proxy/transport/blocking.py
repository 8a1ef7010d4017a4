"""The blocking driver's pool: one for each origin in each process, shared by its threads.

    pool = ThreadPool(origin, settings, sweep)
    response = pool.exchange(request, Timeouts(), None)

A thread that needs a connection where all are taken waits on a lock of its own, so that the places
are given in the order of the line. The lock of the pool is held for bookkeeping, never across I/O.

A name is looked up by `getaddrinfo`, which no limit can interrupt; all else keeps to them.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from threading import Lock
from time import monotonic

from gatekit.errors import UpstreamError
from gatekit.proxy.transport.blocking_connection import Connection, Response
from gatekit.proxy.transport.deferring_lock import DeferringLock
from gatekit.proxy.transport.exchange import Timeouts, UpstreamRequest
from gatekit.proxy.transport.origin import Origin
from gatekit.proxy.transport.pool import Pool
from gatekit.proxy.transport.settings import NEVER, Settings, is_replayable, limit_of, shorter


class ThreadPool:
    """The connections to one origin in one process.

    `sweep` is called before a new connection is made.
    """

    def __init__(self, origin: Origin, settings: Settings, sweep: Callable[[], None]) -> None:
        self.origin = origin
        self.settings = settings
        self.places: Pool[Connection] = settings.pool(Connection)
        self._lock = DeferringLock()
        self._lent: set[Connection] = set()
        self._sweep = sweep
        self.used_at = monotonic()

    def exchange(
        self,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None,
    ) -> Response:
        """Send `request` and return its answer as soon as the head is there."""
        # 1. Nothing is taken or written for a request that cannot be said in HTTP/1.1.
        head, persistent = self.settings.writer.head(request, self.origin.authority)
        now = monotonic()
        self.used_at = now
        whole = limit_of(timeouts, None, now)
        limit = whole if deadline is None else limit_of(timeouts, deadline, now)
        # 2. A connection: the idle one used last, or a place for a new one.
        connection = self._take() or self._connection(timeouts, limit)
        # 3. The exchange on it.
        reused = connection.served > 0
        try:
            return connection.exchange(request, head, persistent, timeouts, limit, whole)
        except UpstreamError:
            # 4. An idle connection may be closed by the upstream just as it is used again (RFC 9112
            #    §9.3.1); what is idempotent and can be said again is, once, on a new one.
            if not (reused and connection.stale and is_replayable(request)):
                raise
        connection = self._connection(timeouts, limit, fresh=True)
        return connection.exchange(request, head, persistent, timeouts, limit, whole)

    def close(self) -> None:
        """Close what is idle now, and from now on what becomes so."""
        self._lock.defer(self.places.close)

    def disown(self) -> None:
        """In the child of a fork: close the copies of the parent's sockets, which it goes on using.

        The lock may have been held by a thread that does not exist here, so it is not asked for.
        """
        self.places.close()

    @property
    def is_unused(self) -> bool:
        return self.places.is_empty

    def expire(self) -> None:
        """Close what has been idle for too long."""
        with self._lock:
            self.places.expire(monotonic())

    def _take(self) -> Connection | None:
        """The idle connection used last that is still alive."""
        while True:
            with self._lock:
                connection = self.places.take(monotonic())
            if connection is None or not connection.is_dead():
                return connection
            connection.shut()
            self._forfeit()

    def _connection(self, timeouts: Timeouts, limit: float, *, fresh: bool = False) -> Connection:
        """A connection for a place of ours, waiting for one where all are taken."""
        waiter = None
        with self._lock:
            if not self.places.reserve():
                waiter = _Waiter()
                if not self.places.join(waiter):
                    pending = self.places.pending
                    raise UpstreamError("pool_full", f"{pending} exchanges wait for a place")
        if waiter is not None:
            connection = self._wait(waiter, timeouts.pool, limit)
            if connection is not None:
                if not (fresh or connection.is_dead()):
                    return connection
                connection.shut()
        try:
            return self._connect(timeouts.connect, limit)
        except BaseException:
            self._forfeit()
            raise

    def _wait(self, waiter: _Waiter, seconds: float | None, limit: float) -> Connection | None:
        """A place, with its connection or without."""
        wait, stage = shorter(seconds, limit, "pool_timeout", monotonic())
        try:
            if waiter.wait(wait):
                return waiter.connection
        except BaseException:
            if not self._leave(waiter):
                self._return(waiter.connection)
            raise
        if self._leave(waiter):
            raise UpstreamError(stage, f"no connection became free within {wait} s")
        return waiter.connection

    def _leave(self, waiter: _Waiter) -> bool:
        with self._lock:
            return self.places.leave(waiter)

    def _return(self, connection: Connection | None) -> None:
        if connection is None:
            self._forfeit()
        else:
            self.release(connection)

    def lend(self, connection: Connection) -> None:
        # Else the collector might find the socket before the response that should close it.
        self._lent.add(connection)

    def release(self, connection: Connection) -> None:
        self._lent.discard(connection)
        with self._lock:
            self.places.release(connection, monotonic())

    def switch(self, connection: Connection) -> None:
        """It has become a tunnel, which takes no place of those who ask and are answered."""
        self.lend(connection)
        self._forfeit()

    def forget(self, connection: Connection) -> None:
        self._lent.discard(connection)

    def discard(self, connection: Connection) -> None:
        self.forget(connection)
        # The collector may come here, through a response that was dropped.
        self._lock.defer(self.places.forfeit)

    def _forfeit(self) -> None:
        with self._lock:
            self.places.forfeit()

    def _connect(self, seconds: float | None, limit: float) -> Connection:
        wait, stage = shorter(seconds, limit, "connect_timeout", monotonic())
        due = NEVER if wait is None else monotonic() + wait
        self._sweep()
        try:
            sock = self._open(due)
            if self.origin.scheme == "https":
                sock = self._secure(sock, due)
        except TimeoutError as error:
            if monotonic() >= due:
                raise UpstreamError(stage, f"not connected within {wait} s") from None
            raise UpstreamError("connect", str(error)) from error
        except socket.gaierror as error:
            raise UpstreamError("dns", str(error)) from error
        except OSError as error:
            raise UpstreamError("connect", str(error)) from error
        return Connection(sock, self.settings.reader(), self)

    def _open(self, due: float) -> socket.socket:
        """A connected socket to the first address that answers."""
        origin = self.origin
        if origin.uds is not None:
            return _dial(socket.AF_UNIX, 0, origin.uds, due)
        found = socket.getaddrinfo(origin.address, origin.port, type=socket.SOCK_STREAM)
        failure: OSError | None = None
        for family, _, protocol, _, address in found:
            try:
                sock = _dial(family, protocol, address, due)
            except OSError as error:
                failure = error
                if monotonic() >= due:
                    break
            else:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
        raise failure or socket.gaierror(socket.EAI_NONAME, "the name has no address")

    def _secure(self, sock: socket.socket, due: float) -> ssl.SSLSocket:
        try:
            sock.settimeout(_left(due))
            return self.settings.context().wrap_socket(
                sock,
                server_hostname=self.settings.server_name(self.origin),
                # An end without close_notify may be an attacker's: it must be seen.
                suppress_ragged_eofs=False,
            )
        except TimeoutError:
            sock.close()
            raise
        except OSError as error:
            sock.close()
            raise UpstreamError("tls", str(error)) from error
        except BaseException:
            sock.close()
            raise


class _Waiter:
    """A place in the line: a lock that is released by whoever gives the place."""

    __slots__ = ("_lock", "connection")

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()
        self.connection: Connection | None = None

    def give(self, connection: Connection | None) -> None:
        self.connection = connection
        self._lock.release()

    def wait(self, seconds: float | None) -> bool:
        return self._lock.acquire(timeout=-1 if seconds is None else seconds)


def _dial(family: int, protocol: int, address: object, due: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        sock.settimeout(_left(due))
        sock.connect(address)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise
    return sock


def _left(due: float) -> float | None:
    if due == NEVER:
        return None
    left = due - monotonic()
    if left <= 0:
        raise TimeoutError("no time is left")
    return left
