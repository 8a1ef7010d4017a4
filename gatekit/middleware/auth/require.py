"""What an identity has to have to come in: scopes, roles, groups, claims, or rules by path.

    Require(roles=["admin"])                                  # one of these roles
    Require(scopes="orders.read orders.write")                # all of these scopes
    Require(claims={"email_verified": True}, tenant="acme")
    Require(check=lambda identity, request: request.params["user"] == identity.subject)
    Require(rules=[
        Rule("/health", public=True),
        Rule("/orders/*", methods=["GET"], scopes=["orders.read"]),
        Rule("/orders/*", scopes=["orders.write"]),
        Rule("/admin/*", permissions=["admin"]),
    ], grants={"operator": ["admin"]})

It stands inside of an authenticator, which finds out who asks. Nobody there is a 401 with the
challenge of the authenticators outside; somebody without what is asked for is a 403. The answer
does not say what was missing, except for a bearer token's scopes (RFC 6750 §3.1); the log and
`request.decisions` do.

With rules, a path that none of them matches is refused, and one that could be read in two ways is
refused too. Preflights pass: by the standard they carry no credentials.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias, cast, get_args

from gatekit._core.decisions import Decision, note
from gatekit._core.messages import Request, Response
from gatekit._core.options import each_problem as each
from gatekit._core.options import (
    flag_problem,
    function_problem,
    known_keywords,
    string_problem,
    token_problem,
)
from gatekit._core.paths import PathRules
from gatekit._core.templates import Template
from gatekit._core.text import printable
from gatekit.errors import ConfigurationError, Rejected
from gatekit.errors import check as check_options
from gatekit.limits.answers import is_preflight
from gatekit.limits.answers import name_problem as policy_problem
from gatekit.limits.secrecy import hashed
from gatekit.middleware.auth._challenges import (
    CredentialsRequired,
    insufficient_scope,
    log_failure,
)
from gatekit.middleware.auth._requirement import (
    Check,
    Claims,
    Names,
    Requirement,
    Tenant,
    Verdict,
    expansion,
    grants_problem,
)
from gatekit.middleware.auth.decision_point import DecisionPoint
from gatekit.middleware.auth.identity import Identity
from gatekit.middleware.auth.rules import Found, Rule, RuleTable
from gatekit.typing import Handler

__all__ = ["Require", "Rule"]

Default: TypeAlias = Literal["deny", "allow"]

logger = logging.getLogger("gatekit.auth")

_WHY = {
    "denied": "a rule that denies",
    "unmatched": "no rule for this path",
    "ambiguous": "an ambiguous path or method",
}


@known_keywords
class Require:
    """Every part that is given has to hold; without any, an identity is all that is asked for.

    `scopes` and `all_roles` and `permissions` are needed all, `any_scope`, `roles` and `groups` one
    of each list. `claims` maps names to a value, several of which one will do, or a function.
    `tenant` is a name, several, or a function of the request. `check` is a function of identity and
    request, async or not, which gives a bool or a `Decision`; `decide` is asked last, and is one
    too or a `DecisionPoint`. `grants` maps roles to permissions and to roles that they include.

    `rules` take the place of all these but `decide`. `default` is for paths that no rule matches;
    with `protected` it is for those below these templates, and others pass. `hide` answers 404 to
    whom it refuses. `shadow` notes and logs what it would refuse, and lets it pass.
    """

    __slots__ = (
        "_check", "_decide", "_default", "_expand", "_hide", "_methods", "_point", "_requirement",
        "_shadow", "_table", "name", "rules",
    )  # fmt: skip

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
        methods: Collection[str] | None = None,
        decide: Check | DecisionPoint | None = None,
        grants: Mapping[str, Collection[str]] | None = None,
        rules: Sequence[Rule] | None = None,
        default: Default = "deny",
        protected: Collection[str] | None = None,
        paths: PathRules | None = None,
        hide: bool = False,
        shadow: bool = False,
        name: str = "require",
    ) -> None:
        problems: dict[str, str | None] = {
            "methods": None if methods is None else each(methods, token_problem),
            "decide": _decide_problem(decide),
            "grants": None if grants is None else grants_problem(grants),
            "rules": None if rules is None else _rules_problem(rules),
            "default": None if default in get_args(Default) else "must be 'deny' or 'allow'",
            "hide": flag_problem(hide),
            "shadow": flag_problem(shadow),
            "name": policy_problem(name),
        }
        try:
            self._requirement = Requirement(
                scopes=scopes,
                any_scope=any_scope,
                roles=roles,
                all_roles=all_roles,
                groups=groups,
                permissions=permissions,
                claims=claims,
                tenant=tenant,
                check=check,
            )
        except ConfigurationError as error:
            problems |= error.problems
        else:
            if rules is not None and (self._requirement.asks or methods is not None):
                problems["rules"] = "ask for all there is to ask for: put the others into a Rule"
        if rules is None and (default != "deny" or protected is not None):
            problems["default" if protected is None else "protected"] = "is for rules"
        templates, wrong = _templates(protected)
        problems["protected"] = problems.get("protected") or wrong
        check_options("Require", **problems)
        self._table: RuleTable | None = None
        if rules is not None:
            bounds = [] if default == "allow" else templates
            self._table = RuleTable(rules, bounds, paths or PathRules())
            check_options("Require", rules="; ".join(self._table.problems) or None)
        needed = [self._requirement, *(rule.requirement for rule in rules or ())]
        check_options("Require", grants=_ungranted_problem(needed, grants))
        self.rules = tuple(rules or ())
        self._methods = None if methods is None else frozenset(map(str.upper, methods))
        self._expand = None if grants is None else expansion(grants)
        self._check, self._decide = check, decide  # kept by their names for the WSGI door
        self._point = DecisionPoint(decide) if callable(decide) else decide
        self._default: Default = default
        self._hide = hide
        self._shadow = shadow
        self.name = name

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if request.method == "OPTIONS" and is_preflight(request):
            return await call_next(request)
        if self._table is None:
            requirement = self._requirement
        else:
            found = self._table.find(request)
            if found.miss is not None:
                self._refuse(request, _miss(found), unmatched=True)
                return await call_next(request)
            if found.rule is None or found.rule.public:
                note(request, Decision(self.name, "skip", "nothing is asked for here"))
                return await call_next(request)
            requirement = found.rule.requirement
        identity = request.identity
        if identity is None or identity.is_anonymous:
            self._refuse(request, Verdict(False, "no identity"), anonymous=True)
            return await call_next(request)
        verdict = await self._judge(request, identity, requirement)
        if verdict.allowed:
            failed = verdict.reason.startswith("error")
            note(request, Decision(self.name, "error" if failed else "allow", verdict.reason))
        else:
            self._refuse(request, verdict)
        return await call_next(request)

    async def _judge(
        self, request: Request, identity: Identity, requirement: Requirement
    ) -> Verdict:
        if self._methods is not None and not _names(self._methods, request.method):
            return Verdict(False, "another method")
        verdict = await requirement.judge(request, identity, self._expand)
        if verdict.allowed and self._point is not None:
            return await self._point.judge(request, identity)
        return verdict

    def _refuse(
        self,
        request: Request,
        verdict: Verdict,
        *,
        anonymous: bool = False,
        unmatched: bool = False,
    ) -> None:
        """Raises, but in the shadow."""
        note(
            request, Decision(self.name, "shadow_deny" if self._shadow else "deny", verdict.reason)
        )
        log_refusal(request, self.name, verdict.reason, shadow=self._shadow)
        if self._shadow:
            return
        if self._hide:
            # As the gateway itself says it of a path that is not there.
            raise Rejected(404, "Nothing answers at this path.", type="urn:gatekit:no-route")
        if anonymous or (unmatched and _is_nobody(request)):
            raise CredentialsRequired(request.challenges or ("Bearer",))
        if verdict.scopes and _is_bearer(request):
            raise insufficient_scope(None, verdict.scopes, verdict.reason)
        raise Rejected(403, "This is not allowed.", type="urn:gatekit:forbidden")

    def gatekit_parts(self) -> Iterable[object]:
        """What a door closes and inspects: where callbacks are."""
        held = (rule.requirement for rule in self.rules)
        return (*held, *(() if self._point is None else (self._point,)))

    def __repr__(self) -> str:
        return f"Require(name={self.name!r}, rules={len(self.rules)})"


def log_refusal(request: Request, policy: str, reason: str, *, shadow: bool) -> None:
    """Whose request it was is told by a hash, the same for the same subject."""
    identity = request.identity
    who = None if identity is None or not identity.subject else hashed(identity.subject, b"")
    if shadow:
        logger.info(
            "%s would have refused %s %s: %s",
            policy,
            printable(request.method),
            printable(request.url_path),
            reason,
            extra={"policy": policy, "reason": reason, "who": who, "shadow": True},
        )
    else:
        log_failure(request, policy, reason, who)


def _miss(found: Found) -> Verdict:
    assert found.miss is not None
    return Verdict(False, _WHY[found.miss])


def _is_nobody(request: Request) -> bool:
    return request.identity is None or request.identity.is_anonymous


def _is_bearer(request: Request) -> bool:
    """Whether to answer as RFC 6750 has it: a key or a password knows nothing of scopes."""
    identity = request.identity
    if identity is None or identity.method in {"api_key", "basic"}:
        return False
    return any(value.startswith("Bearer") for value in request.challenges)


def _names(methods: frozenset[str], method: str) -> bool:
    return method in methods or (method == "HEAD" and "GET" in methods)


def _decide_problem(decide: object) -> str | None:
    if isinstance(decide, DecisionPoint):
        return None
    problem = function_problem(decide, takes_async=True)
    return f"{problem}, or a DecisionPoint" if problem else None


def _rules_problem(rules: object) -> str | None:
    if not isinstance(rules, Sequence) or isinstance(rules, str):
        return f"must be a list of Rule, not {rules!r}"
    others = [one for one in cast("Sequence[object]", rules) if not isinstance(one, Rule)]
    if others:
        return f"{others[0]!r} is not a Rule"
    return None if rules else "is empty: leave it out to ask for an identity everywhere"


def _templates(texts: Collection[str] | None) -> tuple[list[Template] | None, str | None]:
    if texts is None:
        return None, None
    if problem := each(texts, string_problem):
        return None, problem
    found: list[Template] = []
    for text in texts:
        try:
            found.append(Template(text))
        except ValueError as error:
            return None, str(error)
    return found, None


def _ungranted_problem(
    needed: Iterable[Requirement], grants: Mapping[str, Collection[str]] | None
) -> str | None:
    """A permission that no role has would refuse everybody: most likely it is misspelt."""
    granted = {name for names in (grants or {}).values() for name in names}
    missing = sorted({name for one in needed for name in one.permissions} - granted)
    return f"no role is granted {', '.join(map(repr, missing))}" if missing else None
