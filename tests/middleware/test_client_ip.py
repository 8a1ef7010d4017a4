"""Whose request it is: trusted proxies are believed, and nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from gatekit import ConfigurationError, Request
from gatekit.middleware.client_ip import ClientIP, network_key
from gatekit.testing import exercise, make_request
from tests.conftest import Door
from tests.doors.spec import Spec

PROXIES = ["10.0.0.0/8", "2001:db8:f00::/48"]
PROXY = "10.0.0.1"


def resolve(
    middleware: ClientIP,
    *headers: tuple[str, str],
    peer: str | None = PROXY,
    scheme: str = "http",
) -> Request:
    """The request as the app would find it."""
    client = None if peer is None else (peer, 50_000)
    request = make_request(headers=list(headers), client=client, scheme=scheme)
    return exercise(middleware, request=request).request


def xff(*values: str) -> list[tuple[str, str]]:
    return [("X-Forwarded-For", value) for value in values]


def test_the_app_finds_the_client(door: Door) -> None:
    """The first address from the right that is no proxy of ours is the client's."""
    found: list[Request] = []
    headers = {"x-forwarded-for": "6.6.6.6, 203.0.113.9, 10.0.0.2"}
    door(
        Spec(before=found.append),
        ClientIP(trusted=["127.0.0.0/8", "10.0.0.0/8"]),
        headers=headers,
    )
    assert found[0].client_ip == "203.0.113.9"
    assert found[0].trusted_peer


def test_nothing_is_rewritten(door: Door) -> None:
    """The peer, the scheme and `Host` stay what the server saw."""
    found: list[Request] = []
    headers = {
        "x-forwarded-for": "203.0.113.9",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "shop.example",
    }
    middleware = ClientIP(trusted=["127.0.0.1"], allowed_hosts=["shop.example"])
    door(Spec(before=found.append), middleware, headers=headers)
    (request,) = found
    assert request.client is not None
    assert (request.client[0], request.scheme, request.host) == ("127.0.0.1", "http", "testserver")
    assert (request.forwarded_scheme, request.forwarded_host) == ("https", "shop.example")


@pytest.mark.parametrize(
    ("values", "client"),
    [
        pytest.param(["203.0.113.9"], "203.0.113.9", id="one"),
        pytest.param(["6.6.6.6, 203.0.113.9"], "203.0.113.9", id="what the client wrote is left"),
        pytest.param(["6.6.6.6", "203.0.113.9, 10.9.9.9"], "203.0.113.9", id="several fields"),
        pytest.param(["203.0.113.9 ,\t10.0.0.7"], "203.0.113.9", id="white space"),
        pytest.param([", 203.0.113.9, ,"], "203.0.113.9", id="empty elements"),
        pytest.param(["203.0.113.9:4711"], "203.0.113.9", id="a port"),
        pytest.param(["[2001:DB8::0:1]:4711"], "2001:db8::1", id="v6 with a port"),
        pytest.param(["2001:db8::1"], "2001:db8::1", id="v6"),
        pytest.param(["2001:db8:f00::5, 10.0.0.7"], "2001:db8:f00::5", id="all trusted: leftmost"),
        pytest.param(["203.0.113.9, 2001:db8:f00::5"], "203.0.113.9", id="a v6 proxy is skipped"),
        pytest.param(["::ffff:203.0.113.9"], "203.0.113.9", id="v4 in v6 clothes"),
        pytest.param(["203.0.113.9, ::ffff:10.0.0.7"], "203.0.113.9", id="a proxy in v6 clothes"),
        pytest.param(["fe80::1%eth0"], "fe80::1", id="a zone id is dropped"),
        pytest.param([], PROXY, id="no field"),
        pytest.param([""], PROXY, id="an empty field"),
        pytest.param(["unknown"], PROXY, id="no address"),
        pytest.param(["203.0.113.9, garbage"], PROXY, id="garbage stops the walk"),
        pytest.param(["203.0.113.9, garbage, 10.0.0.7"], PROXY, id="garbage behind a proxy"),
        pytest.param(["garbage, 203.0.113.9"], "203.0.113.9", id="garbage left of the client"),
        pytest.param(["203.0.113.09"], PROXY, id="a leading zero may be octal to others"),
        pytest.param(["203.0.113.9; x"], PROXY, id="something behind the address"),
        pytest.param(["[203.0.113.9]"], PROXY, id="v4 in brackets"),
    ],
)
def test_the_walk(values: list[str], client: str) -> None:
    """From the right, over trusted proxies, up to the first stranger or the first nonsense."""
    assert resolve(ClientIP(trusted=PROXIES), *xff(*values)).client_ip == client


