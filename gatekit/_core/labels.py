"""What a request is called where it is counted: few enough words to group by.

A path is never one of them: a scanner would make a series of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatekit._core.messages import Request

METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
"""RFC 9110 §9, RFC 5789 and QUERY; any other counts as `_OTHER`, as semantic conventions ask."""

UNMATCHED = "<unmatched>"


def route_of(request: Request) -> str | None:
    """The gateway's template, else the app's own, which is known when it has answered."""
    route = request.route
    return request.endpoint if route is None else route.path
