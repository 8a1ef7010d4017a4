"""Where an upstream is, and how it proves that it is the right one.

    Origin("http://users:8001")                      # host and port
    Origin("https://api.example/v2")                 # a base path for the proxy to put in front
    Origin("unix:/run/users.sock")                   # a Unix socket
    Origin("http+unix://%2Frun%2Fusers.sock/v2")     # a Unix socket and a base path
    Origin("https://api.example", address="10.0.0.7")    # that name, at this address

A URL is parsed once, at construction. What would be ignored later is refused then: user
information, a query, a fragment, blanks, a port that is none.
"""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address, ip_address
from pathlib import Path
from typing import cast
from urllib.parse import SplitResult, quote, unquote, urlsplit

from gatekit._core.options import flag_problem, known_keywords
from gatekit.errors import ConfigurationError, check

_ALLOWED = (
    "http://host[:port][/base], https://host[:port][/base], unix:/path or http+unix://%2Fpath"
)
_VISIBLE = re.compile(r"[!-~]+")
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_BRACKETS = re.compile(r"\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
_SECRET = re.compile(r"//[^/]*@")
_PORTS = {"http": 80, "https": 443}


class Origin:
    """One upstream address; equal where scheme, name, address and base path are.

    `host` has no brackets around an IPv6 address; `address` is what is connected to, the host
    unless another one, by its IP address, is given; `Host`, SNI and the check of the certificate
    keep to the host. `port` is 0 and `uds` a path for a Unix socket;
    `authority` is what `Host` should say; `base` has no slash at its end; `key` names the pool of
    connections, which the base path does not divide.
    """

    __slots__ = ("address", "authority", "base", "host", "key", "port", "scheme", "uds")

    def __init__(self, url: str, *, address: str | None = None) -> None:
        if not isinstance(cast("object", url), str):
            raise ConfigurationError("Origin", {"url": f"must be a string, not {url!r}"})
        try:
            self.scheme, self.host, self.port, self.uds, base = _parse(url)
        except ValueError as wrong:
            shown = _SECRET.sub("//...@", url)
            problem = f"{shown!r}: {wrong}; allowed is {_ALLOWED}"
            raise ConfigurationError("Origin", {"url": problem}) from None
        if address is not None:
            check("Origin", address=_address_problem(address, self.uds))
        self.address = self.host if address is None else address
        name = f"[{self.host}]" if ":" in self.host else self.host
        default = self.port == _PORTS[self.scheme] or self.uds is not None
        self.authority = (name if default else f"{name}:{self.port}").encode("ascii")
        self.base = base.rstrip("/").encode("ascii")
        self.key = f"{self.scheme}:{self.uds or ''}:{name}:{self.port}"
        if address is not None:
            self.key += f":{address}"

    def __repr__(self) -> str:
        authority = self.authority.decode() if self.uds is None else quote(self.uds, safe="")
        scheme = self.scheme if self.uds is None else "http+unix"
        at = "" if self.address == self.host else f", address={self.address!r}"
        return f"Origin('{scheme}://{authority}{self.base.decode()}'{at})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin) and (self.key, self.base) == (other.key, other.base)

    def __hash__(self) -> int:
        return hash((self.key, self.base))


@known_keywords
@dataclass(frozen=True, slots=True)
class TLS:
    """How the certificate of an `https` origin is checked, and the one shown to it.

    `ca` is a bundle of roots in PEM, the system's where it is None. `cert` and `key` are the
    client's own (`key` may be inside `cert`). `server_name` replaces the origin's host in SNI and
    in the check of the name. `dangerous_accept_any_certificate` lets anyone on the path read and
    change everything.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None
    dangerous_accept_any_certificate: bool = False
    minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2

    def __post_init__(self) -> None:
        ca, cert, key = (_not_readable(path) for path in (self.ca, self.cert, self.key))
        if self.key is not None and self.cert is None:
            key = "a private key needs `cert`, the certificate it belongs to"
        if self.ca is not None and self.dangerous_accept_any_certificate is True:
            ca = "checks nothing beside dangerous_accept_any_certificate: leave one of them out"
        # What the files hold is found out here, not by the first request.
        ca = ca or _not_loaded(self.ca, None, None)
        cert = cert or (None if key else _not_loaded(None, self.cert, self.key))
        name: object = self.server_name
        is_host = isinstance(name, str) and _HOST.fullmatch(name)
        check(
            "TLS",
            ca=ca,
            cert=cert,
            key=key,
            server_name=None
            if name is None or is_host
            else f"{name!r} is not a host name in ASCII",
            dangerous_accept_any_certificate=flag_problem(self.dangerous_accept_any_certificate),
            minimum_version=_version_problem(self.minimum_version),
        )

    def context(self) -> ssl.SSLContext:
        """A client's context for HTTP/1.1; raises `ssl.SSLError` where a file holds no PEM."""
        context = _load(self.ca, self.cert, self.key)
        context.minimum_version = self.minimum_version
        context.set_alpn_protocols(["http/1.1"])
        if self.dangerous_accept_any_certificate:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _parse(url: str) -> tuple[str, str, int, str | None, str]:
    if not _VISIBLE.fullmatch(url):
        raise ValueError("only visible ASCII can stand in a URL")
    if "?" in url or "#" in url:
        raise ValueError("an origin has neither query nor fragment")
    parts = urlsplit(url)
    if parts.scheme == "unix":
        if parts.netloc:
            raise ValueError("after unix: comes a path")
        return "http", "localhost", 0, _path(parts.path), ""
    if "@" in parts.netloc:
        raise ValueError("user information does not belong in it")
    if parts.scheme == "http+unix":
        return "http", "localhost", 0, _path(parts.netloc), parts.path
    if parts.scheme not in _PORTS:
        raise ValueError(f"unknown scheme {parts.scheme!r}" if parts.scheme else "it has no scheme")
    return parts.scheme, _host(parts), _port(parts), None, parts.path


def _path(quoted: str) -> str:
    path = unquote(quoted)
    if not path.startswith("/") or "\0" in path:
        raise ValueError("a Unix socket needs an absolute path")
    return path


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if "[" in parts.netloc:
        # A zone (RFC 6874) means something on this machine only, and has no place in Host.
        if not _BRACKETS.fullmatch(parts.netloc) or not _is_ipv6(host):
            raise ValueError(f"{parts.netloc!r} is not an IPv6 address in brackets")
    elif not _HOST.fullmatch(host) or len(host) > 253:
        raise ValueError(f"{host!r} is not a host name" if host else "it has no host")
    return host


def _address_problem(address: object, uds: str | None) -> str | None:
    if uds is not None:
        return "has no place beside a Unix socket"
    try:
        ip_address(address if isinstance(address, str) else "")
    except ValueError:
        return f"{address!r} is not an IP address"
    return None


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host)
    except AddressValueError:
        return False
    return True


def _port(parts: SplitResult) -> int:
    port = parts.port  # ValueError where it is no number or above 65535
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("a port is a number from 1 to 65535")
    return port or _PORTS[parts.scheme]


def _not_readable(path: object) -> str | None:
    if path is None:
        return None
    if isinstance(path, str | Path) and Path(path).is_file() and os.access(path, os.R_OK):
        return None
    return f"{path!r} is not a file that can be read"


def _not_loaded(ca: str | None, cert: str | None, key: str | None) -> str | None:
    if ca is None and cert is None:
        return None
    try:
        _load(ca, cert, key)
    except (OSError, ValueError) as error:
        return f"cannot be loaded: {error}"
    return None


def _version_problem(version: object) -> str | None:
    if isinstance(version, ssl.TLSVersion):
        return None
    return f"must be an ssl.TLSVersion, not {version!r}"


def _load(ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    if cert is not None:
        # Without a password OpenSSL would ask for one at the terminal, and wait.
        context.load_cert_chain(cert, key, password="")
    return context
