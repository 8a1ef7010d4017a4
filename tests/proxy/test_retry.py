"""The retry policy by itself: what is tried again, when, and how often."""

from __future__ import annotations

from random import Random
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekit import ConfigurationError, Failures, Response, Timeouts
from gatekit.errors import UpstreamError
from gatekit.proxy.attempts.retry import RETRIABLE, UNSENT, Retry
from gatekit.proxy.attempts.retry_after import seconds_to_wait
from gatekit.proxy.clusters.cluster import Cluster

NOON = 1_763_726_400.0
"""Fri, 21 Nov 2025 12:00:00 GMT."""


def error(stage: Any) -> UpstreamError:
    return UpstreamError(stage, "so it is")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_answers_of_a_gateway_are_tried_again(status: int) -> None:
    """By default those, and no other status."""
    assert Retry().wants_answer(status, [])
    assert not any(Retry().wants_answer(other, []) for other in (200, 404, 429, 500, 501, 505))


def test_failures_before_the_head_are_tried_again() -> None:
    """But not one that another attempt cannot mend."""
    for stage in RETRIABLE:
        if isinstance(stage, str):
            assert Retry().wants_error(error(stage))
    for stage in ("total_timeout", "body_client", "no_destination", "protocol", "idle_timeout"):
        assert not Retry().wants_error(error(stage))


def test_triggers_of_every_kind() -> None:
    """Statuses, ranges, stages and functions stand in one list; a function may stand alone."""
    mixed = Retry(on=[429, range(520, 530), "protocol", _retry_me])
    assert [mixed.wants_answer(status, []) for status in (429, 503, 520, 529, 530)] == [
        True, False, True, True, False,
    ]  # fmt: skip
    assert mixed.wants_answer(200, [(b"x-retry", b"1")])
    assert mixed.wants_error(error("protocol")) and not mixed.wants_error(error("connect"))
    by_grpc = Retry(on=Failures(grpc=[14], statuses=[]))
    assert by_grpc.wants_answer(200, [(b"grpc-status", b"14")])
    assert not by_grpc.wants_answer(200, [(b"grpc-status", b"5")])
    assert by_grpc.wants_error(error("reset")) and not by_grpc.wants_error(error("total_timeout"))


def _retry_me(result: Response | Exception) -> bool:
    return isinstance(result, Response) and "x-retry" in result.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_idempotent_methods_may_be_repeated(method: str) -> None:
    """RFC 9110 §9.2.2, after whatever happened."""
    assert Retry().may_repeat(method, has_key=False, error=None)
    assert Retry().may_repeat(method, has_key=False, error=error("reset"))


@pytest.mark.parametrize("method", ["POST", "PATCH", "PURGE"])
def test_others_may_be_repeated_if_they_never_went_out(method: str) -> None:
    """Provably: not where a connection was lost, nor after an answer."""
    for stage in UNSENT:
        assert Retry().may_repeat(method, has_key=False, error=error(stage))
    for stage in ("send", "reset", "closed", "first_byte_timeout", "attempt_timeout"):
        assert not Retry().may_repeat(method, has_key=True, error=error(stage))
    assert not Retry().may_repeat(method, has_key=True, error=None)


def test_an_idempotency_key_counts_where_the_upstream_keeps_to_it() -> None:
    """Which only the operator knows."""
    keyed = Retry(idempotency_key=True)
    assert keyed.may_repeat("POST", has_key=True, error=error("reset"))
    assert not keyed.may_repeat("POST", has_key=False, error=error("reset"))


def test_the_pause_is_full_jitter() -> None:
    """Evenly between nothing and a bound that doubles, up to the largest."""
    retry = Retry(10, backoff=0.1, max_backoff=0.5, chance=Random(7))
    for number, bound in [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.5), (5_000, 0.5)]:
        pauses = [retry.pause(number) for _ in range(2_000)]
        assert 0 <= min(pauses) < bound * 0.01 and bound * 0.99 < max(pauses) <= bound
        assert mean(pauses) == pytest.approx(bound / 2, rel=0.05)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], None),
        ([(b"retry-after", b"120")], 120.0),
        ([(b"retry-after", b" 0 ")], 0.0),
        ([(b"retry-after", b"1"), (b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b"Fri, 21 Nov 2025 12:00:30 GMT")], 30.0),
        ([(b"retry-after", b"Fri, 21 Nov 2025 11:00:00 GMT")], 0.0),
        (
            [
                (b"date", b"Fri, 21 Nov 2025 12:00:20 GMT"),
                (b"retry-after", b"Fri, 21 Nov 2025 12:00:30 GMT"),
            ],
            10.0,
        ),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"1.5")], None),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after", b"\xff\xfe")], None),
        ([(b"retry-after", b"9999999999999999999999")], None),
        ([(b"retry-after", b"Fri, 99 Nov 2025 12:00:30 GMT")], None),
        ([(b"ratelimit", b'"default";r=0;t=12')], 12.0),
        ([(b"ratelimit", b'"hour";r=7;t=900, "minute";r=0;t=3')], 3.0),
        ([(b"ratelimit", b'"default";r=05;t=12')], None),
        ([(b"ratelimit", b"nonsense;;;=")], None),
    ],
)
def test_what_an_answer_asks_to_wait(
    fields: list[tuple[bytes, bytes]], seconds: float | None
) -> None:
    """Seconds or a date (RFC 9110 §10.2.3), or the reset of a limit that is used up."""
    assert seconds_to_wait(fields, lambda: NOON) == seconds


