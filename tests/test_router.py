"""Routes and the router: what fits a request, which route wins, and what nobody answers."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from gatekit import Request, Response, asgi, asgi_app
from gatekit._core.table import Match, Miss
from gatekit.router import Route, Router
from gatekit.testing import Answer, call_asgi, exercise, make_request
from gatekit.typing import Handler


async def hello(request: Request) -> Response:
    return Response.json({"route": request.route and request.route.path, **request.params})


def ask(router: Router, method: str, target: str, **options: Any) -> Answer:
    """The answer of the router as a handler."""
    return asyncio.run(call_asgi(asgi_app(router), method, target, **options))


def found(
    router: Router, target: str, method: str = "GET", headers: dict[str, str] | None = None
) -> str | int:
    """The path of the route that a request finds, or the status of the refusal."""
    result = router.find(make_request(method, target, headers=headers))
    return result.route.path if isinstance(result, Match) else result.status


@pytest.mark.parametrize(
    ("template", "target", "params"),
    [
        ("/", "/", {}),
        ("/", "", {}),
        ("/orders", "/orders", {}),
        ("/orders", "/orders/", None),
        ("/orders/", "/orders/", {}),
        ("/orders/", "/orders", None),
        ("/orders/{id}", "/orders/5", {"id": "5"}),
        ("/orders/{id}", "/orders/", None),
        ("/orders/{id}", "/orders/5/", None),
        ("/orders/{id}", "/orders/caf%C3%A9%20x", {"id": "café x"}),
        ("/{a}/x/{b}", "/1/x/2", {"a": "1", "b": "2"}),
        ("/users/*", "/users", {}),
        ("/users/*", "/users/", {}),
        ("/users/*", "/users/5/cart", {}),
        ("/users/*", "/usersx", None),
        ("/files/{path*}", "/files", {"path": ""}),
        ("/files/{path*}", "/files/a/b%20c/", {"path": "a/b c/"}),
        ("/{tenant}/{rest*}", "/acme/a/b", {"tenant": "acme", "rest": "a/b"}),
        ("/*", "/", {}),
        ("/Orders", "/orders", None),
        ("/admin", "/%61dmin", {}),
        ("/a b", "/a%20b", {}),
    ],
)
def test_template_matches_whole_segments(
    template: str, target: str, params: dict[str, str] | None
) -> None:
    """A literal is compared decoded, a parameter is one non-empty segment, `*` any number."""
    result = Router(Route(template, hello)).find(make_request("GET", target))
    assert (result.params if isinstance(result, Match) else None) == params


@pytest.mark.parametrize("turn", [1, -1])
def test_more_specific_path_wins_in_any_order(turn: int) -> None:
    """Literal before parameter before rest, from the left, however the routes are listed."""
    texts = ["/*", "/a/*", "/a/{x}", "/a/b", "/{x}/b", "/a/b/*", "/{x}/{y}/{z}"]
    router = Router(*(Route(text, hello) for text in texts[::turn]))
    expected = {
        "/a/b": "/a/b",
        "/a/c": "/a/{x}",
        "/c/b": "/{x}/b",
        "/a/b/c": "/a/b/*",
        "/a/c/d": "/a/*",
        "/c/d/e": "/{x}/{y}/{z}",
        "/c/d": "/*",
    }
    assert {target: found(router, target) for target in expected} == expected


def test_get_route_serves_head() -> None:
    """`HEAD` goes to the route for `GET`, unless a route on the same path is there for `HEAD`."""
    router = Router(Route("/a", hello, methods=["get"]), Route("/{x}", hello, methods=["HEAD"]))
    assert found(router, "/a", "HEAD") == "/a"
    heads = Router(
        Route("/a", hello, methods=["GET"], name="get"),
        Route("/a", hello, methods=["HEAD"], name="head"),
    )
    result = heads.find(make_request("HEAD", "/a"))
    assert isinstance(result, Match)
    assert result.route.name == "head"
    elsewhere = Router(
        Route("/a", hello, methods=["GET"], hosts=["x.com"]),
        Route("/a", hello, methods=["HEAD"], hosts=["y.com"]),
    )
    assert found(elsewhere, "/a", "HEAD", {"host": "x.com"}) == "/a"


def test_other_methods_are_left_to_less_specific_routes() -> None:
    """A route limited to methods does not hide what a broader path has for the others."""
    router = Router(Route("/users/me", hello, methods=["GET"]), Route("/users/{id}", hello))
    assert found(router, "/users/me", "DELETE") == "/users/{id}"


def test_a_method_in_small_letters_is_the_same_method() -> None:
    """It is to Flask and Django: what stands in the route for it must not be passed by."""
    router = Router(Route("/a", hello, methods=["DELETE"]), Route("/*", hello))
    assert found(router, "/a", "delete") == "/a"


def test_405_names_every_method_of_the_path() -> None:
    """Where the path fits and no method does, the problem's `Allow` has those of all its routes."""
    router = Router(
        Route("/users/me", hello, methods=["GET"]),
        Route("/users/{id}", hello, methods=["DELETE", "PUT"]),
        Route("/users/{id}", hello, methods=["PATCH"], hosts=["other.example"]),
        Route("/users/{id}", hello, methods=["REPORT"], headers={"x-version": "2"}),
    )
    answer = ask(router, "POST", "/users/me")
    assert answer.status == 405
    assert answer.headers["allow"] == "DELETE, GET, HEAD, PUT"
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"urn:gatekit:method-not-allowed" in answer.body
    assert ask(router, "OPTIONS", "/users/me").status == 405


