"""What is asked of an identity, compiled: every part of it has to hold.

requirement = Requirement(roles=["admin"], claims={"email_verified": True})
verdict = await requirement.judge(request, request.identity)
verdict.allowed, verdict.reason          # False, "none of the roles"
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeAlias, cast

from gatekit._core.decisions import Decision
from gatekit._core.io import resolve
from gatekit._core.messages import Request
from gatekit._core.options import each_problem, function_problem, string_problem
from gatekit.errors import ConfigurationError, MisuseError
from gatekit.middleware.auth._forward import find_claim
from gatekit.middleware.auth.identity import Identity

Names: TypeAlias = "str | Collection[str]"
Check: TypeAlias = "Callable[[Identity, Request], bool | Decision | Awaitable[bool | Decision]]"
Wanted: TypeAlias = "str | int | float | bool | Collection[object] | Callable[[object], bool]"
Claims: TypeAlias = "Mapping[str, Wanted]"
Tenant: TypeAlias = "str | Collection[str] | Callable[[Request], str | None]"
Expand: TypeAlias = "Callable[[frozenset[str]], frozenset[str]]"

# Why an identity does not come in, None if it does. Few look at the request.
_Part: TypeAlias = "Callable[[Identity, Request], str | None]"

# Sets of roles whose permissions are remembered; an issuer chooses how many there are.
_REMEMBERED = 1024


class Verdict(NamedTuple):
    """`scopes` are those that would have been needed, where scopes are what is missing."""

    allowed: bool
    reason: str
    scopes: tuple[str, ...] = ()


_HOLDS = Verdict(True, "all that is asked for")


class Requirement:
    """`asks` is whether anything is asked for beyond an identity."""

    __slots__ = ("_any_scope", "_check", "_parts", "_permissions", "_scopes", "asks", "check")

    def __init__(
        self,
        *,
        scopes: Names = (),
        any_scope: Names = (),
        roles: Collection[str] = (),
        all_roles: Collection[str] = (),
        groups: Collection[str] = (),
        permissions: Collection[str] = (),
        claims: Claims | None = None,
        tenant: Tenant | None = None,
        check: Check | None = None,
    ) -> None:
        problems = {
            "scopes": _names_problem(scopes),
            "any_scope": _names_problem(any_scope),
            "roles": each_problem(roles, string_problem),
            "all_roles": each_problem(all_roles, string_problem),
            "groups": each_problem(groups, string_problem),
            "permissions": each_problem(permissions, string_problem),
            "claims": _claims_problem(claims),
            "tenant": _tenant_problem(tenant),
            "check": function_problem(check, takes_async=True),
        }
        found = {name: what for name, what in problems.items() if what is not None}
        if found:
            raise ConfigurationError("Requirement", found)
        self._scopes = frozenset(names_of(scopes))
        self._any_scope = frozenset(names_of(any_scope))
        self._permissions = frozenset(permissions)
        self._check = self.check = check
        parts: list[_Part] = []
        if roles:
            parts.append(_one_of("roles", frozenset(roles)))
        if all_roles:
            parts.append(_all_of("roles", frozenset(all_roles)))
        if groups:
            parts.append(_one_of("groups", frozenset(groups)))
        if tenant is not None:
            parts.append(_of_tenant(tenant))
        parts.extend(_with_claim(name, wanted) for name, wanted in (claims or {}).items())
        self._parts = tuple(parts)
        self.asks = bool(
            parts or self._scopes or self._any_scope or self._permissions or check is not None
        )

    @property
    def permissions(self) -> frozenset[str]:
        return self._permissions

    async def judge(self, request: Request, identity: Identity, expand: Expand | None) -> Verdict:
        """`expand` gives the permissions of a set of roles."""
        held = identity.scopes
        if not self._scopes <= held:
            return Verdict(False, "not all the scopes", tuple(sorted(self._scopes)))
        if self._any_scope and self._any_scope.isdisjoint(held):
            return Verdict(False, "none of the scopes", tuple(sorted(self._any_scope)))
        for part in self._parts:
            why = part(identity, request)
            if why is not None:
                return Verdict(False, why)
        if self._permissions:
            granted = frozenset[str]() if expand is None else expand(identity.roles)
            if not self._permissions <= granted:
                return Verdict(False, "not all the permissions")
        if self._check is None:
            return _HOLDS
        return verdict_of(await resolve(self._check(identity, request)), self._check)


def verdict_of(answer: object, asked: object) -> Verdict:
    """Anything but a bool or a `Decision` is a mistake, and never a yes."""
    if isinstance(answer, bool):
        return _HOLDS if answer else Verdict(False, "the check said no")
    if isinstance(answer, Decision):
        return Verdict(answer.outcome == "allow", answer.reason)
    raise MisuseError(f"{asked!r} returned {answer!r} instead of a bool or a Decision")


def names_of(names: Names) -> tuple[str, ...]:
    """A list, or one string with spaces between (RFC 6749 §3.3)."""
    return tuple(names.split() if isinstance(names, str) else names)


def expansion(grants: Mapping[str, Collection[str]]) -> Expand:
    """What roles are granted. A role that grants another one has all that this one has, too."""
    closed: dict[str, frozenset[str]] = {}
    for role in grants:
        found: set[str] = set()
        waiting, seen = [role], {role}
        while waiting:
            for granted in grants[waiting.pop()]:
                found.add(granted)
                if granted in grants and granted not in seen:
                    seen.add(granted)
                    waiting.append(granted)
        closed[role] = frozenset(found)

    @lru_cache(_REMEMBERED)
    def expand(roles: frozenset[str]) -> frozenset[str]:
        return frozenset[str]().union(*(closed.get(role, ()) for role in roles))

    return expand


def grants_problem(grants: object) -> str | None:
    if not isinstance(grants, Mapping):
        return f"must map roles to what they are granted, not be {grants!r}"
    for role, granted in cast("Mapping[object, object]", grants).items():
        problem = string_problem(role) or each_problem(granted, string_problem)
        if problem is not None:
            return f"{role!r}: {problem}"
    return None


def _one_of(kind: str, wanted: frozenset[str]) -> _Part:
    def judge(identity: Identity, _: Request) -> str | None:
        held = identity.roles if kind == "roles" else identity.groups
        return f"none of the {kind}" if wanted.isdisjoint(held) else None

    return judge


def _all_of(kind: str, wanted: frozenset[str]) -> _Part:
    def judge(identity: Identity, _: Request) -> str | None:
        return None if wanted <= identity.roles else f"not all the {kind}"

    return judge


def _of_tenant(tenant: Tenant) -> _Part:
    if callable(tenant):
        ask = tenant

        def judge_asked(identity: Identity, request: Request) -> str | None:
            wanted = ask(request)
            # Both missing is not the same tenant.
            ours = wanted is not None and identity.tenant == wanted
            return None if ours else "another tenant"

        return judge_asked
    known = frozenset([tenant] if isinstance(tenant, str) else tenant)

    def judge(identity: Identity, _: Request) -> str | None:
        return None if identity.tenant in known else "another tenant"

    return judge


def _with_claim(name: str, wanted: Wanted) -> _Part:
    why = f"the claim {name}"

    def judge(identity: Identity, _: Request) -> str | None:
        found = find_claim(identity.claims, name)
        if found is None:
            return why
        if callable(wanted):
            answer = cast("Callable[[object], object]", wanted)(found)
            if not isinstance(answer, bool):
                raise MisuseError(f"{wanted!r} returned {answer!r} instead of a bool")
            return None if answer else why
        return None if _fits(found, wanted) else why

    return judge


def _fits(found: object, wanted: object) -> bool:
    """Of a claim that is an array one element is enough; of several wanted values, too."""
    candidates = cast("list[object]", found) if isinstance(found, list | tuple) else [found]
    values = (
        cast("Collection[object]", wanted)
        if isinstance(wanted, Collection) and not isinstance(wanted, str | bytes)
        else (wanted,)
    )
    return any(_same(one, other) for one in candidates for other in values)


def _same(one: object, other: object) -> bool:
    # True is 1 to Python, and a claim that says 1 did not say true.
    return isinstance(one, bool) is isinstance(other, bool) and one == other


def _names_problem(names: object) -> str | None:
    return None if isinstance(names, str) else each_problem(names, _scope_problem)


def _scope_problem(name: object) -> str | None:
    if isinstance(name, str) and name and not any(char.isspace() for char in name):
        return None
    return f"{name!r} is not a scope: it must be a word"


def _claims_problem(claims: object) -> str | None:
    if claims is None or isinstance(claims, Mapping):
        return None
    return f"must map the names of claims to what is wanted of them, not be {claims!r}"


def _tenant_problem(tenant: object) -> str | None:
    if tenant is None or isinstance(tenant, str):
        return None
    if callable(tenant):
        return function_problem(tenant)
    return each_problem(tenant, string_problem)
