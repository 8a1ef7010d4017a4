"""What makes two requests the same to the cache: scheme, host, path and query, and what is added.

    Cache(key=CacheKey(query=["page", "size"]))                 # all other parameters do not count
    Cache(key=CacheKey(ignore=["utm_*", "gclid"], sort=True))   # these do not, nor does their order
    Cache(key=CacheKey(headers=["X-Channel"], cookies=["currency"]))

A parameter that does not count must not change the answer: who asks first decides for all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b
from urllib.parse import unquote, unquote_to_bytes, urljoin, urlsplit

from gatekit._core.messages import Request
from gatekit._core.options import (
    each_problem,
    flag_problem,
    known_keywords,
    name_problem,
    string_problem,
)
from gatekit.errors import check

# RFC 3986 §3.2.2; what else stands in a Host may be read in two ways.
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~%!$&'()*+;=]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")
# RFC 3986 §2.3.
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_DEFAULT_PORTS = {"http": b":80", "https": b":443"}
_MOST_HOSTS = 512
# RFC 1035 §2.3.4 allows a name 255 octets; a port follows.
_LONGEST_HOST = 262


@known_keywords
class CacheKey:
    """`query` are the parameters that count, None for all. `ignore` are patterns of those that do
    not. `sort` makes their order count for nothing. `headers`, `cookies` and `claims` of who asks
    are names whose values count as well.
    """

    __slots__ = ("_bare", "_claims", "_cookies", "_headers", "_hosts", "_ignore", "_query", "_sort")

    def __init__(
        self,
        *,
        query: Collection[str] | None = None,
        ignore: Collection[str] = (),
        sort: bool = False,
        headers: Collection[str] = (),
        cookies: Collection[str] = (),
        claims: Collection[str] = (),
    ) -> None:
        check(
            "CacheKey",
            query=None if query is None else each_problem(query, string_problem),
            ignore=each_problem(ignore, string_problem),
            sort=flag_problem(sort),
            headers=each_problem(headers, name_problem),
            cookies=each_problem(cookies, name_problem),
            claims=each_problem(claims, string_problem),
        )
        self._query = None if query is None else frozenset(query)
        self._ignore = tuple(ignore)
        self._sort = sort
        self._headers = tuple(sorted(name.lower().encode("ascii") for name in headers))
        self._cookies = tuple(sorted(cookies))
        self._claims = tuple(sorted(claims))
        self._bare = not (self._headers or self._cookies or self._claims)
        self._hosts: dict[tuple[str, bytes], bytes | None] = {}

    @property
    def is_url(self) -> bool:
        """Whether nothing but the URL counts."""
        return self._bare

    def url(self, request: Request, host: bytes | None) -> bytes | None:
        """What stands for the URL; None where the host could be read in two ways."""
        scheme: str | None = None
        if request.forwarded_host is not None or request.forwarded_scheme is not None:
            host = (request.forwarded_host or request.host).encode("latin-1", "replace")
            scheme = request.forwarded_scheme
        scheme = scheme or request.scheme
        host = host or b""
        try:
            origin = self._hosts[scheme, host]
        except KeyError:
            origin = self._origin(scheme, host)
        if origin is None:
            return None
        path = (request.root_path + request.path).encode("utf-8", "surrogateescape")
        # With its length in front, a path that has a question mark is no other path's query.
        path = b"%d:" % len(path) + path
        raw = request._raw_path
        if raw is not None and b"%" in raw:
            path += _reserved(raw)
        query = request.query
        if query:
            query = self.query_of(query)
        return b"".join((origin, path, b"?", query)) if query else origin + path

    def of_url(self, url: str, scheme: str, host: str) -> list[bytes]:
        """What may stand for a URL, which may be relative to an origin."""
        parts = urlsplit(urljoin(f"{scheme}://{host}/", url))
        name = parts.netloc.rpartition("@")[2].encode("latin-1", "replace")
        origin = self._origin(parts.scheme, name)
        if origin is None:
            return []
        raw = (parts.path or "/").encode("utf-8", "surrogateescape")
        path = unquote_to_bytes(raw)
        path = b"%d:" % len(path) + path
        query = parts.query.encode("utf-8", "surrogateescape")
        query = self.query_of(query) if query else query
        end = b"?" + query if query else b""
        found = [origin + path + end]
        if reserved := _reserved(raw):
            found.append(origin + path + reserved + end)
        return found

    def query_of(self, query: bytes) -> bytes:
        """The part of a raw query that counts."""
        if self._query is None and not self._ignore and not self._sort:
            return query
        kept = [pair for pair in query.split(b"&") if pair and self._counts(pair)]
        if self._sort:
            # By name alone: two values of one name may mean another thing the other way round.
            kept.sort(key=lambda pair: pair.partition(b"=")[0])
        return b"&".join(kept)

    def added(self, request: Request) -> bytes:
        """What counts beside the URL."""
        parts: list[bytes] = []
        raw = request.headers.raw
        for name in self._headers:
            values = [value for field, value in raw if field == name]
            parts.append(b"\1".join(values) if values else b"\2")
        if self._cookies:
            found = cookies_of(request)
            parts += [found.get(name, "\2").encode("latin-1") for name in self._cookies]
        if self._claims:
            identity = request.identity
            known: Mapping[str, object] = {} if identity is None else identity.claims
            parts += [
                json.dumps(known[name], sort_keys=True, default=str).encode("ascii")
                if name in known
                else b"\2"
                for name in self._claims
            ]
        return b"\0".join(b"%d:" % len(part) + part for part in parts)

    def _counts(self, pair: bytes) -> bool:
        name = unquote(pair.partition(b"=")[0].replace(b"+", b" ").decode("latin-1"))
        if self._query is not None and name not in self._query:
            return False
        return not any(fnmatchcase(name, pattern) for pattern in self._ignore)

    def _origin(self, scheme: str, host: bytes) -> bytes | None:
        """Scheme and host in one spelling, remembered: there are few, and each request has one."""
        if len(host) > _LONGEST_HOST:
            return None
        if (scheme, host) in self._hosts:
            return self._hosts[scheme, host]
        origin: bytes | None = None
        if not host or _HOST.fullmatch(host):
            # RFC 9110 §4.2.3: the host is case-insensitive, and the scheme's own port is none.
            name = host.lower().removesuffix(b":").removesuffix(_DEFAULT_PORTS.get(scheme, b":"))
            origin = scheme.encode("latin-1", "replace") + b"://" + name
        if len(self._hosts) >= _MOST_HOSTS:
            self._hosts.clear()
        self._hosts[scheme, host] = origin
        return origin


def _reserved(raw: bytes) -> bytes:
    """What a raw path tells that the decoded one does not: an upstream may tell %2F from a slash.

    RFC 3986 §6.2.2: `%7e`, `%7E` and `~` are one and the same, so each is written in one way.
    """
    raw = _ESCAPED.sub(_in_one_spelling, raw)
    return b"\0" + raw if b"%" in raw else b""


def _in_one_spelling(match: re.Match[bytes]) -> bytes:
    octet = bytes.fromhex(match[1].decode("ascii"))
    return octet if octet in _UNRESERVED else match[0].upper()


def digest_of(parts: Sequence[bytes]) -> bytes:
    """Sixteen bytes that stand for these."""
    if len(parts) == 1:
        return blake2b(parts[0], digest_size=16).digest()
    joined = b"".join(b"%d:" % len(part) + part for part in parts)
    return blake2b(joined, digest_size=16, person=b"parts").digest()


def cookies_of(request: Request) -> dict[str, str]:
    """The cookies by name. Of two alike apps believe one or the other, so both count."""
    found: dict[str, str] = {}
    for line in request.headers.getlist("cookie"):
        for part in line.split(";"):
            name, mark, value = part.strip().partition("=")
            if mark:
                found[name] = f"{found[name]}\1{value}" if name in found else value
    return found
