"""Three services behind one route: they share the requests, one dies, all die, and come back.

    $ python -m examples.balanced_cluster

Two of them take turns:

    $ curl -i http://127.0.0.1:8000/orders
    # → 200 {"service":"…","path":"/orders"}

One dies. Whoever is sent to it is answered by the other, and notices nothing:

    $ curl -i -X POST http://127.0.0.1:8000/kill/one
    # → 200 one is dead
    $ curl -i http://127.0.0.1:8000/orders
    # → 200 {"service":"two","path":"/orders"}

The other one dies as well. The third is a function of this very process, for when nobody is left:

    $ curl -i -X POST http://127.0.0.1:8000/kill/two
    # → 200 two is dead
    $ curl -i http://127.0.0.1:8000/orders
    # → 200 {"service":"spare","path":"/orders"}

They come back:

    $ curl -i -X POST http://127.0.0.1:8000/start/one
    # → 200 one is alive
    $ curl -i -X POST http://127.0.0.1:8000/start/two
    # → 200 two is alive
    $ curl -i http://127.0.0.1:8000/status
    # → 200 [{"destination":"one","priority":0,…},{"destination":"two",…},{"destination":"spare",…}]

A cart stays where it is, as long as its service lives:

    $ curl -i http://127.0.0.1:8000/carts/7
    # → 200 {"service":"…","path":"/carts/7"}
"""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import uvicorn

from examples.service import port
from gatekit import (
    Cluster,
    Destination,
    Gateway,
    Proxy,
    Request,
    Response,
    Retry,
    RingHash,
    Route,
    problem,
)
from gatekit.typing import Receive, Scope, Send


class Service:
    """A small service that can be killed and started again, always at the same port."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        if self._server is None:
            self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _answering(self.name))
            self.port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def kill(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def _answering(name: str) -> type[BaseHTTPRequestHandler]:
    class Answering(BaseHTTPRequestHandler):
        # HTTP/1.0, so that no connection outlives the service.
        def do_GET(self) -> None:
            body = _said(name, self.path)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """The gateway's log is the one to read."""

    return Answering


async def spare(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI app; one of Flask or Django would do as well."""
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _said("spare", scope["path"])})


def _said(name: str, path: str) -> bytes:
    return json.dumps({"service": name, "path": path}, separators=(",", ":")).encode()


def build() -> Gateway:
    services = {name: Service(name) for name in ("one", "two")}
    running = [Destination(service.url, name=name) for name, service in services.items()]
    orders = Cluster(
        "orders",
        destinations=[*running, Destination(spare, priority=1)],
        balance="round_robin",
        # One for each destination that is left, so that even the spare is reached.
        retry=Retry(2),
    )
    carts = Cluster("carts", destinations=running, balance=RingHash("path"))

    async def kill(request: Request) -> Response:
        name = request.params["name"]
        if name not in services:
            return problem(404)
        await asyncio.to_thread(services[name].kill)
        return Response.text(f"{name} is dead")

    async def start(request: Request) -> Response:
        name = request.params["name"]
        if name not in services:
            return problem(404)
        services[name].start()
        return Response.text(f"{name} is alive")

    async def status(request: Request) -> Response:
        fields = ("destination", "priority", "available", "in_flight")
        return Response.json(
            [{field: getattr(one, field) for field in fields} for one in orders.status()]
        )

    return Gateway(
        routes=[
            Route("/orders", Proxy(orders)),
            Route("/carts/{cart}", Proxy(carts)),
            Route("/kill/{name}", kill, methods=["POST"]),
            Route("/start/{name}", start, methods=["POST"]),
            Route("/status", status),
        ]
    )


if __name__ == "__main__":
    uvicorn.run(build().asgi(), port=port(), proxy_headers=False, access_log=False)
