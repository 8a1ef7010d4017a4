"""Addresses and the `Forwarded` field, by themselves."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekit._core.addresses import parse_network, parse_node
from gatekit._core.forwarded import parse_forwarded


@given(st.ip_addresses(v=4), st.integers(0, 65_535))
def test_an_ipv4_node_is_read_with_and_without_a_port(address: object, port: int) -> None:
    """The port never changes whose address it is."""
    assert str(parse_node(str(address))) == str(address)
    assert parse_node(f"{address}:{port}") == parse_node(str(address))


@given(st.ip_addresses(v=6), st.integers(0, 65_535))
def test_an_ipv6_node_is_read_with_and_without_a_port(address: object, port: int) -> None:
    """With a port it stands in brackets."""
    bare = parse_node(str(address))
    assert bare is not None
    assert parse_node(f"[{address}]:{port}") == parse_node(f"[{address}]") == bare


@given(st.text())
def test_no_text_breaks_the_parsers(text: str) -> None:
    """Whatever a client sends is an address, elements, or None; never an exception."""
    node = parse_node(text)
    assert node is None or ip_address(str(node)) == node
    elements = parse_forwarded(text)
    assert elements is None or all(isinstance(element, dict) for element in elements)


@pytest.mark.parametrize("node", ["192.0.2.1:_hidden", "192.0.2.1:65535"])
def test_a_port_may_be_obfuscated(node: str) -> None:
    """RFC 7239 §6.3 allows a word in place of the number."""
    assert str(parse_node(node)) == "192.0.2.1"


@pytest.mark.parametrize("node", ["", "unknown", "_x", "192.0.2.1:", "[::1", "::1]", "1.2.3", "1"])
def test_what_is_no_address(node: str) -> None:
    """Words, halves and plain numbers are none."""
    assert parse_node(node) is None


def test_a_mapped_network_is_the_ipv4_network() -> None:
    """A list that names proxies in IPv6 clothes means the same proxies."""
    assert parse_network("::ffff:10.0.0.0/104") == ip_network("10.0.0.0/8")


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", [{"for", "proto", "by"}]),
        ("for=192.0.2.43, for=198.51.100.17", [{"for"}, {"for"}]),
        ("FOR=_a;Proto=https", [{"for", "proto"}]),
        ('for="[2001:db8:cafe::17]:4711" ; host="a\\"b"', [{"for", "host"}]),
        ("for=a;;, ,;", [{"for"}]),
        ("", []),
    ],
)
def test_elements_of_forwarded(value: str, elements: list[set[str]]) -> None:
    """One for each proxy, names in lower case, empty ones left out."""
    parsed = parse_forwarded(value)
    assert parsed is not None
    assert [set(element) for element in parsed] == elements


def test_a_quoted_string_is_unquoted() -> None:
    """Escapes go, and separators inside of it are none."""
    assert parse_forwarded(r'host="a,b;c=\"d\\"') == [{"host": 'a,b;c="d\\'}]


@pytest.mark.parametrize(
    "value",
    [
        "for",
        "for=",
        'for="',
        'for="a"b',
        "for=a for=b",
        "for=a;for=b",
        "for = a",
        "=a",
        "for=[::1]",
    ],
)
def test_what_breaks_the_grammar_is_nothing(value: str) -> None:
    """There is no telling what such a line was meant to say."""
    assert parse_forwarded(value) is None
