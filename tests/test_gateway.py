"""The gateway: its middlewares around routes and what lies behind, under every door."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from gatekit import ConfigurationError, MisuseError, Request, Response, chain, when, wsgi
from gatekit._core.paths import PathRules
from gatekit.gateway import Gateway
from gatekit.router import Route, Router
from gatekit.testing import Answer, call_asgi, call_wsgi, exercise, make_request
from gatekit.typing import Handler
from tests.conftest import Door
from tests.doors.spec import Spec


class Note:
    """Notes that it ran; the classes below differ in name alone."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or type(self).__name__

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        response.headers.add("x-ran", self.name)
        return response


class Auth(Note): ...


class Limit(Note): ...


class StrictLimit(Limit): ...


class Trace(Note): ...


async def hello(request: Request) -> Response:
    assert request.route is not None
    return Response.text(f"{request.route.path} {dict(request.params)}")


async def noted(request: Request, call_next: Handler) -> Response:
    return await Note("noted")(request, call_next)


def ran(answer: Answer) -> list[str]:
    """The middlewares that ran, the innermost first."""
    fields = answer.headers.getlist("x-ran")  # one or several: Django joins them
    return [name for field in fields for name in field.split(", ")]


def ask(gateway: Gateway, method: str, target: str, headers: Any = None) -> Answer:
    """The same answer twice: of the gateway alone, as an ASGI app and as a WSGI app."""
    answer = asyncio.run(call_asgi(gateway.asgi(), method, target, headers=headers))
    blocking = call_wsgi(gateway.wsgi(), method, target, headers=headers)
    assert (answer.status, answer.body) == (blocking.status, blocking.body)
    assert answer.headers == blocking.headers
    return answer


def everything(request: Request) -> bool:
    return True


@pytest.mark.parametrize(
    ("method", "target", "status", "body", "middlewares"),
    [
        ("GET", "/a/1", 200, b"/a/{id} {'id': '1'}", ["Limit", "Auth", "Trace"]),
        ("GET", "/other?q=1", 200, b"hello world", ["Auth", "Trace"]),
        ("POST", "/a/1", 200, b"hello world", ["Auth", "Trace"]),
        ("GET", "/x/..%2Fa/1", 400, b"ambiguous-path", ["Auth", "Trace"]),
        ("GET", "/x//y", 200, b"hello world", ["Auth", "Trace"]),
    ],
)
def test_gateway_before_an_app(
    door: Door, method: str, target: str, status: int, body: bytes, middlewares: list[str]
) -> None:
    """Under every door a route answers what fits it, the app the rest, a 400 what could be both."""
    gateway = Gateway(Trace(), Auth(), routes=[Route("/a/{id}", hello, Limit(), methods=["GET"])])
    answer = door(Spec(), gateway, method=method, target=target)
    assert answer.status == status
    assert body in answer.body
    assert ran(answer) == middlewares


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [("GET", "/b", 404), ("PUT", "/a", 405), ("GET", "/x/../a", 400), ("GET", "/x/../b", 404)],
)
def test_refusals_pass_through_the_middlewares(method: str, target: str, status: int) -> None:
    """What the gateway says itself carries what its middlewares add, ids and CORS headers say."""
    gateway = Gateway(Trace(), noted, routes=[Route("/a", hello, Limit(), methods=["GET"])])
    answer = ask(gateway, method, target)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert ran(answer) == ["noted", "Trace"]


def test_route_is_known_to_the_middlewares() -> None:
    """The route is found before the first middleware runs, from the request as it came."""
    seen: list[tuple[str | None, dict[str, str]]] = []

    async def looks(request: Request, call_next: Handler) -> Response:
        seen.append((request.route.path if request.route else None, dict(request.params)))
        request.path = "/elsewhere"
        return await call_next(request)

    gateway = Gateway(looks, routes=[Route("/a/{id}", hello)])
    assert ask(gateway, "GET", "/a/1").status == 200
    assert ask(gateway, "GET", "/b").status == 404
    assert seen == [("/a/{id}", {"id": "1"})] * 2 + [(None, {})] * 2


