"""What an access record says, as a dict of plain values.

    Record(headers=("accept",), secret_headers=..., query=True, secret_parameters=..., clock=...)
        .of_response(request, outcome, flag)

Every text from a client is one line: control characters are escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gatekit._core.text import printable
from gatekit.middleware._redact import REDACTED, redact_query, redact_url

if TYPE_CHECKING:
    from gatekit._core.decisions import Decision
    from gatekit._core.flags import Flag
    from gatekit._core.messages import Outcome, Request

# The reasons that a `Cache` gives, among the decisions of the others.
_CACHE = frozenset({"hit", "stale", "miss", "bypass", "uncached"})


class Record:
    """Makes records; holds nothing of a request."""

    __slots__ = ("_clock", "_headers", "_query", "_second", "_secret_headers", "_secret_parameters")

    def __init__(
        self,
        *,
        headers: tuple[str, ...],
        secret_headers: frozenset[str],
        query: bool,
        secret_parameters: frozenset[str],
        clock: Callable[[], float],
    ) -> None:
        self._headers = headers
        self._secret_headers = secret_headers
        self._query = query
        self._secret_parameters = secret_parameters
        self._clock = clock
        # The second that was written out last: most records share it with the one before.
        self._second: tuple[int, str] = (0, "1970-01-01T00:00:00")

    def of_request(self, request: Request) -> dict[str, object]:
        """What is known when it comes, by what stands further out."""
        return self._asked(request, "request", self._clock(), route_of(request))

    def of_response(
        self, request: Request, outcome: Outcome, flag: Flag | None, route: str
    ) -> dict[str, object]:
        """All of it. Seconds are rounded to microseconds."""
        upstream, first = request.upstream_time, outcome.first_byte
        duration = outcome.duration
        members = self._asked(request, "response", self._clock() - duration, route)
        identity = request.identity
        if identity is not None:
            members["identity"] = _text(identity.subject)
            members["tenant"] = _text(getattr(identity, "tenant", None))
        error, upstream_error = outcome.error, request.upstream_error
        members["status"] = outcome.status
        members["outcome"] = outcome.ended
        members["flag"] = None if flag is None else flag.code
        members["error_source"] = None if flag is None else flag.source
        members["error"] = None if error is None else type(error).__qualname__
        members["upstream_error"] = None if upstream_error is None else upstream_error.stage
        members["duration"] = round(duration, 6)
        members["first_byte"] = None if first is None else round(first, 6)
        if upstream is None:
            members["upstream_time"] = members["gateway_time"] = None
        else:
            members["upstream_time"] = round(upstream, 6)
            spent = (duration if first is None else first) - upstream
            members["gateway_time"] = round(spent, 6) if spent > 0 else 0.0
        members["bytes_sent"] = outcome.sent
        members["bytes_received"] = outcome.received
        if request.attempts:
            members["attempts"] = [
                {"destination": where, "result": result, "seconds": round(seconds, 6)}
                for where, result, seconds in request.attempts
            ]
        decisions = request._decisions
        if decisions:
            members["decisions"] = [
                {"policy": policy, "decision": ruling, "reason": reason}
                for policy, ruling, reason in decisions
            ]
            members["cache"] = _cached(decisions)
        close = request.websocket_close
        if close is not None:
            members["websocket_close"] = {
                **close._asdict(),
                "reason": printable(close.reason),
                "duration": round(close.duration, 6),
            }
        return members

    def _asked(self, request: Request, kind: str, began: float, route: str) -> dict[str, object]:
        headers, client, trace = request.headers, request.client_ip, request.trace
        if client is None and (peer := request.client) is not None:
            client = peer[0]
        host = agent = None
        for name, value in headers.raw:  # once, and not once for each
            if name == b"host":
                host = host or value
            elif name == b"user-agent":
                agent = agent or value
        members: dict[str, object] = {
            "kind": kind,
            "timestamp": self._timestamp(began),
            "correlation_id": request.correlation_id,
            "trace_id": None if trace is None else trace.trace_id,
            "client": None if client is None else printable(client),
            "identity": None,
            "tenant": None,
            "method": printable(request.method),
            "scheme": request.scheme,
            "host": "" if host is None else printable(host.decode("latin-1")),
            "path": printable(request.root_path + request.path),
            "query": self._redacted(request.query) if self._query else None,
            "route": route,
            "http_version": request.http_version,
            "websocket": request.is_websocket,
            "user_agent": None if agent is None else printable(agent.decode("latin-1")),
        }
        if self._headers:
            members["headers"] = {
                name: self._header(name, values)
                for name in self._headers
                if (values := headers.getlist(name))
            }
        return members

    def _timestamp(self, seconds: float) -> str:
        whole = int(seconds // 1)
        second, text = self._second
        if second != whole:
            text = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = (whole, text)
        return f"{text}.{int((seconds - whole) * 1000):03d}Z"

    def _redacted(self, query: bytes) -> str:
        if not query:
            return ""
        return printable(redact_query(query.decode("latin-1"), self._secret_parameters))

    def _header(self, name: str, values: list[str]) -> str:
        if name in self._secret_headers:
            return REDACTED
        return printable(redact_url(", ".join(values), self._secret_parameters))


class Sentence:
    """The line for people, written out only where somebody prints it."""

    __slots__ = ("_members",)

    def __init__(self, members: Mapping[str, object]) -> None:
        self._members = members

    def __str__(self) -> str:
        members = self._members
        asked = f"{members['method']} {members['path']}"
        if members["kind"] == "request":
            return f"{asked} …"
        status = "-" if members["status"] is None else members["status"]
        ending = "" if members["outcome"] == "complete" else f" {members['outcome']}"
        return f"{asked} {status}{ending} {members['duration']} s {members['bytes_sent']} bytes"

    __repr__ = __str__


def route_of(request: Request) -> str:
    """A template, never the path: its values must stay few enough to group by."""
    if request.route is not None:
        return request.route.path
    return request.endpoint or "<unmatched>"


def _cached(decisions: list[Decision]) -> str | None:
    for decision in reversed(decisions):
        if decision.reason in _CACHE:
            return decision.reason
    return None


def _text(value: str | None) -> str | None:
    return None if value is None else printable(value)
