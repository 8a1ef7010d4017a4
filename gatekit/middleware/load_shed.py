"""Refuses what has already waited too long for the event loop, or for a worker: 503.

    LoadShed(0.1)
    LoadShed(0.5, header="X-Request-Start")     # nginx: proxy_set_header X-Request-Start "t=$msec";

An app that computes keeps its event loop busy, and requests pile up where no middleware sees them:
one after another each gets its turn, later and later, until all answers come when their clients
have given up. Here the first request in each round of the loop notes the time, and one whose turn
comes more than `max_lag` seconds after that is refused, which costs next to nothing. Those before
it are answered in time.

Under WSGI there is no loop, and only the server knows its backlog. With `header` a proxy of the
house says when it received the request, under WSGI and ASGI alike.

Put it outermost but for what has to see every response: who is refused should cost little.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from math import ceil

from gatekit._core.decisions import Decision, note
from gatekit._core.messages import Request, Response
from gatekit._core.options import (
    flag_problem,
    function_problem,
    known_keywords,
    name_problem,
    seconds_problem,
    string_problem,
)
from gatekit._core.problems import problem
from gatekit.errors import check
from gatekit.typing import Handler

# Seconds with a fraction (nginx's $msec), or whole milli- or microseconds (Heroku, HAProxy).
_START = re.compile(r"(?:t=)?([0-9]{10}(?:\.[0-9]{1,9})?|[0-9]{13}|[0-9]{16})")


@known_keywords
class LoadShed:
    """At most `max_lag` seconds between a request's coming and its turn.

    `header` names the field in which a trusted peer says when it received the request; from anybody
    else it is not believed, so it needs a `ClientIP` further out. `clock` is the time of day.
    """

    __slots__ = ("_clock", "_header", "_max_lag", "_retry_after", "_rounds", "_shadow", "name")

    def __init__(
        self,
        max_lag: float = 0.1,
        *,
        header: str | None = None,
        retry_after: float = 1.0,
        shadow: bool = False,
        name: str = "load-shed",
        clock: Callable[[], float] = time.time,
    ) -> None:
        check(
            "LoadShed",
            max_lag=seconds_problem(max_lag),
            header=None if header is None else name_problem(header),
            retry_after=seconds_problem(retry_after),
            shadow=flag_problem(shadow),
            name=string_problem(name),
            clock=function_problem(clock),
        )
        self.name = name
        self._max_lag = float(max_lag)
        self._header = header
        self._retry_after = str(max(1, ceil(retry_after)))
        self._shadow = shadow
        self._clock = clock
        # When the present round of each loop came to its first request; gone when it is over.
        self._rounds: dict[asyncio.AbstractEventLoop, float] = {}

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        lag = self._lag(request) if request.io.is_async else 0.0
        if self._header is not None and lag <= self._max_lag and request.trusted_peer:
            lag = max(lag, self._since(request.headers.get(self._header, "")))
        if lag <= self._max_lag:
            return await call_next(request)
        ruling = Decision(
            self.name, "shadow_deny" if self._shadow else "deny", "waited too long for its turn"
        )
        note(request, ruling)
        if self._shadow:
            return await call_next(request)
        return problem(
            503,
            "The service has more to do than it can take on.",
            type="urn:gatekit:overloaded",
            headers={"retry-after": self._retry_after},
            instance=request.correlation_id,
        )

    def _lag(self, request: Request) -> float:
        loop = asyncio.get_running_loop()
        now = request.io.now()
        began = self._rounds.setdefault(loop, now)
        if began is now:
            loop.call_soon(self._rounds.pop, loop, None)
        return now - began

    def _since(self, field: str) -> float:
        """Seconds; what is no time, or is still to come by this clock, is none."""
        match = _START.fullmatch(field)
        if match is None:
            return 0.0
        digits = match[1]
        start = float(digits) / {13: 1e3, 16: 1e6}.get(len(digits) if "." not in digits else 0, 1.0)
        return max(0.0, self._clock() - start)

    def __repr__(self) -> str:
        return f"LoadShed({self._max_lag:g})"
