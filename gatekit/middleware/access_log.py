"""One structured record for each request, at its last byte.

    app = asgi(app, CorrelationId(), AccessLog(sample=0.1, slow=1.0))

    logging.config.dictConfig({
        "version": 1,
        "formatters": {"json": {"()": "gatekit.JSONFormatter"}},
        "handlers": {"out": {"()": "gatekit.QueueSink", "formatter": "json"}},
        "loggers": {"gatekit.access": {"level": "INFO", "handlers": ["out"]}},
    })

The record's message is one line for people; its `gatekit` attribute is a dict for machines, which
`JSONFormatter` writes out. A logger of structlog is given the same as keywords. Secrets in the
query, in logged header fields and in what `fields` adds are redacted, and no text from a client can
begin a new line.

`status` is that of the head that was sent, None if none was; `outcome` says how the exchange ended.
A download that broke off half-way is a 200 that `failed` or was `abandoned`. `flag` says why, in
three letters of a registry, and `error_source` whose failure it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from random import Random
from typing import Protocol, TypeAlias, cast

from gatekit._core.flags import flag_of
from gatekit._core.messages import Outcome, Request, Response
from gatekit._core.options import (
    each_problem,
    flag_problem,
    function_problem,
    hmac_key_problem,
    integer_problem,
    known_keywords,
    name_problem,
    seconds_problem,
    string_problem,
)
from gatekit.errors import check
from gatekit.middleware._access_event import event
from gatekit.middleware._access_record import Record, Sentence, route_of
from gatekit.middleware._json_formatter import JSONFormatter
from gatekit.middleware._redact import SECRET_HEADERS, SECRET_PARAMETERS, fold
from gatekit.middleware._sampling import Rates, Sampling, rates_problem
from gatekit.middleware._scrub import SECRET_FIELDS, Scrubber
from gatekit.typing import Handler

__all__ = ["AccessLog", "JSONFormatter"]

Fields: TypeAlias = Callable[[Request, Outcome], Mapping[str, object]]

logger = logging.getLogger("gatekit")


class BoundLogger(Protocol):
    """A logger of structlog's kind: the event, and keywords."""

    def log(self, level: int, event: str, /, **members: object) -> object: ...


