"""Names become addresses: by the system, or by name servers that the test plays over UDP."""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib import util
from typing import Any

import pytest

from gatekit import ConfigurationError
from gatekit.proxy.discovery import DNS, SRV
from gatekit.proxy.transport.origin import Origin
from tests.proxy.discovered import Site
from tests.proxy.name_server import NameServer, Zone

ZONE: Zone = {
    "orders.test.": {"A": (30, ["10.0.0.2", "10.0.0.1"]), "AAAA": (20, ["fd00::1"])},
    "_http._tcp.orders.test.": {
        "SRV": (
            40,
            [
                "10 60 8001 one.orders.test.",
                "10 0 8002 two.orders.test.",
                "20 0 8003 three.orders.test.",
                "20 0 8004 three.orders.test.",
            ],
        )
    },
    "one.orders.test.": {"A": (60, ["10.0.1.1"])},
    "two.orders.test.": {"A": (9, ["10.0.1.2", "10.0.1.3"])},
    "three.orders.test.": {"AAAA": (60, ["fd00::3"])},
}


def answers(**zone: Any) -> NameServer:
    return NameServer({name: dict(kinds) for name, kinds in (ZONE | zone).items()})


def origins(site: Site) -> dict[str, Origin]:
    return {member.name: member.origin for member in site.cluster.state.members}


def test_addresses_become_destinations() -> None:
    """Each address is one; Host stays the name, and the connection goes to the address."""
    with answers() as server:
        site = Site(DNS("orders.test", port=8002, nameservers=[server.address]))
        site.run()
    found = origins(site)
    assert list(found) == ["10.0.0.1:8002", "10.0.0.2:8002", "[fd00::1]:8002"]
    assert {origin.authority for origin in found.values()} == {b"orders.test:8002"}
    assert [origin.address for origin in found.values()] == ["10.0.0.1", "10.0.0.2", "fd00::1"]
    assert len({origin.key for origin in found.values()}) == 3


@pytest.mark.parametrize(
    ("family", "names"),
    [("ipv4", ["10.0.0.1:80", "10.0.0.2:80"]), ("ipv6", ["[fd00::1]:80"])],
)
def test_family(family: Any, names: list[str]) -> None:
    """Addresses of one family only are asked for."""
    with answers() as server:
        site = Site(DNS("orders.test", port=80, family=family, nameservers=[server.address]))
        site.run()
        assert len(server.asked) == 1
    assert site.names == names


def test_host_and_scheme() -> None:
    """Another name may be sent and checked than the one that is looked up."""
    with answers() as server:
        resolver = DNS(
            "orders.test", port=443, scheme="https", host="api.test", nameservers=[server.address]
        )
        site = Site(resolver)
        site.run()
    assert {origin.authority for origin in origins(site).values()} == {b"api.test"}
    assert {origin.scheme for origin in origins(site).values()} == {"https"}


def test_ttl_is_kept() -> None:
    """The next question comes after the shortest TTL of the answer, not after the interval."""
    with answers() as server:
        site = Site(
            DNS("orders.test", port=80, interval=300.0, ttl=True, nameservers=[server.address])
        )
        site.run(1.0)
        assert len(server.asked) == 2  # A and AAAA
        site.run(16.0)
        assert len(server.asked) == 2
        site.run(6.0)
        assert len(server.asked) == 4


def test_interval_is_the_longest_wait() -> None:
    """A TTL of a day does not keep a change from being seen."""
    with answers(**{"orders.test.": {"A": (86_400, ["10.0.0.1"])}}) as server:
        site = Site(
            DNS("orders.test", port=80, interval=30.0, ttl=True, nameservers=[server.address])
        )
        site.run(1.0)
        server.zone["orders.test."] = {"A": (86_400, ["10.0.0.9"])}
        site.run(34.0)
    assert site.names == ["10.0.0.9:80"]


def test_the_order_of_an_answer_is_no_change() -> None:
    """Name servers turn their answers round; nobody leaves or comes by that."""
    with answers() as server:
        site = Site(DNS("orders.test", port=80, nameservers=[server.address]))
        site.run()
        before = site.cluster.state.members
        server.zone["orders.test."]["A"] = (30, ["10.0.0.1", "10.0.0.2"])
        site.run(34.0)
    assert site.cluster.state.members == before
    assert len(server.asked) == 4


@pytest.mark.parametrize("failure", ["SERVFAIL", "garbage", "NXDOMAIN", "NODATA"])
def test_a_failing_name_server_wipes_nothing(failure: Any) -> None:
    """Whatever it says, the last good addresses stay, until there are others."""
    with answers() as server:
        site = Site(DNS("orders.test", port=80, timeout=0.1, nameservers=[server.address]))
        site.run()
        before = site.cluster.state.members
        assert len(before) == 3
        if failure == "NXDOMAIN":
            del server.zone["orders.test."]
        elif failure == "NODATA":
            server.zone["orders.test."] = {}
        else:
            server.fails = failure
        site.run(34.0)
        assert site.cluster.state.members == before
        assert site.told[3:] == ["resolver_failed"]
        server.fails = None
        server.zone["orders.test."] = {"A": (30, ["10.0.0.2"])}
        site.run(34.0)
    assert site.names == ["10.0.0.2:80"]
    assert site.told[-1] == "resolver_recovered"
    assert site.cluster.state.members[0] in before


def test_half_an_answer_is_none() -> None:
    """Where one family's question fails, the addresses of the other do not stand alone."""
    with answers() as server:
        site = Site(DNS("orders.test", port=80, nameservers=[server.address]))
        site.run()
        answer = server._answer

        def half(data: bytes) -> bytes | None:
            found = answer(data)
            if server.asked[-1].endswith("AAAA"):
                server.fails = "SERVFAIL"
                found = answer(data)
                server.fails = None
            return found

        server._answer = half  # type: ignore[method-assign]
        site.run(34.0)
    assert len(site.names) == 3
    assert site.told[-1] == "resolver_failed"


