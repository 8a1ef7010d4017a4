"""Routes, and the router that sends each request to the one that fits it best.

    router = Router(
        Route("/orders/{id}", orders, methods=["GET"]),
        Route("/api/v1/users/*", Proxy("http://users:8001"), CircuitBreaker()),
    )
    app = asgi_app(router)          # what no route fits is a 404
    app = asgi(app, router)         # what no route fits goes on to the app

**Methods.** A route for `GET` serves `HEAD`. A route that is limited to some methods leaves the
others to a less specific route, and to what is behind the router; only where nothing is left is it
a 405 with `Allow`.

**Preflights.** A CORS preflight goes to the route of the method that it asks about, so that a
`CORS` around it answers; where none does it is a 405. A route that names `OPTIONS` gets it itself.

**Ambiguous paths.** A path that could be read as one of a route's, and in another way too, is a
400: see `PathRules`.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Never, TypeAlias, cast

from gatekit._core.compose import flatten, name_of
from gatekit._core.conditions import (
    Conditions,
    Wanted,
    host_problem,
    list_problem,
    wanted_problem,
)
from gatekit._core.dispatch import Stacks, enter, refusal, run
from gatekit._core.messages import Request, Response
from gatekit._core.options import token_problem, unknown_keywords
from gatekit._core.paths import PathRules
from gatekit._core.table import Match, Miss, Table
from gatekit._core.templates import Template
from gatekit.errors import ConfigurationError
from gatekit.typing import Handler, Middleware

__all__ = ["Route", "Router"]

Excluded: TypeAlias = "type[object] | Middleware"


class Route:
    """A path, what answers there, and the middlewares of that route alone, outermost first.

    `path` is a template: `/orders/{id}`, `/users/*`, `/files/{path*}`. `hosts` are names without a
    port; `*.example.com` is every name below that one. `headers` and `query` map names to an exact
    string, a compiled pattern that must match all of the value, a function of the value, or None
    for "is there". `without` names middlewares of the gateway, by class or as objects, that this
    route goes without. Of two routes that fit a request equally well, the lower `order` wins.
    """

    __slots__ = (
        "conditions", "handler", "hosts", "methods", "middlewares", "name", "order", "path",
        "template", "without",
    )  # fmt: skip

    template: Template

    def __init__(
        self,
        path: str,
        handler: Handler,
        *middlewares: Middleware,
        methods: Collection[str] | None = None,
        hosts: Collection[str] | None = None,
        headers: Mapping[str, Wanted] | None = None,
        query: Mapping[str, Wanted] | None = None,
        name: str | None = None,
        without: Sequence[Excluded] = (),
        order: int = 0,
        **unknown: Never,
    ) -> None:
        problems = unknown_keywords(unknown, Route)
        try:
            self.template = Template(path)
        except ValueError as error:
            problems["path"] = str(error)
        flat, wrong = collect_middlewares(middlewares)
        problems |= wrong
        for parameter, what in (
            ("handler", _handler_problem(handler)),
            ("methods", list_problem(methods, token_problem)),
            ("hosts", list_problem(hosts, host_problem)),
            ("headers", wanted_problem(headers, headers=True)),
            ("query", wanted_problem(query, headers=False)),
            ("name", None if name is None else text_problem(name)),
            ("without", _without_problem(without)),
            ("order", None if type(order) is int else f"must be a whole number, not {order!r}"),
        ):
            if what is not None:
                problems[parameter] = what
        if problems:
            raise ConfigurationError(f"Route({path!r})", problems)
        self.path = path
        self.handler = handler
        self.middlewares = flat
        self.methods = None if methods is None else frozenset(name.upper() for name in methods)
        self.hosts = None if hosts is None else tuple(dict.fromkeys(map(str.lower, hosts)))
        self.conditions = Conditions(headers, query)
        self.name = name
        self.without = tuple(without)
        self.order = order

    def gatekit_parts(self) -> Iterable[object]:
        """What a door closes and inspects."""
        return (self.handler,)

    def __repr__(self) -> str:
        shown = [repr(self.path)]
        if self.methods is not None:
            shown.append(f"methods={sorted(self.methods)}")
        if self.hosts is not None:
            shown.append(f"hosts={list(self.hosts)}")
        if self.conditions.headers:
            shown.append(f"headers={self.conditions.headers}")
        if self.conditions.query:
            shown.append(f"query={self.conditions.query}")
        return f"Route({', '.join(shown)})"


class Router:
    """A handler of routes, and a middleware: what no route fits goes to `call_next`.

    `paths` says which paths are ambiguous. A route's handler may be another router; its templates
    are whole paths, too, and its parameters join those of the outer route.
    """

    __slots__ = ("_stacks", "_table", "paths", "routes")

    gatekit_dispatches = True

    def __init__(self, *routes: Route, paths: PathRules | None = None, **unknown: Never) -> None:
        self.paths = PathRules() if paths is None else paths
        self._table, problems = tabulate(routes, self.paths)
        problems |= unknown_keywords(unknown, Router)
        if problems:
            raise ConfigurationError("Router", problems)
        self.routes = routes
        self._stacks = Stacks(self, self._table, {route: route.middlewares for route in routes})

    def find(self, request: Request) -> Match[Route] | Miss:
        """What would answer. The request is only read."""
        return self._table.find(request)

    async def __call__(self, request: Request, call_next: Handler | None = None) -> Response:
        found = self._table.find(request)
        if isinstance(found, Match):
            enter(request, found)
            request._at = self
            return await run(self._stacks.of(found), request, call_next)
        if call_next is not None and found.status != 400:
            return await call_next(request)
        return refusal(request, found)

    def gatekit_parts(self) -> Iterable[object]:
        """What a door closes and inspects."""
        return self.routes

    def __repr__(self) -> str:
        return f"Router({', '.join(map(repr, self.routes))})"


def tabulate(routes: object, paths: object) -> tuple[Table[Route], dict[str, str]]:
    """The table of the routes, and every problem that they have with each other."""
    problems: dict[str, str] = {}
    if not isinstance(routes, Sequence):
        problems["routes"], routes = f"must be a list of Route, not {routes!r}", ()
    good: list[Route] = []
    for position, route in enumerate(cast("Sequence[object]", routes)):
        if isinstance(route, Route):
            good.append(route)
        else:
            problems[f"route {position + 1}"] = f"must be a Route(path, handler), not {route!r}"
    if not isinstance(paths, PathRules):
        problems["paths"], paths = f"must be PathRules(...), not {paths!r}", PathRules()
    names = [route.name for route in good if route.name is not None]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        problems["name"] = f"{', '.join(map(repr, repeated))} names several routes"
    table = Table(good, paths)
    if table.problems:
        problems["routes"] = (
            f"{'; '.join(table.problems)}. Set them apart by method, host, header or query, "
            "or give one of them an order"
        )
    return table, problems


def collect_middlewares(
    middlewares: Sequence[Middleware],
) -> tuple[tuple[Middleware, ...], dict[str, str]]:
    """`flatten`, with every problem instead of the first."""
    flat: list[Middleware] = []
    problems: dict[str, str] = {}
    for position, middleware in enumerate(middlewares):
        try:
            flat.extend(flatten("", [middleware]))
        except ConfigurationError as error:
            problems[f"middleware {position + 1}"] = "; ".join(error.problems.values())
    return tuple(flat), problems


def text_problem(text: object) -> str | None:
    """Of a name."""
    return None if isinstance(text, str) and text else f"must be a non-empty string, not {text!r}"


def _handler_problem(handler: object) -> str | None:
    if isinstance(handler, type):
        return f"{handler.__name__} is a class; give an instance: {handler.__name__}(...)"
    if not callable(handler):
        return f"{handler!r} is not callable as (request)"
    try:
        inspect.signature(handler).bind(None)
    except TypeError:
        return f"{name_of(handler)} does not take (request); is it an app, or a middleware?"
    except ValueError:
        return None
    return _color_problem(handler)


def _color_problem(handler: object) -> str | None:
    if inspect.isfunction(handler) and not inspect.iscoroutinefunction(inspect.unwrap(handler)):
        return f"{name_of(handler)} must be `async def`; it runs under WSGI too"
    return None


def _without_problem(without: object) -> str | None:
    if not isinstance(without, Sequence) or isinstance(without, str):
        return f"must be a list of middlewares or their classes, as in [RateLimit], not {without!r}"
    wrong = [repr(part) for part in cast("Sequence[object]", without) if not callable(part)]
    return f"{', '.join(wrong)} is no middleware" if wrong else None
