"""Which header fields cross the proxy, and which it writes itself (RFC 9110 §7.6, RFC 7239).

Pure functions on lists of byte pairs; names are in lower case.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, TypeAlias

from gatekit._core.messages import Request
from gatekit.errors import Rejected
from gatekit.typing import RawHeaders

NOT_CARRIED = "urn:gatekit:websocket-not-carried"
MALFORMED = "urn:gatekit:malformed-request"

Underscores: TypeAlias = Literal["drop", "reject", "allow"]

# RFC 9110 §7.6.1 names the first eight; the others are older or meant for one hop all the same.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
        b"alpn",
        b"close",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-authentication-info",
    }
)
# What this hop says itself, with what a trusted peer said before it.
_SAID_HERE = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-prefix",
    }
)

# `Proxy` would become HTTP_PROXY in a CGI's environment; the server has answered `Expect` itself.
NOT_FORWARDED = (
    _HOP_BY_HOP | _SAID_HERE | {b"proxy", b"expect", b"host", b"content-length", b"alt-svc"}
)
NOT_RETURNED = _HOP_BY_HOP | {b"alt-svc"}

_ONCE = frozenset({b"host", b"content-length", b"content-type", b"authorization"})
# RFC 3986 §3.2.2 and a port; nothing that would end a quoted string or an element of a list.
_HOST = re.compile(r"[A-Za-z0-9\-._~%!$&'()*+;=:\[\]]+")
# What `X-Forwarded-Proto` calls them: a handshake is a request of HTTP.
_SCHEMES = {"ws": "http", "wss": "https"}
_FRAMING = _ONCE | {b"transfer-encoding"}


def request_fields(request: Request, underscores: Underscores) -> RawHeaders:
    """The client's end-to-end fields, without what only this hop may say."""
    trusted = request.trusted_peer
    nominated: set[bytes] = set()
    upgrade = b""
    fields: RawHeaders = []
    for field in request.headers.raw:
        name = field[0]
        if name in NOT_FORWARDED:
            if name == b"connection":
                nominated |= nominees(field[1])
            elif name == b"upgrade":
                upgrade = field[1]
            continue
        if not trusted and (name.startswith(b"x-forwarded-") or name == b"x-real-ip"):
            continue
        # An upstream that names fields as CGI does cannot tell `_` from `-`.
        if b"_" in name and (underscores != "allow" or _is_said_here(name.replace(b"_", b"-"))):
            if underscores == "reject":
                raise Rejected(400, "A header field name contains an underscore.", type=MALFORMED)
            continue
        fields.append(field)
    if not nominated:
        return fields
    if upgrade and b"upgrade" in nominated and request.method == "GET" and not request.is_websocket:
        _refuse_websocket(upgrade)
    return _without_nominated(request, fields, nominated)


def _refuse_websocket(upgrade: bytes) -> None:
    """Any other `Upgrade` a server may ignore (RFC 9110 §7.8), and the request is an ordinary one.

    So is one that no `Connection` names, or that comes with another method (RFC 6455 §4.1). Of a
    WebSocket nothing would be left but a request that its client does not mean.
    """
    protocols = upgrade.lower().split(b",")
    if b"websocket" in (protocol.partition(b"/")[0].strip() for protocol in protocols):
        raise Rejected(501, "WebSockets are not carried here.", type=NOT_CARRIED)


def _is_said_here(name: bytes) -> bool:
    """No client says it in another spelling either: the framing, and who the client is."""
    return name in NOT_FORWARDED or name == b"x-real-ip" or name.startswith(b"x-forwarded-")


def _without_nominated(request: Request, fields: RawHeaders, nominated: set[bytes]) -> RawHeaders:
    """A field that a middleware set is not the client's, and not the client's to nominate.

    They are told apart by identity, for a client may guess the value that a middleware sets. Where
    an outer door has handed on an environ, which is text, only equality is left.
    """
    first = request
    while first._outer is not None:
        first = first._outer
    sent = first._raw_headers or first.headers.raw
    identities = set(map(id, sent))
    if first is not request and identities.isdisjoint(map(id, request._raw_headers or ())):
        return [field for field in fields if field[0] not in nominated or field not in sent]
    return [field for field in fields if field[0] not in nominated or id(field) not in identities]


def nominees(connection: bytes) -> set[bytes]:
    """What a `Connection` names beside the options that every hop knows (RFC 9110 §7.6.1)."""
    if connection in (b"keep-alive", b"close"):
        return set()
    names = {part.strip().lower() for part in connection.split(b",")}
    return names - {b"", b"close", b"keep-alive", b"host", b"content-length"}


def unbuffered(fields: RawHeaders) -> RawHeaders:
    """What tells a server in front, such as nginx, that events do not wait for one another."""
    is_stream = False
    for name, value in fields:
        if name == b"content-type":
            is_stream = value[:17].lower() == b"text/event-stream"
        elif name == b"x-accel-buffering":
            return []
    return [(b"x-accel-buffering", b"no")] if is_stream else []


def check_framing(request: Request) -> tuple[int | None, bool]:
    """The declared length of the body, or whether it comes in chunks; what is ambiguous is refused.

    RFC 9112 §6.1: `Transfer-Encoding` together with `Content-Length` "ought to be handled as an
    error", and §6.3: so must differing or malformed lengths.
    """
    try:
        return _framing(request)
    except Rejected as refusal:
        refusal.headers += closing(request)
        raise


