"""The trie against an oracle that looks at every route: random tables, random requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from gatekit import ConfigurationError, Request, Response
from gatekit._core.table import Match
from gatekit.router import Route, Router
from gatekit.testing import make_request

Rank: TypeAlias = tuple[object, ...]

HOSTS = ["x.com", "a.x.com", "*.x.com", "*.a.x.com", "*.com"]


async def hello(request: Request) -> Response:
    return Response()


@st.composite
def templates(draw: st.DrawFn) -> str:
    pieces = draw(st.lists(st.sampled_from(["a", "b", "{}"]), min_size=1, max_size=3))
    named = [piece.replace("{}", f"{{p{at}}}") for at, piece in enumerate(pieces)]
    return "/" + "/".join(named) + draw(st.sampled_from(["", "/*", "/"]))


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "methods": st.sets(st.sampled_from(["GET", "HEAD", "POST"]), min_size=1),
        "hosts": st.sets(st.sampled_from(HOSTS), min_size=1, max_size=2),
        "headers": st.dictionaries(
            st.sampled_from(["u", "v"]), st.sampled_from(["1", "2", None]), min_size=1
        ),
        "query": st.dictionaries(st.just("q"), st.sampled_from(["1", "2", None]), min_size=1),
        "order": st.integers(0, 1),
    },
)


@st.composite
def tables(draw: st.DrawFn) -> Router:
    """As many of the drawn routes as stand side by side."""
    kept = Router()
    several: list[tuple[str, Any]] = draw(st.lists(st.tuples(templates(), OPTIONS), max_size=12))
    for path, options in several:
        try:
            kept = Router(*kept.routes, Route(path, hello, **options))
        except ConfigurationError:
            continue
    return kept


@st.composite
def requests(draw: st.DrawFn) -> Request:
    segments = draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4))
    query = draw(st.sampled_from(["", "?q=1", "?q=2", "?q=1&q=2"]))
    headers = {"host": draw(st.sampled_from(["x.com", "a.x.com", "b.a.x.com", "y.com", "z"]))}
    headers |= draw(st.dictionaries(st.sampled_from(["u", "v"]), st.sampled_from(["1", "2"])))
    target = "/" + "/".join(segments) + draw(st.sampled_from(["", "/"])) + query
    method = draw(st.sampled_from(["GET", "HEAD", "POST", "PUT"]))
    return make_request(method, target, headers=headers)


def fit_path(template: str, path: str) -> Rank | None:
    """How well, segment by segment; None if it does not."""
    ranks: list[int] = []
    wanted, given = template.split("/")[1:], path.split("/")[1:]
    for at, piece in enumerate(wanted):
        if piece == "*":
            return (*ranks, 0)
        if at == len(given):
            return None
        if piece.startswith("{") and given[at]:
            ranks.append(1)
        elif piece == given[at]:
            ranks.append(2)
        else:
            return None
    return (*ranks, 3) if len(wanted) == len(given) else None


def fit_method(methods: Sequence[str] | None, method: str) -> int | None:
    if methods is None:
        return 0
    if method in methods:
        return 2
    return 1 if method == "HEAD" and "GET" in methods else None


def fit_host(hosts: Sequence[str] | None, host: str) -> int | None:
    if hosts is None:
        return 0
    fits = [1_000 for pattern in hosts if pattern == host]
    fits += [len(pattern) for pattern in hosts if pattern[0] == "*" and host.endswith(pattern[1:])]
    return max(fits, default=None)


def fit_fields(wanted: dict[str, Any], given: dict[str, list[str]]) -> Rank | None:
    for name, value in wanted.items():
        values = given.get(name, [])
        if not values or (value is not None and set(values) != {value}):
            return None
    return (len(wanted), sum(value is not None for value in wanted.values()))


def fit(route: Route, request: Request) -> Rank | None:
    """The rank of one route for one request, by the rules as they are documented."""
    query: dict[str, list[str]] = {}
    for pair in filter(None, request.query.decode().split("&")):
        query.setdefault(pair[0], []).append(pair[2:])
    headers = {name: request.headers.getlist(name) for name in request.headers}
    ranks = (
        fit_path(route.path, request.path),
        fit_method(None if route.methods is None else list(route.methods), request.method),
        fit_host(route.hosts, request.host),
        fit_fields(route.conditions.headers, headers),
        fit_fields(route.conditions.query, query),
    )
    return None if None in ranks else (*ranks, -route.order)


@given(tables(), st.lists(requests(), min_size=1, max_size=8))
def test_router_finds_what_ranking_every_route_finds(
    router: Router, several: list[Request]
) -> None:
    """The trie finds the route that is ranked first of all, and no two share that rank."""
    for request in several:
        ranked = [(rank, route) for route in router.routes if (rank := fit(route, request))]
        ranked.sort(key=lambda each: each[0], reverse=True)
        result = router.find(request)
        if ranked:
            assert isinstance(result, Match)
            assert result.route is ranked[0][1]
            assert [rank for rank, _ in ranked].count(ranked[0][0]) == 1
        else:
            assert not isinstance(result, Match)


@given(tables(), requests())
def test_allow_names_the_methods_that_are_answered(router: Router, request: Request) -> None:
    """405 exactly where another method would have found a route, and `Allow` has all of those."""
    result = router.find(request)
    answered: set[str] = set()
    for method in ("GET", "HEAD", "POST"):
        request.method = method
        if isinstance(router.find(request), Match):
            answered.add(method)
    if not isinstance(result, Match):
        assert result.allow == tuple(sorted(answered))
        assert result.status == (405 if answered else 404)


@given(tables())
def test_order_of_routes_decides_nothing(router: Router) -> None:
    """The same routes in another order are accepted, and find the same."""
    turned = Router(*reversed(router.routes))
    for path in ("/a", "/a/b", "/a/b/c", "/b/", "/c/c/c/c"):
        for method in ("GET", "HEAD", "POST"):
            request = make_request(method, path, headers={"host": "a.x.com", "v": "1"})
            assert router.find(request) == turned.find(request)
