"""The client's address behind proxies, from what trusted ones say of it and nobody else.

    ClientIP(trusted=["10.0.0.0/8", "2001:db8:f00::/48"])      # proxies known by their address
    ClientIP(hops=1, header="X-Real-IP")                       # exactly one, whatever its address

There is no default. Without a proxy every such header field is the client's own invention; behind
one, the peer's address is the proxy's, the same for everybody. Only you know which of these holds.

The list of addresses is read from the right, where the nearest proxy wrote. Trusted ones are
skipped and the first that is not trusted is the client; what stands to the left of it may be forged
and is never looked at. An entry that is no address ends the walk: the peer's own address stands.

`request.client_ip` is what is found out. `request.client`, `request.scheme` and `Host` stay what
the server saw; a trusted proxy's word on the other two is in `request.forwarded_scheme` and, for a
host among `allowed_hosts`, in `request.forwarded_host`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache, partial

from gatekit._core.addresses import Network, network_key, parse_network, parse_node
from gatekit._core.forwarded import parse_forwarded
from gatekit._core.messages import Request, Response
from gatekit._core.options import (
    each_problem,
    flag_problem,
    integer_problem,
    known_keywords,
    name_problem,
)
from gatekit.errors import check
from gatekit.typing import Handler

__all__ = ["ClientIP", "network_key"]

# Addresses that one instance remembers having parsed; a client may invent as many as it likes.
_REMEMBERED = 4096

_HOST = re.compile(r"([a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])\.?(?::[0-9]{1,5})?")
_SCHEMES = ("http", "https", "ws", "wss")


@known_keywords
class ClientIP:
    """Sets `request.client_ip` and `request.trusted_peer`.

    `trusted` lists the proxies' networks in CIDR; `hops` counts the proxies instead, all of which
    add to the header, and then any peer is believed, so that nobody else may reach the app.
    `header` is `X-Forwarded-For` or one like it, with addresses and commas, or `Forwarded`
    (RFC 7239). `allowed_hosts` holds names and `*.example.com` for names below.
    `trust_unix` believes a peer that has no address because it came through a Unix socket.
    """

    __slots__ = ("_forwarded", "_hops", "_hosts", "_key", "_look", "_trust_unix")

    def __init__(
        self,
        *,
        trusted: Collection[str] | None = None,
        hops: int | None = None,
        header: str = "X-Forwarded-For",
        allowed_hosts: Collection[str] = (),
        trust_unix: bool = False,
    ) -> None:
        check(
            "ClientIP",
            trust_unix=flag_problem(trust_unix),
            trusted=_trusted_problem(trusted, hops),
            hops=None if hops is None else integer_problem(hops, 1),
            header=name_problem(header),
            allowed_hosts=each_problem(allowed_hosts, _host_problem),
        )
        networks = [parse_network(entry) for entry in trusted or ()]
        self._look: Callable[[str], tuple[str | None, bool]] = lru_cache(_REMEMBERED)(
            partial(_judge, networks)
        )
        self._hops = hops
        self._key = header.lower().encode("ascii")
        self._forwarded = self._key == b"forwarded"
        self._hosts = frozenset(_bare_host(host) for host in allowed_hosts)
        self._trust_unix = trust_unix

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        peer = request.client[0] if request.client else ""
        if peer:
            address, trusted = self._look(peer)
            request.client_ip = address or peer
            trusted = trusted or self._hops is not None
        else:
            trusted = self._trust_unix
        request.trusted_peer = trusted
        if trusted:
            request.trusted_header = self._key.decode("ascii")
            if self._forwarded:
                self._read_forwarded(request)
            else:
                self._read_list(request)
        return await call_next(request)

    def _read_list(self, request: Request) -> None:
        nodes: list[str] = []
        scheme = host = b""
        for name, value in request.headers.raw:
            if name == self._key:
                parts = value.decode("latin-1").split(",")
                nodes += [node for part in parts if (node := part.strip(" \t"))]
            elif name == b"x-forwarded-proto":
                scheme = value
            elif name == b"x-forwarded-host":
                host = value
        found = self._walk(nodes)
        if found is not None:
            request.client_ip = self._look(nodes[found])[0]
        # The nearest proxy wrote the last one; those before it may be the client's.
        request.forwarded_scheme = _scheme(_last(scheme))
        request.forwarded_host = self._host(_last(host)) if host else None

    def _read_forwarded(self, request: Request) -> None:
        elements: list[dict[str, str]] = []
        for line in request.headers.getlist("forwarded"):
            parsed = parse_forwarded(line)
            elements += [{}] if parsed is None else parsed
        found = self._walk([element.get("for", "") for element in elements])
        if found is not None:
            # Whoever named the client also tells what the client asked for.
            element = elements[found]
            request.client_ip = self._look(element["for"])[0]
            request.forwarded_scheme = _scheme(element.get("proto", ""))
            request.forwarded_host = self._host(element.get("host", ""))

    def _walk(self, nodes: list[str]) -> int | None:
        """The position of the client, None if the walk ends at something that is no address."""
        hops = self._hops
        if hops is not None:
            if len(nodes) < hops or any(self._look(node)[0] is None for node in nodes[-hops:]):
                return None
            return len(nodes) - hops
        for position in range(len(nodes) - 1, -1, -1):
            address, trusted = self._look(nodes[position])
            if address is None:
                return None
            if not trusted:
                return position
        return 0 if nodes else None

    def _host(self, value: str) -> str | None:
        host = value.lower()
        if not _HOST.fullmatch(host):
            return None
        bare = _bare_host(host)
        if bare in self._hosts:
            return host
        above = bare.split(".")[1:]
        wild = ("*." + ".".join(above[level:]) for level in range(len(above)))
        return host if any(pattern in self._hosts for pattern in wild) else None


def _judge(networks: Iterable[Network], text: str) -> tuple[str | None, bool]:
    """The normal form of an address, None if it is none, and whether it is a trusted proxy's."""
    address = parse_node(text)
    if address is None:
        return None, False
    return str(address), any(address in network for network in networks)


def _last(value: bytes) -> str:
    return value.rpartition(b",")[2].strip(b" \t").decode("latin-1")


def _scheme(value: str) -> str | None:
    scheme = value.lower()
    return scheme if scheme in _SCHEMES else None


def _bare_host(host: str) -> str:
    """Without a port or the root's dot, in lower case."""
    return re.sub(r":[0-9]+$", "", host.lower()).removesuffix(".")


def _trusted_problem(trusted: Collection[str] | None, hops: int | None) -> str | None:
    if trusted is None and hops is None:
        return (
            "say whom to believe: trusted=[the networks of your proxies], or hops=the number of"
            " proxies in front of this app, if nobody else can reach it; without a proxy leave"
            " ClientIP out, since any client can write these header fields"
        )
    if trusted is not None and hops is not None:
        return "trusted and hops are two answers to one question; give one"
    return None if trusted is None else each_problem(trusted, _network_problem)


def _network_problem(entry: object) -> str | None:
    if not isinstance(entry, str):
        return f"{entry!r} is not a string"
    try:
        network = parse_network(entry)
    except ValueError as error:
        return f"{entry!r} is not a network in CIDR: {error}"
    if network.prefixlen == 0:
        return f"{entry!r} trusts everybody, so that every client may name its own address"
    return None


def _host_problem(entry: object) -> str | None:
    if (
        isinstance(entry, str)
        and _HOST.fullmatch(entry.removeprefix("*.").lower())
        and ":" not in entry.rpartition("]")[2]
    ):
        return None
    return f"{entry!r} is not a host name without a port, such as api.example.com or *.example.com"
