"""The table of routes: which of them answers a request, and what to say if none does.

    table = Table(routes, PathRules())
    found = table.find(request)             # a Match or a Miss; the request is only read

A request meets the rules for paths first, then the trie. Of the routes that fit, the one with the
more specific path wins; then one that names the method over one that takes any; then the more
specific host; then the header fields, then the query parameters that it asks for; then the lower
`order`. The order of the list decides nothing: two routes that could fit the same request equally
well are a problem at construction.

A route that does not fit in one respect leaves the request to the next less specific path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from gatekit._core.conditions import Conditions, Rank, host_keys
from gatekit._core.paths import (
    AmbiguousPath,
    PathRules,
    bare_segments,
    readings,
    segments,
)
from gatekit._core.templates import Shape, Template, Trie

if TYPE_CHECKING:
    from gatekit._core.messages import Request


class Entry(Protocol):
    """What the table reads of a route. None stands for any method, any host."""

    @property
    def template(self) -> Template: ...
    @property
    def methods(self) -> frozenset[str] | None: ...
    @property
    def hosts(self) -> tuple[str, ...] | None: ...
    @property
    def conditions(self) -> Conditions: ...
    @property
    def order(self) -> int: ...


E = TypeVar("E", bound=Entry)

_Hosts: TypeAlias = tuple[str | None, ...]
# Routes by the host that they ask for, the most specific first in each list.
_Tier: TypeAlias = dict[str | None, "tuple[tuple[E, Conditions | None], ...]"]

_ANY_HOST: _Hosts = (None,)


class Match(NamedTuple, Generic[E]):
    """`preflight`: the route serves the method that is asked for, and not OPTIONS itself."""

    route: E
    params: dict[str, str]
    preflight: bool = False


class Miss(NamedTuple):
    """404; 405 with the methods that this path has; or 400 with what its path is refused for."""

    status: int
    allow: tuple[str, ...] = ()
    detail: str | None = None


NO_ROUTE = Miss(404)


class Table(Generic[E]):
    """Compiled once, then only read. `problems` lists pairs of routes that nothing sets apart."""

    __slots__ = ("_has_hosts", "_rules", "_trie", "problems")

    def __init__(self, entries: Iterable[E], rules: PathRules) -> None:
        groups: dict[tuple[Shape, bool], list[E]] = {}
        for entry in entries:
            key = (entry.template.shape, entry.template.has_tail)
            groups.setdefault(key, []).append(entry)
        self.problems = [pair for group in groups.values() for pair in _conflicts(group)]
        self._has_hosts = any(entry.hosts for group in groups.values() for entry in group)
        self._trie = Trie({key: _Leaf(group) for key, group in groups.items()})
        self._rules = rules

    def find(self, request: Request) -> Match[E] | Miss:
        try:
            path = segments(request.raw_path, self._rules)
        except AmbiguousPath as ambiguous:
            return self._refuse(request, ambiguous)
        hosts = self._hosts(request) if self._has_hosts else _ANY_HOST
        match = self._best(request, path, hosts)
        if ";" in request.path and ";" not in self._rules.allow:
            bare = self._best(request, bare_segments(request.raw_path), hosts)
            if bare is not None and (match is None or bare.route is not match.route):
                return Miss(400, detail=AmbiguousPath(";").detail)
        return self._miss(request, path, hosts) if match is None else match

    def _best(self, request: Request, path: Sequence[str], hosts: _Hosts) -> Match[E] | None:
        method = request.method.upper()  # Flask and Django take `delete` for DELETE
        if method == "OPTIONS" and (asked := _asked_for(request)) is not None:
            return self._best_for_preflight(request, path, hosts, asked)
        for leaf in self._trie.matches(path):
            entry = _first(leaf.tiers(method), hosts, request)
            if entry is not None:
                return Match(entry, entry.template.params(path))
        return None

    def _best_for_preflight(
        self, request: Request, path: Sequence[str], hosts: _Hosts, asked: str
    ) -> Match[E] | None:
        for leaf in self._trie.matches(path):
            entry = _first(leaf.named("OPTIONS"), hosts, request)
            if entry is not None:
                return Match(entry, entry.template.params(path))
            entry = _first(leaf.tiers(asked), hosts, request)
            if entry is not None:
                preflight = entry.methods is not None
                return Match(entry, entry.template.params(path), preflight)
        return None

    def _miss(self, request: Request, path: Sequence[str], hosts: _Hosts) -> Miss:
        allowed = self._allowed(request, path, hosts)
        return Miss(405, allow=allowed) if allowed else NO_ROUTE

    def _allowed(self, request: Request, path: Sequence[str], hosts: _Hosts) -> tuple[str, ...]:
        methods: set[str] = set()
        for leaf in self._trie.matches(path):
            for entry in leaf.entries:
                if _has_host(entry, hosts) and entry.conditions.hold(request):
                    methods.update(entry.methods or ())
        if "GET" in methods:
            methods.add("HEAD")
        return tuple(sorted(methods))

    def allowed(self, request: Request) -> tuple[str, ...]:
        """The methods of the routes that fit but for the method."""
        path = segments(request.raw_path, self._rules)
        return self._allowed(request, path, self._hosts(request))

    def _refuse(self, request: Request, ambiguous: AmbiguousPath) -> Miss:
        """A path that no reading brings to a route is somebody else's."""
        hosts = self._hosts(request)
        if request.raw_path == b"*":  # OPTIONS * asks about the server (RFC 9110 §9.3.7)
            return NO_ROUTE
        try:
            others = readings(request.raw_path, self._trie.depth + 1)
        except AmbiguousPath:
            return Miss(400, detail=ambiguous.detail)
        for path in others:
            for leaf in self._trie.matches(path):
                if any(_has_host(entry, hosts) for entry in leaf.entries):
                    return Miss(400, detail=ambiguous.detail)
        return NO_ROUTE

    def _hosts(self, request: Request) -> _Hosts:
        return host_keys(request.host) if self._has_hosts else _ANY_HOST


