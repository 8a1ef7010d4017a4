"""One HTTP exchange under ASGI: the app's messages meet a state, which is a method.

_head ─▶ _pass          the app's own body passes untouched
      ├▶ _filter        … goes through the codecs of `response.filter`
      ├▶ _hold ─▶ …     … is held for `response.read`, then any of the others
      └▶ _drop          the response was replaced: what the app still says is swallowed
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable
from inspect import CORO_SUSPENDED, getcoroutinestate
from typing import Any, TypeAlias, cast

from gatekit._core.body import Filters, RequestBody, aclose_body
from gatekit._core.exchange import Exchange, bodiless, fix_length, unanswered
from gatekit._core.flow import Onion, Step, fail, is_step, poke, poke_error, resume, settle
from gatekit._core.messages import Request, Response
from gatekit._core.signals import APP, APP_BODY, AppBody, ReadBody
from gatekit._doors.asgi_files import BODIES, body_chunks, count, observe
from gatekit._doors.asgi_hints import Hints, is_raised_by
from gatekit._doors.asgi_watch import Watch
from gatekit._doors.bridges import endpoint, tell_scope
from gatekit.errors import BodyTooLarge, ClientDisconnected, NoResponse, Rejected
from gatekit.typing import ASGIApp, Handler, Message, RawHeaders, Receive, Scope, Send

logger = logging.getLogger("gatekit")

State: TypeAlias = "Callable[[Any, Message], Awaitable[None]]"
Trailers: TypeAlias = Callable[[], RawHeaders]


class HTTPExchange(Exchange):
    """Drives the onion around one request of an ASGI app, or of a handler if `app` is None."""

    START = "http.response.start"
    BODY = "http.response.body"

    # A function, not a bound method: that would make each exchange a cycle for the collector.
    _state: State | None = None
    _called = False
    _waiting = True
    """The onion still waits for the app: for its head, or for the body it reads."""
    _replaced = False
    _replayed = False
    _start: Message | None = None
    _refusal: Rejected | None = None
    _timeout: asyncio.Timeout | None = None

    def __init__(
        self,
        request: Request,
        handler: Handler,
        app: ASGIApp | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self.request = request
        self.started = request.io.now()
        self._onion: Onion = handler(request)  # type: ignore[assignment]
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send

    async def run(self) -> None:
        try:
            poked = poke(self._onion, None)
            step = poked if is_step(poked) else await self._wait(poked)
            if step is APP:
                await self._call_app()
                if self._waiting or not self.finished:
                    await self._app_returned()
            elif not self.left:
                await self._take(step)
            elif isinstance(step, Response):
                await aclose_body(step.body)
        except BaseException as error:
            await self._failed(error)
        finally:
            # The server's cycle: its receive and its send know the scope.
            self.request._receive = self.request.on_informational = None
            if self.request._body is not None:
                self.request._body.close()
            if self.request._finish:
                self.request.endpoint = self.request.endpoint or endpoint(self._scope)
                await self.close_book()

    async def _wait(self, awaited: object) -> Step:
        """The onion awaits before the app is called, or answers itself after a wait."""
        step: Step = APP_BODY
        with Watch(self, awaited) as watch:
            step = await settle(self._onion, awaited)
            if watch.has_begun:
                await watch.stop()
        return step

    def _call_app(self) -> Awaitable[None]:
        app, request, scope = self._app, self.request, self._scope
        assert app is not None
        if request._headers is not None or request.identity is not None:
            tell_scope(request, scope)
        self._called = True
        if request.deadline is None:
            return app(scope, self.receive, self.send)
        return self._call_in_time(app, request.deadline - request.io.now())

    async def _call_in_time(self, app: ASGIApp, seconds: float) -> None:
        async with asyncio.timeout(seconds) as self._timeout:
            await app(self._scope, self.receive, self.send)

    async def _app_returned(self) -> None:
        if not self._waiting:
            if not self.left:
                self.error = NoResponse("the app returned before the end of its body")
        elif self.left:
            await self._app_failed(ClientDisconnected("the client left before the app answered"))
        else:
            await self._app_failed(NoResponse("the app returned before its response was whole"))

    async def _failed(self, error: BaseException) -> None:
        """The app raised, or the exchange was cancelled, or the server's `send` failed."""
        self.error = error
        if isinstance(error, OSError) and is_raised_by(self._send, error):
            # By ASGI that is how a server tells of it.
            self.left = True
        if not self._called:
            if self.left and isinstance(error, Exception):
                return
            if self.status is not None or not isinstance(error, Exception):
                raise error
            await self._answer(unanswered(self.request, error))
            return
        if not isinstance(error, Exception):
            if self._waiting and getcoroutinestate(self._onion) == CORO_SUSPENDED:
                self._waiting = False
                await fail(self._onion, error)
            raise error
        if self._waiting:
            await self._app_failed(self._refusal or error)
        elif self._replaced:
            logger.debug("the app failed after its response was replaced", exc_info=error)
        else:
            raise error

    async def _app_failed(self, error: Exception) -> None:
        if not isinstance(error, Rejected):
            self.request.app_error = error
        try:
            step = await fail(self._onion, error)
            while isinstance(step, ReadBody):
                step = await fail(self._onion, error)
        except Exception as uncaught:
            response = unanswered(self.request, uncaught)
        else:
            response = cast("Response", step)
            if isinstance(response.body, AppBody):
                response = unanswered(self.request, error)
        self.error = error
        if not self.left:
            await self._answer(response)

    # What the app is given in place of the server's `receive` and `send`.

    async def watch(self) -> None:
        """Raises `ClientDisconnected` when the client leaves."""
        await self.request.body.watch()

    async def receive(self) -> Message:
        if self._replaced or self.left:
            return {"type": "http.disconnect"}
        body = self.request._body
        if body is not None and body.touched and not self._replayed:
            return await self._replay(body)
        message = await self._receive()
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
        elif message["type"] == "http.disconnect" and not self.finished:
            self.left = True
        return message

    async def _replay(self, body: RequestBody) -> Message:
        try:
            data = await body.chunk()
        except ClientDisconnected:
            self.left = self._replayed = True
            return {"type": "http.disconnect"}
        except Rejected as refusal:
            self._refusal = refusal
            raise
        self._replayed = body.ended
        return {"type": "http.request", "body": data, "more_body": not body.ended}

    def send(self, message: Message) -> Awaitable[None]:
        state = self._state
        return self._head(message) if state is None else state(self, message)

    # The states. Most are plain functions that return what to await: a frame less a message.

    def _head(self, message: Message) -> Awaitable[None]:
        if message["type"] != self.START:
            return self._send(message)
        response = Response.from_head(message["status"], message.get("headers", ()), APP_BODY)
        return self._resume(message, response)

    def _resume(self, start: Message, response: Response) -> Awaitable[None]:
        """The head is there: the onion goes on."""
        if self._timeout is not None:
            self._timeout.reschedule(None)
        self._start = start
        if self._refusal is not None:
            step = poke_error(self._onion, self._refusal)
        else:
            step = poke(self._onion, response)
            # Most often the app's body passes as it is: no more questions then.
            if (
                step is response
                and response.body is APP_BODY
                and response.codecs is None
                and response.status == start["status"]
            ):
                self._waiting = False
                self._state = HTTPExchange._pass
                return self._send_head(response, start)
        return self._take(step) if is_step(step) else self._settle(step)

    async def _settle(self, awaited: object) -> None:
        await self._take(await settle(self._onion, awaited))

    def _pass(self, message: Message) -> Awaitable[None]:
        if message["type"] == self.BODY:
            self.sent += len(message.get("body", b""))
            if not message.get("more_body"):
                self.ends(self._start is None or not self._start.get("trailers"))
        elif (counted := count(message)) is not None:
            self.sent += counted[0]
            self.ends(counted[1])
        return self._send(message)

    async def _filter(self, message: Message) -> None:
        if message["type"] not in BODIES:
            await self._pass(message)
            return
        async for data, more in body_chunks(message):
            changed = await (self._filters.afeed if more else self._filters.afinish)(data)
            if changed or not more:
                await self._pass({"type": self.BODY, "body": changed, "more_body": more})

    async def _hold(self, message: Message) -> None:
        if message["type"] == self.START:
            raise RuntimeError(f"the app sent {self.START} twice")
        if message["type"] not in BODIES:
            await self._send(message)
            return
        async for data, self._more in body_chunks(message):
            if not self._waiting:
                await self.send({"type": self.BODY, "body": data, "more_body": self._more})
                continue
            self._held += data
            if len(self._held) > self._limit or not self._more:
                await self._held_enough()

    async def _drop(self, message: Message) -> None:
        # An app that never stops sending must not keep the loop from telling it to.
        await asyncio.sleep(0)

    # What the onion wants next.

    def _take(self, step: Step) -> Awaitable[None]:
        if isinstance(step, ReadBody):
            return self._begin_to_hold(step)
        return self._answer(cast("Response", step))

    async def _begin_to_hold(self, step: ReadBody) -> None:
        self._limit = step.limit
        if self._state is not HTTPExchange._hold:
            self._state = HTTPExchange._hold
            self._held = bytearray()
            self._more = True
        elif len(self._held) > self._limit or not self._more:
            await self._held_enough()

    async def _held_enough(self) -> None:
        if len(self._held) > self._limit:
            step = await fail(self._onion, BodyTooLarge(self._limit))
        else:
            step = await resume(self._onion, bytes(self._held))
        await self._take(step)

    def _answer(self, response: Response) -> Awaitable[None]:
        self._waiting = False
        start = self._start
        if not isinstance(response.body, AppBody):
            return self._answer_itself(response)
        if start is None:
            no_body = NoResponse("the response stands for an app's body, but no app was called")
            return self._answer_itself(unanswered(self.request, no_body))
        if response.status != start["status"] and bodiless("", response.status):
            response.body = b""
            return self._answer_itself(response)
        return self._let_pass(response, start)

    def _let_pass(self, response: Response, start: Message) -> Awaitable[None]:
        """The app's own body goes on to the client."""
        held = self._state is HTTPExchange._hold
        self._state = HTTPExchange._pass
        if response.codecs is not None:
            fix_length(self.request, response)
            if not bodiless(self.request.method, response.status):
                self._filters = Filters(response.codecs)
                self._state = observe if self._filters.only_observe else HTTPExchange._filter
        return self._let_held_pass(response, start) if held else self._send_head(response, start)

    def _send_head(self, response: Response, start: Message) -> Awaitable[None]:
        self.head(response.status)
        if response.is_untouched and response.status == start["status"]:
            return self._send(start)
        # A new message, for an app may send the same one again to the next client.
        return self._send({**start, "status": response.status, "headers": response.raw_headers})

    async def _let_held_pass(self, response: Response, start: Message) -> None:
        await self._send_head(response, start)
        data = bytes(self._held)
        await self.send({"type": self.BODY, "body": data, "more_body": self._more})

    async def _answer_itself(self, response: Response) -> None:
        """The door sends the body; an app that was called is told that the client left."""
        self._replaced = self._called
        self._state = HTTPExchange._drop
        body, filters = response.body, None
        hints, trailers = self.request.on_informational, None
        if isinstance(hints, Hints):
            await hints.settle()
        if bodiless(self.request.method, response.status):
            fix_length(self.request, response)
            await aclose_body(body)
            body = b""
        else:
            fix_length(self.request, response)
            if response.codecs is not None:
                filters = Filters(response.codecs)
            elif self.request.takes_trailers:
                trailers = response.trailers
        self.head(response.status)
        start = {
            "type": self.START,
            "status": response.status,
            "headers": list(response.raw_headers),
        }
        if trailers is not None:
            start["trailers"] = True
        if isinstance(body, bytes):
            await self._send(start)
            if filters is not None or trailers is not None:
                data = body if filters is None else await filters.afinish(body)
                await self._send_last(data, trailers)
                return
            await self._send({"type": self.BODY, "body": body, "more_body": False})
            self.sent += len(body)
            self.finished = True
        else:
            with Watch(self) as watch:
                await self._stream(start, response, filters, trailers)
                await watch.stop()

    async def _stream(
        self, start: Message, response: Response, filters: Filters | None, trailers: Trailers | None
    ) -> None:
        body, kind = response.body, self.BODY
        try:
            await self._send(start)
            if isinstance(body, AsyncIterable):
                async for chunk in body:
                    if self.left:
                        return
                    data = await filters.afeed(chunk) if filters else chunk
                    if data:
                        await self._send({"type": kind, "body": data, "more_body": True})
                        self.sent += len(data)
            else:
                for chunk in cast("list[bytes]", body):
                    if self.left:
                        return
                    data = await filters.afeed(chunk) if filters else chunk
                    if data:
                        await self._send({"type": kind, "body": data, "more_body": True})
                        self.sent += len(data)
        finally:
            await aclose_body(body)
        await self._send_last(filters.finish() if filters else b"", trailers)

    async def _send_last(self, data: bytes, trailers: Trailers | None) -> None:
        await self._send({"type": self.BODY, "body": data, "more_body": False})
        self.sent += len(data)
        if trailers is not None:
            await self._send({"type": "http.response.trailers", "headers": trailers()})
        self.ends()