def closing(request: Request) -> list[tuple[str, str]]:
    """The fields of a refusal after which nothing more is read on this connection.

    Where a request ends that was doubtful, nobody knows (RFC 9112 §6.1: the server MUST close). A
    WSGI app may not say so (PEP 3333), nor does HTTP/2 know the field.
    """
    if request.io.is_async and request.http_version.startswith("1"):
        return [("connection", "close")]
    return []


def _framing(request: Request) -> tuple[int | None, bool]:
    found: dict[bytes, bytes] = {}
    for name, value in request.headers.raw:
        if name in _FRAMING:
            if name in found and name in _ONCE:
                raise Rejected(
                    400, f"The field {name.decode()} occurs more than once.", type=MALFORMED
                )
            # Codings in several lines are several codings.
            found[name] = found[name] + b"," + value if name in found else value
    host = found.get(b"host", b"" if request.http_version != "1.1" else None)
    if host is None:
        # RFC 9112 §3.2: MUST be answered with 400.
        raise Rejected(400, "The field host is missing.", type=MALFORMED)
    if b"," in host:
        # A server that joins repeated fields has made one of two.
        raise Rejected(400, "The field host occurs more than once.", type=MALFORMED)
    return _length(request, found.get(b"content-length"), found.get(b"transfer-encoding"))


def _length(
    request: Request, length: bytes | None, codings: bytes | None
) -> tuple[int | None, bool]:
    if codings is not None:
        if length is not None:
            raise Rejected(
                400, "Content-Length and Transfer-Encoding exclude each other.", type=MALFORMED
            )
        if request.http_version == "1.0":
            # RFC 9112 §6.1: "MUST treat the message as if the framing is faulty".
            raise Rejected(400, "HTTP/1.0 has no transfer codings.", type=MALFORMED)
        if codings.strip().lower() != b"chunked":
            raise Rejected(
                501,
                "The only transfer coding understood is chunked.",
                type="urn:gatekit:transfer-coding",
            )
        return None, True
    if length is None:
        return None, False
    # More digits than any file has bytes; int() itself refuses to read thousands of them.
    if not length.isdigit() or len(length) > 18:
        raise Rejected(400, "Content-Length is not a number that a length can be.", type=MALFORMED)
    return int(length), False


def is_host(text: object) -> bool:
    """Whether it can stand in a `Host` field: a name or an address, with a port or without."""
    return isinstance(text, str) and _HOST.fullmatch(text) is not None


def forwarded_fields(request: Request, prefix: str) -> RawHeaders:
    """`X-Forwarded-*` and `Forwarded` for this hop.

    What the peer said is kept only if the peer is trusted (`ClientIP` decides that), and only in
    the field that it was trusted for: then its address is added to the list, and the scheme and
    host that it names stay. Any other such field may be the client's, which the peer passed on; it
    is written anew from the address that `ClientIP` found.
    """
    try:
        return _forwarded_fields(request, prefix)
    except Rejected as refusal:
        refusal.headers += closing(request)
        raise


def _forwarded_fields(request: Request, prefix: str) -> RawHeaders:
    # A peer on a Unix socket has no address.
    address = (request.client[0] if request.client else "") or "unknown"
    if not request.trusted_peer:
        return list(_said_of(address, request.scheme, request.host, prefix))
    headers = request.headers
    scheme = request.forwarded_scheme or request.scheme
    host = request.forwarded_host
    if request.trusted_header != "forwarded":
        # The nearest proxy wrote the last one.
        host = headers.get("x-forwarded-host", "").rpartition(",")[2].strip(" \t")
        prefix = headers.get("x-forwarded-prefix", "") + prefix
    if not is_host(host):
        host = request.host
    fields = dict(_said_of(address, scheme, host, prefix))
    client = request.client_ip
    before = dict(_said_of(client, "", "", "")) if client and client != address else {}
    for name, key in (("x-forwarded-for", b"x-forwarded-for"), ("forwarded", b"forwarded")):
        said = [before[key]] if key in before else []
        if request.trusted_header == name:
            said = [value.encode("latin-1") for value in headers.getlist(name)]
        fields[key] = b", ".join([*said, fields[key]])
    return list(fields.items())


@lru_cache(1024)
def _said_of(address: str, scheme: str, host: str, prefix: str) -> tuple[tuple[bytes, bytes], ...]:
    """The fields of one hop; a client that comes again asks for the same ones."""
    # RFC 7239 §6: an IPv6 address stands in brackets and, for its colons, in quotes.
    scheme = _SCHEMES.get(scheme, scheme)
    node = f'"[{address}]"' if ":" in address else address
    element = f"for={node};proto={scheme}" if scheme else f"for={node}"
    fields = [
        (b"x-forwarded-for", address.encode("latin-1")),
        (b"x-forwarded-proto", scheme.encode("latin-1")),
    ]
    if host:
        if not is_host(host):
            # RFC 9112 §3.2: an invalid one MUST be answered with 400.
            raise Rejected(400, "The field host holds no host.", type=MALFORMED)
        fields.append((b"x-forwarded-host", host.encode("ascii")))
        element += f';host="{host}"'
    if prefix:
        fields.append((b"x-forwarded-prefix", prefix.encode("latin-1")))
    fields.append((b"forwarded", element.encode("latin-1")))
    return tuple(fields)
