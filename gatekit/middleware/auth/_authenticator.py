"""What all authenticators do alike, around their one question: who is it?

    class MyAuth(Authenticator):
        scheme = "Ticket"

        async def authenticate(self, request: Request) -> Identity | None: ...

In this order: fields in which gatekit itself tells who calls are taken off, whoever sent them.
Preflights and public paths pass without an identity. Then `authenticate` is asked. An identity is
put where middlewares, the host app and the upstream look for it. Without one the answer is 401, or
with `optional` the request passes as an anonymous one.

**Two authenticators in a row.** Each asks for its own credentials, and the identity is that of the
inner one. An optional one that finds none keeps the identity that it was given.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import product

from gatekit._core.decisions import Decision, note
from gatekit._core.messages import Request, Response
from gatekit._core.options import each_problem, flag_problem, string_problem
from gatekit._core.templates import PathSet
from gatekit.errors import ConfigurationError
from gatekit.limits.answers import is_preflight
from gatekit.limits.answers import name_problem as policy_problem
from gatekit.middleware.auth._challenges import (
    AuthenticationFailed,
    AuthenticationUnavailable,
    CredentialsRequired,
    challenge,
    log_failure,
)
from gatekit.middleware.auth._forward import Forwarding, forward_problem
from gatekit.middleware.auth.identity import ANONYMOUS, Identity
from gatekit.typing import Handler

IDENTITY_HEADERS: Mapping[str, str] = {
    "X-User-ID": "subject",
    "X-User-Roles": "roles",
    "X-User-Groups": "groups",
    "X-User-Scopes": "scopes",
    "X-User-Tenant": "tenant",
    "X-User-Plan": "plan",
}
"""Fields for an upstream that wants to know who calls: `forward_headers=IDENTITY_HEADERS`."""

# Never a client's to say, whether anything sets them or not.
_ALWAYS = (*IDENTITY_HEADERS, "Remote-User", "X-Remote-User")


class Authenticator:
    """A middleware; a class of its own says how credentials are found and proved.

    `public` are path templates that need no credentials. `forward_headers` maps fields for the
    upstream to what they tell, an attribute of `Identity` or a claim. `hide_credentials` takes
    the credentials off the request that goes on.
    """

    scheme = "Bearer"

    def __init__(
        self,
        *,
        realm: str,
        public: Collection[str],
        optional: bool,
        forward_headers: Mapping[str, str] | None,
        hide_credentials: bool,
        name: str,
    ) -> None:
        self.name = name
        self.realm = realm
        self._public = PathSet(type(self).__name__, "public", public) if public else None
        self._optional = optional
        self.hides = hide_credentials
        self._forwarding = Forwarding(forward_headers) if forward_headers else None
        self._strip = spellings((*_ALWAYS, *(forward_headers or ())))
        self._challenge = challenge(self.scheme, realm=realm)
        self._allow = Decision(name, "allow", "authenticated")
        self._skip = Decision(name, "skip", "public path")
        self._preflight = Decision(name, "skip", "preflight")
        self._anonymous = Decision(name, "allow", "anonymous")
        self._missing = Decision(name, "deny", "no credentials")

    @property
    def has_options_of_its_own(self) -> bool:
        """What only the one around several authenticators can see to."""
        return self._optional or self._public is not None or self._forwarding is not None

    async def authenticate(self, request: Request) -> Identity | None:
        """None without credentials of this kind; `AuthenticationFailed` for bad ones.

        `AuthenticationUnavailable` where nobody can tell.
        """
        raise NotImplementedError

    def challenge(self, request: Request) -> str:
        """What `WWW-Authenticate` says to who presents none."""
        return self._challenge

    def challenges(self, request: Request) -> tuple[str, ...]:
        """All of them, where credentials of several kinds would do."""
        return (self.challenge(request),)

    def hide(self, request: Request) -> None:
        """Takes the credentials off the request; here nothing, for there is no one place."""

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        strip = self._strip
        for name, _ in request.headers.raw:
            if name in strip:
                self._take_off(request)
                break
        request._authenticators = (*request._authenticators, self)
        request.challenges = (*request.challenges, *self.challenges(request))
        if request.method == "OPTIONS" and is_preflight(request):
            note(request, self._preflight)
            return await call_next(request)
        if self._public is not None and request in self._public:
            note(request, self._skip)
            if request.identity is None:
                request.identity = ANONYMOUS
            return await call_next(request)
        try:
            identity = await self.authenticate(request)
        except AuthenticationFailed as failure:
            note(request, Decision(self.name, "deny", failure.reason))
            log_failure(request, self.name, failure.reason, failure.who)
            raise
        except AuthenticationUnavailable as failure:
            note(request, Decision(self.name, "error", failure.reason))
            raise
        if identity is None:
            return await self._without(request, call_next)
        if request.identity is not None:
            self._take_off(request, all_of_them=True)
        request.identity = identity
        if self._forwarding is not None:
            self._forwarding.put(request, identity)
        if self.hides:
            self.hide(request)
        note(request, self._anonymous if identity.is_anonymous else self._allow)
        return await call_next(request)

    async def _without(self, request: Request, call_next: Handler) -> Response:
        if not self._optional:
            note(request, self._missing)
            log_failure(request, self.name, "no credentials")
            raise CredentialsRequired(request.challenges)
        if request.identity is None:
            request.identity = ANONYMOUS
        note(request, self._anonymous)
        return await call_next(request)

    def _take_off(self, request: Request, *, all_of_them: bool = False) -> None:
        """What a client sent, or with `all_of_them` what those further out say of another one."""
        others = (one._strip for one in request._authenticators if one is not self)
        vouched = frozenset[bytes]().union(*others)
        unfit = vouched if all_of_them else self._strip - vouched
        headers = request.headers
        headers.replace([field for field in headers.raw if field[0] not in unfit])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


def authenticator_problems(
    *,
    realm: object,
    public: Collection[str],
    optional: object,
    forward_headers: object,
    hide_credentials: object,
    name: object,
) -> dict[str, str | None]:
    """What is wrong with the options that all authenticators have, for `check`."""
    return {
        "realm": string_problem(realm),
        "public": each_problem(public, string_problem) or _templates_problem(public),
        "optional": flag_problem(optional),
        "forward_headers": forward_problem(forward_headers),
        "hide_credentials": flag_problem(hide_credentials),
        "name": policy_problem(name),
    }


def _templates_problem(templates: Collection[str]) -> str | None:
    try:
        PathSet("public", "public", templates)
    except ConfigurationError as error:
        return error.problems["public"]
    return None


def spellings(names: Collection[str]) -> frozenset[bytes]:
    """Each name with every `-` as a `_` too: to CGI and WSGI behind us they are the same field."""
    found: set[bytes] = set()
    for name in names:
        parts = name.lower().replace("_", "-").split("-")
        for marks in product("-_", repeat=len(parts) - 1):
            text = "".join(part + mark for part, mark in zip(parts, (*marks, ""), strict=True))
            found.add(text.encode("ascii"))
    return frozenset(found)
