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
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from gatekit._core.body import aclose_body
from gatekit._core.messages import Content, Request, Response
from gatekit._core.options import kind_problem, known_keywords, name_problem, token_problem
from gatekit._core.paths import AmbiguousPath, PathRules, segments
from gatekit._core.problems import problem
from gatekit.errors import UpstreamError, check
from gatekit.proxy.attempts.address import Address
from gatekit.proxy.attempts.attempts import Attempts
from gatekit.proxy.clusters.cluster import Cluster
from gatekit.proxy.clusters.destination import Destination
from gatekit.proxy.clusters.destination import Target as DestinationTarget
from gatekit.proxy.failures import failed
from gatekit.proxy.fields import (
    MALFORMED,
    NOT_FORWARDED,
    NOT_RETURNED,
    Underscores,
    check_framing,
    closing,
    forwarded_fields,
    is_host,
    nominees,
    request_fields,
    unbuffered,
)
from gatekit.proxy.request_body import may_have_body, upstream_body
from gatekit.proxy.rewrite import REWRITTEN, Mapping
from gatekit.proxy.target import Target
from gatekit.proxy.trailers import ask_for_trailers, pass_trailers
from gatekit.proxy.transport import (
    TLS,
    AsyncBody,
    InvalidMessage,
    Timeouts,
    Transport,
    UpstreamRequest,
    UpstreamResponse,
)
from gatekit.proxy.upstream import Options, destinations_in
from gatekit.proxy.websocket.options import WebSockets, websockets_problem
from gatekit.proxy.websocket.switchboard import Switchboard
from gatekit.typing import RawHeaders

if TYPE_CHECKING:
    from gatekit.proxy.clusters.members import Member

Upstream: TypeAlias = "DestinationTarget | Destination | Iterable[DestinationTarget | Destination]"

_PREFIX = re.compile(r"(/[^/?#]+)+")
_NEVER_FORWARDED = frozenset({"CONNECT", "TRACE"})


