"""Fields after a response's body (RFC 9110 §6.5), where the client wants them and the server can.

ask_for_trailers(request, fields)              # `TE: trailers` goes on
pass_trailers(request, answer, response)       # `Trailer` comes back, and the fields at the end

Everywhere else they are dropped, as §6.5.1 allows; `Trailer` goes with them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from gatekit._core.messages import Request, Response
from gatekit.proxy.fields import NOT_RETURNED, nominees
from gatekit.proxy.transport.exchange import UpstreamResponse
from gatekit.typing import RawHeaders

# RFC 9110 §6.5.1: not what is needed before the body, for framing, routing, authentication,
# response control, or to know what the body is.
_NOT_AT_THE_END = NOT_RETURNED | {
    b"age",
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"date",
    b"expires",
    b"host",
    b"location",
    b"retry-after",
    b"set-cookie",
    b"vary",
    b"warning",
    b"www-authenticate",
}


def ask_for_trailers(request: Request, fields: RawHeaders) -> None:
    """Tell the upstream that trailers find their way; `TE` is for one hop (RFC 9110 §10.1.4)."""
    if request.takes_trailers and not request.is_websocket:
        fields += [(b"te", b"trailers"), (b"connection", b"te")]


def pass_trailers(request: Request, answer: UpstreamResponse[Any], response: Response) -> None:
    """Announce what the upstream announced; what comes of it is known at the end of the body."""
    if not request.takes_trailers or (isinstance(answer.body, bytes) and not answer.trailers):
        return
    for name, value in answer.headers:
        if name == b"trailer":
            response.headers.extend([(name, value)])
    response.trailers = partial(_returned, answer)


def _returned(answer: UpstreamResponse[Any]) -> RawHeaders:
    nominated: set[bytes] = set()
    for name, value in answer.headers:
        if name == b"connection":
            nominated |= nominees(value)
    return [
        field
        for field in answer.trailers
        if field[0] not in _NOT_AT_THE_END and field[0] not in nominated
    ]
