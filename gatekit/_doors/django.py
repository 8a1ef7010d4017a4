"""The Django door: middlewares among Django's own, and a handler of gatekit's as a view.

    # shop/gateway.py
    middleware = django_middleware(CorrelationId(), RateLimit("5/second"))

    # shop/settings.py
    MIDDLEWARE = ["shop.gateway.middleware", "django.middleware.security.SecurityMiddleware", ...]

    # shop/urls.py
    path("api/<path:path>", django_view(Proxy("http://catalog:8080"), Require(roles=["staff"])))

Both run natively in the colour in which Django runs them: under ASGI on the event loop, under WSGI,
or inside a middleware of Django's that is sync only, blocking in the worker's thread. Put the
middleware first in the list. Views find the request as `request.gatekit`.

**What Django keeps from a middleware.** It makes a 500 response of a view's exception before any
middleware sees it, so a `try` around `call_next` catches nothing. WebSockets and lifespan never
come here: wrap the whole application in `asgi` or `wsgi` for these, and to have what the parts hold
closed when the server stops.

**When `on_finish` runs.** When Django closes the response, or at the end of an async stream. A
response that is not streamed counts as sent, since Django hands it to the server whole.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias, cast, overload

from gatekit._core.compose import (
    compose,
    flatten,
    introduce,
    refuse_async_callbacks,
    terminal,
    to_app,
)
from gatekit._core.io import AsyncIO, BlockingIO, block
from gatekit.errors import ConfigurationError
from gatekit.typing import Handler, Middleware

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    BlockingDjango: TypeAlias = Callable[[HttpRequest], HttpResponseBase]
    AsyncDjango: TypeAlias = Callable[[HttpRequest], Awaitable[HttpResponseBase]]

_ASYNC_IO = AsyncIO()
_BLOCKING_IO = BlockingIO()


def django_middleware(*middlewares: Middleware) -> DjangoMiddleware:
    """What an entry of `MIDDLEWARE` names: gatekit's middlewares, outermost first."""
    _need_django("django_middleware")
    return DjangoMiddleware(compose(flatten("django_middleware", middlewares), to_app), middlewares)


def django_view(handler: Handler, /, *middlewares: Middleware) -> DjangoView:
    """A view that a handler answers, native in both colours.

    The handler sees the whole path, for Django mounts nothing: where an upstream lacks the prefix,
    `Proxy(..., strip_prefix="/api")` takes it off. The named parts of the URL pattern are
    `request.params`, as text.

    It is exempt from CSRF checks, as requests of an API carry no form token: whoever lets cookies
    authenticate them needs a defence of their own. It also stands outside `ATOMIC_REQUESTS`, so
    that no transaction stays open while an upstream answers.
    """
    _need_django("django_view")
    if not _is_handler(handler):
        raise ConfigurationError("django_view", {"handler": f"{handler!r} is not a handler"})
    parts = flatten("django_view", middlewares)
    return DjangoView(compose(parts, terminal(handler)), (*middlewares, handler))


class DjangoMiddleware:
    """A factory of both colours: Django gives it what comes next, and so tells which."""

    sync_capable = True
    async_capable = True

    def __init__(self, handler: Handler, parts: tuple[object, ...]) -> None:
        self._handler = handler
        self._parts = parts
        self._threads = threading.local()
        introduce(parts)

    @overload
    def __call__(self, get_response: BlockingDjango, /) -> BlockingDjango: ...
    @overload
    def __call__(self, get_response: AsyncDjango, /) -> AsyncDjango: ...
    def __call__(
        self, get_response: BlockingDjango | AsyncDjango, /
    ) -> BlockingDjango | AsyncDjango:
        from asgiref.sync import iscoroutinefunction

        from gatekit._doors.django_exchange import DjangoExchange
        from gatekit._doors.django_request import DjangoRequest

        handler, threads = self._handler, self._threads
        if iscoroutinefunction(get_response):  # pyright: ignore[reportDeprecated]

            async def middleware(django_request: HttpRequest) -> HttpResponseBase:
                request = DjangoRequest(django_request, _ASYNC_IO)
                exchange = DjangoExchange(request, handler, django_request, get_response, threads)
                return await exchange.run()

            return middleware

        refuse_async_callbacks(self._parts)

        def blocking_middleware(django_request: HttpRequest) -> HttpResponseBase:
            request = DjangoRequest(django_request, _BLOCKING_IO)
            exchange = DjangoExchange(request, handler, django_request, get_response, threads)
            return block(exchange.run())

        return blocking_middleware


class DjangoView:
    """Answers with a coroutine on an event loop and with a response elsewhere.

    Django asks `iscoroutinefunction(view)` before it calls a view, on the event loop under ASGI and
    nowhere near one under WSGI. So the mark of a coroutine function is here only when it is looked
    for on a running loop.
    """

    def __init__(self, handler: Handler, parts: tuple[object, ...]) -> None:
        self._handler = handler
        self._parts = parts
        self._threads = threading.local()
        introduce(parts)
        self._allowed_to_block = False
        self._coroutine_mark = _coroutine_mark()
        # Django's decorators copy these on to what they wrap around a view.
        self.csrf_exempt = True
        self._non_atomic_requests = _Every()

    def __call__(self, django_request: HttpRequest, /, **params: object) -> HttpResponseBase:
        if _on_a_loop():
            # To a type checker a view returns a response or a coroutine; `path()` knows no third.
            return cast("HttpResponseBase", self._run(django_request, params, is_async=True))
        if not self._allowed_to_block:
            refuse_async_callbacks(self._parts)
            self._allowed_to_block = True
        return block(self._run(django_request, params, is_async=False))

    def __getattr__(self, name: str) -> object:
        mark: dict[str, object] = vars(self).get("_coroutine_mark", {})
        if name in mark and _on_a_loop():
            return mark[name]
        raise AttributeError(f"a view made by django_view has no attribute {name!r}")

    async def _run(
        self, django_request: HttpRequest, params: dict[str, object], *, is_async: bool
    ) -> HttpResponseBase:
        from gatekit._doors.django_exchange import DjangoExchange
        from gatekit._doors.django_request import DjangoRequest

        request = DjangoRequest(django_request, _ASYNC_IO if is_async else _BLOCKING_IO)
        request.params = {name: str(value) for name, value in params.items()}
        match = django_request.resolver_match
        request.endpoint = match.route if match is not None else None
        exchange = DjangoExchange(request, self._handler, django_request, None, self._threads)
        return await exchange.run()


class _Every(set[str]):
    """Every database there may be: their names are in the settings, which are read later."""

    def __contains__(self, name: object) -> bool:
        return True


def _coroutine_mark() -> dict[str, object]:
    """The attribute by which this version of Python knows a marked coroutine function."""
    from asgiref.sync import markcoroutinefunction

    def view() -> None: ...

    return dict(vars(markcoroutinefunction(view)))


def _is_handler(value: object) -> bool:
    return callable(value) and not isinstance(value, type)


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _need_django(where: str) -> None:
    if find_spec("django") is None:
        raise ConfigurationError(
            where, {"django": "is not installed; the extra `gatekit-middleware[django]` brings it"}
        )
