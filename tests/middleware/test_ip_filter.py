"""Which networks may come in at all."""

from __future__ import annotations

import json
import random
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest

from gatekit import ConfigurationError, Decision
from gatekit.middleware.client_ip import ClientIP
from gatekit.middleware.ip_filter import IPFilter, Networks
from gatekit.testing import exercise, make_request
from tests.conftest import Door
from tests.doors.spec import Spec


def status(policy: IPFilter, peer: str | None) -> int:
    client = None if peer is None else (peer, 50_000)
    return exercise(policy, request=make_request(client=client)).status


def test_who_is_refused_does_not_reach_the_app(door: Door) -> None:
    """403 with a problem that does not say which list it was."""
    spec = Spec()
    assert door(spec, IPFilter(allow=["127.0.0.0/8"])).status == 200
    answer = door(spec, IPFilter(allow=["10.0.0.0/8"]))
    assert answer.status == 403
    assert json.loads(answer.body) == {
        "type": "urn:gatekit:ip-refused",
        "title": "Forbidden",
        "status": 403,
    }
    assert len(spec.seen) == 1


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("10.0.0.1", 200),
        ("10.66.0.1", 403),
        ("11.0.0.1", 403),
        ("203.0.113.7", 200),
        ("203.0.113.8", 403),
        ("::ffff:10.0.0.1", 200),
        ("::ffff:10.66.0.1", 403),
        ("2001:db8:f00:1::5", 200),
        ("2001:db8:f01::5", 403),
        ("fe80::1%eth0", 200),
        ("not an address", 403),
        ("", 403),
        (None, 403),
    ],
)
def test_the_lists(peer: str | None, expected: int) -> None:
    """In either family, in each other's clothes, with zone ids; deny wins over allow."""
    policy = IPFilter(
        allow=["10.0.0.0/8", "203.0.113.7", "2001:db8:f00::/48", "fe80::/10"],
        deny=["::ffff:10.66.0.0/112"],
    )
    assert status(policy, peer) == expected


def test_only_a_deny_list() -> None:
    """Everybody else comes in."""
    policy = IPFilter(deny=["203.0.113.0/24"])
    assert status(policy, "203.0.113.9") == 403
    assert status(policy, "198.51.100.1") == 200
    assert status(policy, "::1") == 200


def test_nobody_is_a_list_too() -> None:
    """An empty allow-list admits nobody, and `0.0.0.0/0` every IPv4 address and no other."""
    assert status(IPFilter(allow=[]), "10.0.0.1") == 403
    assert status(IPFilter(allow=["0.0.0.0/0"]), "10.0.0.1") == 200
    assert status(IPFilter(allow=["0.0.0.0/0"]), "::1") == 403


def test_the_client_behind_a_proxy() -> None:
    """What `ClientIP` found counts; without it, the proxy's own address."""
    policy = IPFilter(deny=["203.0.113.0/24"])
    request = make_request(headers={"x-forwarded-for": "203.0.113.9"}, client=("10.0.0.1", 1))
    assert exercise(ClientIP(trusted=["10.0.0.0/8"]), policy, request=request).status == 403
    request = make_request(headers={"x-forwarded-for": "203.0.113.9"}, client=("10.0.0.1", 1))
    assert exercise(policy, request=request).status == 200


def test_who_has_no_address() -> None:
    """A peer on a Unix socket is refused, unless it is let in."""
    assert status(IPFilter(deny=["10.0.0.0/8"]), None) == 403
    assert status(IPFilter(deny=["10.0.0.0/8"], unknown="allow"), None) == 200
    assert status(IPFilter(allow=["10.0.0.0/8"], unknown="allow"), "garbage") == 200


def test_how_it_is_refused() -> None:
    """With a text of one's own, or as if there were nothing."""
    policy = IPFilter(allow=[], status=451, detail="Not in your country.")
    answer = exercise(policy)
    assert (answer.status, json.loads(answer.body)["detail"]) == (451, "Not in your country.")
    hidden = exercise(IPFilter(allow=[], status=404))
    assert json.loads(hidden.body)["type"] == "urn:gatekit:no-route"


def test_in_the_shadow() -> None:
    """What would be refused is noted and comes in."""
    answer = exercise(IPFilter(allow=[], shadow=True))
    assert answer.status == 200
    assert answer.request.decisions == [
        Decision("ip-filter", "shadow_deny", "not in the allow list")
    ]


def test_it_agrees_with_the_standard_library() -> None:
    """Random networks of all lengths in both families hold the addresses that they hold there."""
    dice = random.Random(11)
    for _ in range(60):
        texts: list[str] = []
        for _ in range(dice.randint(1, 6)):
            kind = dice.choice((IPv4Address, IPv6Address))
            bits = kind(0).max_prefixlen
            address = kind(dice.getrandbits(bits))
            texts.append(str(ip_network(f"{address}/{dice.randint(0, bits)}", strict=False)))
        known = [ip_network(text) for text in texts]
        networks = Networks(texts)
        for network in known:
            assert network[dice.randrange(min(network.num_addresses, 1 << 60))] in networks
        for _ in range(20):
            address = ip_address(dice.getrandbits(32))
            assert (address in networks) is any(address in one for one in known if one.version == 4)


def test_many_networks_are_asked_quickly() -> None:
    """A hundred thousand entries are one look for each length of prefix."""
    entries = [f"10.{n >> 8 & 255}.{n & 255}.0/24" for n in range(65536)]
    networks = Networks(entries)
    assert len(networks._blocks) == 1
    assert ip_address("10.200.200.5") in networks
    assert ip_address("11.200.200.5") not in networks


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({}, "deny"),
        ({"allow": "10.0.0.0/8"}, "allow"),
        ({"allow": ["10.0.0.1/8"]}, "allow"),
        ({"allow": [10]}, "allow"),
        ({"deny": ["nonsense"]}, "deny"),
        ({"deny": ["10.0.0.0/8"], "unknown": "maybe"}, "unknown"),
        ({"deny": ["10.0.0.0/8"], "status": 200}, "status"),
        ({"deny": ["10.0.0.0/8"], "detail": 7}, "detail"),
        ({"deny": ["10.0.0.0/8"], "shadow": "no"}, "shadow"),
        ({"denied": ["10.0.0.0/8"]}, "denied"),
    ],
)
def test_wrong_options(options: dict[str, Any], parameter: str) -> None:
    """Each is named; a block with host bits set may be a typing error."""
    with pytest.raises(ConfigurationError) as raised:
        IPFilter(**options)
    assert parameter in raised.value.problems
