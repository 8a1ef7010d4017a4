"""What an issuer publishes about itself: its metadata and its keys, read without trust.

    read_metadata(document, "https://id.example")     # "https://id.example/jwks"
    read_keys(document, most=100)                     # a KeySet

RFC 8414 §3.3 and OpenID Connect Discovery §4.3: metadata whose `issuer` is another one counts for
nothing, for anybody can serve a document that names somebody else's keys.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import cast
from urllib.parse import urlsplit

from gatekit._core.headers import Headers
from gatekit.errors import ConfigurationError
from gatekit.middleware.auth._json import strict_object
from gatekit.middleware.auth._keys import Key, KeySet
from gatekit.proxy.fetch import Endpoint

logger = logging.getLogger("gatekit.auth")

_DIRECTIVE = re.compile(r'([a-z-]+)(?:\s*=\s*"?([^",]*)"?)?', re.IGNORECASE)


class BadAnswer(Exception):
    """A service of the house answered with what cannot be used."""


def strict(body: bytes) -> dict[str, object]:
    """The JSON object of an answer."""
    try:
        return strict_object(body)
    except ValueError:
        raise BadAnswer("no JSON object") from None


def document_urls(issuer: str) -> Iterator[str]:
    """Where the metadata may be: OpenID Connect Discovery §4, then RFC 8414 §3.1."""
    yield f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    yield f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{path}"


def read_metadata(document: dict[str, object], issuer: str) -> str:
    """The URL of the keys."""
    if document.get("issuer") != issuer:
        raise BadAnswer("metadata of another issuer")
    url = document.get("jwks_uri")
    if not isinstance(url, str):
        raise BadAnswer("metadata without jwks_uri")
    return url


def read_keys(
    document: dict[str, object],
    most: int,
    fingerprints: frozenset[str] | None = None,
    where: str = "JWKS",
) -> KeySet:
    """Those that can be used (RFC 7517 §5); at least one, or it is a `BadAnswer`."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise BadAnswer("no list of keys")
    jwks = cast("list[object]", listed)
    if len(jwks) > most:
        raise BadAnswer(f"more than {most} keys")
    keys: list[Key] = []
    for jwk in jwks:
        if not isinstance(jwk, dict):
            continue
        members = cast("dict[str, object]", jwk)
        if members.get("kty") == "oct":
            raise BadAnswer("a shared secret is published among the keys")
        try:
            key = Key.from_jwk(members)
        except ValueError as wrong:
            logger.debug("%s: a key is left out: %s", where, wrong)
            continue
        if fingerprints is None or key.thumbprint in fingerprints:
            keys.append(key)
    if not keys:
        raise BadAnswer("no key that could be used")
    return KeySet(keys)


def freshness(headers: Headers) -> float | None:
    """Seconds for which an answer is fresh (RFC 9111 §4.2); None if it does not say."""
    control = ",".join(headers.getlist("cache-control"))
    directives = {name.lower(): value for name, value in _DIRECTIVE.findall(control)}
    if "no-store" in directives or "no-cache" in directives:
        return 0.0
    age = headers.get("age", "0")
    aged = int(age) if age.isdecimal() and len(age) < 12 else 0
    given = directives.get("max-age", "")
    if given.isdecimal() and len(given) < 12:
        return float(max(0, int(given) - aged))
    try:
        ends = parsedate_to_datetime(headers["expires"])
        sent = parsedate_to_datetime(headers["date"])
        return max(0.0, (ends - sent).total_seconds() - aged)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def url_problem(url: object, allows_http: bool = False) -> str | None:
    """Of the address of a service that decides who is let in."""
    if not isinstance(url, str):
        return f"must be a URL, not {url!r}"
    try:
        Endpoint(url)
        parts = urlsplit(url)
    except (ConfigurationError, ValueError) as error:
        found = getattr(error, "problems", {"url": "is no URL"})
        return str(next(iter(found.values())))
    if parts.scheme == "https" or allows_http:
        return None if parts.scheme in ("https", "http") else "must be https"
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return None
    return "must be https: on the way, anybody could answer in its place"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
