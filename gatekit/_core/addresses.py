"""IP addresses as proxies write them, in one normal form.

    parse_node("[2001:DB8::1]:4711")            # IPv6Address("2001:db8::1")
    network_key("2001:db8::1")                  # "2001:db8::/64"

An IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`) is the IPv4 address, and a zone id (`%eth0`) is
dropped: one client must not have two names.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# An address, alone or with a port; one in IPv6 has brackets then (RFC 3986 §3.2.2). The port may be
# a word of its own in `Forwarded` (RFC 7239 §6).
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([0-9.]+))(?::(?:[0-9]{1,5}|_[\w.-]+))?", re.ASCII)


def parse_address(text: str) -> Address | None:
    """The address that the text is, and nothing beside it."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.scope_id is not None:
            return IPv6Address(int(address))
    return address


def parse_node(text: str) -> Address | None:
    """The address that a proxy wrote, with or without a port."""
    match = _NODE.fullmatch(text)
    if match is None:
        return parse_address(text)
    bracketed, plain = match.groups()
    address = parse_address(bracketed or plain)
    # In brackets only IPv6 may stand, an IPv4-mapped address among it.
    return None if bracketed and ":" not in bracketed else address


def parse_network(text: str) -> Network:
    """A CIDR block or a single address; `ValueError` says what is wrong with it."""
    network = ip_network(text)
    if isinstance(network, IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= 96:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network


def network_key(address: str, ipv6_prefix: int = 64) -> str:
    """What to count a client under: its address, or under IPv6 the network that it holds.

    A subscriber is given at least a /64 and may use every address in it. What is not an address,
    such as the path of a Unix socket, stays as it is.
    """
    parsed = parse_address(address)
    if parsed is None:
        return address
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(IPv6Network((int(parsed), ipv6_prefix), strict=False))