def test_a_stranger_is_not_believed() -> None:
    """From any other peer the field is an invention, and the peer is the client."""
    request = resolve(
        ClientIP(trusted=PROXIES, allowed_hosts=["shop.example"]),
        *xff("198.51.100.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "shop.example"),
        peer="203.0.113.66",
    )
    assert (request.client_ip, request.trusted_peer) == ("203.0.113.66", False)
    assert (request.forwarded_scheme, request.forwarded_host) == (None, None)


@pytest.mark.parametrize("peer", ["::ffff:10.0.0.1", "2001:db8:f00::1"])
def test_a_proxy_is_known_in_either_family(peer: str) -> None:
    """A dual-stack socket shows an IPv4 proxy as an IPv6 address."""
    request = resolve(ClientIP(trusted=PROXIES), *xff("203.0.113.9"), peer=peer)
    assert (request.client_ip, request.trusted_peer) == ("203.0.113.9", True)


def test_nobody_may_be_trusted() -> None:
    """An empty list is an answer: the peer is the client, in normal form."""
    request = resolve(ClientIP(trusted=[]), *xff("6.6.6.6"), peer="::ffff:203.0.113.9")
    assert (request.client_ip, request.trusted_peer) == ("203.0.113.9", False)


@pytest.mark.parametrize(
    ("hops", "value", "client"),
    [
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        (2, "6.6.6.6, 203.0.113.9, 192.0.2.1", "203.0.113.9"),
        (2, "203.0.113.9", "198.51.100.20"),
        (2, "203.0.113.9, garbage", "198.51.100.20"),
        (1, "garbage", "198.51.100.20"),
    ],
)
def test_hops_are_counted(hops: int, value: str, client: str) -> None:
    """The n-th address from the right counts; where there are too few, somebody came around."""
    request = resolve(ClientIP(hops=hops), *xff(value), peer="198.51.100.20")
    assert (request.client_ip, request.trusted_peer) == (client, True)


@pytest.mark.parametrize("header", ["X-Real-IP", "CF-Connecting-IP", "Fly-Client-IP"])
def test_another_header(header: str) -> None:
    """A field of one address is a list of one, and `X-Forwarded-For` is then ignored."""
    middleware = ClientIP(trusted=PROXIES, header=header)
    request = resolve(middleware, *xff("6.6.6.6"), (header, "203.0.113.9"))
    assert request.client_ip == "203.0.113.9"


@pytest.mark.parametrize(
    ("values", "client"),
    [
        pytest.param(["for=203.0.113.9"], "203.0.113.9", id="a token"),
        pytest.param(['For="[2001:db8::1]:4711";proto=https'], "2001:db8::1", id="v6 and a port"),
        pytest.param(["for=6.6.6.6, for=203.0.113.9;by=10.0.0.7"], "203.0.113.9", id="elements"),
        pytest.param(
            ["for=6.6.6.6", "for=203.0.113.9", "for=10.0.0.7"], "203.0.113.9", id="fields"
        ),
        pytest.param(["for=203.0.113.9, for=unknown"], PROXY, id="unknown"),
        pytest.param(['for=203.0.113.9, for="_hidden"'], PROXY, id="obfuscated"),
        pytest.param(["for=203.0.113.9, proto=https"], PROXY, id="an element without for"),
        pytest.param(['for=", for=203.0.113.9'], PROXY, id="an open quote swallows the rest"),
        pytest.param(['for="', "for=203.0.113.9"], "203.0.113.9", id="but not another field"),
        pytest.param(["for=203.0.113.9", 'for="'], PROXY, id="a broken field stops the walk"),
        pytest.param(["203.0.113.9"], PROXY, id="another field's syntax"),
        pytest.param(["for=203.0.113.9:80"], PROXY, id="a port needs quotes"),
    ],
)
def test_the_standard_header(values: list[str], client: str) -> None:
    """RFC 7239 is read by its grammar, and what breaks that is believed in nothing."""
    middleware = ClientIP(trusted=PROXIES, header="Forwarded")
    headers = [("Forwarded", value) for value in values]
    assert resolve(middleware, *headers).client_ip == client


def test_the_standard_headers_scheme_and_host() -> None:
    """They are taken from the element of the client, which the outermost proxy wrote."""
    value = (
        "for=6.6.6.6;proto=https;host=evil.example,"
        ' for=203.0.113.9;proto=HTTPS;host="Shop.Example:8443", for=10.0.0.7;proto=http'
    )
    middleware = ClientIP(trusted=PROXIES, header="Forwarded", allowed_hosts=["*.example"])
    request = resolve(middleware, ("Forwarded", value))
    assert (request.forwarded_scheme, request.forwarded_host) == ("https", "shop.example:8443")


@pytest.mark.parametrize(
    ("value", "scheme"),
    [
        ("https", "https"),
        ("HTTP", "http"),
        ("https, http", "http"),
        ("javascript", None),
        ("", None),
    ],
)
def test_the_scheme(value: str, scheme: str | None) -> None:
    """The last value is the nearest proxy's; what is no scheme of the web is not taken."""
    request = resolve(ClientIP(trusted=PROXIES), ("X-Forwarded-Proto", value))
    assert request.forwarded_scheme == scheme


@pytest.mark.parametrize(
    ("allowed", "value", "host"),
    [
        (["shop.example"], "shop.example", "shop.example"),
        (["shop.example"], "Shop.Example:8443", "shop.example:8443"),
        (["shop.example"], "evil.example, shop.example", "shop.example"),
        (["shop.example"], "shop.example, evil.example", None),
        (["shop.example"], "a.shop.example", None),
        (["*.shop.example"], "a.b.shop.example", "a.b.shop.example"),
        (["*.shop.example"], "shop.example", None),
        (["*.shop.example"], "evilshop.example", None),
        (["[2001:db8::1]"], "[2001:db8::1]:80", "[2001:db8::1]:80"),
        (["shop.example"], "shop.example/path", None),
        (["shop.example"], "shop.example@evil.example", None),
        (["shop.example"], "shop.example\\@evil.example", None),
        ([], "shop.example", None),
    ],
)
def test_the_host(allowed: list[str], value: str, host: str | None) -> None:
    """Only a host that the app is known by, for links are built from it."""
    middleware = ClientIP(trusted=PROXIES, allowed_hosts=allowed)
    assert resolve(middleware, ("X-Forwarded-Host", value)).forwarded_host == host


@pytest.mark.parametrize(("trust", "client"), [(True, "203.0.113.9"), (False, None)])
def test_a_unix_socket_has_to_be_trusted_by_name(trust: bool, client: str | None) -> None:
    """A peer without an address is believed only if told so."""
    middleware = ClientIP(trusted=PROXIES, trust_unix=trust)
    request = resolve(middleware, *xff("203.0.113.9"), peer=None)
    assert (request.client_ip, request.trusted_peer) == (client, trust)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:DB8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("/run/app.sock", "/run/app.sock"),
    ],
)
def test_a_network_is_one_key(address: str, key: str) -> None:
    """A client that hops through its /64 stays one client."""
    assert network_key(address) == key


