"""What a client is told when an upstream failed: a status, a problem, and `Proxy-Status`.

The failure itself has a name, `UpstreamError.stage`, which is for logs and metrics. Its detail may
hold addresses and is never sent.
"""

from __future__ import annotations

from typing import NamedTuple

from gatekit._core.messages import Request, Response
from gatekit._core.problems import problem
from gatekit.errors import Stage, UpstreamError


class Failure(NamedTuple):
    """How one stage is answered; `proxy_error` is the type of RFC 9209 §2.3."""

    status: int
    type: str
    proxy_error: str
    detail: str


_CANNOT_CONNECT = "The upstream service cannot be reached."
_BROKEN = "The upstream service broke off its answer."
_LATE = "The upstream service did not answer in time."

FAILURES: dict[Stage, Failure] = {
    "no_destination": Failure(
        503,
        "no-destination",
        "destination_unavailable",
        "No destination of this service is available.",
    ),
    "dns": Failure(502, "upstream-unreachable", "dns_error", _CANNOT_CONNECT),
    "connect": Failure(502, "upstream-unreachable", "connection_refused", _CANNOT_CONNECT),
    "tls": Failure(502, "upstream-unreachable", "tls_protocol_error", _CANNOT_CONNECT),
    "connect_timeout": Failure(504, "upstream-timeout", "connection_timeout", _LATE),
    "first_byte_timeout": Failure(504, "upstream-timeout", "http_response_timeout", _LATE),
    "idle_timeout": Failure(504, "upstream-timeout", "connection_read_timeout", _LATE),
    "attempt_timeout": Failure(504, "upstream-timeout", "http_response_timeout", _LATE),
    "total_timeout": Failure(504, "upstream-timeout", "http_response_timeout", _LATE),
    "pool_full": Failure(
        503, "upstream-busy", "connection_limit_reached", "The upstream service is busy."
    ),
    "pool_timeout": Failure(
        503, "upstream-busy", "connection_limit_reached", "The upstream service is busy."
    ),
    "send": Failure(502, "upstream-broken", "connection_terminated", _BROKEN),
    "reset": Failure(502, "upstream-broken", "connection_terminated", _BROKEN),
    "closed": Failure(502, "upstream-broken", "http_response_incomplete", _BROKEN),
    "protocol": Failure(
        502, "upstream-broken", "http_protocol_error", "The upstream's answer is malformed."
    ),
    "body_client": Failure(
        400, "request-incomplete", "http_request_error", "The request's body is not as declared."
    ),
}


def failed(request: Request, error: UpstreamError, name: str) -> Response:
    """The answer for a failed upstream. The error itself stays on the request, for the log."""
    failure = FAILURES[error.stage]
    request.note_upstream(None, error)
    headers = {"proxy-status": f"{name}; error={failure.proxy_error}"}
    if failure.status == 503:
        headers["retry-after"] = "1"
    return problem(
        failure.status,
        failure.detail,
        type=f"urn:gatekit:{failure.type}",
        headers=headers,
        instance=request.correlation_id,
    )
