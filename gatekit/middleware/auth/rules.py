"""Rules of authorisation: who may ask for which paths, by which methods.

    Rule("/orders/*", methods=["GET"], scopes=["orders.read"])
    Rule("/orders/*", scopes=["orders.write"])
    Rule("/admin/*", roles=["admin"])
    Rule("/admin/secrets/*", deny=True)          # whatever another rule says
    Rule("/health", public=True)

Paths are templates as in `Route`. Of the rules for a path the most specific decides, and of those
for the same template one that names the method; a rule that does not name the method leaves the
request to the next less specific path. A rule that denies wins over all of them.

A path that somebody may read as another rule's, such as `//admin` or `/admin%3f`, is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from gatekit._core.messages import Request
from gatekit._core.options import each_problem, flag_problem, known_keywords, token_problem
from gatekit._core.paths import AmbiguousPath, PathRules, bare_segments, readings, segments
from gatekit._core.templates import Shape, Template, Trie
from gatekit.errors import ConfigurationError
from gatekit.middleware.auth._requirement import Check, Claims, Names, Requirement, Tenant


@known_keywords
class Rule:
    """One template and what it asks for; without any of that, any identity will do.

    `methods` says for which methods it is; one for `GET` is for `HEAD` too. `public` asks for
    nothing, not even an identity. The others are as in `Require`.
    """

    __slots__ = ("deny", "methods", "path", "public", "requirement", "template")

    template: Template

    def __init__(
        self,
        path: str,
        *,
        methods: Collection[str] | None = None,
        scopes: Names = (),
        any_scope: Names = (),
        roles: Collection[str] = (),
        all_roles: Collection[str] = (),
        groups: Collection[str] = (),
        permissions: Collection[str] = (),
        claims: Claims | None = None,
        tenant: Tenant | None = None,
        check: Check | None = None,
        public: bool = False,
        deny: bool = False,
    ) -> None:
        problems: dict[str, str] = {}
        try:
            self.template = Template(path)
        except ValueError as error:
            problems["path"] = str(error)
        try:
            self.requirement = Requirement(
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
            if (public or deny) and (self.requirement.asks or (public and deny)):
                problems["public" if public else "deny"] = "leaves nothing to ask for beside it"
        for name, what in (
            ("methods", None if methods is None else each_problem(methods, token_problem)),
            ("public", flag_problem(public)),
            ("deny", flag_problem(deny)),
        ):
            if what is not None:
                problems[name] = what
        if problems:
            raise ConfigurationError(f"Rule({path!r})", problems)
        self.path = path
        self.methods = None if methods is None else frozenset(map(str.upper, methods))
        self.public = public
        self.deny = deny

    def is_for(self, method: str) -> bool:
        if self.methods is None or method in self.methods:
            return True
        return method == "HEAD" and "GET" in self.methods

    def __repr__(self) -> str:
        shown = "" if self.methods is None else f", methods={sorted(self.methods)}"
        return f"Rule({self.path!r}{shown})"


Miss: TypeAlias = Literal["denied", "unmatched", "ambiguous"]


class Found(NamedTuple):
    """What the table says of a request: a rule to ask, or why there is none."""

    rule: Rule | None
    miss: Miss | None = None


_UNMATCHED = Found(None, "unmatched")
_AMBIGUOUS = Found(None, "ambiguous")


class RuleTable:
    """Compiled once: a request is found its rule in a time that does not know how many there are.

    `protected` are templates below which a path that no rule matches is refused; None is all paths.
    """

    __slots__ = ("_denies", "_depth", "_paths", "_protected", "_trie", "problems")

    def __init__(
        self, rules: Sequence[Rule], protected: Sequence[Template] | None, paths: PathRules
    ) -> None:
        groups: dict[tuple[Shape, bool], list[Rule]] = {}
        for rule in rules:
            groups.setdefault((rule.template.shape, rule.template.has_tail), []).append(rule)
        self.problems = [what for group in groups.values() for what in _conflicts(group)]
        self._trie = Trie({key: _Leaf(group) for key, group in groups.items()})
        self._denies = any(rule.deny for rule in rules)
        self._protected = (
            None
            if protected is None
            else Trie({(template.shape, template.has_tail): True for template in protected})
        )
        self._paths = paths
        # One more than the longest template has tells whether a path is longer.
        self._depth = 1 + max(
            self._trie.depth, 0 if self._protected is None else self._protected.depth
        )

    def find(self, request: Request) -> Found:
        try:
            path = segments(request.raw_path, self._paths)
        except AmbiguousPath:
            return _AMBIGUOUS if self._concerns(request) else Found(None)
        method = request.method
        found = self._best(path, method)
        if method != method.upper() and self._best(path, method.upper()) != found:
            return _AMBIGUOUS  # Flask and Django take `delete` for DELETE
        raw = request.raw_path
        if b"%" not in raw and b";" not in raw:
            return found
        return found if self._is_read_alike(request, found) else _AMBIGUOUS

    def _is_read_alike(self, request: Request, found: Found) -> bool:
        """Whether whoever reads the path in another way would find the same rule.

        `/admin%3f` is `/admin` to who decodes before he cuts the query off, and `/admin;x` is to a
        servlet container. What `PathRules` allow to stand in a path is the app's to read.
        """
        if self._paths.allow:
            if ";" in self._paths.allow or ";" not in request.path:
                return True
            return self._best(bare_segments(request.raw_path), request.method) == found
        try:
            others = readings(request.raw_path, self._depth)
        except AmbiguousPath:
            return False
        return all(self._best(path, request.method) == found for path in others)

    def _best(self, path: Sequence[str], method: str) -> Found:
        best: Rule | None = None
        for leaf in self._trie.matches(path):
            rule = leaf.rule_for(method)
            if rule is None:
                continue
            if rule.deny:
                return Found(rule, "denied")
            if best is None:
                best = rule
                if not self._denies:
                    break
        if best is not None:
            return Found(best)
        if self._protected is None or any(self._protected.matches(path)):
            return _UNMATCHED
        return Found(None)

    def _concerns(self, request: Request) -> bool:
        """Whether some server may read the path as one that is looked after here."""
        protected = self._protected
        if protected is None:
            return True
        try:
            others = readings(request.raw_path, self._depth)
        except AmbiguousPath:
            return True
        return any(any(self._trie.matches(path)) or any(protected.matches(path)) for path in others)


class _Leaf:
    """The rules of one template. A rule that denies is asked before one that names the method."""

    __slots__ = ("_any", "_named")

    def __init__(self, rules: Sequence[Rule]) -> None:
        others = [rule for rule in rules if rule.methods is None]
        self._any = next((rule for rule in others if rule.deny), others[0] if others else None)
        named: dict[str, Rule] = {}
        for rule in sorted(rules, key=lambda rule: rule.deny, reverse=True):
            for method in rule.methods or ():
                named.setdefault(method, rule)
        if "GET" in named:
            named.setdefault("HEAD", named["GET"])
        if self._any is not None and self._any.deny:
            named = {}
        self._named: Mapping[str, Rule] = named

    def rule_for(self, method: str) -> Rule | None:
        return self._named.get(method, self._any)


def _conflicts(group: Sequence[Rule]) -> Iterator[str]:
    """Two rules for the same template and method, of which none denies."""
    seen: dict[str | None, Rule] = {}
    for rule in group:
        if rule.deny:
            continue
        for method in rule.methods or (None,):
            other = seen.setdefault(method, rule)
            if other is not rule:
                yield f"{other!r} and {rule!r} are for the same requests"
                break