@known_keywords
class Proxy:
    """Forwards every request that it is given to one upstream, or to one of several.

    `upstream` is a URL (`http://host:port/base`, `https://…` or `unix:/run/app.sock`), a list of
    them, or a `Cluster`, which has many more options. `timeouts` are in seconds. `via` is this
    hop's pseudonym in `Via` and `Proxy-Status`. A field name with an underscore is dropped, for
    many upstreams cannot tell it from one with a hyphen: `underscores="reject"` or `"allow"`
    changes that. `paths` says which ambiguous paths are refused; below a gateway that has been seen
    to already. `websockets` limits the WebSockets that are carried under ASGI; False refuses them
    with 501. `deadline_header` is the field, such as `x-request-timeout` or `grpc-timeout`, that
    tells the upstream how much time is left. A `transport` of one's own stands in for the
    connection pool, and then `tls`, `max_connections` (100) and `max_pending` (1,000) are its
    business; a `Cluster` has all of these itself.
    """

    __slots__ = (
        "_address",
        "_attempts",
        "_name",
        "_paths",
        "_switchboard",
        "_target",
        "_timeouts",
        "_underscores",
        "_via",
        "cluster",
    )

    def __init__(
        self,
        upstream: Upstream | Cluster,
        *,
        strip_prefix: str = "",
        host: str = "upstream",
        timeouts: Timeouts | None = None,
        tls: TLS | None = None,
        max_connections: int | None = None,
        max_pending: int | None = None,
        transport: Transport | None = None,
        via: str = "gatekit",
        underscores: Underscores = "drop",
        paths: PathRules | None = None,
        websockets: WebSockets | bool = True,
        deadline_header: str | None = None,
    ) -> None:
        options = Options(timeouts, tls, max_connections, max_pending, transport)
        cluster = upstream if isinstance(upstream, Cluster) else None
        found, wrong = ((), None) if cluster is not None else destinations_in(upstream)
        check(
            "Proxy",
            upstream=wrong,
            strip_prefix=_wrong_prefix(strip_prefix),
            host=None if is_host(host) else 'must be "upstream", "pass" or a host to send',
            via=token_problem(via),
            underscores=None
            if underscores in ("drop", "reject", "allow")
            else 'must be "drop", "reject" or "allow"',
            paths=kind_problem(PathRules, paths),
            websockets=websockets_problem(websockets),
            deadline_header=_wrong_header(deadline_header),
            **options.problems(has_cluster=cluster is not None),
        )
        self.cluster = options.cluster(found) if cluster is None else cluster
        self._name = via
        self._via = (b"via", b"1.1 " + via.encode("ascii"))
        self._underscores: Underscores = underscores
        self._paths = PathRules() if paths is None else paths
        self._target = Target(strip_prefix)
        self._switchboard = Switchboard(websockets, via)
        self._timeouts = self.cluster.timeouts
        retry = self.cluster.retry
        self._address = Address(
            host,
            attempt_header=retry is not None and retry.attempt_header,
            deadline_header=deadline_header,
        )
        self._attempts = Attempts(
            self.cluster.state,
            self._address,
            timeouts=self._timeouts,
            retry=retry,
            hedge=self.cluster.hedge,
            breaker=self.cluster.breaker,
        )

    async def __call__(self, request: Request) -> Response:
        # 1. What no proxy forwards.
        handshake = self._switchboard.begin(request) if request.is_websocket else None
        if request.method in _NEVER_FORWARDED:
            headers = [("allow", "GET"), *closing(request)]
            detail = f"{request.method} is not forwarded."
            kind = "urn:gatekit:method-not-forwarded"
            return problem(405, detail, type=kind, headers=headers)

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
        fields = request_fields(request, self._underscores)
        fields += forwarded_fields(request, prefix)
        fields.append(self._via)
        ask_for_trailers(request, fields)
        if handshake is not None:
            fields = handshake.fields(fields)

        # 4. The body, whole if it is there, else as a stream.
        try:
            body = None
            if may_have_body(request, length, is_chunked):
                body = await upstream_body(request, length, is_chunked, self._timeouts.client)
            outgoing = UpstreamRequest(
                request.method.encode("latin-1"),
                target,
                fields,
                body,
                upgrade=handshake is not None,
                on_informational=request.on_informational,
            )

            # 5. Somebody's answer, up to its head; see `attempts` for who is asked, and how often.
            request.note_service(self.cluster.name)
            leg = await self._attempts.run(request, outgoing)
        except UpstreamError as error:
            return failed(request, error, self._name)
        except InvalidMessage as error:
            detail = f"The request cannot be forwarded: {error}."
            return problem(400, detail, type=MALFORMED)
        request.note_upstream(leg.seconds)

        # 6. The answer, its body still on its way.
        answer, member = leg.answer, leg.member
        if answer.status == 205 and answer.body:
            # RFC 9110 §15.3.6: it has no content.
            await aclose_body(answer.body)
            answer.body = b""
        head = self._response_fields(request, answer, prefix, member)
        affinity = self.cluster.state.affinity
        if affinity is not None:
            head += affinity.fields(request, self.cluster.state, member)
        if answer.status == 304:
            # Optional here (RFC 9110 §8.6), and some servers then wait for a body.
            head = [field for field in head if field[0] != b"content-length"]
        if handshake is not None:
            return await self._switchboard.answer(
                request, handshake, cast("UpstreamResponse[AsyncBody]", answer), head
            )
        response = Response.from_head(answer.status, head, cast("Content", answer.body))
        pass_trailers(request, answer, response)
        return response

    @property
    def open_websockets(self) -> int:
        """How many this proxy carries now, in this process."""
        return self._switchboard.open

    def gatekit_parts(self) -> Iterable[object]:
        """What a door closes and inspects; the rest of the cluster is closed by the proxy."""
        return [] if self.cluster.breaker is None else [self.cluster.breaker]

    def close(self) -> None:
        """Closes idle connections; a transport that was given stays its owner's."""
        self.cluster.close()

    async def aclose(self) -> None:
        """The same on the running event loop, whose WebSockets are closed."""
        await self._switchboard.aclose()
        await self.cluster.aclose()

    def _response_fields(
        self, request: Request, answer: UpstreamResponse[Any], prefix: str, member: Member
    ) -> RawHeaders:
        nominated: set[bytes] = set()
        mapping: Mapping | None = None
        fields: RawHeaders = []
        for name, value in answer.headers:
            if name in NOT_RETURNED:
                if name == b"connection":
                    nominated |= nominees(value)
                continue
            if name in REWRITTEN:
                if mapping is None:
                    host = self._address.host_for(request, member).decode("latin-1")
                    mapping = Mapping(member.origin, prefix, host, request)
                fields.append((name, mapping.field(name, value)))
            else:
                fields.append((name, value))
        if nominated:
            fields = [field for field in fields if field[0] not in nominated]
        fields.append(self._via)
        if not isinstance(answer.body, bytes):
            fields += unbuffered(fields)
        return fields

    def __repr__(self) -> str:
        return f"Proxy({self.cluster!r})"


def _wrong_header(name: str | None) -> str | None:
    if name is None:
        return None
    taken = name_problem(name) is None and name.lower().encode() in NOT_FORWARDED
    return f"{name!r} is this hop's own" if taken else name_problem(name)


def _wrong_prefix(prefix: object) -> str | None:
    if prefix == "" or (isinstance(prefix, str) and _PREFIX.fullmatch(prefix)):
        return None
    return f"{prefix!r} must be a path that begins with a slash and does not end with one: '/api'"
