"""How handlers and middlewares are put together: `chain`, `when`, and the link between two.

secured = chain(BearerAuth(...), Require(roles=["admin"]))
is_admin = lambda request: request.path.startswith("/admin")
app = asgi(app, CorrelationId(), when(is_admin, secured))
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TypeAlias, TypeGuard, cast

from gatekit._core.body import aclose_body
from gatekit._core.exchange import unanswered
from gatekit._core.io import resolve
from gatekit._core.messages import Request, Response
from gatekit._core.problems import internal_error, not_carried, rejection
from gatekit._core.signals import call_app
from gatekit.errors import ConfigurationError, MisuseError, Rejected
from gatekit.typing import Handler, Middleware, SupportsClose

Predicate: TypeAlias = Callable[[Request], bool | Awaitable[bool]]

logger = logging.getLogger("gatekit")

# Seconds after a deadline: a handler that keeps to it knows better what it was waiting for.
_GRACE = 0.05


class chain:  # noqa: N801 — reads as the function it is to its user
    """Several middlewares as one, outermost first."""

    __slots__ = ("middlewares",)

    def __init__(self, *middlewares: Middleware) -> None:
        self.middlewares = flatten("chain", middlewares)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        return await run_inside(self.middlewares, request, call_next)

    def __repr__(self) -> str:
        return f"chain({', '.join(map(name_of, self.middlewares))})"


class when:  # noqa: N801
    """A middleware that applies only to requests for which the predicate holds."""

    __slots__ = ("middlewares", "predicate")

    def __init__(self, predicate: Predicate, middleware: Middleware) -> None:
        if not callable(predicate):
            raise ConfigurationError("when", {"predicate": "must be a callable of the request"})
        self.predicate = predicate
        self.middlewares = flatten("when", [middleware])

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if await resolve(self.predicate(request)):
            return await run_inside(self.middlewares, request, call_next)
        return await call_next(request)

    def __repr__(self) -> str:
        return f"when({name_of(self.predicate)}, {', '.join(map(name_of, self.middlewares))})"


def flatten(where: str, middlewares: Iterable[Middleware]) -> tuple[Middleware, ...]:
    """One flat tuple, chains opened; what cannot be a middleware is a `ConfigurationError`."""
    flat: list[Middleware] = []
    for position, middleware in enumerate(middlewares):
        if isinstance(middleware, chain):
            flat.extend(middleware.middlewares)
            continue
        problem = _not_a_middleware(middleware)
        if problem:
            raise ConfigurationError(where, {f"middleware {position + 1}": problem})
        flat.append(middleware)
    return tuple(flat)


def compose(
    middlewares: Sequence[Middleware], innermost: Handler, *, entered_from: object = None
) -> Handler:
    """Nests the middlewares, outermost first, around a handler.

    `entered_from` is what `request._at` must be when the result is called.
    """
    places = [entered_from, *(object() for _ in middlewares)]
    handler = innermost
    for position in reversed(range(len(middlewares))):
        handler = link(middlewares[position], handler, places[position], places[position + 1])
    return handler


def link(middleware: Middleware, call_next: Handler, outer: object, place: object) -> Handler:
    """Binds a middleware to the next handler and guards the boundary between the two.

    `request._at` is the place that the request has reached: a middleware is entered only from
    the one outside of it, so a second `call_next` is noticed. What the middleware raises becomes
    a response here, so that the outer middlewares still see one; the app's own exception is let
    through, for it is theirs to catch.
    """

    async def handler(request: Request) -> Response:
        if request._at is not outer:
            raise _twice(name_of(middleware))
        request._at = place
        try:
            response = await middleware(request, call_next)
        except Rejected as rejected:
            return rejection(request, rejected)
        except Exception as error:
            if error is request.app_error:
                raise
            logger.error("%s raised", name_of(middleware), exc_info=error)
            return internal_error(request)
        if response.__class__ is Response or is_response(response):
            return response
        logger.error("%s returned %r instead of a Response", name_of(middleware), response)
        return internal_error(request)

    return handler


async def run_inside(
    middlewares: Sequence[Middleware], request: Request, call_next: Handler
) -> Response:
    """Runs middlewares that were not nested at construction between two that were."""
    place = request._at
    left = False

    async def back(request: Request) -> Response:
        nonlocal left
        if left:
            raise _twice(name_of(call_next))
        left = True
        request._at = place
        return await call_next(request)

    return await compose(middlewares, back, entered_from=place)(request)


async def to_app(request: Request) -> Response:
    """The innermost handler of a door that has an app behind it."""
    if request._answering:
        raise _twice("the app")
    request._answering = True
    response: Response = await call_app()
    return response


def terminal(handler: Handler) -> Handler:
    """Guards a handler that answers itself; what it raises is the app's error to the onion."""
    # A router hands on to terminals of its own, which keep the time: two clocks would cancel twice.
    dispatches = getattr(handler, "gatekit_dispatches", False)

    async def answer(request: Request) -> Response:
        if request._answering:
            raise _twice(name_of(handler))
        request._answering = True
        try:
            if dispatches or request.deadline is None:
                response = await handler(request)
            else:
                left = request.deadline - request.io.now()
                async with request.io.timeout(left + _GRACE):
                    response = await handler(request)
        except Rejected as rejected:
            return rejection(request, rejected)
        except Exception as error:
            request.app_error = error
            raise
        if not is_response(response):
            raise MisuseError(f"{name_of(handler)} returned {response!r} instead of a Response")
        if response.status == 101 and not request.is_websocket:
            logger.error("%s answered 101 to what is no WebSocket", name_of(handler))
            await aclose_body(response.body)
            return not_carried(request)
        return response

    return answer


