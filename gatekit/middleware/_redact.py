"""What a log must not say: secrets in queries and header fields.

    redact_query("page=2&token=abc", fold(["token"]))      # "page=2&token=[redacted]"

A name counts however it is written: `accessToken`, `ACCESS-TOKEN`, `access%5Ftoken` and
`user[access_token]` are all `access_token`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_plus

REDACTED = "[redacted]"

SECRET_HEADERS = (
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "apikey",
    "x-auth-token",
    "x-access-token",
    "x-csrf-token",
    "x-xsrf-token",
    "x-amz-security-token",
    "x-goog-api-key",
    "dpop",
    "x-gatekit-trace",
)

SECRET_PARAMETERS = (
    "access_token",
    "api_key",
    "apikey",
    "assertion",
    "auth",
    "authorization",
    "client_assertion",
    "client_secret",
    "code",
    "credential",
    "id_token",
    "id_token_hint",
    "jwt",
    "key",
    "pass",
    "passwd",
    "password",
    "pwd",
    "refresh_token",
    "secret",
    "session",
    "session_id",
    "sig",
    "signature",
    "ticket",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-credential",
    "x-goog-signature",
)

_SEPARATORS = re.compile(r"([&;])")
_PARTS = re.compile(r"[\[\].]")


def fold(names: Iterable[str]) -> frozenset[str]:
    """The names in the one form in which they are compared."""
    return frozenset(map(folded, names))


def redact_query(query: str, secret: frozenset[str]) -> str:
    """The query with the values of secret parameters replaced; all else as it came."""
    if "=" not in query:
        return query
    return "".join(_redact_pair(pair, secret) for pair in _SEPARATORS.split(query))


def redact_url(url: str, secret: frozenset[str]) -> str:
    """The same for a URL, as in `Referer`; its fragment counts as a query too."""
    for mark in "?#":
        head, found, tail = url.partition(mark)
        if found:
            url = head + mark + redact_query(tail, secret)
    return url


def _redact_pair(pair: str, secret: frozenset[str]) -> str:
    name, found, _ = pair.partition("=")
    if found and any(part in secret for part in _PARTS.split(folded(unquote_plus(name)))):
        return f"{name}={REDACTED}"
    return pair


def folded(name: str) -> str:
    """The one form in which names are compared."""
    return name.lower().replace("_", "").replace("-", "")
