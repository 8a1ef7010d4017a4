"""The gateway: middlewares around everything, and routes with middlewares of their own.

    gateway = Gateway(
        CorrelationId(),
        BearerAuth(jwks_url="https://id.example/jwks", algorithms=["RS256"]),
        RateLimit("1000/hour"),
        routes=[
            Route("/api/orders/*", Proxy("http://orders:8002"), CircuitBreaker()),
            Route("/api/search", Proxy("http://search:8003"), RateLimit("10/minute")),
            Route("/health", health, without=[BearerAuth, RateLimit]),
        ],
    )
    app = gateway.asgi(fastapi_app)                            # what no route fits, the app answers
    flask_app.wsgi_app = gateway.wsgi(flask_app.wsgi_app)
    app = gateway.asgi()                                       # alone: 404 instead

**The route is found first**, before any middleware runs, from the request as it came: the
middlewares find it in `request.route`, and what they change does not choose another one.

**A route's middleware takes the place of the gateway's of the same class**, where the last one of
them stands: `/api/search` above has one rate limit, its own, inside of the authentication. All
others run inside of the gateway's. One wrapped in `when` is added, and replaces nothing. `without`
leaves out by class or by object.

**Every answer passes through the middlewares**, the 404, 405 and 400 of the gateway's own included.

A gateway is a middleware itself, and holds nothing: what its parts hold is closed by the door that
it stands in.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Sequence
from typing import Any, Never

from gatekit._core.compose import chain, compose, run_inside, terminal, to_app, when
from gatekit._core.dispatch import Stacks, enter, refusal, run
from gatekit._core.messages import Request, Response
from gatekit._core.options import unknown_keywords
from gatekit._core.paths import PathRules
from gatekit._core.table import Match, Miss
from gatekit._doors.asgi import ASGIDoor, asgi, asgi_app
from gatekit._doors.wsgi import WSGIDoor, wsgi, wsgi_app
from gatekit.errors import ConfigurationError
from gatekit.router import (
    Excluded,
    Route,
    Router,
    collect_middlewares,
    tabulate,
    text_problem,
)
from gatekit.typing import ASGIApp, Handler, Middleware, WSGIApp

__all__ = ["Gateway"]

# Of these, one says nothing of another.
_NO_KIND = (types.FunctionType, types.MethodType, functools.partial, when, Router)


class Gateway:
    """Middlewares, outermost first, around routes and what lies behind them.

    `paths` says which paths are ambiguous; `name` is what logs and messages call it.
    """

    __slots__ = ("_beyond", "_stacks", "_table", "middlewares", "name", "paths", "routes")

    gatekit_dispatches = True

    def __init__(
        self,
        *middlewares: Middleware,
        routes: Sequence[Route] = (),
        paths: PathRules | None = None,
        name: str = "gateway",
        **unknown: Never,
    ) -> None:
        problems = unknown_keywords(unknown, Gateway)
        if what := text_problem(name):
            problems["name"] = what
        self.paths = PathRules() if paths is None else paths
        self.middlewares, wrong = collect_middlewares(middlewares)
        self._table, conflicts = tabulate(routes, self.paths)
        problems |= wrong | conflicts
        if problems:
            raise ConfigurationError("Gateway", problems)
        self.name = name
        self.routes = tuple(routes)
        stacks = {route: self.around(route) for route in self.routes}
        self._stacks = Stacks(self, self._table, stacks)
        # In a tuple: a WSGI door takes an async function among the attributes for a callback.
        self._beyond = (compose(self.middlewares, to_app, entered_from=self),)

    def around(self, route: Route) -> tuple[Middleware, ...]:
        """The middlewares that run for a route, outermost first."""
        kinds = {type(part) for part in route.middlewares if not isinstance(part, _NO_KIND)}
        places = _places(self.middlewares, kinds)
        stack: list[Middleware] = []
        for position, part in enumerate(self.middlewares):
            stack += _without(part, route.without, kinds)
            stack += [own for own in route.middlewares if places.get(type(own)) == position]
        return (*stack, *(own for own in route.middlewares if type(own) not in places))

    def find(self, request: Request) -> Match[Route] | Miss:
        """What would answer. The request is only read."""
        return self._table.find(request)

    async def __call__(self, request: Request, call_next: Handler | None = None) -> Response:
        try:
            found = self._table.find(request)
        except Exception as error:  # a user's function among the conditions of a route
            handler = self._answer_with(_raising(error))
        else:
            if isinstance(found, Match):
                enter(request, found)
                handler = self._stacks.of(found)
            elif call_next is None or found.status == 400:
                handler = self._answer_with(_refusing(found))
            elif call_next is to_app:
                handler = self._beyond[0]
            else:
                return await run_inside(self.middlewares, request, call_next)
        request._at = self
        return await run(handler, request, call_next)

    def _answer_with(self, handler: Handler) -> Handler:
        return compose(self.middlewares, terminal(handler), entered_from=self)

    def asgi(self, app: ASGIApp | None = None) -> ASGIDoor:
        """As an ASGI app, around another one or alone."""
        return asgi_app(self) if app is None else asgi(app, self)

    def wsgi(self, app: WSGIApp | None = None) -> WSGIDoor:
        """As a WSGI app, around another one or alone."""
        return wsgi_app(self) if app is None else wsgi(app, self)

    def gatekit_parts(self) -> Iterable[object]:
        """What a door closes and inspects."""
        return self.routes

    def __repr__(self) -> str:
        return f"<Gateway {self.name}: {len(self.routes)} routes>"


def _places(middlewares: Iterable[Middleware], kinds: set[type[Any]]) -> dict[type[Any], int]:
    """Where the last one of each kind stands, in a `when` or not."""
    places: dict[type[Any], int] = {}
    for position, part in enumerate(middlewares):
        inside = part.middlewares if isinstance(part, when) else ()
        for kind in ({type(part)} & kinds) | _places(inside, kinds).keys():
            places[kind] = position
    return places


def _without(
    part: Middleware, excluded: Sequence[Excluded], kinds: set[type[Any]]
) -> tuple[Middleware, ...]:
    """The middleware itself, what is left of a `when`, or nothing."""
    if type(part) in kinds or any(_names(one, part) for one in excluded):
        return ()
    if not isinstance(part, when):
        return (part,)
    left = tuple(kept for one in part.middlewares for kept in _without(one, excluded, kinds))
    if left == part.middlewares:
        return (part,)
    return (when(part.predicate, chain(*left)),) if left else ()


def _names(excluded: Excluded, part: Middleware) -> bool:
    return excluded is part or (isinstance(excluded, type) and isinstance(part, excluded))


def _refusing(miss: Miss) -> Handler:
    async def refuse(request: Request) -> Response:
        return refusal(request, miss)

    return refuse


def _raising(error: Exception) -> Handler:
    async def fail(_: Request) -> Response:
        raise error

    return fail