def test_methods_before_hosts_before_headers_before_query_before_order() -> None:
    """At one path the earlier of these decides, and only a tie goes on to the next."""
    ladder: list[dict[str, Any]] = [
        {"methods": ["GET"]},
        {"hosts": ["a.example.com"]},
        {"hosts": ["*.example.com"]},
        {"hosts": ["*.com"]},
        {"headers": {"x": "1", "y": None}},
        {"headers": {"x": "1"}},
        {"headers": {"x": re.compile("1")}},
        {"headers": {"x": None}},
        {"query": {"q": "1"}},
        {"query": {"q": None}},
        {"order": -1},
        {},
        {"order": 1},
    ]
    routes = [Route("/a", hello, name=str(rank), **step) for rank, step in enumerate(ladder)]
    request = make_request("GET", "/a?q=1", headers={"host": "a.example.com", "x": "1", "y": "2"})
    while routes:
        result = Router(*reversed(routes)).find(request)
        assert isinstance(result, Match)
        assert result.route is routes.pop(0)


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        (
            "api.example.com",
            ["api.example.com", "API.Example.Com:8443", "api.example.com.", "api.example.com:"],
            ["example.com", "x.api.example.com", "", "api.example.com:8x", "api.example.com/"],
        ),
        (
            "*.example.com",
            ["a.example.com", "a.b.example.com:80"],
            [
                "example.com",
                "badexample.com",
                "a.example.com.evil",
                ".example.com",
                "/.example.com",
            ],
        ),
        ("[::1]", ["[::1]", "[::1]:8000"], ["[::2]", "::1", "[::1]x", "[::1"]),
    ],
)
def test_host_is_compared_without_port(pattern: str, fits: list[str], fits_not: list[str]) -> None:
    """Hosts are compared in lower case, without port and final dot; `*.` is one label or more."""
    router = Router(Route("/", hello, hosts=[pattern]))
    assert [host for host in fits if found(router, "/", headers={"host": host}) != "/"] == []
    assert [host for host in fits_not if found(router, "/", headers={"host": host}) != 404] == []


def starts_with_a(value: str) -> bool:
    return value.startswith("a")


@pytest.mark.parametrize(
    ("wanted", "fits", "fits_not"),
    [
        ("2", ["2"], ["", "22", "2, 2"]),
        (re.compile(r"v\d"), ["v1"], ["v12", "xv1", ""]),
        (starts_with_a, ["a", "abc"], ["b", ""]),
        (None, ["", "x"], []),
    ],
)
def test_header_and_query_conditions(wanted: Any, fits: list[str], fits_not: list[str]) -> None:
    """An exact string, a pattern for all of the value, a function, or None for its presence."""
    by_header = Router(Route("/", hello, headers={"X-Version": wanted}))
    by_query = Router(Route("/", hello, query={"v": wanted}))
    for value in fits + fits_not:
        expected: str | int = "/" if value in fits else 404
        assert found(by_header, "/", headers={"x-version": value}) == expected
        assert found(by_query, f"/?w=0&v={value.replace(' ', '+')}") == expected
    assert found(by_header, "/") == 404
    assert found(by_query, "/?w=v") == 404


def test_repeated_field_must_fit_every_time() -> None:
    """Who sends a field or parameter twice cannot show the router one and the handler another."""
    router = Router(Route("/", hello, headers={"x": "1"}), Route("/q", hello, query={"x": "1"}))
    for values, expected in ((["1", "1"], "/"), (["1", "2"], 404), (["2", "1"], 404)):
        result = router.find(make_request("GET", "/", headers=[("x", value) for value in values]))
        assert (result.route.path if isinstance(result, Match) else result.status) == expected
        query = "&".join(f"x={value}" for value in values)
        assert found(router, f"/q?{query}") == (404 if expected == 404 else "/q")


