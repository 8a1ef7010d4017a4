"""Log records as JSON, one line each; see `access_log`."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import cast

from gatekit._core.trace import current_trace
from gatekit.middleware._redact import REDACTED, SECRET_PARAMETERS, fold, folded, redact_url
from gatekit.middleware._scrub import SECRET_FIELDS
from gatekit.middleware.correlation import correlation_id

# What the logging module itself puts into a record; all else came in by `extra`.
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "gatekit"}

_SECRET_FIELDS = fold(SECRET_FIELDS)
_SECRET_PARAMETERS = fold(SECRET_PARAMETERS)


class JSONFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message` and what the record adds.

    The members of an access record stand beside these, as does whatever other records were given
    by `extra`; `exception` and `stack` hold tracebacks. Within a request `correlation_id` is added,
    and where it is traced `trace_id` and `span_id`.
    The line is ASCII and no value can break it. What `extra` gave under the name of a secret is
    redacted, and so are secrets in the query of what is shown by its `str`, as a request of
    Django's is. `time` is RFC 3339 in UTC; `datefmt` and a format
    string are ignored.
    """

    def format(self, record: logging.LogRecord) -> str:
        members: dict[str, object] = {
            "time": rfc3339(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := correlation_id.get()) is not None:
            members["correlation_id"] = current
        if (trace := current_trace()) is not None:
            members["trace_id"], members["span_id"] = trace.trace_id, trace.span_id
        members |= {
            name: REDACTED if folded(name) in _SECRET_FIELDS else value
            for name, value in record.__dict__.items()
            if name not in _OWN
        }
        members |= cast("dict[str, object]", record.__dict__.get("gatekit", {}))
        if record.exc_info and record.exc_info[0] is not None:
            members["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            members["exception"] = record.exc_text
        if record.stack_info:
            members["stack"] = self.formatStack(record.stack_info)
        return _line(members)


def rfc3339(seconds: float) -> str:
    """A moment in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")


def _shown(value: object) -> str:
    return redact_url(str(value), _SECRET_PARAMETERS)


def _line(members: dict[str, object]) -> str:
    try:
        return json.dumps(members, default=_shown, skipkeys=True, allow_nan=False)
    except (ValueError, RecursionError):
        # A NaN, which JSON has no word for, or a value that contains itself.
        return json.dumps({name: _shown(value) for name, value in members.items()}, skipkeys=True)
