"""Puts the gateway's address where an upstream wrote its own: `Location`, `Set-Cookie` and others.

A proxy that maps `/api` to `http://users:8001/v2` has to turn a redirect to
`http://users:8001/v2/login` into `/api/login`, or the client is sent where it cannot go. What
points elsewhere stays as it is.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from gatekit._core.conditions import plain_host
from gatekit._core.messages import Request
from gatekit.proxy.transport.origin import Origin

_PORTS = {"http": 80, "https": 443}
REWRITTEN = frozenset({b"location", b"content-location", b"refresh", b"set-cookie"})


class Mapping:
    """How paths of the upstream are seen by the client.

    `base` is the path of the upstream that the proxy puts in front, `prefix` what the client has
    in front instead, percent-encoded; neither ends with a slash. `host` is the `Host` that the
    upstream was sent.
    """

    __slots__ = ("_base", "_host", "_is_identity", "_origin", "_prefix", "_request")

    def __init__(self, origin: Origin, prefix: str, host: str, request: Request) -> None:
        self._origin = origin
        self._base = origin.base.decode("ascii")
        self._prefix = prefix
        self._is_identity = self._base == prefix
        self._host = host
        self._request = request

    def field(self, name: bytes, value: bytes) -> bytes:
        """The value of one of the `REWRITTEN` fields as the client has to see it."""
        text = value.decode("latin-1")
        if name == b"set-cookie":
            text = self.cookie(text)
        elif name == b"refresh":
            text = self._refresh(text)
        else:
            text = self.url(text)
        return text.encode("latin-1")

    def url(self, url: str) -> str:
        """A reference into the upstream becomes a path of the gateway; others stay."""
        try:
            parts = urlsplit(url)
            if parts.netloc and _authority(url, self._request.scheme) not in self._own():
                return url
        except ValueError:
            return url
        if parts.scheme and not parts.netloc:
            return url
        if not parts.netloc and not parts.path.startswith("/"):
            return url
        path = self._path(parts.path or "/")
        if path is None:
            return url
        query = f"?{parts.query}" if parts.query else ""
        fragment = f"#{parts.fragment}" if parts.fragment else ""
        # What begins with two slashes names a host (RFC 3986 §4.2), and to a browser `\` is one.
        return ("/." if path[1:2] in ("/", "\\") else "") + path + query + fragment

    def cookie(self, cookie: str) -> str:
        """`Domain` is dropped where it names the upstream and not the client's host as well."""
        parts = cookie.split(";")
        kept = parts[:1]
        for part in parts[1:]:
            name, _, value = part.partition("=")
            key, value = name.strip().lower(), value.strip()
            if key == "domain" and self._is_foreign(value.lstrip(".").lower()):
                continue
            if key == "path" and not self._is_identity and value.startswith("/"):
                kept.append(f" Path={self._path(value) or value}")
            else:
                kept.append(part)
        return ";".join(kept)

    def _refresh(self, value: str) -> str:
        delay, separator, rest = value.partition(";")
        name, equals, url = rest.partition("=")
        if not equals or name.strip().lower() != "url":
            return value
        return f"{delay}{separator}{name}={self.url(url.strip().strip(chr(34) + chr(39)))}"

    def _path(self, path: str) -> str | None:
        """The client's path for one of the upstream's; None if it lies outside of the base."""
        if self._is_identity:
            return path
        if path == self._base:
            return self._prefix or "/"
        if not path.startswith(self._base + "/"):
            return None
        return self._prefix + path[len(self._base) :]

    def _is_foreign(self, domain: str) -> bool:
        """The upstream knows itself by it, and a browser would not accept it from the gateway."""
        asked = self._request.forwarded_host or self._request.host
        if _covers(domain, plain_host(asked)):
            return False
        return any(_covers(domain, host) for _, host, _ in self._own())

    def _own(self) -> set[tuple[str, str, int]]:
        """By what address the upstream may know itself: its origin, or the `Host` it was sent."""
        return {
            (self._origin.scheme, self._origin.host.lower(), self._origin.port),
            _authority(f"{self._origin.scheme}://{self._host}", ""),
            _authority(f"{self._request.scheme}://{self._host}", ""),
        }


def _covers(domain: str, host: str) -> bool:
    return host == domain or host.endswith("." + domain)


def _authority(url: str, scheme: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    scheme = (parts.scheme or scheme or "http").lower()
    return scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(scheme, 0)
