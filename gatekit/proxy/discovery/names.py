"""Questions to name servers, and what those who ask them have in common.

    asker = Asker(("10.0.0.2:53",))
    found = asker.addresses("orders.internal", "any", seconds=5.0)        # blocks
    found.addresses, found.ttl

The addresses come in order: name servers turn them round, and a cluster is to see a change only
where there is one.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Sequence
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, cast

from gatekit._core.options import flag_problem, seconds_problem
from gatekit.proxy.fields import is_host

if TYPE_CHECKING:
    import dns.resolver

Family: TypeAlias = Literal["any", "ipv4", "ipv6"]
Scheme: TypeAlias = Literal["http", "https"]

FAMILIES: Final[dict[Family, int]] = {
    "any": socket.AF_UNSPEC,
    "ipv4": socket.AF_INET,
    "ipv6": socket.AF_INET6,
}
GRACE: Final = 0.25
"""Seconds more for the thread of an `Asker`, which keeps its time itself."""
_TYPES: Final[dict[Family, tuple[str, ...]]] = {
    "any": ("A", "AAAA"),
    "ipv4": ("A",),
    "ipv6": ("AAAA",),
}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_SERVER = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+))(?::(?P<port>[0-9]{1,5}))?")


class Addresses(NamedTuple):
    """IP addresses, and for how many seconds they hold."""

    addresses: tuple[str, ...]
    ttl: float


class Service(NamedTuple):
    """One SRV record (RFC 2782); the target has no dot at its end."""

    target: str
    port: int
    priority: int
    weight: int


class Asker:
    """Asks the name servers of the system, or those that are named, itself: for what they say of
    lifetimes and services, which the system's own functions do not tell. Blocks.
    """

    __slots__ = ("_servers",)

    def __init__(self, nameservers: Sequence[str]) -> None:
        self._servers = tuple(_server(server) for server in nameservers)

    def addresses(self, name: str, family: Family, seconds: float) -> Addresses:
        """`OSError` or `LookupError` where there are none to be had."""
        return self._addresses(self._resolver(), name, family, time.monotonic() + seconds)

    def services(
        self, name: str, family: Family, seconds: float
    ) -> tuple[list[tuple[Service, str]], float]:
        """Each record once for each address of its target, and for how long all of it holds."""
        due = time.monotonic() + seconds
        resolver = self._resolver()
        answer = _ask(resolver, name, "SRV", due)
        ttl = float(answer.rrset.ttl)
        found: list[tuple[Service, str]] = []
        for record in answer:
            target = cast("str", record.target.to_text(omit_final_dot=True))
            if target in (".", "@", ""):  # RFC 2782: the service is decidedly not available here
                continue
            service = Service(target, record.port, record.priority, record.weight)
            where = self._addresses(resolver, f"{target}.", family, due)
            ttl = min(ttl, where.ttl)
            found += [(service, address) for address in where.addresses]
        return sorted(set(found)), ttl

    def _addresses(
        self, resolver: dns.resolver.Resolver, name: str, family: Family, due: float
    ) -> Addresses:
        import dns.resolver

        found: set[str] = set()
        ttl = float("inf")
        for kind in _TYPES[family]:
            try:
                answer = _ask(resolver, name, kind, due)
            except dns.resolver.NoAnswer:
                continue  # the name exists, but not with such an address
            found.update(record.address for record in answer)
            ttl = min(ttl, answer.rrset.ttl)
        if not found:
            raise LookupError(f"{name} has no address")
        return Addresses(in_order(found), ttl)

    def _resolver(self) -> dns.resolver.Resolver:
        # A new one each time: the system's configuration may have changed.
        import dns.resolver

        if not self._servers:
            return dns.resolver.Resolver()
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [address for address, _ in self._servers]
        resolver.nameserver_ports = dict(self._servers)
        return resolver


def look_up(name: str, port: int, family: Family) -> tuple[str, ...]:
    """By the system, its hosts file and caches included; `OSError` where there are none. Blocks."""
    found = socket.getaddrinfo(
        name, port, FAMILIES[family], socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return in_order({str(address[0]) for *_, address in found})


def in_order(addresses: set[str]) -> tuple[str, ...]:
    parsed = [ip_address(address.partition("%")[0]) for address in addresses]
    return tuple(str(one) for one in sorted(parsed, key=lambda one: (one.version, int(one))))


def name_problem(name: object) -> str | None:
    if isinstance(name, str) and _NAME.fullmatch(name) and len(name) <= 254:
        return None
    return f"{name!r} is not a name that can be looked up"


def common_problems(
    *,
    scheme: object,
    family: object,
    interval: object,
    timeout: object,
    allow_empty: object,
    host: object,
    nameservers: object,
    needs_extra: bool,
) -> dict[str, str | None]:
    """Of the options that all who ask name servers have."""
    extra = None
    if needs_extra and find_spec("dns") is None:
        extra = "needs dnspython: pip install gatekit-middleware[dns]"
    return {
        "scheme": _one_of(scheme, ("http", "https")),
        "family": _one_of(family, tuple(FAMILIES)),
        "interval": seconds_problem(interval),
        "timeout": seconds_problem(timeout),
        "allow_empty": flag_problem(allow_empty),
        "host": None
        if host is None or (isinstance(host, str) and is_host(host) and name_problem(host) is None)
        else f"{host!r} is not a host name",
        "nameservers": _servers_problem(nameservers) or extra,
    }


def _ask(resolver: dns.resolver.Resolver, name: str, kind: str, due: float) -> Any:
    import dns.exception
    import dns.resolver

    try:
        left = max(due - time.monotonic(), 0.01)
        return resolver.resolve(name, kind, lifetime=left, search=not name.endswith("."))
    except dns.resolver.NoAnswer:
        raise
    except dns.exception.Timeout:
        raise TimeoutError(f"no name server answered for {name} {kind}") from None
    except dns.exception.DNSException as error:
        raise LookupError(f"{name} {kind}: {error}") from None


def _server(server: str) -> tuple[str, int]:
    found = _SERVER.fullmatch(server)
    assert found is not None
    return found["six"] or found["four"], int(found["port"] or 53)


def _servers_problem(servers: object) -> str | None:
    if isinstance(servers, str | bytes) or not isinstance(servers, Sequence):
        return f"must be a list of addresses, such as ['10.0.0.2'], not {servers!r}"
    seen: set[str] = set()
    for server in cast("Sequence[object]", servers):
        found = _SERVER.fullmatch(server) if isinstance(server, str) else None
        if found is None:
            return f"{server!r} is not an IP address, or one with a port"
        address, port = _server(found[0])
        try:
            ip_address(address)
        except ValueError:
            return f"{server!r} is not an IP address, or one with a port"
        if not 0 < port < 65536:
            return f"{server!r} has no port from 1 to 65535"
        if address in seen:
            return f"{address!r} is named twice"
        seen.add(address)
    return None


def _one_of(value: object, known: tuple[str, ...]) -> str | None:
    if value in known:
        return None
    return f"must be {' or '.join(map(repr, known))}, not {value!r}"
