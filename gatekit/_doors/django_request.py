"""Between Django's `HttpRequest` and a request: header fields and body, both ways.

What Django sees is what counts: fields are those of `META`, with whatever Django's own middlewares
further out made of them, and the path is the one that the URL resolver is given. Under ASGI Django
has spooled the body before its first middleware runs, so reading it never waits for the client.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from django.core.handlers.wsgi import LimitedStream
from django.http import HttpRequest
from django.utils.encoding import repercent_broken_unicode

from gatekit._core.body import Pull, RequestBody
from gatekit._core.io import IO
from gatekit._core.messages import Request, _below
from gatekit._doors.wsgi import _raw_path
from gatekit._doors.wsgi_input import (
    Input,
    content_length,
    environ_headers,
    pull_from,
    put_body,
    put_headers,
)
from gatekit.errors import ClientDisconnected, MisuseError

if TYPE_CHECKING:
    from gatekit.typing import RawHeaders, Scope

KEY = "gatekit.request"
"""Where the request stands in `META`, as it does in an environ."""

_PIECE = 65_536

# What a Django request computes once from its header fields.
_FROM_HEADERS = ("headers", "COOKIES", "accepted_types", "accepted_types_by_precedence")


class DjangoRequest(Request):
    """A request that is read from, and written back into, an `HttpRequest`.

    It stands as `gatekit` on the Django request and in an ASGI scope, and in `META`. Where a door
    further out has put one there already, this takes over what its middlewares found out: the
    identity that a gateway-wide `BearerAuth` established is there for a view's own `Require`.
    """

    def __init__(self, django_request: HttpRequest, io: IO) -> None:
        meta = django_request.META
        scope: Scope | None = getattr(django_request, "scope", None)
        self.io = io
        self.method = django_request.method or "GET"
        self.path = django_request.path_info
        self.root_path = str(meta.get("SCRIPT_NAME") or "").rstrip("/")
        self.scheme = django_request.scheme or "http"
        self.client = _client(meta)
        self._raw_headers = environ_headers(meta)
        self._receive = django_request
        if scope is None:
            self.query = str(meta.get("QUERY_STRING", "")).encode("latin-1", "replace")
            self.http_version = meta.get("SERVER_PROTOCOL", "HTTP/1.1").partition("/")[2]
            self._raw_path = _raw_path(meta)
            outer = meta.get(KEY)
        else:
            query = scope.get("query_string", b"")
            self.query = query if isinstance(query, bytes) else query.encode()
            self.http_version = scope.get("http_version", "1.1")
            self._raw_path = scope.get("raw_path")
            outer = scope.get("gatekit")
            scope["gatekit"] = self
        self.stand_in(outer)
        meta[KEY] = self
        django_request.gatekit = self  # type: ignore[attr-defined]

    @property
    def raw_path(self) -> bytes:
        """The path below `root_path` byte for byte as the client sent it, where that is known."""
        raw = self._raw_path
        if raw is not None and "%" in self.path:
            # Bytes that are not UTF-8 stay percent-encoded in the path that Django decodes.
            decoded = repercent_broken_unicode(unquote_to_bytes(raw)).decode()
            if decoded == self.url_path:
                return _below(raw, self.root_path)
            if decoded == self.path:
                return raw
        return super().raw_path

    def _open_body(self) -> RequestBody:
        django_request = self._receive
        return RequestBody(
            _pull_from(django_request) if isinstance(django_request, HttpRequest) else None
        )


def put_request_headers(django_request: HttpRequest, raw: RawHeaders) -> None:
    """Puts changed fields into `META`, and has Django read anew what it had read from them."""
    meta = django_request.META
    content_type = meta.get("CONTENT_TYPE")
    put_headers(meta, raw)
    for name in _FROM_HEADERS:
        if hasattr(type(django_request), name):
            vars(django_request).pop(name, None)
    if meta.get("CONTENT_TYPE") != content_type:
        django_request._set_content_type_params(meta)  # type: ignore[attr-defined]


def put_request_body(django_request: HttpRequest, body: RequestBody) -> Input | None:
    """Gives the view this body through `request.body`, `POST`, `FILES` and `read()` alike.

    None if Django's own stays: it was parsed already, or it is kept and nothing changes it.
    """
    attributes = vars(django_request)
    if _is_spent(django_request) or ("_body" in attributes and body._codecs is None):
        return None
    raw = put_body(django_request.META, body)
    django_request._stream = django_request.META["wsgi.input"]
    django_request._read_started = False  # type: ignore[attr-defined]
    for name in ("_body", "_post", "_files"):
        attributes.pop(name, None)
    return raw


def body_size(django_request: HttpRequest) -> int:
    """How many bytes the client sent, or is yet to send, as body."""
    declared = content_length(django_request.META.get("CONTENT_LENGTH"))
    if declared is not None:
        return declared
    stream = getattr(django_request, "_stream", None)
    if stream is None or not stream.seekable():
        return 0
    here = stream.tell()
    size: int = stream.seek(0, os.SEEK_END)
    stream.seek(here)
    return size


def _pull_from(django_request: HttpRequest) -> Pull | None:
    attributes, meta = vars(django_request), django_request.META
    if _is_spent(django_request):
        return _parsed_away
    source: Any = attributes.get("_stream")
    left = content_length(meta.get("CONTENT_LENGTH"))
    if "_body" in attributes:
        source, left = io.BytesIO(attributes["_body"]), None
    elif not isinstance(source, LimitedStream):
        left = None
    elif left is None and "wsgi.input" in meta:
        return pull_from(meta)  # in chunks, which Django itself does not read under WSGI
    if source is None:
        return None

    async def pull() -> tuple[bytes, bool]:
        nonlocal left
        try:
            data: bytes = source.read(_PIECE)
        except OSError as error:
            raise ClientDisconnected("the client left while it was sending its request") from error
        if left is None:
            return data, bool(data)
        left -= len(data)
        if not data and left:
            raise ClientDisconnected("the client sent less than it declared")
        return data, left > 0

    return pull


async def _parsed_away() -> tuple[bytes, bool]:
    raise MisuseError(
        "the request's body was read by Django already, and Django keeps no copy of what "
        "`request.POST` parsed as a form with files or `request.read()` returned"
    )


def _is_spent(django_request: HttpRequest) -> bool:
    attributes = vars(django_request)
    return bool(attributes.get("_read_started")) and "_body" not in attributes


def _client(meta: dict[str, Any]) -> tuple[str, int] | None:
    address = meta.get("REMOTE_ADDR")
    port = str(meta.get("REMOTE_PORT") or 0)
    return (address, int(port) if port.isdecimal() else 0) if address else None