async def answered(request: Request, call_next: Handler) -> Response:
    """`call_next` for a middleware whose work belongs on every response.

    The app's exception becomes here the response that the door would have made of it, and is
    logged. Nothing further out sees the exception then: what gives a fallback goes inside.
    """
    try:
        return await call_next(request)
    except Exception as error:
        return answer_to(request, error)


def answer_to(request: Request, error: Exception) -> Response:
    """What the door would have answered; for who cannot afford one more coroutine."""
    return rejection(request, error) if isinstance(error, Rejected) else unanswered(request, error)


def is_response(value: object) -> TypeGuard[Response]:
    """What the types promise, asked again: a forgotten `return` is a common mistake."""
    return isinstance(value, Response)


def _twice(inner: str) -> MisuseError:
    return MisuseError(
        f"call_next was awaited twice: {inner} was entered a second time. A middleware awaits "
        "call_next at most once; retrying is the proxy's business."
    )


def walk(roots: Iterable[object]) -> Iterator[object]:
    """Every middleware and handler below these, each once: what a door closes or inspects."""
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        part = stack.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        children = getattr(part, "gatekit_parts", None)
        if children is not None:
            stack.extend(children())
        stack.extend(getattr(part, "middlewares", ()))


def closables(roots: Iterable[object]) -> list[SupportsClose]:
    """What holds resources among the parts."""
    return [part for part in walk(roots) if isinstance(part, SupportsClose)]


def introduce(roots: Iterable[object]) -> None:
    """Shows all parts of a door to those of them that watch the others, such as `Metrics`."""
    parts = list(walk(roots))
    for part in parts:
        meet = getattr(part, "gatekit_meet", None)
        if meet is not None:
            meet(parts)


def refuse_async_callbacks(roots: Iterable[object]) -> None:
    """A WSGI door has no event loop for an async callback: an error now, not on a request."""
    parts = list(walk(roots))
    for part in parts:
        if inspect.isfunction(part):
            continue
        for name, value in _attributes(part):
            if inspect.iscoroutinefunction(value) and not any(value is other for other in parts):
                problem = "is async, which a WSGI door cannot await; give a plain function"
                raise ConfigurationError(name_of(part), {name.lstrip("_"): problem})


def name_of(part: object) -> str:
    """How a message names a middleware, handler or callback."""
    name = getattr(part, "__qualname__", None)
    return name if isinstance(name, str) else type(part).__name__


def _attributes(part: object) -> Iterator[tuple[str, object]]:
    yield from getattr(part, "__dict__", {}).items()
    for kind in type(part).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if hasattr(part, name):
                yield name, getattr(part, name)


def not_callable(value: object, what: str, call: str) -> str | None:
    """What is wrong with something to be called; a class is a forgotten pair of brackets."""
    if isinstance(value, type):
        return f"{value.__name__} is a class; give an instance: {value.__name__}(...)"
    return None if callable(value) else f"{value!r} is not {what}, callable as {call}"


def _not_a_middleware(value: object) -> str | None:
    problem = not_callable(value, "a middleware", "(request, call_next)")
    if problem is not None:
        return problem
    function = cast("Callable[..., object]", value)
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return f"{name_of(value)} does not take (request, call_next)"
    except ValueError:
        return None
    if inspect.isroutine(function) and not inspect.iscoroutinefunction(inspect.unwrap(function)):
        return f"{name_of(value)} must be `async def`; it runs under WSGI too"
    return None
