"""The asyncio driver's pool: one for each origin on each event loop.

pool = LoopPool(origin, settings, sweep)          # inside the loop
response = await pool.exchange(request, Timeouts(), None)
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from time import monotonic

from gatekit.errors import UpstreamError
from gatekit.proxy.transport.aio_connection import Connection, Response
from gatekit.proxy.transport.exchange import Timeouts, UpstreamRequest
from gatekit.proxy.transport.origin import Origin
from gatekit.proxy.transport.pool import Pool
from gatekit.proxy.transport.settings import Settings, is_replayable, limit_of, shorter


class LoopPool:
    """The connections to one origin on one event loop.

    `sweep` is called before a new connection is made.
    """

    def __init__(self, origin: Origin, settings: Settings, sweep: Callable[[], None]) -> None:
        self.origin = origin
        self.settings = settings
        self.places: Pool[Connection] = settings.pool(Connection)
        self._sweep = sweep
        self.used_at = monotonic()
        self._guard: AsyncGenerator[None] | None = None

    async def exchange(
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
        connection = self.places.take(now)
        if connection is None:
            connection = await self._connection(timeouts, limit)
        # 3. The exchange on it.
        reused = connection.served > 0
        if reused and not is_replayable(request) and _is_spoken_to(connection):
            # What cannot be said again must not be said to a connection that is closed already.
            connection.shut()
            self.places.forfeit()
            connection = await self._connection(timeouts, limit, fresh=True)
        try:
            return await connection.exchange(request, head, persistent, timeouts, limit, whole)
        except UpstreamError:
            # 4. An idle connection may be closed by the upstream just as it is used again (RFC 9112
            #    §9.3.1); what is idempotent and can be said again is, once, on a new one.
            if not (reused and connection.stale and is_replayable(request)):
                raise
        connection = await self._connection(timeouts, limit, fresh=True)
        return await connection.exchange(request, head, persistent, timeouts, limit, whole)

    @property
    def is_unused(self) -> bool:
        return self.places.is_empty

    def expire(self) -> None:
        """Close what has been idle for too long."""
        self.places.expire(monotonic())

    def close(self) -> None:
        """Close what is idle now, and from now on what becomes so."""
        self.places.close()

    async def aclose(self) -> None:
        """The same, with the hook into the end of the event loop."""
        self.close()
        guard, self._guard = self._guard, None
        if guard is not None:
            await guard.aclose()

    async def _connection(
        self, timeouts: Timeouts, limit: float, *, fresh: bool = False
    ) -> Connection:
        """A connection for a place of ours, waiting for one where all are taken."""
        if not self.places.reserve():
            connection = await self._wait(timeouts.pool, limit)
            if connection is not None:
                if not (fresh or connection.closed):
                    return connection
                connection.shut()
        try:
            return await self._connect(timeouts.connect, limit)
        except BaseException:
            self.places.forfeit()
            raise

    async def _wait(self, seconds: float | None, limit: float) -> Connection | None:
        """A place, with its connection or without."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop)
        if not self.places.join(waiter):
            raise UpstreamError("pool_full", f"{self.places.pending} exchanges wait for a place")
        wait, stage = shorter(seconds, limit, "pool_timeout", monotonic())
        timer = None if wait is None else loop.call_later(wait, self._expire, waiter)
        try:
            if await waiter.future:
                return waiter.connection
        except BaseException:
            if not self.places.leave(waiter):
                self._return(waiter.connection)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        raise UpstreamError(stage, f"no connection became free within {wait:.3g} s")

    def _expire(self, waiter: _Waiter) -> None:
        if self.places.leave(waiter) and not waiter.future.done():
            waiter.future.set_result(False)

    def _return(self, connection: Connection | None) -> None:
        if connection is None or connection.closed:
            self.places.forfeit()
        else:
            self.places.release(connection, monotonic())

    async def _connect(self, seconds: float | None, limit: float) -> Connection:
        loop = asyncio.get_running_loop()
        origin, settings = self.origin, self.settings
        if self._guard is None:
            self._guard = _close_with_loop(self.places)
            await anext(self._guard)
        self._sweep()
        wait, stage = shorter(seconds, limit, "connect_timeout", monotonic())
        tls = settings.context() if origin.scheme == "https" else None
        name = settings.server_name(origin) if tls else None

        def factory() -> Connection:
            return Connection(self.places, settings.reader(), loop)

        timeout = asyncio.timeout(wait)
        try:
            async with timeout:
                if origin.uds is not None:
                    _, connection = await loop.create_unix_connection(
                        factory, origin.uds, ssl=tls, server_hostname=name
                    )
                else:
                    _, connection = await loop.create_connection(
                        factory, origin.address, origin.port, ssl=tls, server_hostname=name
                    )
        except TimeoutError as error:
            if timeout.expired():
                raise UpstreamError(stage, f"not connected within {wait:.3g} s") from None
            raise UpstreamError("connect", str(error)) from error
        except ssl.SSLError as error:
            raise UpstreamError("tls", str(error)) from error
        except socket.gaierror as error:
            raise UpstreamError("dns", str(error)) from error
        except (ConnectionResetError, ConnectionAbortedError) as error:
            raise UpstreamError("tls" if tls else "connect", str(error)) from error
        except OSError as error:
            raise UpstreamError("connect", str(error)) from error
        if connection.closed:
            raise UpstreamError("closed", "the upstream closed or spoke before it was asked")
        return connection


def _is_spoken_to(connection: Connection) -> bool:
    """Whether something has come, an end above all, that the loop has not read yet."""
    sock = connection._transport.get_extra_info("socket")
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class _Waiter:
    """A place in the line, as a future: True with a place, False after the time is over."""

    __slots__ = ("connection", "future")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[bool] = loop.create_future()
        self.connection: Connection | None = None

    def give(self, connection: Connection | None) -> None:
        self.connection = connection
        if not self.future.done():
            self.future.set_result(True)


async def _close_with_loop(places: Pool[Connection]) -> AsyncGenerator[None]:
    """Close the idle connections when the loop ends.

    `asyncio.run` and every server call `loop.shutdown_asyncgens()` at the end, which closes each
    generator that was begun in the loop: the one moment at which a library hears of it.
    """
    try:
        yield
    finally:
        places.close()