GLOBAL_LIMIT = Limit("wide")


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (Route("/a", hello), ["noted", "when", "wide", "Auth"]),
        (Route("/a", hello, without=[Limit]), ["noted", "Auth"]),
        (Route("/a", hello, without=[StrictLimit]), ["noted", "when", "wide", "Auth"]),
        (Route("/a", hello, without=[Note]), ["noted"]),
        (Route("/a", hello, without=[noted, GLOBAL_LIMIT]), ["when", "Auth"]),
        (Route("/a", hello, without=[Auth, Limit, noted]), []),
        (Route("/a", hello, Limit("own")), ["noted", "own", "Auth"]),
        (Route("/a", hello, Trace(), Limit("own")), ["Trace", "noted", "own", "Auth"]),
        (Route("/a", hello, chain(Auth("own"))), ["noted", "when", "wide", "own"]),
        (Route("/a", hello, Limit("own"), without=[Limit, noted]), ["own", "Auth"]),
        (Route("/a", hello, StrictLimit()), ["StrictLimit", "noted", "when", "wide", "Auth"]),
        (
            Route("/a", hello, when(everything, Limit("more"))),
            ["more", "noted", "when", "wide", "Auth"],
        ),
        (Route("/a", hello, functools.partial(noted)), ["noted", "noted", "when", "wide", "Auth"]),
        (Route("/a", hello, Limit("1"), Limit("2")), ["noted", "2", "1", "Auth"]),
    ],
    ids=str,
)
def test_route_leaves_out_and_replaces(route: Route, expected: list[str]) -> None:
    """`without` takes classes and objects; one of a route's own takes the place of its very class.

    Both reach into `chain` and `when`. A `when` or a plain function of a route's own replaces
    nothing, and runs inside of all others.
    """
    gateway = Gateway(
        Auth(), chain(GLOBAL_LIMIT, when(everything, Limit("when"))), noted, routes=[route]
    )
    assert ran(ask(gateway, "GET", "/a")) == expected
    assert ran(ask(gateway, "GET", "/b")) == ["noted", "when", "wide", "Auth"]


def test_when_keeps_what_is_not_left_out() -> None:
    """Of several middlewares under one condition those that are not named stay under it."""
    only_gets = when(lambda request: request.method == "GET", chain(Auth(), Limit()))
    gateway = Gateway(only_gets, routes=[Route("/a", hello, without=[Limit])])
    assert ran(ask(gateway, "GET", "/a")) == ["Auth"]
    assert ran(ask(gateway, "POST", "/a")) == []
    replaced = Gateway(only_gets, noted, routes=[Route("/a", hello, Limit("own"))])
    assert ran(ask(replaced, "GET", "/a")) == ["noted", "own", "Auth"]
    assert ran(ask(replaced, "POST", "/a")) == ["noted", "own"]


PREFLIGHT = {"origin": "https://app.example", "access-control-request-method": "POST"}


class Cors:
    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return Response(204, {"x-for": request.route.path if request.route else "none"})
        return await call_next(request)


def test_preflight_reaches_cors_of_the_route_it_asks_about() -> None:
    """A preflight runs the stack of the route of its method, so the route's own CORS answers it."""
    routes = [
        Route("/a", hello, Cors(), methods=["POST"]),
        Route("/a", hello, methods=["GET"]),
        Route("/*", hello),
    ]
    assert ask(Gateway(routes=routes), "OPTIONS", "/a", PREFLIGHT).headers["x-for"] == "/a"
    for route in (*routes[:2], Route("/{x}", hello, methods=["PUT"])):
        answer = ask(Gateway(Cors(), routes=[route]), "OPTIONS", "/a", PREFLIGHT)
        expected = "/a" if route is routes[0] else "none"
        assert (answer.status, answer.headers["x-for"]) == (204, expected)


