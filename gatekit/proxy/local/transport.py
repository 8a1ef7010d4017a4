"""An app of this process as an upstream: a transport that calls it instead of a socket.

    Cluster("shop", destinations=[Destination(flask_app, weight=9), "http://shop-2:8000"])
    transport = AppTransport(starlette_app)

An ASGI app under an ASGI door runs as a task of the same loop, a WSGI app under a WSGI door in the
same thread: neither bridge nor thread. In the other colour the WSGI app has a thread of its own for
each request, and the ASGI app a loop in a thread that all requests of the process share.

The app sees an ordinary request that came over loopback: the target as it is forwarded, `Host` as a
destination elsewhere would get it (`localhost` unless the destination or the proxy says otherwise),
and the fields of the proxy that tell of the client. Bodies stream both ways. What it raises is
logged and is an `UpstreamError` of stage `"closed"`, as if a server had died.

**No lifespan.** Whoever owns the app starts it up and shuts it down.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, cast

from gatekit._core.options import integer_problem, known_keywords
from gatekit.errors import check
from gatekit.proxy.local.asgi import Tasks, run_asgi
from gatekit.proxy.local.wsgi import run_wsgi
from gatekit.proxy.transport.exchange import (
    AsyncBody,
    Body,
    Timeouts,
    UpstreamRequest,
    UpstreamResponse,
)
from gatekit.proxy.transport.http1_request import RequestWriter
from gatekit.proxy.transport.origin import Origin
from gatekit.typing import ASGIApp, WSGIApp

if TYPE_CHECKING:
    from gatekit.proxy.local.loop import LoopThread
    from gatekit.proxy.local.threads import AppThreads


@known_keywords
class AppTransport:
    """A `Transport` to one app. `threads` bound those of a WSGI app under ASGI doors.

    `kind` says whether the app is `"asgi"` or `"wsgi"`, where its signature does not tell.
    """

    def __init__(
        self,
        app: ASGIApp | WSGIApp,
        *,
        kind: Literal["asgi", "wsgi"] | None = None,
        threads: int = 40,
    ) -> None:
        found = kind_of(app)
        check(
            "AppTransport",
            app=_app_problem(app),
            kind=_kind_problem(kind or found, app),
            threads=integer_problem(threads, 1),
        )
        self._asgi: ASGIApp | None = None
        self._wsgi: WSGIApp | None = None
        if (kind or found) == "asgi":
            self._asgi = cast("ASGIApp", app)
        else:
            self._wsgi = cast("WSGIApp", app)
        self._threads = threads
        self._tasks = Tasks()
        self._writer = RequestWriter()
        self._loop_thread: LoopThread | None = None
        self._app_threads: AppThreads | None = None

    async def asend(
        self,
        origin: Origin,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None = None,
    ) -> UpstreamResponse[AsyncBody]:
        self._check(origin, request)
        if request.upgrade:
            return UpstreamResponse(501, [(b"content-type", b"text/plain")], _NO_UPGRADE)
        if self._asgi is not None:
            return await run_asgi(self._asgi, origin, request, timeouts, deadline, self._tasks)
        if self._app_threads is None:
            from gatekit.proxy.local.threads import AppThreads

            self._app_threads = AppThreads(self._threads)
        return await self._app_threads.send(self._wsgi_app, origin, request, timeouts, deadline)

    def send(
        self,
        origin: Origin,
        request: UpstreamRequest,
        timeouts: Timeouts,
        deadline: float | None = None,
    ) -> UpstreamResponse[Body]:
        self._check(origin, request)
        if request.upgrade:
            return UpstreamResponse(501, [(b"content-type", b"text/plain")], _NO_UPGRADE)
        if self._asgi is None:
            return run_wsgi(self._wsgi_app, origin, request, timeouts, deadline)
        if self._loop_thread is None:
            from gatekit.proxy.local.loop import LoopThread

            self._loop_thread = LoopThread()
        return self._loop_thread.send(self.asend, origin, request, timeouts, deadline)

    def _check(self, origin: Origin, request: UpstreamRequest) -> None:
        """Only what could be written to a socket is told to an app: raises `InvalidMessage`."""
        self._writer.head(request, origin.authority)

    @property
    def _wsgi_app(self) -> WSGIApp:
        assert self._wsgi is not None
        return self._wsgi

    def close(self) -> None:
        """Ends the threads that are idle, and what the app still does after its answers.

        An exchange in flight goes on to its end.
        """
        self._tasks.cancel()
        if self._loop_thread is not None:
            self._loop_thread.close()
        if self._app_threads is not None:
            self._app_threads.close()

    async def aclose(self) -> None:
        """The same on the running event loop."""
        await self._tasks.acancel()
        await asyncio.to_thread(self.close)


_NO_UPGRADE = b"This destination takes no upgrades."


def kind_of(app: object) -> Literal["asgi", "wsgi"] | None:
    """By whether it is called with three arguments or two; None where both or neither would do."""
    if not callable(app):
        return None
    called = cast("object", getattr(app, "__call__", None))  # noqa: B004 — the method is wanted
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(called):
        return "asgi"
    takes_three, takes_two = _takes(app, 3), _takes(app, 2)
    if takes_three == takes_two:
        return None
    return "asgi" if takes_three else "wsgi"


def _app_problem(app: object) -> str | None:
    return None if callable(app) else f"must be an ASGI or WSGI app, not {app!r}"


def _kind_problem(kind: object, app: object) -> str | None:
    if kind in ("asgi", "wsgi") or not callable(app):
        return None
    return f"must be 'asgi' or 'wsgi', which {app!r} does not tell, not {kind!r}"


def _takes(app: Callable[..., object], count: int) -> bool:
    try:
        inspect.signature(app).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True
