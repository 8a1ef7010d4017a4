"""A Flask app as a gateway that has an auth service verify each token.

    $ python -m examples.remote_auth

The service knows two people. Their tokens mean nothing to the gateway, which asks:

    $ curl -i http://127.0.0.1:8000/who -H 'Authorization: Bearer adas-token'
    # → 200 {"subject":"ada","roles":["admin","staff"]}
    $ curl -i http://127.0.0.1:8000/who -H 'Authorization: Bearer somebodys-token'
    # → 401 {"type":"urn:gatekit:invalid-token",…}
    #   www-authenticate: Bearer realm="api", error="invalid_token", error_description="The token is not valid."
    $ curl -i http://127.0.0.1:8000/who
    # → 401 {"type":"urn:gatekit:credentials-required",…}

What is asked twice is answered once: the service has been asked about two tokens so far.

    $ curl -i http://127.0.0.1:8000/who -H 'Authorization: Bearer adas-token'
    # → 200 {"subject":"ada",…}
    $ curl -i http://127.0.0.1:8000/asked
    # → 200 {"tokens":2}

Only admins see the orders:

    $ curl -i http://127.0.0.1:8000/orders -H 'Authorization: Bearer adas-token'
    # → 200 {"service":"orders","method":"GET","path":"/orders","received":""}
    $ curl -i http://127.0.0.1:8000/orders -H 'Authorization: Bearer bobs-token'
    # → 403 {"type":"urn:gatekit:forbidden",…}
"""  # noqa: E501 — a challenge is long

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import waitress
from flask import Flask, Response, g, jsonify

from examples.service import port, service
from gatekit import Gateway, Proxy, RemoteAuth, Require, Route

PEOPLE = {
    "adas-token": {"user": {"id": "ada", "roles": ["admin", "staff"]}},
    "bobs-token": {"user": {"id": "bob", "roles": ["staff"]}},
}


@contextmanager
def auth_service(asked: set[str]) -> Iterator[str]:
    """The URL of a service that says whose token it is; it notes which it was asked about."""

    class Verify(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.add(said["token"])
            found = PEOPLE.get(said["token"])
            body = json.dumps(found or {"error": "unknown"}).encode()
            self.send_response(200 if found else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """The gateway's log is the one to read."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Verify)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/verify"
    finally:
        server.shutdown()
        server.server_close()


def build(verify: str, orders: str, asked: set[str]) -> Flask:
    """What a server is given; `verify` and `orders` are URLs."""
    app = Flask(__name__)

    @app.get("/who")
    def who() -> Response:
        return jsonify(subject=g.identity.subject, roles=sorted(g.identity.roles))

    @app.get("/asked")
    def count() -> Response:
        return jsonify(tokens=len(asked))

    auth = RemoteAuth(
        verify,
        claim_names={"subject": "user.id", "roles": "user.roles"},
        ttl=60.0,
        public=["/asked"],
    )
    admins = Route("/orders/*", Proxy(orders), Require(roles=["admin"]))
    gateway = Gateway(auth, routes=[admins])
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.wsgi_app = gateway.wsgi(app.wsgi_app)  # type: ignore[method-assign]
    return app


if __name__ == "__main__":
    known: set[str] = set()
    with auth_service(known) as verify, service("orders") as orders:
        waitress.serve(build(verify, orders, known), host="127.0.0.1", port=port())
