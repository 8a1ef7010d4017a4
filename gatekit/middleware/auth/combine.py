"""Several ways to prove who one is: any of them, or all of them at once.

    AnyOf(BearerAuth(...), ApiKeyAuth(keys))           # a token or a key
    AllOf(ApiKeyAuth(keys), BearerAuth(...))           # the machine's key and its user's token

**Any.** They are asked in order, and the first that finds credentials of its kind decides, good or
bad: a bad token is a 401, whether a good key stands beside it or not, and with `optional`, too.
Whoever presents nothing is told all the challenges, each in a `WWW-Authenticate` of its own.

**All.** The identity is that of the first, until the earliest end of all; `merge` makes another one
of them. Some of the credentials without the others are a 401.

`public`, `optional` and `forward_headers` are said here, not inside.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from gatekit._core.messages import Request, Response
from gatekit._core.options import function_problem, known_keywords
from gatekit.errors import check
from gatekit.middleware.auth._authenticator import Authenticator, authenticator_problems
from gatekit.middleware.auth._challenges import AuthenticationFailed
from gatekit.middleware.auth.identity import Identity
from gatekit.typing import Handler

Merge = Callable[[Sequence[Identity]], Identity]


@runtime_checkable
class SupportsAuthenticate(Protocol):
    """An authenticator: a middleware that can also be asked alone."""

    async def __call__(self, request: Request, call_next: Handler, /) -> Response: ...
    async def authenticate(self, request: Request) -> Identity | None: ...
    def challenge(self, request: Request) -> str: ...


class _Combination(Authenticator):
    """What both have: parts that are asked, and whose credentials are hidden as they say."""

    def __init__(
        self,
        parts: Sequence[SupportsAuthenticate],
        *,
        public: Collection[str],
        optional: bool,
        forward_headers: Mapping[str, str] | None,
        name: str,
    ) -> None:
        super().__init__(
            realm="",
            public=public,
            optional=optional,
            forward_headers=forward_headers,
            hide_credentials=False,
            name=name,
        )
        self.parts = tuple(parts)
        for part in self.parts:
            if isinstance(part, Authenticator):
                self._strip |= part._strip  # a client's own, whichever part decides

    async def ask(self, part: SupportsAuthenticate, request: Request) -> Identity | None:
        identity = await part.authenticate(request)
        if identity is not None and isinstance(part, Authenticator) and part.hides:
            part.hide(request)
        return identity

    def challenges(self, request: Request) -> tuple[str, ...]:
        found: list[str] = []
        for part in self.parts:
            if isinstance(part, Authenticator):
                found += part.challenges(request)
            else:
                found.append(part.challenge(request))
        return tuple(dict.fromkeys(found))

    def challenge(self, request: Request) -> str:
        return ", ".join(self.challenges(request))

    def gatekit_parts(self) -> Iterable[object]:
        return self.parts


@known_keywords
class AnyOf(_Combination):
    """The first of the `authenticators` that finds its credentials decides."""

    def __init__(
        self,
        *authenticators: SupportsAuthenticate,
        public: Collection[str] = (),
        optional: bool = False,
        forward_headers: Mapping[str, str] | None = None,
        name: str = "any-of",
    ) -> None:
        check(
            "AnyOf",
            authenticators=_parts_problem(authenticators),
            **_problems(public, optional, forward_headers, name),
        )
        super().__init__(
            authenticators,
            public=public,
            optional=optional,
            forward_headers=forward_headers,
            name=name,
        )

    async def authenticate(self, request: Request) -> Identity | None:
        for part in self.parts:
            identity = await self.ask(part, request)
            if identity is not None:
                return identity
        return None


@known_keywords
class AllOf(_Combination):
    """Each of the `authenticators` has to be satisfied; `merge` makes one identity of theirs."""

    def __init__(
        self,
        *authenticators: SupportsAuthenticate,
        merge: Merge | None = None,
        public: Collection[str] = (),
        optional: bool = False,
        forward_headers: Mapping[str, str] | None = None,
        name: str = "all-of",
    ) -> None:
        check(
            "AllOf",
            authenticators=_parts_problem(authenticators),
            merge=function_problem(merge),
            **_problems(public, optional, forward_headers, name),
        )
        super().__init__(
            authenticators,
            public=public,
            optional=optional,
            forward_headers=forward_headers,
            name=name,
        )
        self._merge = merge or first_of

    async def authenticate(self, request: Request) -> Identity | None:
        # All are asked before any credentials are hidden: two may look at the same field.
        found = [await part.authenticate(request) for part in self.parts]
        identities = [identity for identity in found if identity is not None]
        if not identities:
            return None
        if len(identities) < len(found):
            raise AuthenticationFailed(
                "some of the credentials without the others",
                challenge=self.challenges(request),
                detail="This resource asks for several credentials at once.",
            )
        for part in self.parts:
            if isinstance(part, Authenticator) and part.hides:
                part.hide(request)
        return self._merge(identities)


def first_of(identities: Sequence[Identity]) -> Identity:
    """The first that is not anonymous, until the earliest end of all."""
    identities = [one for one in identities if not one.is_anonymous] or identities[:1]
    ends = [one.expires_at for one in identities if one.expires_at is not None]
    methods = "+".join(dict.fromkeys(one.method for one in identities))
    return replace(identities[0], expires_at=min(ends, default=None), method=methods)


def _problems(
    public: Collection[str], optional: object, forward_headers: object, name: object
) -> dict[str, str | None]:
    return authenticator_problems(
        realm="",
        public=public,
        optional=optional,
        forward_headers=forward_headers,
        hide_credentials=False,
        name=name,
    )


def _parts_problem(parts: Sequence[object]) -> str | None:
    if len(parts) < 2:
        return "needs two or more; one alone stands for itself"
    for part in parts:
        if isinstance(part, type) or not isinstance(part, SupportsAuthenticate):
            return f"{part!r} is not an authenticator, such as BearerAuth(...)"
        if isinstance(part, Authenticator) and part.has_options_of_its_own:
            return f"{part!r} has public, optional or forward_headers: say it around all of them"
    return None
