"""Log records as JSON, one line each; see `access_log`."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import cast

from gatekit.middleware.correlation import correlation_id

# What the logging module itself puts into a record; all else came in by `extra`.
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "gatekit"}


class JSONFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message` and what the record adds.

    The members of an access record stand beside these, as does whatever other records were given
    by `extra`; `exception` and `stack` hold tracebacks. Within a request `correlation_id` is added.
    The line is ASCII and no value can break it. `time` is RFC 3339 in UTC; `datefmt` and a format
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
        members |= {name: value for name, value in record.__dict__.items() if name not in _OWN}
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


def _line(members: dict[str, object]) -> str:
    try:
        return json.dumps(members, default=str, skipkeys=True, allow_nan=False)
    except (ValueError, RecursionError):
        # A NaN, which JSON has no word for, or a value that contains itself.
        return json.dumps({name: str(value) for name, value in members.items()}, skipkeys=True)
