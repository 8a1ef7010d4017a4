"""For an authorised debug request: what each policy decided, and why.

    trace = DecisionTrace(key=b"...", log=True)
    gateway = Gateway(CorrelationId(), trace, ...)

    $ curl -H "X-Gatekit-Trace: $(python -c 'from shop import trace; print(trace.token(300))')" …
    X-Gatekit-Trace: bearer;decision=allow;reason="authenticated",
                     rate-limit;decision=deny;reason="over 100-per-minute"
    Server-Timing: total;dur=3.1, upstream;dur=2.5, rate-limit;desc="deny: over 100-per-minute"

Authorised is who sends a token made with the key, before it expires, or a request for which a
function says so. Anybody else is told nothing, and pays for one look at the header fields. The
token is taken off the request: no upstream and no log sees it.

Put it outside of what it shall tell of. A traced answer is `Cache-Control: no-store`, so that no
cache further out gives it to others. The record in the log is written at the end of the exchange,
and has what was decided after the head as well.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable, Iterable

from gatekit._core.attempt import Attempt
from gatekit._core.compose import Predicate, answered
from gatekit._core.decisions import Decision
from gatekit._core.io import resolve
from gatekit._core.messages import Outcome, Request, Response
from gatekit._core.options import (
    flag_problem,
    function_problem,
    hmac_key_problem,
    known_keywords,
    name_problem,
    seconds_problem,
)
from gatekit.errors import ConfigurationError, check
from gatekit.typing import Handler

logger = logging.getLogger("gatekit.trace")

_TOKEN = re.compile(r"([0-9]{1,12})\.([A-Za-z0-9_-]{43})")
_UNFIT = re.compile(r"[^!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")

# Characters: servers and proxies refuse heads of some 8 KiB, and there are other fields.
_LONGEST = 3_000


@known_keywords
class DecisionTrace:
    """With a `key`, of at least 16 bytes, a request that carries a `token` is traced.

    So is one for which `authorised` is true. `header` is the field of the token, and that of the
    answer; `timing=False` leaves out `Server-Timing`, `respond=False` both. `log=True` writes a
    record to the logger `gatekit.trace`. `clock` gives seconds since 1970.
    """

    __slots__ = ("_authorised", "_clock", "_field", "_key", "_log", "_respond", "_timing", "header")

    def __init__(
        self,
        *,
        key: bytes | None = None,
        authorised: Predicate | None = None,
        header: str = "X-Gatekit-Trace",
        respond: bool = True,
        timing: bool = True,
        log: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        neither = key is None and authorised is None
        check(
            "DecisionTrace",
            key="is needed where there is no authorised function"
            if neither
            else None
            if key is None
            else hmac_key_problem(key),
            authorised=function_problem(authorised, takes_async=True),
            header=name_problem(header),
            respond=flag_problem(respond),
            timing=flag_problem(timing),
            log=flag_problem(log),
            clock=function_problem(clock),
        )
        self.header = header.lower()
        self._field = self.header.encode("ascii")
        self._key = key
        self._authorised = (authorised,)
        self._respond = respond
        self._timing = timing
        self._log = log
        self._clock = clock

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        field, token = self._field, None
        for name, value in request.headers.raw:
            if name == field:
                token = value
                break
        authorised = self._authorised[0]
        if token is None and authorised is None:
            return await call_next(request)
        is_meant = token is not None and self._is_good(token)
        if token is not None:
            del request.headers[self.header]
        if not is_meant and (authorised is None or not await resolve(authorised(request))):
            return await call_next(request)
        return await self._traced(request, call_next)

    def token(self, seconds: float = 300.0) -> str:
        """What a client sends to be told, for so many seconds; nobody makes it without the key."""
        check("DecisionTrace.token", seconds=seconds_problem(seconds))
        if self._key is None:
            raise ConfigurationError("DecisionTrace.token", {"key": "there is none"})
        expires = str(int(self._clock() + seconds))
        return f"{expires}.{_signature(self._key, expires)}"

    def _is_good(self, value: bytes) -> bool:
        found = _TOKEN.fullmatch(value.decode("latin-1"))
        if self._key is None or found is None:
            return False
        expires, signature = found.groups()
        # First the signature, in a time that does not depend on where it differs.
        is_ours = hmac.compare_digest(_signature(self._key, expires), signature)
        return is_ours and int(expires) > self._clock()

    async def _traced(self, request: Request, call_next: Handler) -> Response:
        began = request.io.now()
        if self._log:
            request.on_finish(lambda outcome: _write(request, outcome))
        response = await answered(request, call_next)
        if not self._respond:
            return response
        decisions = request.decisions
        headers = response.headers
        # What the app or an upstream says under this name is not ours.
        del headers[self.header]
        if decisions:
            headers[self.header] = _list(map(_member, decisions))
        if self._timing:
            headers.add("server-timing", _list(_timings(request, request.io.now() - began)))
        headers["cache-control"] = "no-store"
        return response


def _signature(key: bytes, expires: str) -> str:
    digest = hmac.new(key, b"gatekit-trace." + expires.encode("ascii"), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _member(decision: Decision) -> str:
    """A token with parameters (RFC 9651 §3.1.2)."""
    policy, ruling, reason = decision
    return f"{_name(policy)};decision={ruling};reason={_quoted(reason)}"


def _timings(request: Request, seconds: float) -> Iterable[str]:
    """The metrics of Server-Timing, milliseconds where there is a duration."""
    yield f"total;dur={seconds * 1000:.3f}"
    if request.upstream_time is not None:
        yield f"upstream;dur={request.upstream_time * 1000:.3f}"
    for number, (_, result, spent) in enumerate(request.attempts, 1):
        yield f"attempt-{number};dur={spent * 1000:.3f};desc={_quoted(str(result))}"
    for policy, ruling, reason in request.decisions:
        yield f"{_name(policy)};desc={_quoted(f'{ruling}: {reason}')}"


def _list(members: Iterable[str]) -> str:
    """As many as fit, each of them whole."""
    taken: list[str] = []
    left = _LONGEST
    for member in members:
        left -= len(member) + 2
        if left < 0:
            taken.append("more")
            break
        taken.append(member)
    return ", ".join(taken)


def _name(policy: str) -> str:
    """As a token, which in a structured field begins with a letter or `*`."""
    name = _UNFIT.sub("-", policy)
    return name if name[:1].isalpha() else f"*{name}"


def _quoted(text: str) -> str:
    text = _UNPRINTABLE.sub("?", text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _write(request: Request, outcome: Outcome) -> None:
    members: dict[str, object] = {
        "correlation_id": request.correlation_id,
        "status": outcome.status,
        "duration": round(outcome.duration, 6),
        "upstream_time": request.upstream_time,
        "attempts": [_attempt(attempt) for attempt in request.attempts],
        "decisions": [
            {"policy": policy, "decision": ruling, "reason": reason}
            for policy, ruling, reason in request.decisions
        ],
    }
    ruled = ", ".join(f"{policy} {ruling}" for policy, ruling, _ in request.decisions)
    logger.info("traced: %s", ruled or "nothing decided", extra={"gatekit": members})


def _attempt(attempt: Attempt) -> dict[str, object]:
    return {
        "destination": attempt.destination,
        "result": attempt.result,
        "seconds": round(attempt.seconds, 6),
    }
