"""The request and the response that middlewares see, and the outcome of an exchange.

    async def gone(request: Request, call_next: Handler) -> Response:
        if request.path == "/old":
            return Response(410, {"content-type": "text/plain"}, b"gone")
        return await call_next(request)

A request holds nothing of the server's: the doors fill it from a scope or an environ and put itself
into it, as `scope["gatekit"]` or `environ["gatekit.request"]`, where the app's own views find it.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import quote, unquote_to_bytes

from gatekit._core.body import READ_LIMIT, Filters, RequestBody, collect
from gatekit._core.decisions import Decision
from gatekit._core.headers import Headers, HeadersLike
from gatekit._core.io import IO
from gatekit._core.outcome import Outcome as Outcome  # noqa: PLC0414 — most take it from here
from gatekit._core.signals import AppBody, read_app_body
from gatekit.errors import BodyTooLarge, UpstreamError
from gatekit.typing import Codec, RawHeaders

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gatekit._core.attempt import Attempt
    from gatekit._core.conversation import Conversation, WebSocketClose
    from gatekit._core.trace import Trace
    from gatekit.middleware._certificates import ClientCertificate
    from gatekit.middleware.auth._authenticator import Authenticator
    from gatekit.middleware.auth.identity import Identity
    from gatekit.router import Route

FinishCallback: TypeAlias = "Callable[[Outcome], Awaitable[None] | None]"
Content: TypeAlias = "bytes | Iterable[bytes] | AsyncIterable[bytes] | AppBody"

# What RFC 3986 §3.3 lets stand unencoded in a path.
_PATH_SAFE = "/!$&'()*+,;=:@-._~"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/!$&'()*+,;=:@\-._~]*")


# What a request of an inner door inherits from the one around it.
_FACTS = (
    "_authenticators",
    "challenges",
    "client_cert",
    "client_ip",
    "correlation_id",
    "deadline",
    "forwarded_host",
    "forwarded_scheme",
    "identity",
    "trace",
    "trusted_header",
    "trusted_peer",
)


class Request:
    """One HTTP request, or the handshake of a WebSocket.

    `path` is decoded text below `root_path`, the prefix under which the app is mounted; `query`
    is the raw query string without `?`; `client` is the peer's (host, port) as the server saw it.
    """

    # Set by middlewares on the way in; here so that reading them needs no guard.
    client_ip: str | None = None
    trusted_peer: bool = False
    """The peer is a proxy of the house: what it says of the client counts."""
    trusted_header: str | None = None
    """The field in which it says so, in lower case; another one may be the client's."""
    forwarded_scheme: str | None = None
    forwarded_host: str | None = None
    correlation_id: str | None = None
    deadline: float | None = None
    """On the clock of `io.now()`: every wait draws on it."""
    client_cert: ClientCertificate | None = None
    """The certificate that the client showed to a trusted proxy; see `ClientCert`."""
    identity: Identity | None = None
    """Who calls; also an anonymous one, where an authenticator lets such requests pass."""
    challenges: tuple[str, ...] = ()
    """What the authenticators further out ask for: values of `WWW-Authenticate`."""
    plan: Any = None
    """What a `Quota` found: the `Plan` of who asks."""
    route: Route | None = None
    params: Mapping[str, str] = {}  # replaced, never changed
    endpoint: str | None = None
    """The host app's own route template, known once it has answered."""
    is_websocket: bool = False
    websocket_close: WebSocketClose | None = None
    """How a WebSocket that a proxy carried has ended, known when it has."""
    takes_trailers: bool = False
    """The client asked for fields after the body, and the server can send them."""
    on_informational: Callable[[int, RawHeaders], None] | None = None
    """Passes an upstream's 1xx head on to the client, where the server can; it never blocks."""
    app_error: BaseException | None = None
    """What the app or handler raised before its head; it travels through the onion unchanged."""
    upstream_time: float | None = None
    """Seconds that an upstream took to its head."""
    upstream_error: UpstreamError | None = None
    service: str | None = None
    """The cluster whose answer this is, once a proxy has asked it."""
    trace: Trace | None = None
    """Where this request stands in its trace; see `Tracing`."""
    attempts: tuple[Attempt, ...] = ()
    """What a proxy tried, in order; the last one is what the request ended with."""

    _authenticators: tuple[Authenticator, ...] = ()
    """Those further out that this request has come through."""
    _outer: Request | None = None
    """The request of a door further out, when one stands inside the app of another."""
    # What the onion notes of its own progress: see compose.
    _at: object = None
    _answering: bool = False
    # Made when first asked for; most requests never do.
    _headers: Headers | None = None
    _finish: list[FinishCallback] | None = None
    _body: RequestBody | None = None
    _state: dict[str, Any] | None = None
    _decisions: list[Decision] | None = None
    _raw_headers: RawHeaders | None = None
    # What the door reads the body from; it forgets it at the end, for it may know the request.
    _receive: Any = None

    def __init__(
        self,
        method: str,
        path: str,
        *,
        io: IO,
        headers: Headers | None = None,
        query: bytes = b"",
        scheme: str = "http",
        root_path: str = "",
        raw_path: bytes | None = None,
        client: tuple[str, int] | None = None,
        http_version: str = "1.1",
        body: RequestBody | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.io = io
        self._headers = Headers() if headers is None else headers
        self.query = query
        self.scheme = scheme
        self.root_path = root_path
        self.client = client
        self.http_version = http_version
        self._body = body
        self._raw_path = raw_path

    @property
    def headers(self) -> Headers:
        """The fields; what a middleware changes here, the app sees."""
        if self._headers is None:
            self._headers = Headers(self._raw_headers)
        return self._headers

    @property
    def body(self) -> RequestBody:
        """The body, to read, stream or filter."""
        if self._body is None:
            self._body = self._open_body()
        return self._body

    def _open_body(self) -> RequestBody:
        return RequestBody()

    @property
    def raw_path(self) -> bytes:
        """The path below `root_path` byte for byte as the client sent it.

        Where the server does not tell, or something outside rewrote the path, it is `path`
        percent-encoded anew.
        """
        raw = self._raw_path
        if raw is not None:
            if not self.root_path and b"%" not in raw and raw == self.path.encode(errors="replace"):
                return raw
            if b"%" not in raw and raw == (self.root_path + self.path).encode("utf-8", "replace"):
                return raw[len(self.root_path.encode()) :]
            decoded = unquote_to_bytes(raw).decode("utf-8", "replace")
            if decoded == _printable(self.root_path + self.path):
                below = _below(raw, self.root_path)
                # An encoded slash in the prefix would shift the cut.
                if unquote_to_bytes(below).decode("utf-8", "replace") == _printable(self.path):
                    return below
            if decoded == _printable(self.path):
                return raw
        if _PLAIN_PATH.fullmatch(self.path):
            return self.path.encode("ascii")
        path = self.path.encode("utf-8", "surrogateescape")
        return quote(path, safe=_PATH_SAFE).encode("ascii")

    @property
    def host(self) -> str:
        """The `Host` field, empty if there is none."""
        for name, value in self.headers.raw:
            if name == b"host":
                return value.decode("latin-1")
        return ""

    @property
    def url_path(self) -> str:
        """The whole decoded path, mount prefix included."""
        return self.root_path + self.path

    @property
    def state(self) -> dict[str, Any]:
        """A place for a user's own middlewares to leave things for each other."""
        if self._state is None:
            self._state = {}
        return self._state

    @property
    def decisions(self) -> list[Decision]:
        """What the policies decided so far, in order, each with its reason."""
        if self._decisions is None:
            self._decisions = []
        return self._decisions

    def stand_in(self, outer: object) -> None:
        """Takes over what the middlewares of an outer door have found out."""
        if isinstance(outer, Request):
            self._outer = outer
            known = vars(outer)
            vars(self).update({name: known[name] for name in _FACTS if name in known})
            self._state = outer.state

    def note_upstream(self, seconds: float | None, error: UpstreamError | None = None) -> None:
        """What the proxy learnt, for the observers of every door around it."""
        request: Request | None = self
        while request is not None:
            request.upstream_time, request.upstream_error = seconds, error
            request = request._outer

    def note_service(self, name: str) -> None:
        """Which cluster is asked, for the same observers."""
        request: Request | None = self
        while request is not None:
            request.service = name
            request = request._outer

    def on_finish(self, callback: FinishCallback) -> None:
        """Calls back exactly once, last in first out, when the exchange is over.

        It runs in the request's own task, whether the last byte was sent, the exchange failed or
        the client left; the `Outcome` says which. An error in it is logged.
        """
        if self._finish is None:
            self._finish = []
        self._finish.append(callback)

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.url_path}>"


