"""What a client is told that has not proved who it is: challenges, and refusals that carry them.

    challenge("Bearer", realm="api", error="invalid_token")
    # 'Bearer realm="api", error="invalid_token"'

    raise AuthenticationFailed("expired", challenge=..., detail="The access token has expired.")

A refusal has a `reason` for the log, and says to the client what the client may know.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from math import ceil

from gatekit._core.messages import Request
from gatekit._core.text import printable
from gatekit.errors import Rejected

logger = logging.getLogger("gatekit.auth")

# RFC 6750 §3: what `error_description` may hold, and within a quoted string needs no escape.
_UNFIT = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")

_TYPES = {400: "invalid-request", 401: "invalid-credentials", 403: "forbidden"}


class AuthenticationFailed(Rejected):
    """Credentials were presented, and they are no good.

    `reason` is for log and decision, and holds nothing that was presented; `who` is a key's public
    id or a hashed subject. `challenge` is one value of `WWW-Authenticate`, or several.
    """

    def __init__(
        self,
        reason: str,
        *,
        challenge: str | Iterable[str],
        detail: str = "The credentials are not valid.",
        status: int = 401,
        type: str | None = None,
        who: str | None = None,
    ) -> None:
        self.challenges = (challenge,) if isinstance(challenge, str) else tuple(challenge)
        super().__init__(
            status,
            detail,
            type=f"urn:gatekit:{_TYPES.get(status, 'forbidden')}" if type is None else type,
            headers=[("www-authenticate", value) for value in self.challenges],
        )
        self.reason = reason
        self.who = who


class CredentialsRequired(Rejected):
    """No credentials were presented: 401, and a challenge that names no error (RFC 6750 §3.1)."""

    def __init__(self, challenges: Iterable[str]) -> None:
        super().__init__(
            401,
            "This resource asks for credentials.",
            type="urn:gatekit:credentials-required",
            headers=[("www-authenticate", value) for value in challenges],
        )


class AuthenticationUnavailable(Rejected):
    """Whoever could tell whether the credentials are good does not answer: 503."""

    def __init__(self, reason: str, retry_after: float = 1.0) -> None:
        super().__init__(
            503,
            "The credentials cannot be checked at the moment.",
            type="urn:gatekit:authentication-unavailable",
            headers={"retry-after": str(max(1, ceil(retry_after)))},
        )
        self.reason = reason


def challenge(scheme: str, **parameters: str | None) -> str:
    """A challenge (RFC 9110 §11.6.1); what is None is left out."""
    given = ", ".join(
        f'{name}="{_UNFIT.sub("?", value)}"'
        for name, value in parameters.items()
        if value is not None
    )
    return f"{scheme} {given}" if given else scheme


def bearer_failure(
    realm: str,
    reason: str,
    *,
    detail: str | None = None,
    malformed: bool = False,
    scheme: str = "Bearer",
    resource_metadata: str | None = None,
) -> AuthenticationFailed:
    """A token that is no good: 401; a request with two of them or half of one: 400."""
    said = detail or ("The request is malformed." if malformed else "The token is not valid.")
    return AuthenticationFailed(
        reason,
        challenge=challenge(
            scheme,
            realm=realm,
            error="invalid_request" if malformed else "invalid_token",
            error_description=said,
            resource_metadata=resource_metadata,
        ),
        detail=said,
        status=400 if malformed else 401,
        type=None if malformed else "urn:gatekit:invalid-token",
    )


def insufficient_scope(
    realm: str | None, scopes: Iterable[str], reason: str, *, challenges: Iterable[str] = ()
) -> AuthenticationFailed:
    """Who calls is known, and his token does not reach as far: 403 (RFC 6750 §3.1)."""
    scope = " ".join(scopes) or None
    bearer = challenge("Bearer", realm=realm, error="insufficient_scope", scope=scope)
    return AuthenticationFailed(
        reason,
        challenge=(bearer, *challenges),
        status=403,
        detail="The credentials do not reach as far as this.",
        type="urn:gatekit:insufficient-scope",
    )


def log_failure(request: Request, policy: str, reason: str, who: str | None = None) -> None:
    """A line for whoever watches for attacks; no credential is in it."""
    address = request.client_ip or (request.client[0] if request.client is not None else None)
    logger.info(
        "%s refused %s %s: %s",
        policy,
        printable(request.method),
        printable(request.url_path),
        reason,
        extra={"policy": policy, "reason": reason, "who": who, "client": address},
    )
