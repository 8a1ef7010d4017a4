"""Routes that are refused: each option that is wrong, and pairs that nothing sets apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from gatekit import ConfigurationError, Request, Response
from gatekit.router import Route, Router


async def hello(request: Request) -> Response:
    return Response()


def starts_with_a(value: str) -> bool:
    return value.startswith("a")


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"methods": ["GET", "PUT"]}, {"methods": ["PUT"]}),
    ({"hosts": ["a.com", "b.com"]}, {"hosts": ["B.com"]}),
    ({"headers": {"x": "1"}}, {"headers": {"y": "1"}}),
    ({"headers": {"x": re.compile("1")}}, {"headers": {"X": re.compile("2")}}),
    ({"query": {"x": "1"}}, {"query": {"x": "1"}}),
    ({"query": {"x": starts_with_a}}, {"query": {"x": re.compile("b")}}),
]
APART: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"methods": ["GET"]}),
    ({"methods": ["GET"]}, {"methods": ["POST"]}),
    ({"hosts": ["a.com"]}, {"hosts": ["*.com"]}),
    ({"headers": {"x": "1"}}, {"headers": {"x": "2"}}),
    ({"headers": {"x": "1", "y": "1"}}, {"headers": {"x": "1", "z": "1", "a": None}}),
    ({"headers": {"x": "1"}}, {"headers": {"x": re.compile("2")}}),
    (
        {"headers": {"x": "1", "y": re.compile("a")}},
        {"headers": {"x": re.compile("2"), "y": "a"}},
    ),
    ({"query": {"x": "1"}}, {"query": {"x": "2"}}),
    ({}, {"order": 1}),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_routes_that_nothing_sets_apart_are_refused(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Two routes that may fit one request equally well are named at construction."""
    with pytest.raises(ConfigurationError) as wrong:
        Router(Route("/a/{x}", hello, **one), Route("/b", hello), Route("/a/{y}", hello, **other))
    message = wrong.value.problems["routes"]
    assert "Route('/a/{x}'" in message
    assert "Route('/a/{y}'" in message
    assert "/b" not in message


@pytest.mark.parametrize(("one", "other"), APART)
def test_routes_that_differ_stand_side_by_side(one: dict[str, Any], other: dict[str, Any]) -> None:
    """One on the same path is welcome if it is more specific, or can meet no request of both."""
    assert Router(Route("/a/{x}", hello, **one), Route("/a/{y}", hello, **other)).routes


class NotAnInstance:
    async def __call__(self, request: Request) -> Response:
        return Response()


async def app(scope: Any, receive: Any, send: Any) -> None: ...


def blocking(request: Request) -> Response:
    return Response()


OF_BYTES: Any = re.compile(b"1")
BARE: Any = lambda: True  # noqa: E731
WRONG: list[tuple[str, Callable[[], object]]] = [
    ("path", lambda: Route("orders", hello)),
    ("path", lambda: Route("/a/*/b", hello)),
    ("path", lambda: Route("/a*", hello)),
    ("path", lambda: Route("/a/**", hello)),
    ("path", lambda: Route("/{id}/x/{id}", hello)),
    ("path", lambda: Route("/{id}/{id*}", hello)),
    ("path", lambda: Route("/{}", hello)),
    ("path", lambda: Route("/{a-b}", hello)),
    ("path", lambda: Route("/{name}.json", hello)),
    ("path", lambda: Route("/a//b", hello)),
    ("path", lambda: Route("/a/../b", hello)),
    ("path", lambda: Route("/a%2Fb", hello)),
    ("path", lambda: Route("/a?b", hello)),
    ("path", lambda: Route("/a\\b", hello)),
    ("path", lambda: Route(None, hello)),  # type: ignore[arg-type]
    ("handler", lambda: Route("/", NotAnInstance)),  # type: ignore[arg-type]
    ("handler", lambda: Route("/", "http://x")),  # type: ignore[arg-type]
    ("handler", lambda: Route("/", app)),  # type: ignore[arg-type]
    ("handler", lambda: Route("/", blocking)),  # type: ignore[arg-type]
    ("middleware 1", lambda: Route("/", hello, NotAnInstance)),  # type: ignore[arg-type]
    ("methods", lambda: Route("/", hello, methods="GET")),
    ("methods", lambda: Route("/", hello, methods=[])),
    ("methods", lambda: Route("/", hello, methods=["GET POST"])),
    ("hosts", lambda: Route("/", hello, hosts=["a.com:80"])),
    ("hosts", lambda: Route("/", hello, hosts=["*"])),
    ("hosts", lambda: Route("/", hello, hosts=["*."])),
    ("hosts", lambda: Route("/", hello, hosts=["a.*.com"])),
    ("hosts", lambda: Route("/", hello, hosts=["https://a.com"])),
    ("hosts", lambda: Route("/", hello, hosts=["ä.com"])),
    ("headers", lambda: Route("/", hello, headers=["x"])),  # type: ignore[arg-type]
    ("headers", lambda: Route("/", hello, headers={"x y": None})),
    ("headers", lambda: Route("/", hello, headers={"x": "1", "X": "2"})),
    ("headers", lambda: Route("/", hello, headers={"x": OF_BYTES})),
    ("headers", lambda: Route("/", hello, headers={"x": hello})),  # type: ignore[dict-item]
    ("query", lambda: Route("/", hello, query={"x": 2})),  # type: ignore[dict-item]
    ("query", lambda: Route("/", hello, query={"x": BARE})),
    ("name", lambda: Route("/", hello, name="")),
    ("without", lambda: Route("/", hello, without=NotAnInstance)),  # type: ignore[arg-type]
    ("without", lambda: Route("/", hello, without=["RateLimit"])),  # type: ignore[list-item]
    ("order", lambda: Route("/", hello, order="1")),  # type: ignore[arg-type]
    ("method", lambda: Route("/", hello, method=["GET"])),  # type: ignore[arg-type]
    ("route 1", lambda: Router(hello)),  # type: ignore[arg-type]
    ("paths", lambda: Router(Route("/", hello), paths={"//"})),  # type: ignore[arg-type]
    ("name", lambda: Router(Route("/a", hello, name="x"), Route("/b", hello, name="x"))),
]


@pytest.mark.parametrize(("parameter", "make"), WRONG)
def test_wrong_option_is_named(parameter: str, make: Callable[[], object]) -> None:
    """Whatever can be found wrong is found at construction, and the parameter is named."""
    with pytest.raises(ConfigurationError) as wrong:
        make()
    assert list(wrong.value.problems) == [parameter]


def test_all_problems_of_a_route_come_together() -> None:
    """One error lists every wrong option; an unknown one is told from its neighbour."""
    with pytest.raises(ConfigurationError) as wrong:
        Route("x", "y", methods=["G T"], hosts="h", header={"a": "b"}, order=1.5)  # type: ignore[arg-type]
    assert set(wrong.value.problems) == {"path", "handler", "methods", "hosts", "header", "order"}
    assert "did you mean headers?" in wrong.value.problems["header"]
