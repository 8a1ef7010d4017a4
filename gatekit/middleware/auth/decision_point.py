"""Somebody else decides: a policy engine, a relationship store, a function of yours.

    async def ask_opa(identity: Identity, request: Request) -> Decision: ...

    Require(decide=DecisionPoint(ask_opa, timeout=0.5, ttl=10, key=by_user_and_path))

It answers with a bool, or with a `Decision` whose reason is for the log. What it raises, and under
ASGI an answer that is later than `timeout`, is met by `on_error`.

Under WSGI `ask` has to be a plain function, and to keep to the time by itself. A plain function
under ASGI holds the event loop up while it waits: give an async one, or both, `ask` and `aask`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Literal, TypeAlias, get_args

from gatekit._core.flight import Flights
from gatekit._core.io import resolve
from gatekit._core.latch import Latch
from gatekit._core.messages import Request
from gatekit._core.options import (
    function_problem,
    integer_problem,
    known_keywords,
    seconds_problem,
)
from gatekit.errors import MisuseError, check
from gatekit.middleware.auth._requirement import Check, Verdict, verdict_of
from gatekit.middleware.auth.identity import Identity

OnError: TypeAlias = Literal["deny", "allow"]
CacheKey: TypeAlias = "Callable[[Identity, Request], Hashable]"

logger = logging.getLogger("gatekit.auth")


@known_keywords
class DecisionPoint:
    """Asks `ask(identity, request)`; durations are seconds.

    Answers are kept for `ttl` under what `key` gives, which has to name everything that they depend
    on; requests with the same key ask once. None for a key asks anew. `on_error="allow"` lets in
    whom nobody could decide about.
    """

    __slots__ = (
        "_allows",
        "_ask",
        "_by_colour",
        "_flights",
        "_kept",
        "_key",
        "_latch",
        "_most",
        "_timeout",
        "_ttl",
    )  # fmt: skip

    def __init__(
        self,
        ask: Check,
        *,
        aask: Check | None = None,
        timeout: float = 1.0,
        ttl: float = 0.0,
        key: CacheKey | None = None,
        max_entries: int = 10_000,
        on_error: OnError = "deny",
    ) -> None:
        check(
            "DecisionPoint",
            ask=function_problem(ask, takes_async=aask is None) or _missing_problem(ask),
            aask=function_problem(aask, takes_async=True),
            timeout=seconds_problem(timeout),
            ttl=_ttl_problem(ttl, key),
            key=function_problem(key),
            max_entries=integer_problem(max_entries, 1),
            on_error=None if on_error in get_args(OnError) else "must be 'deny' or 'allow'",
        )
        self._ask = ask  # kept by its name for the WSGI door to look at
        self._by_colour = {False: ask, True: aask or ask}
        self._timeout = timeout
        self._ttl = ttl
        self._key = key
        self._most = max_entries
        self._allows = on_error == "allow"
        self._kept: dict[Hashable, tuple[float, Verdict]] = {}
        self._latch = Latch()
        self._flights: Flights[Verdict] = Flights()

    async def judge(self, request: Request, identity: Identity) -> Verdict:
        """`Verdict.reason` begins with "error" where nobody decided."""
        key = None if self._key is None else self._key(identity, request)
        io = request.io
        if key is not None:
            kept = self._kept.get(key)
            if kept is not None and io.now() < kept[0]:
                return kept[1]
        try:
            if key is None:
                return await self._question(request, identity)
            return await self._flights.join(
                io, key, lambda: self._question_and_keep(request, identity, key)
            )
        except MisuseError:
            raise
        except Exception as error:
            logger.warning("the decision point failed: %s", type(error).__name__)
            return Verdict(self._allows, f"error: {type(error).__name__}")

    async def _question_and_keep(
        self, request: Request, identity: Identity, key: Hashable
    ) -> Verdict:
        verdict = await self._question(request, identity)
        lock = self._latch.take()
        try:
            self._kept.pop(key, None)
            self._kept[key] = (request.io.now() + self._ttl, verdict)
            if len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
        finally:
            lock.release()
        return verdict

    async def _question(self, request: Request, identity: Identity) -> Verdict:
        ask: Callable[[Identity, Request], object | Awaitable[object]]
        ask = self._by_colour[request.io.is_async]
        async with request.io.timeout(self._timeout):
            answer = await resolve(ask(identity, request))
        return verdict_of(answer, ask)

    def __repr__(self) -> str:
        return f"DecisionPoint({self._ask!r})"


def _missing_problem(ask: object) -> str | None:
    return "must be a function of the identity and the request" if ask is None else None


def _ttl_problem(ttl: object, key: object) -> str | None:
    if ttl != 0 and (problem := seconds_problem(ttl)):
        return problem
    if (ttl == 0) is not (key is None):
        return "needs key, which says what an answer is good for; and key needs ttl"
    return None
