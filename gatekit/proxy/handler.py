"""The reverse proxy: a handler that hands a request on and streams the answer back.

    Route("/api/v1/users/*", Proxy("http://users:8001"))
    Mount("/catalog", asgi_app(Proxy("http://catalog:8080/v2")))       # Starlette
    Proxy("https://api.example", strip_prefix="/partner", timeouts=Timeouts(first_byte=10))

Bodies stream both ways and are never held. Path and query go on byte for byte as they came, field
lists as lists: several `Set-Cookie` stay several. There is no cookie jar, no redirect is followed,
nothing is decompressed.

**What the upstream is told of the client.** `X-Forwarded-For`, `-Proto`, `-Host`, `-Prefix` and
`Forwarded` are set anew; what the client claims in them is dropped, unless `ClientIP` found that
the peer is a trusted proxy. `Host` is the upstream's own by default (`host="upstream"`); with
`host="pass"` it is the client's, and any other string is sent as it stands.

**What fails.** An upstream that cannot be reached is a 502, one that is late a 504, no free
connection a 503, a client's broken body a 400; each a problem with `Proxy-Status`. Once the head is
sent the exchange is cut off instead, so that a short answer never looks whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

from gatekit._core.body import RequestBody
from gatekit._core.io import block
from gatekit._core.messages import Content, Request, Response
from gatekit._core.options import integer_problem, known_keywords, token_problem
from gatekit._core.paths import AmbiguousPath, PathRules, segments
from gatekit._core.problems import problem
from gatekit.errors import ConfigurationError, UpstreamError, check
from gatekit.proxy.failures import failed
from gatekit.proxy.fields import (
    NOT_RETURNED,
    Underscores,
    check_framing,
    forwarded_fields,
    is_host,
    nominees,
    request_fields,
)
from gatekit.proxy.rewrite import REWRITTEN, Mapping
from gatekit.proxy.target import Target
from gatekit.proxy.transport import (
    TLS,
    HTTPTransport,
    InvalidMessage,
    Origin,
    Timeouts,
    Transport,
    UpstreamRequest,
)
from gatekit.proxy.transport import (
    RequestBody as UpstreamBody,
)
from gatekit.typing import RawHeaders, SupportsClose

_PREFIX = re.compile(r"(/[^/?#]+)+")
_NEVER_FORWARDED = frozenset({"CONNECT", "TRACE"})


@known_keywords
class Proxy:
    """Forwards every request that it is given to one upstream.

    `upstream` is a URL: `http://host:port/base`, `https://…` or `unix:/run/app.sock`. `timeouts`
    are in seconds. `via` is this hop's pseudonym in `Via` and `Proxy-Status`. A field name with an
    underscore is dropped, for many upstreams cannot tell it from one with a hyphen:
    `underscores="reject"` or `"allow"` changes that. `paths` says which ambiguous paths are
    refused; below a gateway that has been seen to already. A `transport` of one's own stands in
    for the connection pool, and then `tls`, `max_connections` and `max_pending` are its business.
    """

    __slots__ = (
        "_host",
        "_name",
        "_origin",
        "_owned",
        "_paths",
        "_target",
        "_timeouts",
        "_transport",
        "_underscores",
        "_via",
    )

    def __init__(
        self,
        upstream: str,
        *,
        strip_prefix: str = "",
        host: str = "upstream",
        timeouts: Timeouts | None = None,
        tls: TLS | None = None,
        max_connections: int = 100,
        max_pending: int = 1000,
        transport: Transport | None = None,
        via: str = "gatekit",
        underscores: Underscores = "drop",
        paths: PathRules | None = None,
    ) -> None:
        origin, wrong = _origin(upstream)
        check(
            "Proxy",
            upstream=wrong,
            strip_prefix=_wrong_prefix(strip_prefix),
            host=None if is_host(host) else 'must be "upstream", "pass" or a host to send',
            timeouts=_not_a(Timeouts, timeouts),
            tls=_not_a(TLS, tls),
            transport=_wrong_transport(transport),
            via=token_problem(via),
            underscores=None
            if underscores in ("drop", "reject", "allow")
            else 'must be "drop", "reject" or "allow"',
            paths=_not_a(PathRules, paths),
            max_connections=integer_problem(max_connections, 1),
            max_pending=integer_problem(max_pending),
        )
        assert origin is not None
        self._origin = origin
        self._host = host
        self._name = via
        self._via = (b"via", b"1.1 " + via.encode("ascii"))
        self._underscores: Underscores = underscores
        self._paths = PathRules() if paths is None else paths
        self._target = Target(origin.base, strip_prefix)
        self._timeouts = Timeouts() if timeouts is None else timeouts
        self._owned: SupportsClose | None = None
        if transport is None:
            transport = self._owned = HTTPTransport(
                tls=tls, max_connections=max_connections, max_pending=max_pending
            )
        self._transport: Transport = transport

    async def __call__(self, request: Request) -> Response:
        # 1. What no proxy forwards.
        if request.is_websocket:
            return problem(501, "This proxy does not carry WebSockets.")
        if request.method in _NEVER_FORWARDED:
            return problem(405, f"{request.method} is not forwarded.", headers={"allow": "GET"})

        # 2. Where it goes: the path as it came, unless it could be read in two ways.
        path = request.raw_path
        if request.route is None:
            try:
                segments(path, self._paths)
            except AmbiguousPath as error:
                return problem(400, error.detail, type="urn:gatekit:ambiguous-path")
        target, prefix = self._target.of(request, path)

        # 3. The fields that cross, and those of this hop.
        length, is_chunked = check_framing(request)
        host = self._host_for(request)
        fields = request_fields(request, self._underscores)
        fields.append((b"host", host))
        fields += forwarded_fields(request, prefix)
        fields.append(self._via)

        # 4. The body, whole if it is there, else as a stream.
        try:
            body = await _body(request, length, is_chunked)
            outgoing = UpstreamRequest(request.method.encode("latin-1"), target, fields, body)

            # 5. The exchange, up to the head of the answer.
            started = request.io.now()
            answer = await request.io.call(
                self._transport.send,
                self._transport.asend,
                self._origin,
                outgoing,
                self._timeouts,
                request.deadline,
            )
        except UpstreamError as error:
            return failed(request, error, self._name)
        except InvalidMessage as error:
            return problem(400, f"The request cannot be forwarded: {error}.")
        request.note_upstream(request.io.now() - started)

        # 6. The answer, its body still on its way.
        head = self._response_fields(request, answer.headers, prefix, host)
        if answer.status == 304:
            # Optional here (RFC 9110 §8.6), and some servers then wait for a body.
            head = [field for field in head if field[0] != b"content-length"]
        return Response.from_head(answer.status, head, cast("Content", answer.body))

    def close(self) -> None:
        """Closes idle connections; a transport that was given stays its owner's."""
        if self._owned is not None:
            self._owned.close()

    async def aclose(self) -> None:
        """The same on the running event loop."""
        if self._owned is not None:
            await self._owned.aclose()

    def _host_for(self, request: Request) -> bytes:
        if self._host == "upstream":
            return self._origin.authority
        if self._host == "pass":
            return request.host.encode("latin-1") or self._origin.authority
        return self._host.encode("latin-1")

    def _response_fields(
        self, request: Request, raw: RawHeaders, prefix: str, host: bytes
    ) -> RawHeaders:
        nominated: set[bytes] = set()
        mapping: Mapping | None = None
        fields: RawHeaders = []
        for name, value in raw:
            if name in NOT_RETURNED:
                if name == b"connection":
                    nominated |= nominees(value)
                continue
            if name in REWRITTEN:
                if mapping is None:
                    mapping = Mapping(self._origin, prefix, host.decode("latin-1"), request)
                fields.append((name, mapping.field(name, value)))
            else:
                fields.append((name, value))
        if nominated:
            fields = [field for field in fields if field[0] not in nominated]
        fields.append(self._via)
        return fields

    def __repr__(self) -> str:
        return f"Proxy({self._origin!r})"