def test_the_system_is_asked_by_default() -> None:
    """Hosts files, caches and search domains count, for it is getaddrinfo that finds them."""
    site = Site(DNS("localhost", port=8002, family="ipv4"))
    site.run()
    assert site.names == ["127.0.0.1:8002"]
    assert site.cluster.state.members[0].host == b"localhost:8002"


def test_a_name_that_the_system_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a failure like any other."""

    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    site = Site(DNS("nowhere.test", port=80))
    site.run()
    assert site.names == []
    assert site.told == ["resolver_failed"]
    assert "Name or service not known" in site.events[0].reason


def test_srv() -> None:
    """Ports, priorities and weights of the records; the target's name, at each of its addresses."""
    with answers() as server:
        site = Site(SRV("_http._tcp.orders.test", nameservers=[server.address]))
        site.run()
        asked = len(server.asked)
        site.run(7.5)
        assert len(server.asked) == asked
        site.run(2.5)  # the shortest TTL of all is that of an address
        assert len(server.asked) == 2 * asked
    found = {
        member.name: (
            member.origin.authority.decode(),
            member.origin.address,
            member.destination.priority,
            member.destination.weight,
        )
        for member in site.cluster.state.members
    }
    assert found == {
        "one.orders.test:8001/10.0.1.1": ("one.orders.test:8001", "10.0.1.1", 10, 60),
        "two.orders.test:8002/10.0.1.2": ("two.orders.test:8002", "10.0.1.2", 10, 0.6),
        "two.orders.test:8002/10.0.1.3": ("two.orders.test:8002", "10.0.1.3", 10, 0.6),
        "three.orders.test:8003/fd00::3": ("three.orders.test:8003", "fd00::3", 20, 1),
        "three.orders.test:8004/fd00::3": ("three.orders.test:8004", "fd00::3", 20, 1),
    }


def test_srv_without_a_service() -> None:
    """A single record with the target "." means that there is none: an empty answer."""
    name = "_http._tcp.orders.test."
    with answers(**{name: {"SRV": (30, ["0 0 0 ."])}}) as server:
        for allowed in (False, True):
            site = Site(
                SRV(name, nameservers=[server.address], allow_empty=allowed),
                destinations=["http://static"],
            )
            site.run()
            assert site.names == ([] if allowed else ["http://static"])


def test_srv_whose_target_has_no_address() -> None:
    """One target that cannot be found spoils the answer: nobody is dropped for a lame record."""
    with answers() as server:
        site = Site(SRV("_http._tcp.orders.test", nameservers=[server.address]))
        site.run()
        del server.zone["two.orders.test."]
        site.run(40.0)
    assert len(site.names) == 5
    assert site.told[-1] == "resolver_failed"


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: DNS("", port=80), ["name"]),
        (lambda: DNS("a b", port=0), ["name", "port"]),
        (lambda: DNS("orders.test", port=80, scheme="ftp", family="ip"), ["scheme", "family"]),  # type: ignore[arg-type]
        (lambda: DNS("orders.test", port=80, nameservers="10.0.0.1"), ["nameservers"]),
        (lambda: DNS("orders.test", port=80, nameservers=["ns.test"]), ["nameservers"]),
        (lambda: DNS("orders.test", port=80, nameservers=["10.0.0.1:0"]), ["nameservers"]),
        (lambda: DNS("orders.test", port=80, nameservers=["10.0.0.999"]), ["nameservers"]),
        (lambda: SRV("orders.test", interval=0, timeout=0), ["interval", "timeout"]),
        (lambda: SRV("orders.test", host="a:1", ttl=True), ["ttl", "host"]),  # type: ignore[call-arg]
    ],
)
def test_wrong_options_are_named(make: Callable[[], object], names: list[str]) -> None:
    """All that is wrong is found at construction, and in one error."""
    with pytest.raises(ConfigurationError) as error:
        make()
    assert list(error.value.problems) == names


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dnspython what needs it is refused at construction, and what does not is not."""
    find = util.find_spec
    monkeypatch.setattr(
        "gatekit.proxy.discovery.names.find_spec",
        lambda name: None if name == "dns" else find(name),
    )
    DNS("orders.test", port=80)
    for make in (
        lambda: SRV("orders.test"),
        lambda: DNS("orders.test", port=80, ttl=True),
        lambda: DNS("orders.test", port=80, nameservers=["10.0.0.1"]),
    ):
        with pytest.raises(ConfigurationError, match=r"gatekit-middleware\[dns\]"):
            make()


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        ("https://api.test/v2", "10.0.0.1", "Origin('https://api.test/v2', address='10.0.0.1')"),
        ("http://api.test:81", "fd00::1", "Origin('http://api.test:81', address='fd00::1')"),
    ],
)
def test_an_origin_at_an_address(url: str, address: str, shown: str) -> None:
    """It is another one than the same name elsewhere, with connections of its own."""
    origin = Origin(url, address=address)
    assert repr(origin) == shown
    assert origin == Origin(url, address=address) != Origin(url)
    assert origin.authority == Origin(url).authority
    assert origin.key != Origin(url).key


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://a", "b.test"),
        ("http://a", "10.0.0.1:80"),
        ("http://a", ""),
        ("unix:/a", "10.0.0.1"),
    ],
)
def test_wrong_address(url: str, address: str) -> None:
    """Only an IP address will do, and not for a Unix socket."""
    with pytest.raises(ConfigurationError, match="address"):
        Origin(url, address=address)
