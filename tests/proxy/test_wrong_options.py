"""What is no option of a part of the proxy is a `ConfigurationError` that names it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from gatekit import (
    TLS,
    Cluster,
    ConfigurationError,
    CookieAffinity,
    LeastRequests,
    Ramp,
    RingHash,
    SlowStart,
    Split,
)
from gatekit.proxy.transport import HTTPTransport, Origin

SECRET = b"0123456789abcdef"
ODD: list[Any] = [None, "x", -1, True, [], {}, object(), float("nan")]
VERSIONS = {Cluster("a", destinations=["http://a"]): 1}
NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("make", "name", "odd"),
    [
        (LeastRequests, "bias", ODD),
        (partial(RingHash, "client"), "max_load", ODD[1:]),
        (SlowStart, "aggression", ODD),
        (SlowStart, "minimum", ODD),
        (partial(CookieAffinity, SECRET), "same_site", ODD),
        (Split, "versions", ODD),
        (partial(Split, VERSIONS), "chance", ODD[1:]),
        (partial(Ramp, 1, 2, over=3), "begins", ODD),
        (partial(Ramp, begins=NOON, over=3, end=1), "start", ODD),
        (TLS, "dangerous_accept_any_certificate", ["no", 0, None]),
        (TLS, "minimum_version", ODD),
        (TLS, "server_name", ODD[2:]),
        (Origin, "url", ODD),
        (HTTPTransport, "tls", ODD[1:]),
        (HTTPTransport, "max_connections", ODD),
        (HTTPTransport, "max_pending", ODD),
        (HTTPTransport, "idle_ttl", ODD),
        (HTTPTransport, "max_head", ODD),
        (HTTPTransport, "max_fields", ODD),
        (partial(Cluster, "a", destinations=["http://a"]), "chance", ODD[1:]),
    ],
)
def test_an_odd_value_is_named(make: Callable[..., object], name: str, odd: list[Any]) -> None:
    """At construction, in place of a `TypeError` there, or of an error on a request."""
    for value in odd:
        with pytest.raises(ConfigurationError) as raised:
            make(**{name: value})
        assert list(raised.value.problems) == [name]
