"""`cached`: a view that says for how long and under which tags its answer is kept."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpResponse
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse
from starlette.routing import Route

from gatekit import Cache, CacheKey, ConfigurationError, Identity, MisuseError, asgi, wsgi
from gatekit.middleware.cache import cached
from gatekit.testing import call_asgi, call_wsgi, exercise
from tests.middleware.cache.origin import Bench, in_loop, is_hit
from tests.middleware.cache.test_keys import Authenticator

KIND = "text/plain; charset=utf-8"


@in_loop
async def test_a_view_of_starlette() -> None:
    """It is kept, its tag purges it, and nobody outside sees either."""

    @cached(60, tags=["orders"])
    async def orders(request: StarletteRequest) -> JSONResponse:
        return JSONResponse({}, headers={"surrogate-key": "own"})

    cache = Cache()
    app = asgi(Starlette(routes=[Route("/", orders)]), cache)
    first = await call_asgi(app)
    assert is_hit(await call_asgi(app))
    assert not {"surrogate-key", "gatekit-cache-control"} & set(first.headers)
    for tag in ("own", "orders"):
        assert cache.invalidate(tags=tag) == 1
        assert not is_hit(await call_asgi(app))


def test_a_view_of_flask() -> None:
    """What it returns may be anything that Flask makes a response of; arguments name tags."""
    flask = Flask("shop")

    @flask.get("/orders/<name>")
    @cached(60, tags=["order-{name}"])
    def order(name: str) -> Any:
        return {"name": name}, 200

    cache = Cache()
    app = wsgi(flask.wsgi_app, cache)
    call_wsgi(app, target="/orders/a%20b")
    assert is_hit(call_wsgi(app, target="/orders/a%20b"))
    assert cache.invalidate(tags="order-a%20b") == 1


def test_a_view_of_django() -> None:
    """Its response takes fields as well; what it says itself counts for more."""

    @cached(60.5, public=True, stale_while_revalidate=5, stale_if_error=0)
    def page() -> HttpResponse:
        return HttpResponse(b"x", content_type=KIND)

    said = "max-age=60, public, stale-while-revalidate=5, stale-if-error=0"
    assert page().headers["Gatekit-Cache-Control"] == said

    @cached(60)
    def own() -> HttpResponse:
        return HttpResponse(b"x", KIND, headers={"Gatekit-Cache-Control": "no-store"})

    assert own().headers["Gatekit-Cache-Control"] == "no-store"


def test_what_is_no_response() -> None:
    """A view that returns data is told so, and options are checked when it is decorated."""
    with pytest.raises(MisuseError, match="dict"):
        cached(60)(dict)()
    with pytest.raises(ConfigurationError, match="seconds"):
        cached(-1)
    for tag in ("{", "{}", "{id.real}", "{0}"):
        with pytest.raises(ConfigurationError, match="tags"):
            cached(60, tags=[tag])
    with pytest.raises(ConfigurationError, match="'name' is no argument"):
        cached(60, tags=["{name}"])(lambda other: other)


def test_claims_in_the_key() -> None:
    """Who has another plan gets another answer; who proves the same one shares it."""
    bench = Bench(("cache-control", "max-age=600, public"), key=CacheKey(claims=["plan"]))

    def ask(subject: str, **claims: object) -> bool:
        person = Authenticator(Identity(subject, claims=claims))
        return is_hit(exercise(person, bench.cache, app=bench.origin, io=bench.io))

    assert not ask("ada", plan="free")
    assert ask("bob", plan="free")
    assert not ask("ada", plan=["free"])
    assert not ask("ada")
    assert not ask("ada", plan=None)
    assert ask("bob")
