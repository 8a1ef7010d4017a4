"""Carries the messages of one WebSocket between the client's server and the upstream's tunnel.

    relay = Relay(request, tunnel, options, subprotocol)
    await relay.run(receive, send)                   # by the door, after the accept
    relay.end("drain", 1012, "restarting")           # by whoever wants an end

Two tasks: that of the request reads the upstream, a child reads the client. Each waits until its
message is taken before it goes on to the next, so that a slow side slows the other one down.

The first to end the connection is who ended it, and `request.websocket_close` tells of that.
Whatever comes after it is only the closing handshake: the other side is given the same code, and
`_PATIENCE` to answer.

A connection that is lost has no close frame to pass on. An upstream whose client is lost is lost to
it just so, as through a tunnel. A client cannot be dropped in ASGI: it is told 1011.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from gatekit._core.conversation import Cause, Side, WebSocketClose
from gatekit._core.messages import Request
from gatekit.errors import UpstreamError
from gatekit.proxy.transport.exchange import AsyncTunnel
from gatekit.proxy.websocket.frames import Frames
from gatekit.proxy.websocket.options import WebSockets
from gatekit.proxy.websocket.vigil import Vigil
from gatekit.typing import Message, Receive, Send

# Seconds for the other side of a closing handshake.
_PATIENCE = 2.0
_NORMAL, _NO_STATUS, _LOST, _NOT_TEXT, _TOO_BIG = 1000, 1005, 1006, 1007, 1009
_INTERNAL_ERROR = 1011

logger = logging.getLogger("gatekit")


class Relay:
    """A `Conversation`; `forget` is called when it is over, also where it never began."""

    __slots__ = (
        "_answering", "_began", "_child", "_delivering", "_ended", "_error", "_forget", "_frames",
        "_gave_up", "_heard", "_helpers", "_loop", "_main", "_options", "_passed", "_patience",
        "_request", "_send", "_sizes", "_taken", "_tunnel", "_vigil", "subprotocol",
    )  # fmt: skip

    _main: asyncio.Task[object]
    _child: asyncio.Task[None]
    _send: Send
    _vigil: Vigil

    def __init__(
        self,
        request: Request,
        tunnel: AsyncTunnel,
        options: WebSockets,
        subprotocol: str | None,
        forget: Callable[[Relay], None],
    ) -> None:
        self.subprotocol = subprotocol
        self._request = request
        self._tunnel = tunnel
        self._options = options
        self._frames = Frames(options.max_message)
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._began: float | None = None
        self._ended: tuple[Side, Cause, int, str] | None = None
        self._error: UpstreamError | None = None
        self._helpers: list[asyncio.Task[None]] = []
        self._answering: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._gave_up = self._delivering = False
        # From the client and from the upstream.
        self._taken, self._passed = [0, 0], [0, 0]
        # What the last ping has seen of the first, and whether the upstream has spoken since.
        self._sizes, self._heard = 0, True

    async def run(self, receive: Receive, send: Send) -> None:
        """Raises `UpstreamError` where the upstream was lost or broke the protocol."""
        main = asyncio.current_task(self._loop)
        assert main is not None
        self._main, self._send = main, send
        self._began = self._loop.time()
        cancelling = main.cancelling()
        self._vigil = Vigil(self._options, self._loop, self)
        self._child = self._loop.create_task(self._from_client(receive))
        if self._ended is not None:  # before it had begun
            self._patience = self._loop.call_later(_PATIENCE, self._give_up)
            self._helpers.append(self._loop.create_task(self._close_both()))
        try:
            await self._from_upstream()
            if self._tasks():
                await asyncio.wait(self._tasks())
        except GeneratorExit:
            self._vigil.stop()
            raise  # the loop is gone, and nobody can wait any more
        except asyncio.CancelledError:
            if not self._gave_up or main.uncancel() > cancelling:
                self._settle("gateway", "cancelled", _LOST, "")
                await self._finish()
                raise
        except BaseException:
            await self._finish()
            raise
        await self._finish()
        if self._error is not None:
            raise self._error

    def end(self, cause: Cause, code: int, reason: str) -> None:
        """Closes both sides, unless it has ended already."""
        if self._settle("gateway", cause, code, reason) and self._began is not None:
            self._helpers.append(self._loop.create_task(self._close_both()))

    async def aclose(self) -> None:
        self._forget(self)
        await self._tunnel.aclose()

    # The two directions.

    async def _from_upstream(self) -> None:
        frames = self._frames
        try:
            async for data in self._tunnel:
                self._heard = True
                messages = frames.feed(data)
                if frames.is_due:
                    await self._answer()
                for message in messages:
                    if self._ended is not None:
                        break
                    await self._pass_on(message)
                if not frames.is_open and self._ended is None:
                    await self._upstream_closed()
        except UpstreamError as error:
            await self._upstream_lost(error)
        else:
            await self._upstream_lost(UpstreamError("closed", "it ended without a close frame"))

    async def _answer(self) -> None:
        """Pongs, or the answer to a close.

        Who waits for an upstream to read them keeps it from writing, and it may read nothing until
        it has written. Only one that asks for more before it takes the first is made to wait.
        """
        if self._answering is not None:
            await asyncio.wait([self._answering])
        self._answering = self._loop.create_task(self._write(self._frames.output()))

    async def _pass_on(self, message: str | bytes) -> None:
        if isinstance(message, str):
            size = len(message) if message.isascii() else len(message.encode())
            event: Message = {"type": "websocket.send", "text": message}
        else:
            size = len(message)
            event = {"type": "websocket.send", "bytes": message}
        self._vigil.seen = self._loop.time()
        self._delivering = True
        try:
            await self._send(event)
        except Exception as error:
            await self._client_gone(error)
            return
        self._delivering = False
        passed = self._passed
        passed[0] += 1
        passed[1] += size

    async def _from_client(self, receive: Receive) -> None:
        frames, taken, limit = self._frames, self._taken, self._options.max_message
        write, now, vigil = self._tunnel.write, self._loop.time, self._vigil
        message: Message
        while True:
            try:
                message = await receive()
            except Exception as error:
                logger.debug("a WebSocket's client cannot be heard", exc_info=error)
                message = {"type": "websocket.disconnect", "code": _LOST}
            if message["type"] != "websocket.receive":
                break
            text = message.get("text")
            if self._ended is not None or not frames.is_open:
                continue
            try:
                data = message.get("bytes") or b"" if text is None else text.encode()
            except UnicodeEncodeError:  # the server has taken half of a surrogate pair
                self.end("protocol", _NOT_TEXT, "text is not UTF-8")
                continue
            if len(data) > limit:
                self.end("too_big", _TOO_BIG, "message too big")
                continue
            vigil.seen = now()
            taken[0] += 1
            taken[1] += len(data)
            try:
                await write(frames.message(data, is_text=text is not None))
            except UpstreamError:
                continue  # its reader is told of it
        code, reason = message.get("code") or _NO_STATUS, message.get("reason") or ""
        if self._settle("client", "lost" if code == _LOST else "closed", code, reason):
            if code == _LOST:
                await self._tunnel.aclose()
            else:
                await self._write(frames.close(code, reason))

    async def _write(self, data: bytes) -> None:
        """To an upstream that is lost nothing is written: its reader is told of that."""
        with suppress(UpstreamError):
            await self._tunnel.write(data)

    # The ends.

    def _settle(self, by: Side, cause: Cause, code: int, reason: str) -> bool:
        """Notes who ended it, which nobody else can then have done."""
        if self._ended is not None:
            return False
        self._ended = (by, cause, code, reason)
        if self._began is not None:
            self._vigil.stop()
            self._patience = self._loop.call_later(_PATIENCE, self._give_up)
        return True

    async def _upstream_closed(self) -> None:
        """By a close frame, or by one that we sent because of a mistake."""
        mistake, close = self._frames.mistake, self._frames.received_close
        if mistake is not None and mistake.code == _TOO_BIG:
            self._settle("gateway", "too_big", *mistake)
        elif mistake is not None:
            self._settle("upstream", "protocol", *mistake)
            self._error = UpstreamError("protocol", f"{mistake.code} {mistake.reason}")
        elif close is not None:
            self._settle("upstream", "closed", *close)
        await self._tell_client()

    async def _upstream_lost(self, error: UpstreamError) -> None:
        if self._settle("upstream", "lost", _LOST, ""):
            self._error = error
            await self._tell_client()

    async def _client_gone(self, error: Exception) -> None:
        """It takes no more; what `receive` has to say of it is the better news."""
        logger.debug("a WebSocket's client takes no more", exc_info=error)
        await asyncio.wait([self._child], timeout=_PATIENCE)
        if self._settle("client", "lost", _LOST, ""):
            await self._tunnel.aclose()

    async def _close_both(self) -> None:
        assert self._ended is not None
        _, _, code, reason = self._ended
        closing = self._write(self._frames.close(code, reason))
        await asyncio.gather(closing, self._tell_client())

    async def _tell_client(self) -> None:
        assert self._ended is not None
        _, _, code, reason = self._ended
        # ASGI's close always has a code, and no server sends one that only means its absence.
        code = {_NO_STATUS: _NORMAL, _LOST: _INTERNAL_ERROR}.get(code, code)
        # Granian 2.8 never sends a close that comes while somebody waits in `receive`.
        self._child.cancel()
        await asyncio.wait([self._child])
        try:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception as error:
            logger.debug("a WebSocket's client was gone before its close", exc_info=error)

    def _give_up(self) -> None:
        """The closing handshake takes too long."""
        self._gave_up = True
        self._main.cancel()

    async def _finish(self) -> None:
        self._vigil.stop()
        if self._patience is not None:
            self._patience.cancel()
        tasks = [self._child, *self._tasks()]
        for task in tasks:
            task.cancel()
        await self.aclose()
        self._note()
        await asyncio.wait(tasks)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return self._helpers if self._answering is None else [*self._helpers, self._answering]

    def _note(self) -> None:
        by, cause, code, reason = self._ended or ("gateway", "cancelled", _LOST, "")
        duration = self._loop.time() - (self._began or 0.0)
        taken, passed = self._taken, self._passed
        close = WebSocketClose(
            by, cause, code, reason, taken[0], taken[1], passed[0], passed[1], duration
        )
        request: Request | None = self._request
        if self._error is not None:
            self._request.note_upstream(self._request.upstream_time, self._error)
        while request is not None:
            request.websocket_close = close
            request = request._outer

    # What the vigil asks.

    def ping(self) -> None:
        self._sizes, self._heard = self._taken[0], False
        if self._frames.is_open:
            self._helpers = [task for task in self._helpers if not task.done()]
            self._helpers.append(self._loop.create_task(self._write(self._frames.ping())))

    def is_alive(self) -> bool:
        """Also where it reads what the client sends, or where the client does not let us listen."""
        return self._heard or self._delivering or self._taken[0] != self._sizes

    def lose(self) -> None:
        if self._settle("upstream", "lost", _LOST, ""):
            self._error = UpstreamError("idle_timeout", "it answered no ping")
            self._helpers.append(self._loop.create_task(self._lose()))

    async def _lose(self) -> None:
        await self._tunnel.aclose()
        await self._tell_client()