async def _body(request: Request, length: int | None, is_chunked: bool) -> UpstreamBody:
    if length == 0:
        return b""
    # HTTP/1 announces a body (RFC 9112 §6.3); later versions may just send one.
    announced = length is not None or is_chunked
    if not announced and request.http_version.startswith("1"):
        return None
    data, is_whole = await request.body.peek()
    if is_whole:
        return data if data or announced else None
    return (request.body if request.io.is_async else _blocking(request.body)), length


def _blocking(body: RequestBody) -> Iterator[bytes]:
    while data := block(body.chunk()):
        yield data


def _origin(upstream: object) -> tuple[Origin | None, str | None]:
    if not isinstance(upstream, str):
        return None, f"must be one URL, such as 'http://users:8001', not {upstream!r}"
    try:
        return Origin(upstream), None
    except ConfigurationError as error:
        return None, "; ".join(error.problems.values())


def _wrong_prefix(prefix: object) -> str | None:
    if prefix == "" or (isinstance(prefix, str) and _PREFIX.fullmatch(prefix)):
        return None
    return f"{prefix!r} must be a path that begins with a slash and does not end with one: '/api'"


def _not_a(kind: type, value: object) -> str | None:
    if value is None or isinstance(value, kind):
        return None
    return f"must be {kind.__name__}(...), not {value!r}"


def _wrong_transport(transport: object) -> str | None:
    if transport is None or (hasattr(transport, "send") and hasattr(transport, "asend")):
        return None
    return f"must have the methods of a Transport, send and asend; {transport!r} has not"
