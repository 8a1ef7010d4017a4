"""Each meter against an oracle that is not ours, and each store against each meter."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond, strategies
from limits.storage import MemoryStorage

from gatekit.limits import Calendar, MemoryStore, RedisStore, SQLiteStore
from gatekit.limits.calendar_window import CalendarWindow
from gatekit.limits.meters import FixedWindow, Meter, SlidingWindow, State, TokenBucket
from gatekit.limits.store import Store
from tests.redis_server import RedisServer, executable, redis_server

# Steps in sixteenths of a second: a double holds each sum of them exactly.
GAPS = st.integers(0, 64).map(lambda sixteenths: sixteenths / 16)
ARRIVALS = st.lists(st.tuples(GAPS, st.integers(1, 4)), min_size=1, max_size=60)
LIMITS = st.tuples(st.integers(1, 8), st.sampled_from([1, 2, 4, 16]))


class Quiet(MemoryStorage):
    """Theirs, without the threads that sweep."""

    _MemoryStorage__schedule_expiry = staticmethod(lambda: None)


class Clock:
    """In the place of the module `time`."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr("limits.storage.memory.time", fake)
    monkeypatch.setattr("limits.strategies.time", fake)
    return fake


def run(meter: Meter, arrivals: list[tuple[float, int]], start: float) -> list[bool]:
    """What the meter says to each arrival, refused ones consuming nothing."""
    state: State | None = None
    now, admitted = start, []
    for gap, cost in arrivals:
        now += gap
        after, standing = meter.take(state, now, cost)
        admitted.append(not standing.retry_after)
        if not standing.retry_after:
            state = after
        assert 0 <= standing.remaining <= max(meter.quota, getattr(meter, "burst", 0))
    return admitted


def theirs(
    strategy: strategies.RateLimiter, limit: tuple[int, int], arrivals: Any, clock: Clock
) -> list[bool]:
    """`test` first, for a refused hit of theirs consumes."""
    item = RateLimitItemPerSecond(*limit)
    clock.now, admitted = 1_000_000.0, []
    for gap, cost in arrivals:
        clock.now += gap
        passes = strategy.test(item, "key", cost=cost)
        admitted.append(passes and strategy.hit(item, "key", cost=cost))
    return admitted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(limit=LIMITS, arrivals=ARRIVALS)
def test_fixed_window_is_that_of_limits(clock: Clock, limit: Any, arrivals: Any) -> None:
    """The same arrivals are admitted by both."""
    oracle = theirs(strategies.FixedWindowRateLimiter(Quiet()), limit, arrivals, clock)
    assert run(FixedWindow("m", *limit), arrivals, 1_000_000.0) == oracle


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(limit=LIMITS, arrivals=ARRIVALS)
def test_sliding_window_is_that_of_limits(clock: Clock, limit: Any, arrivals: Any) -> None:
    """The same arrivals are admitted by both."""
    oracle = theirs(strategies.SlidingWindowCounterRateLimiter(Quiet()), limit, arrivals, clock)
    assert run(SlidingWindow("m", *limit), arrivals, 1_000_000.0) == oracle


@given(limit=LIMITS, burst=st.integers(1, 12), arrivals=ARRIVALS)
def test_token_bucket_is_one(limit: tuple[int, int], burst: int, arrivals: Any) -> None:
    """A bucket that holds `burst` and gains `amount / seconds` says what arrival times do."""
    amount, seconds = limit
    tokens, last, now, oracle = float(burst), 0.0, 0.0, []
    for gap, cost in arrivals:
        now += gap
        tokens, last = min(burst, tokens + (now - last) * amount / seconds), now
        oracle.append(tokens + 1e-6 >= cost)
        tokens -= cost if oracle[-1] else 0
    assert run(TokenBucket("m", amount, seconds, burst=burst), arrivals, 0.0) == oracle


METERS = st.one_of(
    st.builds(lambda limit: TokenBucket("m", *limit, scope="s"), LIMITS),
    st.builds(lambda limit: FixedWindow("m", *limit, scope="s"), LIMITS),
    st.builds(lambda limit: SlidingWindow("m", *limit, scope="s"), LIMITS),
)


@given(meter=METERS, arrivals=ARRIVALS)
def test_what_a_standing_says_comes_true(meter: Meter, arrivals: Any) -> None:
    """A moment before `retry_after` it is still refused, then admitted; `reset` brings one more."""
    state: State | None = None
    now = 500.0
    for gap, cost in arrivals:
        now += gap
        after, standing = meter.take(state, now, cost)
        wait = standing.retry_after
        if 0 < wait < float("inf"):
            assert meter.take(state, now + wait + 1e-6, cost)[1].retry_after == 0
            early = wait * 0.999 if wait > 1e-3 else 0.0
            assert meter.take(state, now + early, cost)[1].retry_after > 0
        elif not wait:
            state = after
        if standing.reset:
            seen = meter.take(state, now + standing.reset + 1e-6, 0)[1].remaining
            assert seen > standing.remaining
        if state is not None:
            gone = meter.expires(state, now) + 1e-6
            assert meter.take(state, gone, 1)[1].remaining == meter.take(None, gone, 1)[1].remaining