def test_preflight_that_nobody_answers_is_a_405() -> None:
    """The handler of a route for POST never sees an OPTIONS, nor does what lies behind."""
    gateway = Gateway(Trace(), routes=[Route("/a", hello, Auth(), methods=["POST"])])
    answer = exercise(gateway, method="OPTIONS", target="/a", headers=PREFLIGHT)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    assert ran(answer) == ["Auth", "Trace"]


def test_route_may_answer_preflights_itself() -> None:
    """A route that takes any method, or names OPTIONS, is given the preflight."""
    gateway = Gateway(
        routes=[
            Route("/a", hello, methods=["POST"]),
            Route("/a", hello, methods=["OPTIONS"], name="options"),
            Route("/b", hello),
        ]
    )
    assert ask(gateway, "OPTIONS", "/a", PREFLIGHT).status == 200
    assert ask(gateway, "OPTIONS", "/b", PREFLIGHT).status == 200
    assert ask(gateway, "OPTIONS", "/a").status == 200


def test_error_of_a_handler_travels_through_the_middlewares() -> None:
    """A middleware around `call_next` may give a fallback for what a route's handler raises."""

    async def fails(request: Request) -> Response:
        raise LookupError("gone")

    async def fallback(request: Request, call_next: Handler) -> Response:
        try:
            return await call_next(request)
        except LookupError:
            return Response.text("fallback")

    gateway = Gateway(Trace(), fallback, Auth(), routes=[Route("/a", fails, Limit())])
    answer = ask(gateway, "GET", "/a")
    assert (answer.text, ran(answer)) == ("fallback", ["Trace"])


def test_failing_condition_is_an_error_inside_the_stack(caplog: pytest.LogCaptureFixture) -> None:
    """A user's function that raises makes no route fit another request: it is a 500."""

    def broken(value: str) -> bool:
        raise RuntimeError(f"cannot read {value}")

    async def sees(request: Request, call_next: Handler) -> Response:
        try:
            return await call_next(request)
        except RuntimeError:
            return Response(500, {"x-seen": "yes"})

    gateway = Gateway(sees, routes=[Route("/a", hello, headers={"x": broken}), Route("/*", hello)])
    assert ask(gateway, "GET", "/a", {"x": "1"}).headers["x-seen"] == "yes"
    unseen = Gateway(routes=gateway.routes)
    assert ask(unseen, "GET", "/a", {"x": "1"}).status == 500
    assert "cannot read 1" in caplog.text


def test_gateway_stands_between_middlewares() -> None:
    """A gateway is a middleware: others may stand outside and inside of it, in a chain or not."""
    gateway = Gateway(Auth(), routes=[Route("/a", hello)])
    inside = when(everything, Limit())
    for stack in ((Trace(), gateway, Limit()), (chain(Trace(), gateway), inside)):
        assert ran(exercise(*stack, target="/a")) == ["Auth", "Trace"]
        assert ran(exercise(*stack, target="/b")) == ["Limit", "Auth", "Trace"]


async def calls_twice(request: Request, call_next: Handler) -> Response:
    await call_next(request)
    return await call_next(request)


@pytest.mark.parametrize("target", ["/a", "/b", "/own"])
def test_calling_on_twice_is_told(target: str, caplog: pytest.LogCaptureFixture) -> None:
    """A gateway's middleware that calls on twice is an error, on a route and off it."""
    gateway = Gateway(calls_twice, routes=[Route("/a", hello), Route("/own", hello, Note())])
    with pytest.raises(MisuseError, match="call_next was awaited twice"):
        exercise(gateway, Note(), target=target)
    assert ask(gateway, "GET", target).status == 500
    assert "call_next was awaited twice" in caplog.text


