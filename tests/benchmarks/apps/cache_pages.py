"""What the caches stand before: a page of so many bytes that may be kept for an hour."""

from __future__ import annotations

from gatekit.typing import ASGIApp, Environ, Receive, Scope, Send, StartResponseCallable, WSGIApp

FIELDS = [("content-type", "text/plain"), ("cache-control", "public, max-age=3600")]


def asgi_page(size: int) -> ASGIApp:
    body = b"x" * size
    fields = [(name.encode(), value.encode()) for name, value in FIELDS]
    fields.append((b"content-length", b"%d" % size))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": fields})
            await send({"type": "http.response.body", "body": body})
        elif scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})

    return app


def wsgi_page(size: int) -> WSGIApp:
    body = b"x" * size
    fields = [*FIELDS, ("content-length", str(size))]

    def app(environ: Environ, start_response: StartResponseCallable) -> list[bytes]:
        start_response("200 OK", list(fields))
        return [body]

    return app
