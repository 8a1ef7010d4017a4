"""Problem details for HTTP APIs (RFC 9457): how gatekit answers what it refuses.

return problem(429, "Try again in 12 seconds.", type="urn:gatekit:rate-limited")
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from gatekit._core.messages import Request, Response
from gatekit.errors import Rejected

_TITLES = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",  # RFC 9110's names, which http.HTTPStatus took up later
    414: "URI Too Long",
    422: "Unprocessable Content",
    499: "Client Closed Request",
}

# Seconds: an event loop that counts whole milliseconds (uvloop) fires a timer this much too soon.
_EARLY = 0.005


def reason(status: int) -> str:
    """The reason phrase of a status, for status lines and problem titles."""
    return _TITLES.get(status, "Unknown")


def problem(
    status: int,
    detail: str | None = None,
    *,
    title: str | None = None,
    type: str = "about:blank",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    instance: str | None = None,
    **extensions: object,
) -> Response:
    """A response in `application/problem+json`; `extensions` are further members."""
    members: dict[str, object] = {
        "type": type,
        "title": title or reason(status),
        "status": status,
    }
    if detail is not None:
        members["detail"] = detail
    if instance is not None:
        members["instance"] = instance
    members.update(extensions)
    response = Response(status, headers, json.dumps(members, separators=(",", ":")).encode())
    response.headers["content-type"] = "application/problem+json"
    response.problem = members
    return response


def rejection(request: Request, rejected: Rejected) -> Response:
    """The answer that an exception asks for."""
    return problem(
        rejected.status,
        rejected.detail,
        title=rejected.title,
        type=rejected.type,
        headers=rejected.headers,
        instance=request.correlation_id,
        **rejected.extensions,
    )


def timed_out(request: Request) -> Response:
    """The head did not come in time (RFC 9110 §15.6.5)."""
    return problem(504, type="urn:gatekit:timeout", instance=request.correlation_id)


def ran_late(request: Request, error: BaseException) -> bool:
    """Whether this is the request's own deadline, and not some timeout inside the app."""
    deadline = request.deadline
    return (
        isinstance(error, TimeoutError)
        and deadline is not None
        and request.io.now() >= deadline - _EARLY
    )


def not_carried(request: Request) -> Response:
    """A WebSocket was asked for, or given, where there is none."""
    return problem(
        501,
        "WebSockets are not carried here.",
        type="urn:gatekit:websocket-not-carried",
        instance=request.correlation_id,
    )


def internal_error(request: Request) -> Response:
    """A 500 that says nothing of its cause; the cause is in the log."""
    return problem(500, type="urn:gatekit:internal-error", instance=request.correlation_id)
