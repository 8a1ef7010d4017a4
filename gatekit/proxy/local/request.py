"""What both kinds of app of this process are told of a request, and what their answers mean."""

from __future__ import annotations

from gatekit.errors import UpstreamError
from gatekit.proxy.transport.exchange import UpstreamRequest
from gatekit.proxy.transport.origin import Origin
from gatekit.typing import RawHeaders


def framed_fields(origin: Origin, request: UpstreamRequest) -> RawHeaders:
    """The fields as they would have arrived: with a `Host`, and with the framing of the body."""
    fields = [
        (name.lower(), value)
        for name, value in request.headers
        if name.lower() not in (b"content-length", b"transfer-encoding")
    ]
    if not any(name == b"host" for name, _ in fields):
        fields.insert(0, (b"host", origin.authority))
    body = request.body
    length = body[1] if isinstance(body, tuple) else len(body) if body is not None else None
    if length is not None:
        fields.append((b"content-length", str(length).encode("ascii")))
    elif isinstance(body, tuple):
        fields.append((b"transfer-encoding", b"chunked"))
    return fields


def is_bodiless(method: bytes, status: int) -> bool:
    """RFC 9112 §6.3: whatever the fields say, nothing follows."""
    return method == b"HEAD" or status in (204, 304)


def length_of(fields: RawHeaders) -> int | None:
    """What `Content-Length` declares; an app that declares nonsense has failed."""
    for name, value in fields:
        if name == b"content-length":
            if not value.isdigit():
                raise UpstreamError("protocol", "the app's Content-Length is no number")
            return int(value)
    return None