@known_keywords
class AccessLog:
    """Writes to a logger, `gatekit.access` unless told otherwise, with one level for all.

    `fields` adds members of your own, and wins over those of the same name; `skip` leaves out the
    requests for which it is true, such as health checks. `requests=True` writes a record when a
    request comes, too. `log_headers` names request header fields to record, where `redact_headers`
    are shown as present but not what they say. `log_query=False` leaves the query out;
    `redact_query` names the parameters whose values are not shown, `redact_fields` the members.
    `hash_fields` are paths whose values are shown as an HMAC-SHA256 with `hash_key`.

    `sample` is the part of the requests that is logged, from 0 to 1, by route template or a
    function of the request. Whatever took `slow` seconds, failed, or has a status of at least
    `errors` is logged in any case. `clock` gives seconds since 1970.
    """

    __slots__ = (
        "_bound", "_fields", "_level", "_logger", "_record", "_requests", "_sampling", "_scrubber",
        "_skip",
    )  # fmt: skip

    def __init__(
        self,
        logger: str | logging.Logger | BoundLogger = "gatekit.access",
        *,
        level: int | str = logging.INFO,
        fields: Fields | None = None,
        skip: Callable[[Request], bool] | None = None,
        requests: bool = False,
        log_headers: Collection[str] = (),
        redact_headers: Collection[str] = SECRET_HEADERS,
        log_query: bool = True,
        redact_query: Collection[str] = SECRET_PARAMETERS,
        redact_fields: Collection[str] = SECRET_FIELDS,
        hash_fields: Collection[str] = (),
        hash_key: bytes | None = None,
        sample: Rates = 1.0,
        slow: float | None = None,
        errors: int = 400,
        clock: Callable[[], float] = time.time,
        chance: Random | None = None,
    ) -> None:
        number = logging.getLevelNamesMapping().get(level) if isinstance(level, str) else level
        check(
            "AccessLog",
            log_query=flag_problem(log_query),
            logger=_logger_problem(logger),
            level=None if isinstance(number, int) else f"{level!r} is not a level of logging",
            fields=function_problem(fields),
            skip=function_problem(skip),
            requests=flag_problem(requests),
            log_headers=each_problem(log_headers, name_problem),
            redact_headers=each_problem(redact_headers, name_problem),
            redact_query=each_problem(redact_query, string_problem),
            redact_fields=each_problem(redact_fields, string_problem),
            hash_fields=each_problem(hash_fields, string_problem),
            hash_key=_key_problem(hash_key, hash_fields),
            sample=rates_problem(sample),
            slow=None if slow is None else seconds_problem(slow),
            errors=integer_problem(errors, 100),
            clock=function_problem(clock),
        )
        assert number is not None
        named = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._logger = named if isinstance(named, logging.Logger) else None
        self._bound = None if isinstance(named, logging.Logger) else named
        self._level = number
        self._fields = fields
        self._skip = skip
        self._requests = requests
        self._record = Record(
            headers=tuple(name.lower() for name in log_headers),
            secret_headers=frozenset(name.lower() for name in redact_headers),
            query=log_query,
            secret_parameters=fold(redact_query),
            clock=clock,
        )
        self._scrubber = Scrubber(redact=redact_fields, hashed=hash_fields, key=hash_key or b"")
        # Nothing depends on this being hard to guess.
        random = Random() if chance is None else chance  # noqa: S311
        self._sampling = Sampling(sample, slow=slow, errors=errors, chance=random)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if self._logger is not None and not self._logger.isEnabledFor(self._level):
            return await call_next(request)
        entry = _Entry(self, request)
        request.on_finish(entry.finish)
        if self._requests:
            self._write_request(request, entry)
        response = await call_next(request)
        problem = response.problem
        if problem is not None:
            entry.problem = cast("str", problem.get("type"))
        return response

    def _write_request(self, request: Request, entry: _Entry) -> None:
        try:
            if self._skip is not None and self._skip(request):
                return
            entry.luck = self._sampling.draw()
            if entry.luck < self._sampling.expected(request, route_of(request)):
                self._write(self._record.of_request(request))
        except Exception as error:
            logger.error("an AccessLog could not write", exc_info=error)

    def _write_response(self, request: Request, outcome: Outcome, entry: _Entry) -> None:
        if self._skip is not None and self._skip(request):
            return
        route, sampling, rate = route_of(request), self._sampling, 1.0
        if not sampling.is_whole and not sampling.must_keep(request, outcome):
            rate = sampling.expected(request, route)
            if (sampling.draw() if entry.luck is None else entry.luck) >= rate:
                return
        flag = flag_of(request, outcome, entry.problem)
        members = self._record.of_response(request, outcome, flag, route)
        if rate < 1.0:
            members["sample"] = rate
        if self._fields is not None:
            try:
                members.update(self._scrubber.added(self._fields(request, outcome)))
            except Exception as error:
                logger.error("the fields of an AccessLog raised", exc_info=error)
        self._write(members)

    def _write(self, members: dict[str, object]) -> None:
        if self._scrubber.changes_own:
            self._scrubber.whole(members)
        sentence = Sentence(members)
        if self._logger is None:
            assert self._bound is not None
            self._bound.log(self._level, str(sentence), **members)
            return
        self._logger.handle(event(self._logger, self._level, sentence, members))


class _Entry:
    """What is remembered of one request until its end."""

    __slots__ = ("_log", "_request", "luck", "problem")

    def __init__(self, log: AccessLog, request: Request) -> None:
        self._log = log
        self._request = request
        self.luck: float | None = None
        self.problem: str | None = None

    def finish(self, outcome: Outcome) -> None:
        self._log._write_response(self._request, outcome, self)


def _logger_problem(value: object) -> str | None:
    if isinstance(value, str | logging.Logger):
        return None
    if not isinstance(value, type) and callable(getattr(value, "log", None)):
        return None
    return "must be a logger or the name of one"


def _key_problem(key: object, hashed: Collection[str]) -> str | None:
    if key is None:
        return "is needed for hash_fields" if hashed else None
    return hmac_key_problem(key)
