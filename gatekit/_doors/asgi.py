"""The ASGI door: middlewares around an ASGI app, or around a handler of gatekit's own.

    app = asgi(app, CorrelationId(), RateLimit("100/minute"))     # outermost, recommended
    app.add_middleware(asgi, RateLimit("100/minute"))             # Starlette's way
    Mount("/api", asgi_app(Proxy("http://catalog:8080")))

Wrapped around the whole app it also sees the 500s that a framework answers outside its own
middlewares. `scope` is never copied: the request stands in it as `scope["gatekit"]`, and header
fields that a middleware changed replace `scope["headers"]`.

A WebSocket handshake is a request like any other, with `request.is_websocket` set: an `accept` is a
101 head, and a refusal is a denial response or, where the server lacks that extension, close 1008.
"""

from __future__ import annotations

import logging

from gatekit._core.again import Door
from gatekit._core.body import RequestBody
from gatekit._core.compose import (
    closables,
    compose,
    flatten,
    introduce,
    name_of,
    not_callable,
    terminal,
    to_app,
)
from gatekit._core.io import AsyncIO
from gatekit._core.messages import Request
from gatekit._doors.asgi_hints import Hints
from gatekit._doors.asgi_http import HTTPExchange
from gatekit._doors.asgi_websocket import WebSocketExchange, show_offer
from gatekit.errors import ClientDisconnected, check
from gatekit.typing import ASGIApp, Handler, Message, Middleware, Receive, Scope, Send

logger = logging.getLogger("gatekit")

_IO = AsyncIO()


def asgi(app: ASGIApp, /, *middlewares: Middleware) -> ASGIDoor:
    """Wraps an ASGI app in middlewares, outermost first."""
    check("asgi", app=not_callable(app, "an ASGI app", "(scope, receive, send)"))
    return ASGIDoor(compose(flatten("asgi", middlewares), to_app), app, middlewares)


def asgi_app(handler: Handler, /, *middlewares: Middleware) -> ASGIDoor:
    """An ASGI app whose every request a handler answers."""
    check("asgi_app", handler=not_callable(handler, "a handler", "(request)"))
    parts = flatten("asgi_app", middlewares)
    return ASGIDoor(compose(parts, terminal(handler)), None, (*middlewares, handler))


class ASGIDoor:
    """An ASGI app; `aclose()` gives back what its middlewares and handlers hold."""

    __slots__ = ("_app", "_closables", "_handler")

    def __init__(self, handler: Handler, app: ASGIApp | None, parts: tuple[object, ...]) -> None:
        self._handler = handler
        self._app = app
        self._closables = closables(parts)
        introduce(parts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            request = _Request(scope, receive, self._app)
            if request.takes_hints:
                request.on_informational = Hints(send)
            await HTTPExchange(request, self._handler, self._app, scope, receive, send).run()
        elif kind == "websocket":
            show_offer(scope)
            request = _Request(scope, receive, self._app)
            request.is_websocket = True
            await WebSocketExchange(request, self._handler, self._app, scope, receive, send).run()
        elif kind == "lifespan":
            await self._lifespan(scope, receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        else:
            raise ValueError(f"gatekit answers no ASGI scope of type {kind!r}")

    async def aclose(self) -> None:
        """Gives back connections and whatever else the parts hold; done on lifespan shutdown."""
        for part in self._closables:
            try:
                await part.aclose()
            except Exception as error:
                logger.error("closing %s failed", name_of(part), exc_info=error)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            await receive()
            await self._live(receive, send)
            return

        said: list[str] = []

        async def closing(message: Message) -> None:
            said.append(message["type"])
            if message["type"].startswith("lifespan.shutdown."):
                await self.aclose()
            await send(message)

        try:
            await self._app(scope, receive, closing)
        except Exception:
            # An app without a lifespan, as Django's, raises at once; what the parts hold has one.
            if said or not self._closables:
                raise
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """The lifespan of what has none itself. An app may have taken the first message already."""
        await send({"type": "lifespan.startup.complete"})
        while (await receive())["type"] != "lifespan.shutdown":
            pass
        await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})


class _Request(Request):
    """A request whose body comes from `receive`."""

    io = _IO
    takes_hints = False
    method = "GET"
    scheme = "http"
    http_version = "1.1"

    def __init__(self, scope: Scope, receive: Receive, app: ASGIApp | None) -> None:
        path: str = scope["path"]
        root_path: str = scope.get("root_path", "")
        if root_path:
            root_path = root_path.rstrip("/")
            # By the specification `path` includes the mount prefix; older servers leave it out.
            if path.startswith(root_path) and path[len(root_path) :][:1] in ("/", ""):
                path = path[len(root_path) :]
        if "method" in scope:  # a WebSocket's handshake has none
            self.method = scope["method"]
        self.path = path
        self._raw_headers = scope["headers"]
        self.query = scope.get("query_string", b"")
        self.scheme = scope.get("scheme", "http")
        self.root_path = root_path
        self.client = scope.get("client")
        if self.client is not None and self.client[1].__class__ is not int:
            self.client = (self.client[0], int(self.client[1]))  # granian gives text
        self.http_version = scope.get("http_version", "1.1")
        self._raw_path = scope.get("raw_path")
        self._receive = (receive, scope, app)
        if "gatekit" in scope:
            self.stand_in(scope["gatekit"])
        scope["gatekit"] = self
        extensions = scope.get("extensions")
        if extensions:
            self.takes_hints = "http.response.early_hint" in extensions
            self.takes_trailers = "http.response.trailers" in extensions and any(
                name == b"te" and b"trailers" in value.lower() for name, value in scope["headers"]
            )

    def open_again(self) -> Door | None:
        """For `second_run`."""
        from gatekit._doors.asgi_again import open_again

        if self._receive is None or self.is_websocket:
            return None
        return open_again(self._receive[1], self._receive[2])

    def _open_body(self) -> RequestBody:
        return RequestBody(None if self.is_websocket else self._pull)

    async def _pull(self) -> tuple[bytes, bool]:
        message = await self._receive[0]()
        if message["type"] != "http.request":
            raise ClientDisconnected("the client left while it was sending its request")
        return message.get("body", b""), message.get("more_body", False)
