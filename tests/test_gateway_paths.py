"""No ambiguous path slips past a protected route: random paths against a gateway before an app."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatekit import Request, Response
from gatekit._core.paths import PathRules
from gatekit.gateway import Gateway
from gatekit.router import Route
from gatekit.testing import exercise

PIECES = st.sampled_from([
    "/", "/", "//", "admin", "%61dmin", "users", "a", ".", "..", "...", "..;x", ";x=1",
    "%2F", "%2f", "%5C", "\\", "%2E", "%2e%2e", "%00", "%3B", "%", "%zz", "é", "%252e",
])  # fmt: skip
PATHS = st.lists(PIECES, max_size=10).map(lambda pieces: "/" + "".join(pieces))

# Written apart from the gateway's own: what no path that is served may have.
AMBIGUOUS = re.compile(
    r"//|\\|%(?:2F|5C|2E|00)|%(?![0-9A-F]{2})|/\.{1,2}(?:/|;|%3B|$)", re.IGNORECASE
)


async def secret(request: Request) -> Response:
    return Response.text("secret")


async def users(request: Request) -> Response:
    return Response.text("users")


def public(request: Request) -> Response:
    return Response.text("app")


GATEWAY = Gateway(
    routes=[Route("/admin/*", secret), Route("/users/{id}", users), Route("/", users)]
)


def answer(gateway: Gateway, path: str) -> str:
    """What a path is answered by: `secret`, `users`, `app`, or a status."""
    # Hypothesis draws é, which a client sends encoded.
    given = exercise(gateway, app=public, target=path.replace("é", "%C3%A9"))
    return given.text if given.status == 200 else str(given.status)


def others_read(path: str) -> set[str]:
    """The path as some upstreams resolve it, each in a way of its own."""
    found: set[str] = set()
    for decoded in (path, unquote(path), unquote(path.replace("%5C", "/")), unquote(unquote(path))):
        for cut in (decoded, decoded.partition("\0")[0]):
            for slashed in (cut, cut.replace("\\", "/")):
                for bare in (slashed, re.sub(r";[^/]*", "", slashed)):
                    merged = re.sub("//+", "/", bare)
                    found |= {merged, posixpath.normpath(merged)}
    return found


def is_secret(path: str) -> bool:
    return path == "/admin" or path.startswith("/admin/")


@given(PATHS)
@example("/users/..;x/admin")
@example("/a/%2e%2e/admin")
@example("/users/..%5cadmin")
def test_no_ambiguous_path_reaches_a_route(path: str) -> None:
    """What a handler of the gateway is given can be read in one way alone."""
    if answer(GATEWAY, path) in ("secret", "users"):
        assert AMBIGUOUS.search(path) is None


@given(PATHS)
@example("/%61dmin")
@example("//admin")
@example("/a/..;x/admin")
@example("/a%2F..%2Fadmin")
@example("/admin%00.png")
@example("/%5Cadmin/")
def test_no_reading_of_a_protected_path_reaches_the_app(path: str) -> None:
    """What some upstream resolves to a protected path is never passed around its route."""
    if any(map(is_secret, others_read(path))) and AMBIGUOUS.search(path):
        assert answer(GATEWAY, path) == "400"
    elif is_secret(unquote(path)):
        assert answer(GATEWAY, path) == "secret"


GUARDED = [Route("/admin/*", secret), Route("/{x}/{y}", users), Route("/*", users)]


@given(PATHS)
@example("/;/admin")
@example("/;/admin/a/b")
@example("/admin;x=1/a")
@example("/users/admin;x")
def test_parameters_lead_to_no_other_route(path: str) -> None:
    """Who drops parameters behind the gateway finds the resource whose route has let them in."""
    for read in (path, re.sub(r";[^/]*", "", path)):
        if is_secret(posixpath.normpath(unquote(re.sub("//+", "/", read)))):
            assert answer(Gateway(routes=GUARDED), path) in ("secret", "400")


def test_parameters_that_change_nothing_are_served() -> None:
    """Parameters are refused where they lead to another route, and nowhere if they are allowed."""
    gateway = Gateway(routes=GUARDED)
    assert [answer(gateway, path) for path in ("/a;v=1/b;", "/admin/a;v", "/;")] == [
        "users",
        "secret",
        "users",
    ]
    assert answer(gateway, "/admin;v") == "400"
    assert answer(GATEWAY, "/admin;v") == "400"
    assert answer(Gateway(routes=GUARDED, paths=PathRules(allow={";"})), "/admin;v") == "users"


@given(PATHS)
def test_foreign_paths_are_left_alone(path: str) -> None:
    """A path that under no reading is a route's is the app's, ambiguous or not."""
    gateway = Gateway(routes=[Route("/gateway/{x}", secret)])
    assert answer(gateway, path) == "app"


@pytest.mark.parametrize(
    ("template", "target"),
    [("/a", "/a/b%2Fc"), ("/a", "/a%2Fb"), ("/a", "/a/b//"), ("/{x}/y", "/a/y/b%2Fc")],
)
def test_longer_path_is_no_reading_of_a_shorter_route(template: str, target: str) -> None:
    """Each reading is compared whole, though no more of it is looked at than routes are long."""
    assert answer(Gateway(routes=[Route(template, secret)]), target) == "app"


def test_route_of_another_host_has_no_say() -> None:
    """A path that is ambiguous for the routes of one host alone is left alone on the others."""
    gateway = Gateway(routes=[Route("/*", secret, hosts=["api.example.com"])])
    for host, status in (("api.example.com", 400), ("www.example.com", 200)):
        assert exercise(gateway, target="/a//b", headers={"host": host}).status == status


@given(PATHS, st.sets(st.sampled_from(["//", "/./", "/../", "%2F", "%5C", "%2E", "%00"])))
def test_what_is_not_allowed_is_refused_still(path: str, allow: set[str]) -> None:
    """Lifting some refusals lifts no other: each is looked for by itself."""
    gateway = Gateway(routes=[Route("/*", secret)], paths=PathRules(allow=allow))
    if answer(gateway, path) != "secret":
        return
    upper = path.upper()
    for element, there in {
        "//": "//" in path,
        "%2F": "%2F" in upper,
        "%5C": "\\" in path or "%5C" in upper,
        "%2E": "%2E" in upper,
        "%00": "%00" in path,
        "/./": re.search(r"/\.(?:/|;|$)", unquote(path)),
        "/../": re.search(r"/\.\.(?:/|;|$)", unquote(path)),
    }.items():
        assert element in allow or not there