class Response:
    """A head and where its body comes from.

    `body` is bytes, an iterable or async iterable of bytes, or the running app's own stream; that
    of a WebSocket's 101 is a `Conversation`.
    `content-length` is set by the door. `trailers` gives the fields to send after the body; it is
    called when the body has ended, and only where `request.takes_trailers`.
    """

    __slots__ = ("_headers", "_raw", "_read", "body", "codecs", "problem", "status", "trailers")

    def __init__(
        self,
        status: int = 200,
        headers: HeadersLike | None = None,
        body: Content | Conversation | str = b"",
    ) -> None:
        self.status = status
        self._headers: Headers | None = Headers.of(headers)
        self._raw: Iterable[tuple[bytes, bytes]] = ()
        self._read: bytes | None = None
        # A conversation is for the door alone: to all else it is a body that nobody reads.
        self.body: Content = body.encode() if isinstance(body, str) else cast("Content", body)
        self.codecs: list[Codec] | None = None
        self.problem: Mapping[str, object] | None = None
        self.trailers: Callable[[], RawHeaders] | None = None

    @classmethod
    def from_head(cls, status: int, raw: Iterable[tuple[bytes, bytes]], body: Content) -> Response:
        """From an app's or an upstream's head, whose fields are looked at only if asked for."""
        response = cls.__new__(cls)
        response.status = status
        response._headers = None
        response._raw = raw
        response._read = None
        response.body = body
        response.codecs = None
        response.problem = None
        response.trailers = None
        return response

    @classmethod
    def json(
        cls,
        data: object,
        status: int = 200,
        headers: HeadersLike | None = None,
        *,
        content_type: str = "application/json",
    ) -> Response:
        """Compact UTF-8 JSON."""
        body = json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
        response = cls(status, headers, body)
        response.headers.setdefault("content-type", content_type)
        return response

    @classmethod
    def text(cls, text: str, status: int = 200, headers: HeadersLike | None = None) -> Response:
        """Plain text in UTF-8."""
        response = cls(status, headers, text.encode())
        response.headers.setdefault("content-type", "text/plain; charset=utf-8")
        return response

    @property
    def headers(self) -> Headers:
        """The fields; names in lower case."""
        if self._headers is None:
            self._headers = Headers([(name.lower(), value) for name, value in self._raw])
        return self._headers

    @property
    def is_untouched(self) -> bool:
        """Nobody has looked at the fields: they are the sender's own list."""
        return self._headers is None

    @property
    def raw_headers(self) -> Iterable[tuple[bytes, bytes]]:
        """The fields as they are to be sent."""
        return self._raw if self._headers is None else self._headers.raw

    def filter(self, codec: Codec) -> None:
        """Changes the body in flight. The door then fixes its length and weakens its `ETag`."""
        self.codecs = [*(self.codecs or ()), codec]

    async def read(self, limit: int = READ_LIMIT) -> bytes:
        """Holds the whole body, filters applied, and gives it.

        More than `limit` bytes raises `BodyTooLarge`; a caller that catches it may still return
        the response, which then streams on from its first byte.
        """
        if isinstance(self.body, AppBody):
            self.body = await read_app_body(limit)
        elif not isinstance(self.body, bytes):
            self.body, whole = await collect(self.body, limit)
            if not whole:
                raise BodyTooLarge(limit)
        body = cast("bytes", self.body)
        if self.codecs:
            body = self.body = Filters(self.codecs).finish(body)
            self.codecs = None
            weaken_etag(self.headers)
        if len(body) > limit:
            raise BodyTooLarge(limit)
        self._read = body
        return body

    @property
    def rewritten(self) -> bool:
        """Whether the body is another than the one that was read."""
        return self._read is not None and self._read != self.body

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


def weaken_etag(headers: Headers) -> None:
    """A changed body is not byte for byte what a strong validator names (RFC 9110 §8.8.1)."""
    etag = headers.get("etag")
    if etag is not None and not etag.startswith("W/"):
        headers["etag"] = f"W/{etag}"


def _printable(path: str) -> str:
    """As a server that replaces what is not UTF-8 would have decoded it."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _below(raw: bytes, root_path: str) -> bytes:
    """Cuts the mount prefix, however it was encoded, off a raw path."""
    segments = root_path.count("/")
    if not segments:
        return raw
    parts = raw.split(b"/", segments + 1)
    return b"/" + parts[-1] if len(parts) > segments + 1 else b""
