"""The WSGI door: middlewares around a WSGI app, or around a handler of gatekit's own.

    flask_app.wsgi_app = wsgi(flask_app.wsgi_app, CorrelationId(), RateLimit("100/minute"))
    application = DispatcherMiddleware(app, {"/api": wsgi_app(Proxy("http://catalog:8080"))})

The same middlewares as under ASGI, driven without an event loop: I/O through `request.io` blocks
the worker's thread, and a middleware that awaits anything else is an error that names it. An async
callback is refused when the door is built. The request stands in `environ["gatekit.request"]`, with
a dot, for by PEP 3333 a key without one is CGI's and holds a string.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from urllib.parse import urlsplit

from gatekit._core.again import Door
from gatekit._core.body import RequestBody
from gatekit._core.compose import (
    closables,
    compose,
    flatten,
    introduce,
    name_of,
    not_callable,
    refuse_async_callbacks,
    terminal,
    to_app,
)
from gatekit._core.io import BlockingIO
from gatekit._core.messages import Request
from gatekit._doors.bridges import tell_flask
from gatekit._doors.wsgi_exchange import WSGIExchange
from gatekit._doors.wsgi_input import environ_headers, pull_from
from gatekit.errors import check
from gatekit.typing import Environ, Handler, Middleware, StartResponseCallable, WSGIApp

logger = logging.getLogger("gatekit")

_IO = BlockingIO()


def wsgi(app: WSGIApp, /, *middlewares: Middleware) -> WSGIDoor:
    """Wraps a WSGI app in middlewares, outermost first."""
    check("wsgi", app=not_callable(app, "a WSGI app", "(environ, start_response)"))
    return WSGIDoor(compose(flatten("wsgi", middlewares), to_app), app, middlewares)


def wsgi_app(handler: Handler, /, *middlewares: Middleware) -> WSGIDoor:
    """A WSGI app whose every request a handler answers."""
    check("wsgi_app", handler=not_callable(handler, "a handler", "(request)"))
    parts = flatten("wsgi_app", middlewares)
    return WSGIDoor(compose(parts, terminal(handler)), None, (*middlewares, handler))


class WSGIDoor:
    """A WSGI app; `close()` gives back what its middlewares and handlers hold."""

    __slots__ = ("_app", "_closables", "_handler")

    def __init__(self, handler: Handler, app: WSGIApp | None, parts: tuple[object, ...]) -> None:
        refuse_async_callbacks(parts)
        tell_flask(app)
        self._handler = handler
        self._app = app
        self._closables = closables(parts)
        introduce(parts)

    def __call__(self, environ: Environ, start_response: StartResponseCallable) -> Iterable[bytes]:
        request = _Request(environ, self._app)
        return WSGIExchange(request, self._handler, self._app, environ, start_response).run()

    def close(self) -> None:
        """Gives back connections and whatever else the parts hold; call it when the app stops."""
        for part in self._closables:
            try:
                part.close()
            except Exception as error:
                logger.error("closing %s failed", name_of(part), exc_info=error)


class _Request(Request):
    """A request whose body comes from `wsgi.input`."""

    io = _IO

    def __init__(self, environ: Environ, app: WSGIApp | None) -> None:
        self.method = environ["REQUEST_METHOD"]
        self.root_path = _text(environ.get("SCRIPT_NAME", "")).rstrip("/")
        self.path = _text(environ.get("PATH_INFO", ""))
        self._raw_headers = environ_headers(environ)
        self.query = environ.get("QUERY_STRING", "").encode("latin-1")
        self.scheme = environ["wsgi.url_scheme"]
        address = environ.get("REMOTE_ADDR")
        port = environ.get("REMOTE_PORT") or "0"
        self.client = (address, int(port) if str(port).isdecimal() else 0) if address else None
        self.http_version = environ.get("SERVER_PROTOCOL", "HTTP/1.1").partition("/")[2]
        self._raw_path = _raw_path(environ)
        self._receive = (environ, app)
        if "gatekit.request" in environ:
            self.stand_in(environ["gatekit.request"])
        environ["gatekit.request"] = self

    def open_again(self) -> Door | None:
        """For `second_run`."""
        from gatekit._doors.wsgi_again import open_again

        return None if self._receive is None else open_again(*self._receive)

    def _open_body(self) -> RequestBody:
        return RequestBody(pull_from(self._receive[0]))


def _text(value: str) -> str:
    """WSGI's strings are bytes in disguise (PEP 3333, "Unicode Issues")."""
    if value.isascii():
        return value
    return value.encode("latin-1").decode("utf-8", "surrogateescape")


def _raw_path(environ: Environ) -> bytes | None:
    """The request target as it came, where the server tells: PEP 3333 has no name for it."""
    target: str | None = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if not target:
        return None
    if not target.startswith("/"):
        target = urlsplit(target).path or "/"
    return target.partition("?")[0].encode("latin-1", "replace")
