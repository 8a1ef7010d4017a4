"""Roles around a Flask app: who may do what stands in one table, and not in the views.

    $ python -m examples.roles

Ada reads and writes, Bob reads, and everybody may see whether the app is up:

    $ curl -i http://127.0.0.1:8000/health
    # → 200 up
    $ curl -i http://127.0.0.1:8000/posts/1
    # → 401 {"type":"urn:gatekit:credentials-required",…}
    #   www-authenticate: Basic realm="shop", charset="UTF-8"
    $ curl -i http://127.0.0.1:8000/posts/1 -H 'Authorization: Basic Ym9iOmJ1aWxkZXI='
    # → 200 post 1, for bob
    $ curl -i -X DELETE http://127.0.0.1:8000/posts/1 -H 'Authorization: Basic Ym9iOmJ1aWxkZXI='
    # → 403 {"type":"urn:gatekit:forbidden",…}
    $ curl -i -X DELETE http://127.0.0.1:8000/posts/1 -H 'Authorization: Basic YWRhOmxvdmVsYWNl'
    # → 200 post 1 is gone

A user sees his own page only, unless he is an admin:

    $ curl -i http://127.0.0.1:8000/users/bob -H 'Authorization: Basic Ym9iOmJ1aWxkZXI='
    # → 200 the page of bob
    $ curl -i http://127.0.0.1:8000/users/ada -H 'Authorization: Basic Ym9iOmJ1aWxkZXI='
    # → 403 {"type":"urn:gatekit:forbidden",…}
    $ curl -i http://127.0.0.1:8000/users/bob -H 'Authorization: Basic YWRhOmxvdmVsYWNl'
    # → 200 the page of bob

What no rule is for is nobody's, also where Flask has a view, and however the path is written:

    $ curl -i http://127.0.0.1:8000/debug -H 'Authorization: Basic YWRhOmxvdmVsYWNl'
    # → 403 {"type":"urn:gatekit:forbidden",…}
    $ curl -i http://127.0.0.1:8000/%2e%2e/debug -H 'Authorization: Basic YWRhOmxvdmVsYWNl'
    # → 403 {"type":"urn:gatekit:forbidden",…}
"""

from __future__ import annotations

import flask
import waitress

from examples.service import port
from gatekit import BasicAuth, Decision, Identity, Request, Require, Rule, wsgi
from gatekit.middleware.auth.basic import hash_password

ROLES = {"ada": {"admin"}, "bob": {"reader"}}
GRANTS = {
    "admin": ["editor", "users:read"],
    "editor": ["reader", "posts:write"],
    "reader": ["posts:read"],
}

app = flask.Flask(__name__)


@app.get("/health")
def health() -> str:
    return "up\n"


@app.get("/posts/<int:number>")
def post(number: int) -> str:
    identity = flask.request.environ["gatekit.request"].identity
    return f"post {number}, for {identity.subject}\n"


@app.delete("/posts/<int:number>")
def delete(number: int) -> str:
    return f"post {number} is gone\n"


@app.get("/users/<name>")
def user(name: str) -> str:
    return f"the page of {name}\n"


@app.get("/debug")
def debug() -> str:
    return "all there is to know\n"


def identify(name: str) -> Identity:
    return Identity(name, roles=frozenset(ROLES[name]), method="basic")


def own_page(identity: Identity, request: Request) -> bool | Decision:
    if "admin" in identity.roles or request.path == f"/users/{identity.subject}":
        return True
    return Decision("own-page", "deny", "another user's page")


def gateway() -> list[BasicAuth | Require]:
    """In earnest the hashes are in the configuration, and the passwords nowhere."""
    users = {"ada": hash_password("lovelace"), "bob": hash_password("builder")}
    return [
        BasicAuth(users, identity=identify, realm="shop", public=["/health"]),
        Require(
            rules=[
                Rule("/health", public=True),
                Rule("/posts/*", methods=["GET"], permissions=["posts:read"]),
                Rule("/posts/*", permissions=["posts:write"]),
                Rule("/users/{name}", methods=["GET"], check=own_page),
            ],
            grants=GRANTS,
        ),
    ]


if __name__ == "__main__":
    app.wsgi_app = wsgi(app.wsgi_app, *gateway())  # type: ignore[method-assign]
    waitress.serve(app, host="127.0.0.1", port=port())