class _Leaf(Generic[E]):
    """The routes of one shape of path."""

    __slots__ = ("_others", "_tiers", "entries")

    def __init__(self, entries: list[E]) -> None:
        self.entries = tuple(entries)
        self._others = _tier(entry for entry in entries if entry.methods is None)
        named = {method for entry in entries for method in entry.methods or ()}
        # A route for GET serves HEAD too, unless another one is there for HEAD.
        tiers = {method: self._tiers_of(method) for method in named}
        if "GET" in named and "HEAD" not in named:
            tiers["HEAD"] = tiers["GET"]
        self._tiers: dict[str, tuple[_Tier[E], ...]] = tiers

    def _tiers_of(self, method: str) -> tuple[_Tier[E], ...]:
        named = [entry for entry in self.entries if method in (entry.methods or ())]
        implied = [
            entry
            for entry in self.entries
            if method == "HEAD" and entry not in named and "GET" in (entry.methods or ())
        ]
        return tuple(tier for tier in (_tier(named), _tier(implied), self._others) if tier)

    def tiers(self, method: str) -> tuple[_Tier[E], ...]:
        return self._tiers.get(method) or (self._others,)

    def named(self, method: str) -> tuple[_Tier[E], ...]:
        """Those that name the method; `HEAD` of a `GET` route is not named."""
        return self._tiers.get(method, ())[:1]


def _tier(entries: Iterable[E]) -> _Tier[E]:
    by_host: dict[str | None, list[E]] = {}
    for entry in entries:
        for host in entry.hosts or _ANY_HOST:
            by_host.setdefault(host, []).append(entry)
    return {
        host: tuple((entry, entry.conditions or None) for entry in sorted(found, key=_precedence))
        for host, found in by_host.items()
    }


def _precedence(entry: Entry) -> tuple[list[int], list[int], int]:
    headers, query = entry.conditions.rank
    return [-part for part in headers], [-part for part in query], entry.order


def _first(tiers: Iterable[_Tier[E]], hosts: _Hosts, request: Request) -> E | None:
    for tier in tiers:
        for host in hosts:
            for entry, conditions in tier.get(host, ()):
                if conditions is None or conditions.hold(request):
                    return entry
    return None


def _has_host(entry: Entry, hosts: _Hosts) -> bool:
    return entry.hosts is None or any(host in hosts for host in entry.hosts)


def _asked_for(request: Request) -> str | None:
    """The method that a CORS preflight asks about."""
    if "origin" in request.headers:
        return request.headers.get("access-control-request-method")
    return None


def _conflicts(group: Sequence[Entry]) -> Iterator[str]:
    """The pairs of a shape that may fit one request with nothing to choose between them."""
    rivals: dict[tuple[str | None, Rank, int], list[Entry]] = {}
    for entry in group:
        for host in entry.hosts or _ANY_HOST:
            rivals.setdefault((host, entry.conditions.rank, entry.order), []).append(entry)
    seen: set[tuple[int, int]] = set()
    for entries in rivals.values():
        for one, other in combinations(entries, 2):
            pair = (id(one), id(other))
            if pair not in seen and _may_meet(one, other):
                seen.add(pair)
                yield f"{one!r} and {other!r} fit the same requests equally well"


def _may_meet(one: Entry, other: Entry) -> bool:
    if one.methods is None or other.methods is None:
        same_method = one.methods is other.methods
    else:
        same_method = not one.methods.isdisjoint(other.methods)
    return same_method and one.conditions.may_meet(other.conditions)
