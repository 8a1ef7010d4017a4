"""Tells the host app who calls, where users of its framework look for that.

    Starlette, FastAPI     request.user, request.auth.scopes, @requires("authenticated")
    Flask                  g.identity, request.remote_user
    Django                 request.identity, and REMOTE_USER for its own RemoteUserMiddleware
    every other            scope["user"], environ["REMOTE_USER"]

What a request of an outer door had found is told by that door, and not again: between the two the
app may have put somebody else in its place.
"""

from __future__ import annotations

import sys
from typing import Any

from gatekit._core.messages import Request
from gatekit.typing import Environ, Scope

_PROTOCOLS = b"sec-websocket-protocol"


class Credentials:
    """What Starlette's `request.auth` has to be: `scopes`, `authenticated` among them."""

    __slots__ = ("_identity",)

    def __init__(self, identity: Any) -> None:
        self._identity = identity

    @property
    def scopes(self) -> list[str]:
        known: list[str] = sorted(getattr(self._identity, "scopes", ()))
        return ["authenticated", *known] if _subject(self._identity) is not None else known

    def __repr__(self) -> str:
        return "<Credentials>"


def tell_scope(request: Request, scope: Scope) -> None:
    """Header fields that a middleware changed, and who calls."""
    headers = request._headers
    if headers is not None and headers.raw is not scope["headers"]:
        scope["headers"] = headers.raw
        if request.is_websocket:
            scope["subprotocols"] = [
                offer.strip(b" \t").decode("latin-1")
                for name, value in headers.raw
                if name == _PROTOCOLS
                for offer in value.split(b",")
            ]
    identity, outer = request.identity, request._outer
    if identity is not None and (outer is None or outer.identity is not identity):
        scope["user"] = identity
        scope["auth"] = Credentials(identity)


def tell_environ(request: Request, environ: Environ) -> None:
    """REMOTE_USER is CGI's (RFC 3875 §4.1.11); no header field of a client's can set it."""
    if _is_news(request):
        subject = _subject(request.identity)
        if subject is None:
            environ.pop("REMOTE_USER", None)
        else:
            environ["REMOTE_USER"] = subject.encode("utf-8", "replace").decode("latin-1")


def tell_django(request: Request, django_request: Any) -> None:
    """Not `request.user`, which is a model: `RemoteUserMiddleware` makes one of REMOTE_USER."""
    if _is_news(request):
        django_request.identity = request.identity
        subject = _subject(request.identity)
        if subject is None:
            django_request.META.pop("REMOTE_USER", None)
        else:
            django_request.META["REMOTE_USER"] = subject


def tell_flask(app: object) -> None:
    """From now on `g.identity` is set before a request of this app is dispatched.

    `app` is what a door was given: of a `flask_app.wsgi_app` the Flask app is found.
    """
    flask = sys.modules.get("flask")
    owner = getattr(app, "__self__", None)
    if flask is not None and isinstance(owner, flask.Flask):
        flask.request_started.connect(_put_in_g, owner)


def _put_in_g(_: object, **__: object) -> None:
    from flask import g, request

    found = request.environ.get("gatekit.request")
    g.identity = found.identity if isinstance(found, Request) else None


def _is_news(request: Request) -> bool:
    identity, outer = request.identity, request._outer
    return identity is not None and (outer is None or outer.identity is not identity)


def _subject(identity: object) -> str | None:
    """None of an anonymous one."""
    if getattr(identity, "is_anonymous", False):
        return None
    found = getattr(identity, "subject", None)
    return found if isinstance(found, str) else None


def endpoint(scope: Scope) -> str | None:
    """The template of the route that Starlette or FastAPI matched."""
    route = scope.get("route")
    template: str | None = getattr(route, "path_format", None) or getattr(route, "path", None)
    return template
