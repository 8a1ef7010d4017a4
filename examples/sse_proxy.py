"""Server-sent events through the gateway: each goes on as it comes, and a reader may come back.

    $ python -m examples.sse_proxy

Five events, a quarter of a second apart (add `-N` where the output is no terminal, for curl itself
would hold them back then):

    $ curl -i http://127.0.0.1:8000/events
    # → 200 id: 1…data: {"teapots":1}…id: 5…data: {"teapots":5}
    #   content-type: text/event-stream
    #   cache-control: no-store

A browser that lost its connection says which event was its last, and the service goes on there:

    $ curl -i http://127.0.0.1:8000/events -H 'Last-Event-ID: 4'
    # → 200 id: 5…data: {"teapots":5}

Who may listen is decided by the gateway, as for every other request:

    $ curl -i http://127.0.0.1:8000/private
    # → 401 {"type":"about:blank","title":"Unauthorized","status":401}
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import uvicorn

from examples.service import port
from gatekit import CorrelationId, Gateway, Proxy, Request, Response, Route, Timeouts, problem
from gatekit.typing import Handler

PAUSE = 0.25


@contextmanager
def events() -> Iterator[str]:
    """The URL of a service that counts teapots and says so."""
    stopped = threading.Event()

    class Events(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            last = int(self.headers.get("Last-Event-ID") or 0)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for number in range(last + 1, 6):
                data = json.dumps({"teapots": number}, separators=(",", ":"))
                self.send_chunk(f"id: {number}\ndata: {data}\n\n".encode())
                stopped.wait(PAUSE)
            self.send_chunk(b"")

        def send_chunk(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

        def log_message(self, format: str, *args: object) -> None:
            """The gateway's log is the one to read."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Events)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()


async def members_only(request: Request, call_next: Handler) -> Response:
    if "authorization" not in request.headers:
        return problem(401)
    return await call_next(request)


def build(url: str) -> Gateway:
    # A stream may be silent between two events for as long as its service sends no comment.
    stream = Proxy(url, timeouts=Timeouts(idle=60.0))
    return Gateway(
        CorrelationId(),
        routes=[
            Route("/events", stream),
            Route("/private", stream, members_only),
        ],
    )


if __name__ == "__main__":
    with events() as url:
        uvicorn.run(build(url).asgi(), port=port(), proxy_headers=False, access_log=False)
