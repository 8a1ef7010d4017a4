"""One description of an app, played by a bare ASGI app, a bare WSGI app and a Django view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Spec:
    """What the app answers, and what it notes of the request it was given.

    `error` is raised before the head, `late_error` after the first chunk. `seen` collects, per
    call: method, path, headers (dict of lower-case names) and body as the app saw them.
    """

    status: int = 200
    headers: list[tuple[str, str]] = field(
        default_factory=lambda: [("content-type", "text/plain"), ("etag", '"v1"')]
    )
    chunks: list[bytes] = field(default_factory=lambda: [b"hello ", b"world"])
    error: Exception | None = None
    late_error: Exception | None = None
    reads_body: bool = False
    before: Callable[[Any], None] | None = None
    """Called with the gatekit request when the app is entered."""
    seen: list[dict[str, Any]] = field(default_factory=list)

    def asgi(self) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            body = b""
            if self.reads_body:
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        break
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
            self._note(
                scope["gatekit"],
                scope["method"],
                scope["path"],
                {k.decode(): v.decode("latin-1") for k, v in scope["headers"]},
                body,
            )
            headers = [(n.lower().encode(), v.encode("latin-1")) for n, v in self.headers]
            await send({"type": "http.response.start", "status": self.status, "headers": headers})
            for chunk in self.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if self.late_error:
                    raise self.late_error
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        return app

    def wsgi(self) -> Any:
        def app(environ: Any, start_response: Any) -> Any:
            body = b""
            if self.reads_body:
                length = environ.get("CONTENT_LENGTH")
                if environ.get("wsgi.input_terminated"):
                    body = environ["wsgi.input"].read(1 << 20)
                elif length:
                    body = environ["wsgi.input"].read(int(length))
            headers = {
                k[5:].replace("_", "-").lower(): v
                for k, v in environ.items()
                if k.startswith("HTTP_")
            }
            self._note(
                environ["gatekit.request"],
                environ["REQUEST_METHOD"],
                environ["PATH_INFO"],
                headers,
                body,
            )
            start_response(f"{self.status} Whatever", list(self.headers))
            return self._iterate()

        return app

    def _iterate(self) -> Any:
        for chunk in self.chunks:
            yield chunk
            if self.late_error:
                raise self.late_error

    def _note(
        self, request: Any, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> None:
        self.seen.append({"method": method, "path": path, "headers": headers, "body": body})
        if self.before:
            self.before(request)
        if self.error:
            raise self.error
