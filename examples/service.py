"""A service for the examples to stand before: it answers, in JSON, with what it was asked.

    with service("users") as url:
        Proxy(url)

It runs in a thread of the example's own process, so that one command starts everything.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def service(name: str) -> Iterator[str]:
    """The URL of a service that runs as long as the block."""

    class Echo(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            said = {
                "service": name,
                "method": self.command,
                "path": self.path,
                "received": self.rfile.read(length).decode("utf-8", "replace"),
            }
            body = json.dumps(said, separators=(",", ":")).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 — the names that http.server looks for

        def log_message(self, format: str, *args: object) -> None:
            """The gateway's log is the one to read."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def port() -> int:
    """`--port` of the command line, 8000 without; says where the example can be found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    number: int = parser.parse_args().port
    print(f"http://127.0.0.1:{number}   Ctrl-C ends it", flush=True)
    return number
