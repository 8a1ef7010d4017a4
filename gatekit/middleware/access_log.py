"""One structured record for each request, at its last byte.

    app = asgi(app, CorrelationId(), AccessLog())

    logging.config.dictConfig({
        "version": 1,
        "formatters": {"json": {"()": "gatekit.JSONFormatter"}},
        "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "json"}},
        "loggers": {"gatekit.access": {"level": "INFO", "handlers": ["out"]}},
    })

The record's message is one line for people; its `gatekit` attribute is a dict for machines, which
`JSONFormatter` writes out. Secrets in the query and in logged header fields are redacted, and no
text from a client can begin a new line.

`status` is that of the head that was sent, None if none was; `outcome` says how the exchange ended.
A download that broke off half-way is a 200 that `failed` or was `abandoned`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from gatekit._core.messages import Outcome, Request, Response
from gatekit._core.options import (
    each_problem,
    flag_problem,
    function_problem,
    known_keywords,
    name_problem,
    string_problem,
)
from gatekit._core.text import printable
from gatekit.errors import check
from gatekit.middleware._json_formatter import JSONFormatter, rfc3339
from gatekit.middleware._redact import (
    REDACTED,
    SECRET_HEADERS,
    SECRET_PARAMETERS,
    fold,
    redact_query,
    redact_url,
)
from gatekit.typing import Handler

__all__ = ["AccessLog", "JSONFormatter"]

Fields: TypeAlias = Callable[[Request, Outcome], Mapping[str, object]]

logger = logging.getLogger("gatekit")


@known_keywords
class AccessLog:
    """Writes to a logger, `gatekit.access` unless told otherwise, with one level for all.

    `fields` adds members of your own, and wins over those of the same name; `skip` leaves out the
    requests for which it is true, such as health checks. `log_headers` names request header fields
    to record, where `redact_headers` are shown as present but not what they say. `log_query=False`
    leaves the query out; `redact_query` names the parameters whose values are not shown.
    `clock` gives seconds since 1970.
    """

    __slots__ = (
        "_clock",
        "_fields",
        "_headers",
        "_level",
        "_logger",
        "_query",
        "_secret_headers",
        "_secret_parameters",
        "_skip",
    )

    def __init__(
        self,
        logger: str | logging.Logger = "gatekit.access",
        *,
        level: int | str = logging.INFO,
        fields: Fields | None = None,
        skip: Callable[[Request], bool] | None = None,
        log_headers: Collection[str] = (),
        redact_headers: Collection[str] = SECRET_HEADERS,
        log_query: bool = True,
        redact_query: Collection[str] = SECRET_PARAMETERS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        number = logging.getLevelNamesMapping().get(level) if isinstance(level, str) else level
        check(
            "AccessLog",
            log_query=flag_problem(log_query),
            logger=_logger_problem(logger),
            level=None if isinstance(number, int) else f"{level!r} is not a level of logging",
            fields=function_problem(fields),
            skip=function_problem(skip),
            log_headers=each_problem(log_headers, name_problem),
            redact_headers=each_problem(redact_headers, name_problem),
            redact_query=each_problem(redact_query, string_problem),
        )
        assert number is not None
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._level = number
        self._fields = fields
        self._skip = skip
        self._headers = tuple(name.lower() for name in log_headers)
        self._secret_headers = frozenset(name.lower() for name in redact_headers)
        self._query = log_query
        self._secret_parameters = fold(redact_query)
        self._clock = clock

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if self._logger.isEnabledFor(self._level):
            request.on_finish(lambda outcome: self._write(request, outcome))
        return await call_next(request)

    def _write(self, request: Request, outcome: Outcome) -> None:
        if self._skip is not None and self._skip(request):
            return
        members = self._members(request, outcome)
        if self._fields is not None:
            try:
                members.update(self._fields(request, outcome))
            except Exception as error:
                logger.error("the fields of an AccessLog raised", exc_info=error)
        self._logger.log(self._level, "%s", _sentence(members), extra={"gatekit": members})

    def _members(self, request: Request, outcome: Outcome) -> dict[str, object]:
        headers = request.headers
        upstream = request.upstream_time
        peer = request.client
        members: dict[str, object] = {
            "timestamp": rfc3339(self._clock() - outcome.duration),
            "correlation_id": request.correlation_id,
            "client": _text(request.client_ip or (peer[0] if peer else None)),
            "identity": _text(getattr(request.identity, "subject", None)),
            "method": printable(request.method),
            "scheme": request.scheme,
            "host": printable(request.host),
            "path": printable(request.url_path),
            "query": self._redacted(request.query) if self._query else None,
            "route": _route(request),
            "http_version": request.http_version,
            "websocket": request.is_websocket,
            "user_agent": _text(headers.get("user-agent")),
            "status": outcome.status,
            "outcome": outcome.ended,
            "error": None if outcome.error is None else type(outcome.error).__qualname__,
            "upstream_error": None
            if request.upstream_error is None
            else request.upstream_error.stage,
            "duration": _rounded(outcome.duration),
            "first_byte": _rounded(outcome.first_byte),
            "upstream_time": _rounded(upstream),
            "gateway_time": _rounded(None if upstream is None else outcome.duration - upstream),
            "bytes_sent": outcome.sent,
            "bytes_received": outcome.received,
        }
        if self._headers:
            members["headers"] = {
                name: self._header(name, values)
                for name in self._headers
                if (values := headers.getlist(name))
            }
        return members

    def _redacted(self, query: bytes) -> str:
        return printable(redact_query(query.decode("latin-1"), self._secret_parameters))

    def _header(self, name: str, values: list[str]) -> str:
        if name in self._secret_headers:
            return REDACTED
        return printable(redact_url(", ".join(values), self._secret_parameters))


def _route(request: Request) -> str:
    """A template, never the path: its values must stay few enough to group by."""
    if request.route is not None:
        return request.route.path
    return request.endpoint or "<unmatched>"


def _sentence(members: Mapping[str, object]) -> str:
    status = "-" if members["status"] is None else members["status"]
    ending = "" if members["outcome"] == "complete" else f" {members['outcome']}"
    return (
        f"{members['method']} {members['path']} {status}{ending}"
        f" {members['duration']} s {members['bytes_sent']} bytes"
    )


def _text(value: object) -> str | None:
    return None if value is None else printable(str(value))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _logger_problem(value: object) -> str | None:
    if isinstance(value, str | logging.Logger):
        return None
    return "must be a logger or the name of one"
