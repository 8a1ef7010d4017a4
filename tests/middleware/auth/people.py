"""Puts an identity on a request, as an authenticator further out would have."""

from __future__ import annotations

from gatekit import Request, Response
from gatekit.middleware.auth._authenticator import Authenticator
from gatekit.middleware.auth.identity import Identity
from gatekit.typing import Handler

BEARER = 'Bearer realm="api"'


def someone(
    *,
    subject: str = "ada",
    method: str = "bearer",
    tenant: str | None = None,
    claims: dict[str, object] | None = None,
    **sets: set[str],
) -> Identity:
    """`sets` are scopes, roles and groups."""
    frozen = {name: frozenset(values) for name, values in sets.items()}
    return Identity(
        subject,
        scopes=frozen.get("scopes", frozenset()),
        roles=frozen.get("roles", frozenset()),
        groups=frozen.get("groups", frozenset()),
        method=method,
        tenant=tenant,
        claims=claims or {},
    )


class signed_in(Authenticator):  # noqa: N801 — reads as what it makes of a request
    """The middleware; without `challenges` it asks for a bearer token. It notes no decision."""

    def __init__(self, identity: Identity | None, *challenges: str) -> None:
        super().__init__(
            realm="api",
            public=(),
            optional=True,
            forward_headers=None,
            hide_credentials=False,
            name="known",
        )
        self.identity = identity
        self.asks = challenges or (BEARER,)

    async def authenticate(self, request: Request) -> Identity | None:
        return self.identity

    def challenges(self, request: Request) -> tuple[str, ...]:
        return self.asks

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        async def with_identity(request: Request) -> Response:
            request.identity = self.identity
            request.decisions.clear()
            return await call_next(request)

        return await super().__call__(request, with_identity)
