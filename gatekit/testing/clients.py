"""One request to an ASGI or WSGI app, in process and without a client library."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast
from urllib.parse import unquote, unquote_to_bytes

from gatekit._core.headers import Headers, HeadersLike
from gatekit._core.messages import Outcome, Request
from gatekit.typing import ASGIApp, Message, WSGIApp


class Answer:
    """What a client would have received.

    `outcome` is there after `exercise`, `request` too: what the middlewares left on it.
    """

    def __init__(
        self,
        status: int,
        headers: Headers,
        body: bytes,
        *,
        chunks: Sequence[bytes] = (),
        request: Request | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.chunks = list(chunks)
        self._request = request
        self._outcome = outcome

    @property
    def request(self) -> Request:
        assert self._request is not None
        return self._request

    @property
    def outcome(self) -> Outcome:
        assert self._outcome is not None
        return self._outcome

    @property
    def text(self) -> str:
        return self.body.decode()

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.headers!r} {self.body[:60]!r}>"


async def call_asgi(
    app: ASGIApp,
    method: str = "GET",
    target: str = "/",
    *,
    headers: HeadersLike | None = None,
    body: bytes | Iterable[bytes] = b"",
    root_path: str = "",
    scheme: str = "http",
    extensions: dict[str, object] | None = None,
    client: tuple[str, int] | None = ("127.0.0.1", 50_000),
) -> Answer:
    """One request to an ASGI app; an exception of the app is raised here."""
    path, _, query = target.partition("?")
    fields = Headers.of(headers)
    fields.setdefault("host", "testserver")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": root_path,
        "headers": fields.raw,
        "client": client,
        "server": ("testserver", 80),
        "extensions": extensions or {},
    }
    pieces = [body] if isinstance(body, bytes) else list(body)
    if not isinstance(body, bytes):
        fields.setdefault("transfer-encoding", "chunked")
    elif body and "transfer-encoding" not in fields:
        fields.setdefault("content-length", str(len(body)))
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": position < len(pieces) - 1}
        for position, piece in enumerate(pieces)
    ]
    sent: list[Message] = []
    done = asyncio.Event()

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            done.set()

    await app(scope, receive, send)
    return _assemble(sent)


def call_wsgi(
    app: WSGIApp,
    method: str = "GET",
    target: str = "/",
    *,
    headers: HeadersLike | None = None,
    body: bytes = b"",
    script_name: str = "",
    scheme: str = "http",
    client: tuple[str, int] | None = ("127.0.0.1", 50_000),
) -> Answer:
    """One request to a WSGI app, its iterable closed; an exception of the app is raised here."""
    path, _, query = target.partition("?")
    inside = path.removeprefix(script_name)
    fields = Headers.of(headers)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": script_name,
        "PATH_INFO": unquote_to_bytes(inside).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": target,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "testserver",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if client is not None:
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client[0], str(client[1])
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    given: dict[str, str] = {}
    for name, value in fields.items():
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        # As servers do, for whom an environ has one place for each name (RFC 3875 §4.1.18).
        joined = "; " if key == "HTTP_COOKIE" else ", "
        given[key] = f"{given[key]}{joined}{value}" if key in given else value
    environ.update(given)
    head: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(
        status: str, response_headers: list[tuple[str, str]], _exc_info: object = None, /
    ) -> Callable[[bytes], object]:
        head.append((status, response_headers))
        return written.append

    iterable = app(environ, cast("Any", start_response))
    try:
        chunks = written + list(iterable)
    finally:
        close = getattr(iterable, "close", None)
        if close is not None:
            close()
    status, response_headers = head[-1]
    return Answer(int(status[:3]), Headers.of(response_headers), b"".join(chunks), chunks=chunks)


def _assemble(sent: Sequence[Message]) -> Answer:
    start = next(message for message in sent if message["type"] == "http.response.start")
    chunks = [
        message.get("body", b"") for message in sent if message["type"] == "http.response.body"
    ]
    return Answer(
        start["status"], Headers.of(list(start["headers"])), b"".join(chunks), chunks=chunks
    )
