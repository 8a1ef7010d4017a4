"""What counts as a failure of what is behind."""

from __future__ import annotations

from typing import Any

import pytest

from gatekit import ConfigurationError, Request, Response
from gatekit._core.classify import GRPC_FAILURES, Failures, reached
from gatekit.errors import BodyTooLarge, ClientDisconnected, Rejected, UpstreamError
from gatekit.testing import make_request


@pytest.mark.parametrize("status", [500, 502, 503, 504, 507, 520, 599])
def test_the_servers_statuses_are_failures(status: int) -> None:
    """All of 5xx but two."""
    assert Failures()(Response(status)) is True
    assert Failures()(Rejected(status)) is True


@pytest.mark.parametrize("status", [101, 200, 204, 301, 400, 404, 429, 501, 505])
def test_what_a_healthy_service_may_say(status: int) -> None:
    """501 and 505 are about what it can do at all, 4xx about what was asked."""
    assert Failures()(Response(status)) is False
    assert Failures()(Rejected(status)) is False


@pytest.mark.parametrize(
    "result",
    [
        Response(408),
        Response(499),
        ClientDisconnected("left"),
        BodyTooLarge(10),
        UpstreamError("pool_full", ""),
        UpstreamError("pool_timeout", ""),
        UpstreamError("body_client", ""),
    ],
    ids=repr,
)
def test_the_clients_doing_and_our_own_count_neither_way(result: Any) -> None:
    """The upstream had no part in it."""
    assert Failures()(result) is None


@pytest.mark.parametrize(
    "error", [RuntimeError(), TimeoutError(), UpstreamError("connect", "")], ids=repr
)
def test_errors_are_failures(error: Exception) -> None:
    """Whatever is raised, unless told otherwise."""
    assert Failures()(error) is True


def test_only_what_is_listed() -> None:
    """`statuses` and `exceptions` replace the usual ones; subclasses are meant too."""
    failures = Failures(statuses=[429], exceptions=[LookupError])
    assert failures(Response(429)) is True
    assert failures(Response(500)) is False
    assert failures(KeyError()) is True
    assert failures(ValueError()) is False


def test_ignore_wins() -> None:
    """Over what is listed as a failure, by status and by class."""
    failures = Failures(ignore=[404, 500, LookupError])
    assert failures(Response(404)) is None
    assert failures(Response(500)) is None
    assert failures(KeyError()) is None
    assert failures(Response(408)) is None
    assert failures(Response(502)) is True


def test_grpc_statuses_are_seen_in_the_head() -> None:
    """A call that fails at once has its status there, under a 200."""
    failures = Failures(grpc=GRPC_FAILURES)
    assert failures.needs_fields
    assert failures(Response(200, {"grpc-status": "14"})) is True
    assert failures(Response(200, {"grpc-status": "5"})) is False
    assert failures(Response(200)) is False
    assert failures(Response(503)) is True
    assert Failures()(Response(200, {"grpc-status": "14"})) is False


def test_whether_it_was_asked_at_all() -> None:
    """A request that nobody entered the app with says nothing of it, nor does a full pool."""

    def request(answering: bool, error: UpstreamError | None = None) -> Request:
        made = make_request()
        made._answering, made.upstream_error = answering, error
        return made

    assert not reached(request(False))
    assert reached(request(True))
    assert reached(request(True, UpstreamError("reset", "")))
    assert not reached(request(True, UpstreamError("pool_full", "")))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("statuses", [99]),
        ("statuses", 500),
        ("statuses", "500"),
        ("statuses", [True]),
        ("exceptions", [KeyboardInterrupt]),
        ("exceptions", ["KeyError"]),
        ("ignore", [600]),
        ("ignore", [BaseException]),
        ("grpc", ["UNAVAILABLE"]),
    ],
)
def test_a_wrong_option_is_named(name: str, value: Any) -> None:
    """At construction."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(ConfigurationError) as caught:
        Failures(**options)
    assert list(caught.value.problems) == [name]
