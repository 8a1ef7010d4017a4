"""The four middlewares that users put together today, each around an application of ours.

Their figures are what they add to the application they wrap: `noop` for those that wrap anything, a
Starlette application with one route for slowapi, which looks the route up.
"""

from __future__ import annotations

from collections.abc import Callable

import jwt
from asgi_correlation_id import CorrelationIdMiddleware
from slowapi import Limiter
from slowapi.middleware import SlowAPIASGIMiddleware
from slowapi.util import get_remote_address
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route

from gatekit.typing import ASGIApp

ORIGIN = "https://app.example"
KEY = "a key of thirty-two bytes or more"
ISSUER = "https://id.example"
AUDIENCE = "api"
EXPIRES = 4102444800
"""The first second of the year 2100."""
TOKEN = jwt.encode(
    {"sub": "ada", "iss": ISSUER, "aud": AUDIENCE, "exp": EXPIRES, "scope": "read"},
    KEY,
    algorithm="HS256",
)


class Backend(AuthenticationBackend):
    """PyJWT in Starlette's authentication, as its documentation shows it."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser]:
        _, _, token = conn.headers["authorization"].partition(" ")
        claims = jwt.decode(token, KEY, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)
        return AuthCredentials(claims["scope"].split()), SimpleUser(claims["sub"])


ROUND_NOOP: dict[str, tuple[str, Callable[[ASGIApp], ASGIApp]]] = {
    "CorrelationId": ("asgi-correlation-id", CorrelationIdMiddleware),
    "CORS": ("Starlette CORS", lambda app: CORSMiddleware(app, allow_origins=[ORIGIN])),
    "BearerAuth": (
        "PyJWT in Starlette",
        lambda app: AuthenticationMiddleware(app, backend=Backend()),
    ),
}
"""Ours: the peer's name, and how it is put around an application."""


async def nothing(request: Request) -> Response:
    return Response()


def starlette(*middlewares: Middleware) -> ASGIApp:
    app = Starlette(routes=[Route("/", nothing)], middleware=middlewares)
    app.state.limiter = Limiter(
        key_func=get_remote_address, default_limits=["1000000000/hour"], storage_uri="memory://"
    )
    return app


def limited() -> ASGIApp:
    return starlette(Middleware(SlowAPIASGIMiddleware))


def four() -> ASGIApp:
    return starlette(
        Middleware(CorrelationIdMiddleware),
        Middleware(CORSMiddleware, allow_origins=[ORIGIN]),
        Middleware(AuthenticationMiddleware, backend=Backend()),
        Middleware(SlowAPIASGIMiddleware),
    )