def test_the_size_of_a_network_is_a_choice() -> None:
    """Some providers hand out more than a /64."""
    assert network_key("2001:db8:1:2::1", 48) == "2001:db8:1::/48"


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({}, {"trusted"}),
        ({"trusted": ["10.0.0.0/8"], "hops": 1}, {"trusted"}),
        ({"trusted": "10.0.0.0/8"}, {"trusted"}),
        ({"trusted": ["0.0.0.0/0"]}, {"trusted"}),
        ({"trusted": ["::/0"]}, {"trusted"}),
        ({"trusted": ["*"]}, {"trusted"}),
        ({"trusted": ["10.0.0.1/8"]}, {"trusted"}),
        ({"trusted": [7]}, {"trusted"}),
        ({"hops": 0}, {"hops"}),
        ({"hops": True}, {"hops"}),
        (
            {"hops": 0, "header": "a b", "allowed_hosts": ["a:80"]},
            {"hops", "header", "allowed_hosts"},
        ),
        ({"hops": 1, "allowed_hosts": ["*"]}, {"allowed_hosts"}),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], parameters: set[str]) -> None:
    """What would believe everybody, or nobody by accident, fails at construction."""
    with pytest.raises(ConfigurationError) as caught:
        ClientIP(**options)
    assert set(caught.value.problems) == parameters


def test_the_missing_choice_is_explained() -> None:
    """The error says what to decide and why there is no default."""
    with pytest.raises(ConfigurationError, match=r"trusted=.*hops=.*any client can write"):
        ClientIP()
