"""A misspelt option is an error at construction, like a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import gatekit
from gatekit import ConfigurationError

MAKERS: dict[str, Callable[..., Any]] = {
    "AccessLog": gatekit.AccessLog,
    "BodyLimit": gatekit.BodyLimit,
    "CORS": gatekit.CORS,
    "ClientIP": gatekit.ClientIP,
    "CorrelationId": gatekit.CorrelationId,
    "Gateway": gatekit.Gateway,
    "HTTPTransport": gatekit.HTTPTransport,
    "PathRules": gatekit.PathRules,
    "Proxy": gatekit.Proxy,
    "Router": gatekit.Router,
    "SecurityHeaders": gatekit.SecurityHeaders,
    "TLS": gatekit.TLS,
    "Timeout": gatekit.Timeout,
    "Timeouts": gatekit.Timeouts,
}


@pytest.mark.parametrize("name", MAKERS)
def test_an_unknown_keyword_is_named(name: str) -> None:
    """`ConfigurationError`, not the `TypeError` of a function call."""
    with pytest.raises(ConfigurationError, match="no_such_option"):
        MAKERS[name](no_such_option=1)


def test_an_unknown_keyword_is_reported_with_the_rest() -> None:
    """All problems come at once, with the option that was probably meant."""
    with pytest.raises(ConfigurationError) as raised:
        MAKERS["CORS"](allow_origin_list=["https://a.example"], max_age=-1)
    assert set(raised.value.problems) == {"allow_origin_list", "max_age"}
    assert "did you mean allow_origins?" in raised.value.problems["allow_origin_list"]


def test_a_switch_is_no_text() -> None:
    """`"no"` would count as true."""
    with pytest.raises(ConfigurationError, match="allow_credentials"):
        MAKERS["CORS"](allow_credentials="no")
