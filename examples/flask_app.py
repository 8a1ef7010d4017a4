"""A Flask app becomes a gateway under WSGI, with the very same middlewares as under ASGI.

    $ python -m examples.flask_app

A view of the app itself:

    $ curl -i http://127.0.0.1:8000/hello -H 'X-Correlation-ID: mine-1'
    # → 200 {"hello":"world","request":"mine-1"}
    #   x-correlation-id: mine-1
    #   x-content-type-options: nosniff

An order goes to the service:

    $ curl -i http://127.0.0.1:8000/orders -d 'two teapots'
    # → 200 {"service":"orders","method":"POST","path":"/orders","received":"two teapots"}

One that is too large does not:

    $ curl -i http://127.0.0.1:8000/orders -d 'two teapots, one kettle and a very long wish list'
    # → 413 {"type":"urn:gatekit:body-too-large",…}

The route is for GET and POST, and what it leaves is the app's:

    $ curl -i -X DELETE http://127.0.0.1:8000/orders
    # → 200 {"cancelled":"everything"}
"""

from __future__ import annotations

import logging

import waitress
from flask import Flask, Response, jsonify, request

from examples.service import port, service
from gatekit import AccessLog, BodyLimit, CorrelationId, Gateway, Proxy, Route, SecurityHeaders


def build(orders: str) -> Flask:
    """What a server is given; `orders` is the URL of the service."""
    app = Flask(__name__)

    @app.get("/hello")
    def hello() -> Response:
        # What gatekit knows of a request is in the environ.
        known = request.environ["gatekit.request"]
        return jsonify(hello="world", request=known.correlation_id)

    @app.delete("/orders")
    def cancel() -> Response:
        return jsonify(cancelled="everything")

    gateway = Gateway(
        CorrelationId(),
        AccessLog(),
        SecurityHeaders(),
        routes=[Route("/orders/*", Proxy(orders), BodyLimit(40), methods=["GET", "POST"])],
    )
    # The app stays a Flask app: `flask run` and its test client go through the gateway too.
    app.wsgi_app = gateway.wsgi(app.wsgi_app)  # type: ignore[method-assign]
    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with service("orders") as url:
        waitress.serve(build(url), host="127.0.0.1", port=port())
