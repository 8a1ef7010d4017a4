"""At most so many requests in a time, by client, by key or by plan: 429 beyond it (RFC 6585 §4).

    RateLimit("100/minute;1000/hour")                                     # by address, in memory
    RateLimit("1000/hour", key=keys.identity, store="redis://localhost")  # shared by all workers
    RateLimit("100/hour", tiers={"user": "1000/hour", "staff": None}, tier=keys.claim("plan"))

Several limits are one step: a request that one of them refuses consumes nothing of the others.

**Bursts.** The default is a token bucket: 100/minute is a hundred at once and one more every 0.6
seconds, so that in the very first minute nearly two hundred can pass. `burst` of a `Limit`, or
`algorithm="sliding-window"`, is stricter.

**In memory each worker process counts for itself.** For a limit across workers take a store that
they share. Policies of one `name` with the same numbers share their counts there.

**Counting before or after authentication.** Outside of it the address can be counted, inside of it
the identity; take one `RateLimit` for each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from random import Random

from gatekit._core.compose import answer_to
from gatekit._core.decisions import note
from gatekit._core.messages import Request, Response
from gatekit._core.options import (
    each_problem,
    flag_problem,
    function_problem,
    known_keywords,
    string_problem,
)
from gatekit.errors import check
from gatekit.limits import keys
from gatekit.limits.answers import (
    Answers,
    is_preflight,
    jitter_problem,
    name_problem,
    share_problem,
    type_problem,
)
from gatekit.limits.enforcer import Charge, Cost, Enforcer, cost_problem
from gatekit.limits.fields import Style, style_problem
from gatekit.limits.keys import (
    Extractor,
    Key,
    Keyring,
    Missing,
    async_in,
    join,
    key_problem,
    missing_problem,
)
from gatekit.limits.limit import Algorithm, LimitLike, algorithm_problem
from gatekit.limits.limit_set import LimitSet
from gatekit.limits.limiter import Fallback, Limiter, Verdict, fallback_problem
from gatekit.limits.memory import MemoryStore
from gatekit.limits.meters import Meter, Standing
from gatekit.limits.store import Claim, Store, single_slot, store_problem
from gatekit.limits.tiers import (
    Exemptions,
    Keys,
    LimitOf,
    Tiers,
    exempt_problem,
    functions_in,
    limits_problem,
    one_key_problem,
    table_problem,
    tier_problem,
)
from gatekit.typing import Handler

_HEALTH = ("/health", "/healthz", "/livez", "/readyz")


@known_keywords
class RateLimit:
    """`limit` is in the grammar of the library `limits`, a `Limit`, several of them, or a function.

    `key` says whom to count, `missing` what becomes of a request without a key. `cost` is what a
    request consumes; `charge` corrects that when the exchange is over, by what it says it cost.
    `overrides` are limits of single keys, `exempt` are keys and networks that are not counted.
    `shadow` counts and notes what it would refuse, and refuses nothing. `on_store_error` lets pass,
    refuses by 503, or counts in this process `local_share` of the limits. `clock` is a wall clock,
    for calendars and the legacy fields.
    """

    __slots__ = (
        "_charge", "_cost", "_disabled", "_enforcer", "_exempt", "_key", "_keyring", "_limit",
        "_limiter", "_only", "_paths", "_plain", "_quick", "_skips", "_tier", "_tiers", "_unit",
        "name",
    )  # fmt: skip

    def __init__(
        self,
        limit: LimitLike | LimitOf,
        *,
        key: Key = keys.address,
        missing: Missing = "anonymous",
        algorithm: Algorithm = "gcra",
        store: str | Store = "memory://",
        on_store_error: Fallback = "local",
        local_share: float = 1.0,
        cost: Cost = 1,
        charge: Charge | None = None,
        tiers: Mapping[str, LimitLike | None] | None = None,
        tier: Extractor | None = None,
        overrides: Mapping[Keys, LimitLike | None] | None = None,
        exempt: Collection[str] | Callable[[Request], bool] = (),
        exempt_paths: Collection[str] = _HEALTH,
        shadow: bool = False,
        headers: Style | None = "draft",
        problem_type: str | None = None,
        retry_jitter: float = 0.0,
        random: Random | None = None,
        name: str = "rate-limit",
        clock: Callable[[], float] = time.time,
    ) -> None:
        table, exceptions = tiers or {}, overrides or {}
        check(
            "RateLimit",
            limit=limits_problem(limit),
            key=key_problem(key),
            missing=missing_problem(missing),
            algorithm=algorithm_problem(algorithm),
            store=store_problem(store),
            on_store_error=fallback_problem(on_store_error),
            local_share=share_problem(local_share),
            cost=cost_problem(cost),
            charge=function_problem(charge),
            tiers=table_problem(table),
            tier=tier_problem(tier, table),
            overrides=table_problem(exceptions),
            exempt=exempt_problem(exempt),
            exempt_paths=each_problem(exempt_paths, string_problem),
            shadow=flag_problem(shadow),
            headers=style_problem(headers),
            problem_type=type_problem(problem_type),
            retry_jitter=jitter_problem(retry_jitter),
            name=name_problem(name),
            clock=function_problem(clock),
        )
        build = partial(
            LimitSet.of,
            algorithm=algorithm,
            scope=name,
            missing=missing,
            share=local_share,
            clock=clock,
        )
        self._limiter = Limiter(store, on_store_error)
        limits = [limit, *table.values(), *exceptions.values()]
        if single_slot(self._limiter.store):
            check("RateLimit", limit=one_key_problem(limits))
        self._tiers = Tiers(limit, build, tiers=table, tier=tier, overrides=exceptions)
        self._only = self._tiers.only
        # Kept by their names for the WSGI door to look at.
        self._key, self._limit, self._tier = async_in(key), async_in(functions_in(limits)), tier
        self._keyring = Keyring(key, missing)
        self._plain = self._keyring.plain
        self._skips = missing == "skip"
        self._exempt = Exemptions(exempt)
        self._paths = frozenset(exempt_paths)
        answers = Answers(
            name,
            "rate-limited",
            "Too many requests",
            headers,
            retry_jitter,
            random,
            clock,
            problem_type,
        )
        self._enforcer = Enforcer(
            name, self._limiter, answers, cost=cost, charge=charge, shadow=shadow
        )
        self._cost, self._charge = cost, charge
        self._unit = cost if isinstance(cost, int) else 0
        plain = isinstance(cost, int) and charge is None and headers in {"draft", None}
        self._quick = self._find_quick() if plain and not self._exempt else None
        self._disabled = 0
        self.name = name

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if (
            request.path in self._paths or request.method == "OPTIONS" or self._disabled
        ) and self._is_free(request):
            return await call_next(request)
        # Asked for as the plain function that it most often is.
        key = None if self._plain is None else self._plain(request)
        if not key:
            key = await self._keyring.find(request)
        if self._quick is None or key is None:
            return await self._at_length(request, call_next, key)
        # What is most common, one limit in memory: all of `_at_length`, at a third of the time.
        memory, meter, limits = self._quick
        standing = memory.take_one(key, meter, self._unit, request.io.now())
        if standing.retry_after:
            verdict = Verdict((standing,))
            return await self._enforcer.refused(request, call_next, limits, verdict)
        note(request, limits.allow if standing.remaining >= limits.least else limits.near)
        if self._enforcer.silent:
            return await call_next(request)
        try:
            response = await call_next(request)
        except Exception as error:
            response = answer_to(request, error)
        headers = response.headers
        headers.replace([*headers.raw, limits.policy, limits.field(standing)])
        return response

    async def _at_length(self, request: Request, call_next: Handler, key: str | None) -> Response:
        enforcer = self._enforcer
        if key is None:
            return await enforcer.keyless(request, call_next, skips=self._skips)
        if self._exempt and self._exempt.hold(request, key):
            return await enforcer.unlimited(request, call_next, "exempt")
        limits = self._only or await self._tiers.choose(request, key)
        if limits is None:
            return await enforcer.unlimited(request, call_next, "no limit")
        found = await limits.keys(request, key)
        if found is None:
            return await enforcer.keyless(request, call_next, skips=self._skips)
        return await enforcer.run(request, call_next, limits, found)

    def _find_quick(self) -> tuple[MemoryStore, Meter, LimitSet] | None:
        memory, limits = self._limiter.memory, self._only
        if memory is None or limits is None or limits.only is None:
            return None
        return memory, limits.only, limits

    def _is_free(self, request: Request) -> bool:
        if self._disabled:
            return True
        if request.method == "OPTIONS":
            return is_preflight(request)
        return request.path in self._paths and request.method in {"GET", "HEAD"}

    def peek(
        self, key: Keys, *, limit: LimitLike | None = None, now: float | None = None
    ) -> dict[str, Standing]:
        """Where a key stands, by the names of its limits; nothing is consumed.

        `limit` chooses among tiers. `now` is a moment of the clock by which a `MemoryStore` without
        one of its own counts, `time.monotonic()` unless told otherwise.
        """
        limits, claims = self._named(key, limit)
        standings = self._limiter.store.take(claims, 0, time.monotonic() if now is None else now)
        return dict(zip((meter.name for meter in limits.meters), standings, strict=True))

    async def apeek(
        self, key: Keys, *, limit: LimitLike | None = None, now: float | None = None
    ) -> dict[str, Standing]:
        """`peek` in an event loop."""
        limits, claims = self._named(key, limit)
        moment = time.monotonic() if now is None else now
        standings = await self._limiter.store.atake(claims, 0, moment)
        return dict(zip((meter.name for meter in limits.meters), standings, strict=True))

    async def refund(self, request: Request, cost: int = 1) -> None:
        """Gives a request back what it consumed, from a middleware or handler further in."""
        key = await self._keyring.find(request)
        limits = None if key is None else self._only or await self._tiers.choose(request, key)
        found = None if limits is None or key is None else await limits.keys(request, key)
        if limits is not None and found is not None:
            await self._limiter.settle(request.io, limits, found, -cost, Verdict(()))

    def reset(self, key: Keys | None = None) -> None:
        """Forgets what a key has used, of all limits that are known here; without a key, all."""
        self._limiter.reset(self.name, self._tiers.known(), None if key is None else _text(key))

    async def areset(self, key: Keys | None = None) -> None:
        """`reset` in an event loop."""
        await self._limiter.areset(
            self.name, self._tiers.known(), None if key is None else _text(key)
        )

    @contextmanager
    def disabled(self) -> Generator[None]:
        """Limits nobody inside the block, in this process: for tests."""
        self._disabled += 1
        try:
            yield
        finally:
            self._disabled -= 1

    def _named(self, key: Keys, limit: LimitLike | None) -> tuple[LimitSet, list[Claim]]:
        limits = self._tiers.default if limit is None else self._tiers.build(limit)
        if limits is None:
            raise ValueError("the limit of this RateLimit is a function: say which one is meant")
        return limits, limits.claims([_text(key)])

    def close(self) -> None:
        self._limiter.close()

    async def aclose(self) -> None:
        await self._limiter.aclose()

    def __repr__(self) -> str:
        return f"RateLimit(name={self.name!r})"


def _text(key: Keys) -> str:
    return join((key,) if isinstance(key, str) else key)