def test_handlers_are_closed_with_the_door() -> None:
    """What routes and middlewares hold is given back by the door, each once."""
    closed: list[str] = []

    class Holds(Note):
        async def __call__(self, request: Request, call_next: Handler | None = None) -> Response:
            return Response() if call_next is None else await call_next(request)

        def close(self) -> None:
            closed.append(self.name)

        async def aclose(self) -> None:
            closed.append(f"a{self.name}")

    shared = Holds("shared")
    inner = Router(Route("/b", Holds("inner")), Route("/c", shared))
    gateway = Gateway(
        when(everything, Holds("wide")),
        routes=[Route("/*", inner, Holds("own")), Route("/d", shared)],
    )
    gateway.wsgi().close()
    assert sorted(closed) == ["inner", "own", "shared", "wide"]
    closed.clear()
    asyncio.run(gateway.asgi().aclose())
    assert sorted(closed) == ["ainner", "aown", "ashared", "awide"]


def test_wsgi_refuses_async_callbacks_but_not_handlers() -> None:
    """Under WSGI a handler is `async def` all the same; a predicate that has to wait is refused."""

    async def later(request: Request) -> bool:
        return True

    def app(environ: Any, start_response: Any) -> Any:
        raise AssertionError

    door = wsgi(app, Gateway(noted, routes=[Route("/a", hello, noted)]))
    assert call_wsgi(door, "GET", "/a").status == 200
    with pytest.raises(ConfigurationError, match="predicate"):
        Gateway(routes=[Route("/a", hello, when(later, Note()))]).wsgi(app)


def test_path_rules_of_the_gateway() -> None:
    """What the rules allow is served, as the segment it is; what they add is refused."""
    routes = [Route("/files/{name}", hello), Route("/*", hello)]
    strict = Gateway(routes=routes, paths=PathRules(refuse={"%3B"}))
    lax = Gateway(routes=routes, paths=PathRules(allow={"%2F", "//", "/../"}))
    assert ask(strict, "GET", "/files/a%2Fb").status == 400
    assert ask(strict, "GET", "/files/a%3Bb").status == 400
    assert ask(lax, "GET", "/files/a%2Fb").text == "/files/{name} {'name': 'a/b'}"
    assert ask(lax, "GET", "/files/a%3Bb").status == 200
    assert ask(lax, "GET", "/x/../files/a").text == "/* {}"
    assert ask(lax, "GET", "/files//a").text == "/* {}"


def test_options_star_is_no_path() -> None:
    """`OPTIONS *` asks about the server: no route has it, and it is not ambiguous."""
    gateway = Gateway(routes=[Route("/*", hello)])
    assert ask(gateway, "OPTIONS", "*").status == 404


def test_equal_routes_share_what_runs() -> None:
    """A thousand routes with the same middlewares are not a thousand stacks."""
    own = Note("own")
    routes = [Route(f"/{n}", hello, *((own,) if n % 2 else ())) for n in range(1_000)]
    gateway = Gateway(Auth(), Limit(), routes=routes)
    handlers = {
        gateway._stacks.of(gateway.find(make_request("GET", route.path)))  # type: ignore[arg-type]
        for route in routes
    }
    assert len(handlers) == 2
    assert ask(gateway, "GET", "/7").text == "/7 {}"


def test_problems_of_a_gateway_come_together() -> None:
    """Every wrong option, middleware and route is in one error."""
    with pytest.raises(ConfigurationError) as wrong:
        Gateway(
            Note,  # type: ignore[arg-type]
            Note(),
            "auth",  # type: ignore[arg-type]
            routes=[Route("/a", hello), "/b", Route("/a", hello)],  # type: ignore[list-item]
            path=PathRules(),  # type: ignore[arg-type]
            paths="//",  # type: ignore[arg-type]
            name="",
        )
    assert set(wrong.value.problems) == {
        "middleware 1", "middleware 3", "route 2", "routes", "path", "paths", "name",
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match="routes: must be a list"):
        Gateway(routes=Route("/a", hello))  # type: ignore[arg-type]
