"""One call for a policy: counts in its store, or does what was agreed on for when that is away.

verdict = await limiter.take(request, limits, ["203.0.113.9"], cost=1)
verdict.standings, verdict.degraded
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, cast, get_args

from gatekit._core.io import IO
from gatekit.limits.guard import Guard
from gatekit.limits.limit_set import LimitSet
from gatekit.limits.memory import MemoryStore
from gatekit.limits.meters import Standing
from gatekit.limits.store import Store, StoreUnavailable, open_store
from gatekit.typing import SupportsClose

Fallback: TypeAlias = Literal["allow", "deny", "local"]

_FALLBACKS: tuple[Fallback, ...] = get_args(Fallback)


class Verdict(NamedTuple):
    """`standings` is empty where nothing was counted; `degraded` says what was done instead."""

    standings: Sequence[Standing]
    degraded: Fallback | None = None


class Limiter:
    """A store with its guard, and the memory that counts in its place with `"local"`."""

    __slots__ = ("_fallback", "_guard", "_local", "memory", "store")

    def __init__(self, store: str | Store, fallback: Fallback) -> None:
        self.store = open_store(store)
        # No deadline and no breaker for what is a dictionary.
        self.memory = self.store if isinstance(self.store, MemoryStore) else None
        shared = cast("object", getattr(self.store, "guard", None))
        self._guard = shared if isinstance(shared, Guard) else Guard(self.store)
        self._fallback: Fallback = fallback
        remote = self.memory is None and fallback == "local"
        self._local = MemoryStore() if remote else None

    async def take(
        self,
        io: IO,
        limits: LimitSet,
        keys: Sequence[str],
        cost: int,
        forced: bool = False,
        deadline: float | None = None,
    ) -> Verdict:
        """What is still to be had at `deadline`, which is that of the request."""
        claims = limits.claims(keys)
        if self.memory is not None:
            return Verdict(self.memory.take(claims, cost, io.now(), forced))
        try:
            return Verdict(await self._guard.take(io, claims, cost, forced, deadline))
        except StoreUnavailable:
            if self._local is None:
                return Verdict((), self._fallback)
            local = limits.claims(keys, local=True)
            return Verdict(self._local.take(local, cost, io.now(), forced), "local")

    async def settle(
        self, io: IO, limits: LimitSet, keys: Sequence[str], cost: int, verdict: Verdict
    ) -> None:
        """Books a difference where the verdict was counted; a store that is away misses it.

        It does not draw on the deadline of the request, which is over or has its answer.
        """
        if verdict.degraded is None:
            await self.take(io, limits, keys, cost, forced=True)
        elif verdict.degraded == "local" and self._local is not None:
            self._local.take(limits.claims(keys, local=True), cost, io.now(), forced=True)

    def reset(self, scope: str, known: Sequence[LimitSet], key: str | None) -> None:
        """Forgets one key, or all of a policy."""
        for store in self._stores():
            if key is None:
                store.clear_scope(scope)
            else:
                for limits in known:
                    store.clear(limits.claims([key]))

    async def areset(self, scope: str, known: Sequence[LimitSet], key: str | None) -> None:
        for store in self._stores():
            if key is None:
                await store.aclear_scope(scope)
            else:
                for limits in known:
                    await store.aclear(limits.claims([key]))

    def _stores(self) -> list[Store]:
        return [self.store] if self._local is None else [self.store, self._local]

    def close(self) -> None:
        if isinstance(self.store, SupportsClose):
            self.store.close()

    async def aclose(self) -> None:
        if isinstance(self.store, SupportsClose):
            await self.store.aclose()


def fallback_problem(value: object) -> str | None:
    if value in _FALLBACKS:
        return None
    return f"must be one of {', '.join(map(repr, _FALLBACKS))}, not {value!r}"
