"""Which limits hold for whom: by a table, by a function, by a key's own exception, or none at all.

    Tiers("100/hour", tiers={"user": "1000/hour", "staff": None}, tier=keys.claim("plan"))

The first that speaks is followed: an override of the key, the row of the request's tier, the
function. A tier that is not in the table gets what everybody gets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeAlias, cast

from gatekit._core.addresses import Network, parse_address, parse_network
from gatekit._core.io import resolve
from gatekit._core.messages import Request
from gatekit._core.options import each_problem, function_problem, string_problem
from gatekit.limits.keys import Extractor, join
from gatekit.limits.limit import Limit, LimitLike, limit_problem
from gatekit.limits.limit_set import LimitSet

LimitOf: TypeAlias = "Callable[[Request], LimitLike | Awaitable[LimitLike | None] | None]"
Build: TypeAlias = Callable[[LimitLike], LimitSet]
Keys: TypeAlias = "str | tuple[str, ...]"

# A function may make up a limit for each request; what was built for one is remembered up to here.
_REMEMBERED = 1024


class Tiers:
    """`build` makes the limits of what a user wrote. None in a table limits nobody."""

    __slots__ = ("_build", "_built", "_default", "_function", "_overrides", "_table", "_tier")

    def __init__(
        self,
        limit: LimitLike | LimitOf,
        build: Build,
        *,
        tiers: Mapping[str, LimitLike | None],
        tier: Extractor | None,
        overrides: Mapping[Keys, LimitLike | None],
    ) -> None:
        self._build = build
        self._built: dict[object, LimitSet] = {}
        self._function = limit if callable(limit) else None
        self._default = None if callable(limit) else build(limit)
        self._table = {name: self._row(value) for name, value in tiers.items()}
        self._tier = tier
        self._overrides = {
            join((key,) if isinstance(key, str) else key): self._row(value)
            for key, value in overrides.items()
        }

    def _row(self, value: LimitLike | None) -> LimitSet | None:
        return None if value is None else self._build(value)

    @property
    def only(self) -> LimitSet | None:
        """The limits that hold for everybody, where there are no others."""
        return None if self._table or self._overrides else self._default

    @property
    def default(self) -> LimitSet | None:
        return self._default

    def known(self) -> list[LimitSet]:
        """All that were ever handed out and are still known."""
        rows = [*self._table.values(), *self._overrides.values(), self._default]
        return [limits for limits in (*rows, *list(self._built.values())) if limits is not None]

    async def choose(self, request: Request, key: str) -> LimitSet | None:
        """None for whom nothing is limited."""
        if key in self._overrides:
            return self._overrides[key]
        if self._tier is not None:
            tier = await resolve(self._tier(request))
            if tier is not None and tier in self._table:
                return self._table[tier]
        if self._function is None:
            return self._default
        value = await resolve(self._function(request))
        return None if value is None else self.build(value)

    def build(self, value: LimitLike) -> LimitSet:
        """What was built for the same value before, if it is still known."""
        token = value if isinstance(value, str | Limit) else tuple(value)
        limits = self._built.get(token)
        if limits is None:
            limits = self._build(value)
            if len(self._built) >= _REMEMBERED:
                self._built.clear()
            self._built[token] = limits
        return limits


class Exemptions:
    """Whom not to count: keys, networks in CIDR for the client's address, or a function."""

    __slots__ = ("_ask", "_keys", "_networks")

    def __init__(self, exempt: Collection[str] | Callable[[Request], bool]) -> None:
        self._ask = exempt if callable(exempt) else None
        entries = () if callable(exempt) else exempt
        self._keys = frozenset(join((entry,)) for entry in entries)
        self._networks = [found for entry in entries if (found := _network(entry)) is not None]

    def __bool__(self) -> bool:
        return self._ask is not None or bool(self._keys)

    def hold(self, request: Request, key: str) -> bool:
        if self._ask is not None:
            return self._ask(request)
        if key in self._keys:
            return True
        if not self._networks:
            return False
        found = request.client_ip or (request.client[0] if request.client else "")
        address = parse_address(found)
        return address is not None and any(address in network for network in self._networks)


def _network(entry: str) -> Network | None:
    try:
        return parse_network(entry)
    except ValueError:
        return None


def exempt_problem(value: object) -> str | None:
    if callable(value):
        return function_problem(value)
    return each_problem(value, string_problem)


def limits_problem(value: object) -> str | None:
    """Of what everybody gets: limits, or a function that says which."""
    if callable(value) and not isinstance(value, Limit):
        return function_problem(value, takes_async=True)
    return limit_problem(value)


def table_problem(value: object) -> str | None:
    """Of a mapping to limits."""
    if not isinstance(value, Mapping):
        return f"must map to limits, not be {value!r}"
    table = cast("Mapping[object, object]", value)
    wrong = [
        f"{name!r}: {what}"
        for name, limit in table.items()
        if limit is not None and (what := limit_problem(limit))
    ]
    return "; ".join(wrong) or None


def tier_problem(tier: object, tiers: Mapping[str, object]) -> str | None:
    if tier is None:
        return "says which of the tiers a request is in; give it" if tiers else None
    if not tiers:
        return "chooses among tiers; give them"
    return function_problem(tier, takes_async=True)


def one_key_problem(values: Iterable[object]) -> str | None:
    """On a cluster the limits of one call must lie in one slot."""
    if any(isinstance(limit, Limit) and limit.key is not None for limit in _flat(values)):
        return "limits with keys of their own do not work on a cluster: use several RateLimits"
    return None


def functions_in(values: Iterable[object]) -> tuple[object, ...]:
    """What is called for a request, among limits."""
    found: list[object] = []
    for limit in _flat(values):
        key = limit.key if isinstance(limit, Limit) else limit
        found += cast("tuple[object, ...]", key) if isinstance(key, tuple) else (key,)
    return tuple(one for one in found if callable(one))


def _flat(values: Iterable[object]) -> list[object]:
    flat: list[object] = []
    for row in values:
        if isinstance(row, Sequence) and not isinstance(row, str):
            flat += cast("Sequence[object]", row)
        else:
            flat.append(row)
    return flat