@given(st.binary(max_size=40))
def test_no_value_of_retry_after_can_break_it(value: bytes) -> None:
    """An upstream may write what it likes there."""
    found = seconds_to_wait([(b"retry-after", value), (b"ratelimit", value)], lambda: NOON)
    assert found is None or found >= 0


def test_retry_after_is_a_lower_bound_with_a_limit() -> None:
    """Never earlier; and for longer than the limit nobody waits."""
    retry = Retry(max_retry_after=5.0, clock=lambda: NOON)
    assert retry.wait_after([], 0.2) == 0.2
    assert retry.wait_after([(b"retry-after", b"3")], 0.2) == 3.0
    assert retry.wait_after([(b"retry-after", b"0")], 0.2) == 0.2
    assert retry.wait_after([(b"retry-after", b"6")], 0.2) is None
    assert Retry(respect_retry_after=False).wait_after([(b"retry-after", b"6")], 0.2) == 0.2


def test_the_budget() -> None:
    """A part of what is under way, and always a few."""
    retry = Retry(budget=0.2, min_budget=3)
    assert retry.affords(2, 1) and not retry.affords(3, 1)
    assert retry.affords(19, 100) and not retry.affords(20, 100)
    assert Retry(budget=None).affords(10_000, 1)
    assert not Retry(budget=0.0, min_budget=0).affords(0, 100)


async def unawaited(result: object) -> bool:
    """What it returns is always true."""
    return False


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"retries": 0}, "retries"),
        ({"retries": True}, "retries"),
        ({"on": 503}, "on"),
        ({"on": "connect"}, "on"),
        ({"on": ["connection"]}, "on"),
        ({"on": ["total_timeout"]}, "on"),
        ({"on": [99]}, "on"),
        ({"on": [range(100, 600)]}, "on"),
        ({"on": [range(5, 5)]}, "on"),
        ({"on": [ValueError]}, "on"),
        ({"on": [unawaited]}, "on"),
        ({"chance": 0.5}, "chance"),
        ({"clock": 12.0}, "clock"),
        ({"methods": "GET"}, "methods"),
        ({"methods": ["GE T"]}, "methods"),
        ({"backoff": -1}, "backoff"),
        ({"backoff": 1.0, "max_backoff": 0.5}, "max_backoff"),
        ({"per_try_timeout": 0}, "per_try_timeout"),
        ({"max_replay": -1}, "max_replay"),
        ({"budget": 20}, "budget"),
        ({"budget": float("nan")}, "budget"),
        ({"min_budget": -1}, "min_budget"),
        ({"budget_window": 0}, "budget_window"),
        ({"budget_window": 10, "budget": None}, "budget_window"),
        ({"respect_retry_after": "no"}, "respect_retry_after"),
        ({"max_retry_after": None}, "max_retry_after"),
        ({"idempotency_key": 1}, "idempotency_key"),
        ({"retry": 2}, "retry"),
    ],
)
def test_a_wrong_option_is_named(wrong: dict[str, Any], name: str) -> None:
    """At construction, a misspelt one too."""
    with pytest.raises(ConfigurationError) as raised:
        Retry(**wrong)
    assert list(raised.value.problems) == [name]


def test_attempts_must_fit_into_the_total() -> None:
    """Three of two seconds are more than five: found when the cluster is made."""
    retry = Retry(2, per_try_timeout=2.0)
    with pytest.raises(ConfigurationError) as raised:
        Cluster("c", destinations=["http://a"], retry=retry, timeouts=Timeouts(total=5.0))
    assert "3 attempts of 2 s take 6 s" in raised.value.problems["retry"]
    Cluster("c", destinations=["http://a"], retry=retry, timeouts=Timeouts(total=6.0))


def test_the_default_of_a_cluster() -> None:
    """Retries where there may be another to ask; else only where they are asked for."""
    two = ["http://a", "http://b"]
    assert Cluster("c", destinations=two).retry is not None
    assert Cluster("c", destinations=two, retry=False).retry is None
    assert Cluster("c", destinations=two[:1]).retry is None
    assert Cluster("c", destinations=two[:1], retry=Retry()).retry is not None
    with pytest.raises(ConfigurationError, match="retry"):
        Cluster("c", destinations=two, retry=3)  # type: ignore[arg-type]