@given(meter=METERS, arrivals=ARRIVALS)
def test_a_refund_undoes(meter: Meter, arrivals: Any) -> None:
    """What is consumed and given back in one moment leaves as much as before."""
    state: State | None = None
    now = 500.0
    for gap, cost in arrivals:
        now += gap
        before = meter.take(state, now, 0)[1].remaining
        after, standing = meter.take(state, now, cost)
        if not standing.retry_after:
            refunded, _ = meter.take(after, now, -cost, True)
            assert meter.take(refunded, now, 0)[1].remaining == before
            state = after


@pytest.mark.parametrize("kind", [TokenBucket, FixedWindow, SlidingWindow])
@given(limit=LIMITS, back=st.floats(0, 1e6))
@example(limit=(1, 16), back=17.0)
def test_a_clock_that_is_set_back_keeps_nobody_out(
    kind: Any, limit: tuple[int, int], back: float
) -> None:
    """The wait is bounded, and it is true: who was refused left no trace.

    It is at most twice the limit's time and that of one more: a state further ahead is lost.
    """
    meter = kind("m", *limit)
    state, _ = meter.take(None, 2e6, limit[0])
    now = 2e6 - back
    wait = meter.take(state, now, 1)[1].retry_after
    assert wait <= 2 * limit[1] + limit[1] / limit[0] + 1e-6
    assert not wait or not meter.take(state, now + wait + 1e-6, 1)[1].retry_after


@pytest.fixture(scope="module")
def redis() -> Generator[RedisServer | None]:
    if executable() is None:
        pytest.skip("there is no Redis")
    with redis_server() as server:
        yield server


STEPS = st.lists(
    st.tuples(GAPS, st.integers(-2, 4), st.sampled_from("ab"), st.booleans()), max_size=30
)


def replay(store: Store, meters: list[Meter], steps: Any, clock: list[float]) -> list[float]:
    """Every number that a store says to a sequence of calls."""
    told: list[float] = []
    for gap, cost, key, forced in steps:
        clock[0] += gap
        claims = [(key, meter) for meter in meters]
        standings = store.take(claims, cost if forced else abs(cost), 0.0, forced)
        told += [number for standing in standings for number in standing]
    return told


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(limit=LIMITS, steps=STEPS, calendar=st.booleans(), rollover=st.booleans())
def test_all_stores_say_the_same(
    redis: RedisServer, tmp_path: Path, limit: Any, steps: Any, calendar: bool, rollover: bool
) -> None:
    """Memory, SQLite and the script in Redis agree on every standing of every call."""
    clock = [0.0]
    # The wall clock runs faster, so that days go by.
    day = CalendarWindow(
        "d", 5, Calendar("day"), rollover=rollover, grace=1, scope="s",
        clock=lambda: 1_000_000.0 + clock[0] * 5_000,
    )  # fmt: skip
    kinds = [TokenBucket, FixedWindow, SlidingWindow]
    meters: list[Meter] = [kind("m", *limit, scope="s") for kind in kinds]
    if calendar:
        meters.append(day)
    told = []
    for store in (
        MemoryStore(clock=lambda: clock[0]),
        SQLiteStore(tmp_path / "limits.db", clock=lambda: clock[0], timeout=10),
        RedisStore(redis.url, clock=lambda: clock[0], timeout=10),
    ):
        clock[0] = 1_000.0
        store.clear_scope("s")
        told.append(replay(store, meters, steps, clock))
        if not isinstance(store, MemoryStore):
            store.close()
    assert told[0] == told[1]
    # Redis tells nine digits.
    assert told[0] == pytest.approx(told[2], rel=1e-7, abs=1e-6)


def test_no_store_keeps_anybody_out_when_its_clock_is_set_back(
    redis: RedisServer, tmp_path: Path
) -> None:
    """An hour, and a limit of a minute: whoever has used it up begins anew."""
    clock = [10_000.0]
    claims = [("key", TokenBucket("m", 10, 60, scope="back"))]
    for store in (
        MemoryStore(clock=lambda: clock[0]),
        SQLiteStore(tmp_path / "limits.db", clock=lambda: clock[0], timeout=10),
        RedisStore(redis.url, clock=lambda: clock[0], timeout=10),
    ):
        clock[0] = 10_000.0
        store.clear_scope("back")
        assert store.take(claims, 10, 0.0)[0].remaining == 0
        clock[0] = 6_400.0
        assert store.take(claims, 1, 0.0)[0].remaining == 9
        if not isinstance(store, MemoryStore):
            store.close()