def test_router_as_handler_answers_404() -> None:
    """Where nothing is behind the router, what no route fits is a problem."""
    answer = ask(Router(Route("/a", hello)), "GET", "/b")
    assert answer.status == 404
    assert b"urn:gatekit:no-route" in answer.body


def test_router_as_middleware_hands_on() -> None:
    """What no route fits goes to what is behind, another method included; ambiguity does not."""
    router = Router(Route("/a", hello, methods=["POST"]))
    behind = lambda request: Response.text(f"behind {request.path}")  # noqa: E731
    assert exercise(router, app=behind, target="/b").text == "behind /b"
    assert exercise(router, app=behind, target="/a").text == "behind /a"
    assert exercise(router, app=behind, target="/a", method="POST").text == '{"route":"/a"}'
    assert exercise(router, app=behind, target="/x/%2E%2E/a").status == 400
    assert exercise(router, app=behind, target="/x//y").text == "behind /x//y"


def test_nested_router_adds_its_parameters() -> None:
    """A route's handler may be a router: both give parameters, and the route is the inner one."""
    inner = Router(Route("/shops/{shop}/items/{item}", hello, methods=["GET"]))
    router = Router(Route("/shops/{tenant}/{rest*}", inner))
    answer = ask(router, "GET", "/shops/1/items/2")
    assert answer.text == (
        '{"route":"/shops/{shop}/items/{item}","tenant":"1","rest":"items/2","shop":"1","item":"2"}'
    )
    assert ask(router, "PUT", "/shops/1/items/2").status == 405
    assert ask(router, "GET", "/shops/1/users").status == 404


async def passing(request: Request, call_next: Handler) -> Response:
    return await call_next(request)


async def calls_twice(request: Request, call_next: Handler) -> Response:
    await call_next(request)
    return await call_next(request)


async def answers_itself(request: Request, call_next: Handler) -> Response:
    return Response(204)


@pytest.mark.parametrize("middlewares", [(), (passing,), (answers_itself,)])
def test_routes_are_entered_once(
    middlewares: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """A middleware around a router, or on a route, that calls on twice is told, not obeyed."""
    inner = Router(Route("/a", hello, *middlewares))
    outer = Router(Route("/*", inner, calls_twice))
    assert ask(outer, "GET", "/a").status == 500
    assert ask(outer, "GET", "/b").status == 500
    assert asyncio.run(call_asgi(asgi_app(inner, calls_twice), "GET", "/a")).status == 500
    assert caplog.text.count("call_next was awaited twice") == 3


def test_late_handler_times_out_inside_its_route() -> None:
    """The deadline rings at the handler: the middlewares of nested routes see a `TimeoutError`."""
    seen: list[str] = []

    async def late(request: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError("never")

    async def watching(request: Request, call_next: Handler) -> Response:
        try:
            return await call_next(request)
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    async def at_once(request: Request, call_next: Handler) -> Response:
        request.deadline = request.io.now()
        try:
            return await call_next(request)
        except TimeoutError:
            return Response(504)

    inner = Router(Route("/a", late, watching))
    app = asgi_app(Router(Route("/*", inner, watching)), at_once)
    assert asyncio.run(call_asgi(app, "GET", "/a")).status == 504
    assert seen == ["TimeoutError", "TimeoutError"]


def test_websocket_handshake_is_matched_as_get() -> None:
    """A handshake finds the route for `GET`, and the route may refuse it."""
    routes: list[str] = []

    async def refuse(request: Request) -> Response:
        assert request.is_websocket
        routes.append(request.params["room"])
        return Response(403)

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the route answers")

    async def handshake() -> list[str]:
        sent: list[str] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        app = asgi(behind, Router(Route("/chat/{room}", refuse, methods=["GET"])))
        scope = {"type": "websocket", "path": "/chat/7", "raw_path": b"/chat/7", "headers": []}
        await app(scope, receive, send)
        return sent

    assert asyncio.run(handshake()) == ["websocket.close"]
    assert routes == ["7"]


def test_find_reads_only() -> None:
    """`find` says what would answer, and leaves no trace on the request."""
    request = make_request("GET", "/a/1")
    router = Router(Route("/a/{id}", hello))
    assert router.find(request) == Match(router.routes[0], {"id": "1"})
    assert router.find(make_request("GET", "/")) == Miss(404)
    assert (request.route, dict(request.params)) == (None, {})
