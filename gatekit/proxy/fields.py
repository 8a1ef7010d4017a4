"""Which header fields cross the proxy, and which it writes itself (RFC 9110 §7.6, RFC 7239).

Pure functions on lists of byte pairs; names are in lower case.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias
from urllib.parse import quote

from gatekit._core.messages import Request
from gatekit.errors import Rejected
from gatekit.typing import RawHeaders

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

_FRAMED_ONCE = (b"host", b"content-length", b"content-type", b"authorization")


def request_fields(request: Request, underscores: Underscores) -> RawHeaders:
    """The client's end-to-end fields, without what only this hop may say."""
    trusted = request.trusted_peer
    nominated: set[bytes] = set()
    fields: RawHeaders = []
    for field in request.headers.raw:
        name = field[0]
        if name in NOT_FORWARDED:
            if name == b"connection":
                nominated |= nominees(field[1])
            continue
        if not trusted and (name.startswith(b"x-forwarded-") or name == b"x-real-ip"):
            continue
        if b"_" in name and underscores != "allow":
            # An upstream that names fields as CGI does cannot tell `_` from `-`.
            if underscores == "reject":
                raise Rejected(400, "A header field name contains an underscore.")
            continue
        fields.append(field)
    if not nominated:
        return fields
    # A field that a middleware set after the client nominated its name is not the client's.
    sent = request._raw_headers or request.headers.raw
    return [field for field in fields if field[0] not in nominated or field not in sent]


def nominees(connection: bytes) -> set[bytes]:
    """What a `Connection` names beside the options that every hop knows (RFC 9110 §7.6.1)."""
    if connection in (b"keep-alive", b"close"):
        return set()
    names = {part.strip().lower() for part in connection.split(b",")}
    return names - {b"", b"close", b"keep-alive", b"host", b"content-length"}


def check_framing(request: Request) -> int | None:
    """The declared length of the body, None if there is none; an ambiguous one is refused.

    RFC 9112 §6.1: `Transfer-Encoding` together with `Content-Length` "ought to be handled as an
    error", and §6.3: so must differing or malformed lengths.
    """
    raw = request.headers.raw
    names = [name for name, _ in raw]
    for name in _FRAMED_ONCE:
        if names.count(name) > 1:
            raise Rejected(400, f"The field {name.decode()} occurs more than once.")
    if b"transfer-encoding" in names:
        if b"content-length" in names:
            raise Rejected(400, "Content-Length and Transfer-Encoding exclude each other.")
        codings = [value.strip().lower() for name, value in raw if name == b"transfer-encoding"]
        if codings != [b"chunked"]:
            raise Rejected(501, "The only transfer coding understood is chunked.")
    if b"content-length" not in names:
        return None
    length = raw[names.index(b"content-length")][1]
    if not length.isdigit():
        raise Rejected(400, "Content-Length is not a number.")
    return int(length)


def forwarded_fields(request: Request, prefix: str) -> RawHeaders:
    """`X-Forwarded-*` and `Forwarded` for this hop.

    What the peer said is kept only if the peer is trusted (`ClientIP` decides that): then its
    address is added to the list, and the scheme and host that it names stay.
    """
    address = request.client[0] if request.client else "unknown"
    if not request.trusted_peer:
        return list(_said_of(address, request.scheme, request.host, prefix))
    headers = request.headers
    scheme = headers.get("x-forwarded-proto", request.scheme)
    host = headers.get("x-forwarded-host", request.host)
    prefix = headers.get("x-forwarded-prefix", "") + prefix
    fields = dict(_said_of(address, scheme, host, prefix))
    for name, key in (("x-forwarded-for", b"x-forwarded-for"), ("forwarded", b"forwarded")):
        said = [value.encode("latin-1") for value in headers.getlist(name)]
        fields[key] = b", ".join([*said, fields[key]])
    return list(fields.items())


@lru_cache(1024)
def _said_of(address: str, scheme: str, host: str, prefix: str) -> tuple[tuple[bytes, bytes], ...]:
    """The fields of one hop; a client that comes again asks for the same ones."""
    # RFC 7239 §6: an IPv6 address stands in brackets and, for its colons, in quotes.
    node = f'"[{address}]"' if ":" in address else address
    element = f"for={node};proto={scheme}"
    fields = [
        (b"x-forwarded-for", address.encode("latin-1")),
        (b"x-forwarded-proto", scheme.encode("latin-1")),
    ]
    if host:
        fields.append((b"x-forwarded-host", host.encode("latin-1")))
        if '"' not in host and "\\" not in host:
            element += f';host="{host}"'
    if prefix:
        fields.append((b"x-forwarded-prefix", quote(prefix, safe="/").encode("ascii")))
    fields.append((b"forwarded", element.encode("latin-1")))
    return tuple(fields)
