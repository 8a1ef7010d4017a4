"""Who calls, where each framework's users look for it."""

import asyncio
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request

from gatekit import BearerAuth, asgi, django_middleware, wsgi
from gatekit.testing import Answer, call_asgi, call_wsgi
from tests.django_site import site
from tests.middleware.auth.tokens import SECRET, bearer, clock, token


def auth(**options: Any) -> BearerAuth:
    given = {"key": SECRET, "algorithms": ["HS256"], "audience": "api", "clock": clock}
    return BearerAuth(**{**given, **options})


GOOD = bearer(token(scope="read", name="Ada L."))


def starlette(app: Any, target: str = "/", headers: Any = None, **options: Any) -> Answer:
    return asyncio.run(call_asgi(asgi(app, auth(**options)), target=target, headers=headers))


def test_starlette_knows_its_user() -> None:
    """`request.user`, `request.auth` and `@requires`, without its own middleware."""
    from starlette.applications import Starlette
    from starlette.authentication import requires
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    async def who(request: Request) -> Response:
        user = request.user
        return JSONResponse(
            [user.is_authenticated, user.identity, user.display_name, request.auth.scopes]
        )

    @requires(["authenticated", "read"])
    async def read(request: Request) -> Response:
        return Response("read")

    @requires("write", status_code=404)
    async def write(request: Request) -> Response:
        return Response("write")

    app = Starlette(routes=[Route("/who", who), Route("/read", read), Route("/write", write)])
    assert starlette(app, "/who", GOOD).text == '[true,"ada","Ada L.",["authenticated","read"]]'
    assert starlette(app, "/read", GOOD).text == "read"
    assert starlette(app, "/write", GOOD).status == 404
    assert starlette(app, "/who", optional=True).text == '[false,"","",[]]'
    assert starlette(app, "/read", optional=True).status == 403
    assert starlette(app, "/who", public=["/who"]).text == '[false,"","",[]]'


def test_starlettes_own_user_inside_stays() -> None:
    """What an app's own middleware found is not replaced by a door further in."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    async def who(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(request.scope["user"]))

    async def passes(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    class Own:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                scope["user"] = "their own"
            await self.app(scope, receive, send)

    inner = asgi(Starlette(routes=[Route("/who", who)]), passes)
    app = Own(Starlette(routes=[Mount("/", inner)]))
    assert starlette(app, "/who", GOOD).text == "their own"


def test_fastapi_depends_on_it() -> None:
    """As any part of the request."""
    app = FastAPI()

    def subject(request: Request) -> str:
        return str(request.scope["gatekit"].identity.subject)

    @app.get("/who")
    async def who(name: Annotated[str, Depends(subject)]) -> str:
        return name

    assert starlette(app, "/who", GOOD).text == '"ada"'


def test_flask_has_it_in_g() -> None:
    """`g.identity` and `request.remote_user`, with nothing but the door around `wsgi_app`."""
    from flask import Flask, g, request

    app = Flask(__name__)
    before: list[Any] = []

    @app.before_request
    def look() -> None:
        before.append(g.identity)

    @app.get("/who")
    def who() -> str:
        return f"{g.identity.subject} {request.remote_user}"

    app.wsgi_app = wsgi(app.wsgi_app, auth(optional=True))  # type: ignore[method-assign]
    answer = app.test_client().get("/who", headers=GOOD)
    assert answer.text == "ada ada"
    assert before[0].scopes == {"read"}
    environ = {"REMOTE_USER": "eve"}
    assert app.test_client().get("/who", environ_base=environ).text == " None"

    plain = Flask(__name__)
    plain.get("/")(lambda: str(g.get("identity", "nothing")))
    assert plain.test_client().get("/").text == "nothing"


def test_any_wsgi_app_has_remote_user() -> None:
    """RFC 3875 §4.1.11, in the way in which PEP 3333 writes what is not Latin-1."""
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(environ.get("REMOTE_USER"))
        start_response("200 OK", [])
        return []

    door = wsgi(app, auth(public=["/public"]))
    call_wsgi(door, headers=bearer(token(sub="Zoë 漢")))
    call_wsgi(door, target="/public", headers={"remote-user": "eve"})
    assert seen[0].encode("latin-1").decode() == "Zoë 漢"
    assert seen[1] is None


@pytest.mark.parametrize("colour", ["blocking", "async"])
def test_django_has_it_on_the_request(colour: str) -> None:
    """`request.identity`, and REMOTE_USER for Django's own RemoteUserMiddleware."""
    from django.http import HttpResponse
    from django.urls import path

    def who(request: Any) -> HttpResponse:
        remote = request.META.get("REMOTE_USER")
        return HttpResponse(
            f"{request.identity.subject} {remote} {request.gatekit.identity.method}"
        )

    with site(django_middleware(auth(optional=True)), urls=[path("who", who)]) as django:
        assert django.call(colour, target="/who", headers=GOOD).text == "ada ada bearer"
        assert django.call(colour, target="/who").text == " None anonymous"
