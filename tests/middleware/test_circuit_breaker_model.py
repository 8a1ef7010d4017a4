"""The breaker's state machine against a simulation that keeps everything and forgets nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekit._core.breaker import Breaker, Change
from gatekit._core.thresholds import Thresholds


@dataclass
class Call:
    """One that was let in; `entry` is its line in the log of its era once it is there."""

    number: int
    era: int
    is_probe: bool
    lease: float
    entry: list[Any] | None = None
    is_over: bool = False


@dataclass
class Simulation:
    """The definition, slow and plain: whole lists, searched anew at every step."""

    rules: Thresholds
    state: str = "closed"
    era: int = 0
    trips: int = 0
    level: int = 0
    until: float = 0.0
    waited: float = 0.0
    since: float = float("-inf")
    ramp_from: float | None = None
    credit: float = 0.0
    calls: list[Call] = field(default_factory=list)
    log: list[list[Any]] = field(default_factory=list)  # [time, failed, slow, failed by its head]
    probes: list[tuple[bool, bool]] = field(default_factory=list)
    history: list[str] = field(default_factory=list)

    def begin(self, state: str, now: float) -> None:
        if not (state == "closed" and self.state == "half_open"):
            self.log = []
        self.era += 1
        self.state, self.since = state, now
        self.ramp_from, self.credit, self.probes = None, 0.0, []
        self.history.append(state)

    def trip(self, now: float) -> None:
        if self.state == "closed" and now - self.since >= self.waited:
            self.level = 0
        self.level += 1
        self.waited = self.rules.waits[min(self.level, len(self.rules.waits)) - 1]
        self.until = now + self.waited
        self.trips += 1
        self.begin("open", now)

    def advance(self, now: float) -> None:
        if self.state == "open" and now >= self.until:
            self.begin("half_open", now)
        for call in [call for call in self.under_way() if call.lease <= now]:
            if call.era == self.era:
                self.over(call, now, failed=True, slow=False)
        if self.ramp_from is not None and now >= self.ramp_from + self.rules.ramp:
            self.begin("closed", now)

    def under_way(self) -> list[Call]:
        return [c for c in self.calls if c.is_probe and c.era == self.era and not c.is_over]

    def due(self) -> list[float]:
        """When something will happen by itself."""
        moments = [call.lease for call in self.under_way()]
        if self.state == "open":
            moments.append(self.until)
        if self.ramp_from is not None:
            moments.append(self.ramp_from + self.rules.ramp)
        return moments

    def start(self, number: int, now: float) -> bool:
        self.advance(now)
        if self.state in ("closed", "forced_closed"):
            self.calls.append(Call(number, self.era, False, float("inf")))
            return True
        if self.state != "half_open":
            return False
        taken = len(self.under_way()) + (len(self.probes) if self.ramp_from is None else 0)
        if taken >= self.rules.probes:
            if self.ramp_from is None:
                return False
            part = min((now - self.ramp_from) / self.rules.ramp, 1.0)
            self.credit += part if self.rules.shape == "linear" else 2 ** (10 * (part - 1))
            if self.credit < 1:
                return False
            self.credit -= 1
        self.calls.append(Call(number, self.era, True, now + self.rules.probe_timeout))
        return True

    def finish(self, number: int, now: float, failed: bool | None, slow: bool) -> None:
        call = next(call for call in self.calls if call.number == number)
        if call.is_probe or call.era != self.era:
            self.advance(now)
        if call.era != self.era or call.is_over:
            return
        if failed is None:
            call.is_over = True
        else:
            self.over(call, now, failed, slow)

    def over(self, call: Call, now: float, failed: bool, slow: bool) -> None:
        call.is_over = True
        if call.is_probe and self.ramp_from is None:
            self.probes.append((failed, slow))
            wanted, done = self.rules.probes, len(self.probes)
            failures = sum(failed for failed, _ in self.probes) / wanted
            tardy = sum(slow for _, slow in self.probes) / wanted
            limit, slow_limit = self.rules.failure_rate or 1 / wanted, self.rules.slow_rate or 2
            if failures >= limit or tardy >= slow_limit:
                self.trip(now)
            elif done == wanted and self.rules.ramp:
                self.ramp_from = now
            elif done == wanted:
                self.begin("closed", now)
            return
        call.entry = [now, failed, slow, failed]
        self.log.append(call.entry)
        self.judge(now)

    def break_off(self, number: int, now: float) -> None:
        call = next(call for call in self.calls if call.number == number)
        self.advance(now)
        if call.era == self.era and call.entry is not None:
            call.entry[1] = True
            self.judge(now)

    def window(self, now: float) -> list[list[Any]]:
        if self.rules.window_seconds is None:
            return self.log[-self.rules.window_calls :]
        tenth = self.rules.window_seconds / 10
        return [entry for entry in self.log if entry[0] // tenth > now // tenth - 10]

    def judge(self, now: float) -> None:
        if self.state == "forced_closed":
            return
        rules, seen = self.rules, self.window(now)
        streak = 0
        for entry in reversed(self.log):
            if not entry[3]:
                break
            streak += 1
        failures = sum(entry[1] for entry in seen)
        tardy = sum(entry[2] for entry in seen)
        least = rules.probes if self.state == "half_open" else rules.min_calls
        if rules.consecutive and streak >= rules.consecutive:
            self.trip(now)
        elif len(seen) < least:
            return
        elif failures / len(seen) >= (rules.failure_rate or 2) or (
            tardy / len(seen) >= (rules.slow_rate or 2)
        ):
            self.trip(now)

    def by_hand(self, state: str, now: float) -> None:
        if state == "closed":
            self.level = 0
        if state != self.state:
            self.begin(state, now)
            self.log = []
        elif state == "closed":
            self.log = []
            self.era += 1


thresholds = st.builds(
    Thresholds,
    waits=st.sampled_from([(2.0,), (1.0, 2.0, 4.0), (0.5, 8.0)]),
    chance=st.just(lambda: 0.0),
    failure_rate=st.sampled_from([None, 0.25, 0.5, 1.0]),
    slow_rate=st.sampled_from([None, 0.5, 1.0]),
    min_calls=st.integers(1, 6),
    consecutive=st.sampled_from([None, 2, 3]),
    # Tenths of these are exact in binary: the two cannot differ by rounding.
    window_seconds=st.sampled_from([None, 2.5, 5.0, 10.0]),
    window_calls=st.integers(6, 9),
    probes=st.integers(1, 4),
    probe_timeout=st.sampled_from([1.0, 3.0]),
    ramp=st.sampled_from([0.0, 4.0]),
    shape=st.sampled_from(["linear", "exponential"]),
)
which = st.integers(0, 9)
runs = st.one_of(
    st.just([True] * 6), st.just([False] * 6), st.lists(st.booleans(), min_size=1, max_size=8)
)
step = st.one_of(
    st.tuples(st.just("start"), st.integers(1, 5)),
    st.tuples(st.just("end"), which, st.sampled_from([True, False, False, None]), st.booleans()),
    st.tuples(st.just("run"), runs),
    st.tuples(st.just("run"), runs),
    st.tuples(st.just("break"), which),
    st.tuples(st.just("wait"), st.sampled_from([0.25, 0.5, 1.0, 3.0])),
    # To the very moment at which something is due, or just before it.
    st.tuples(st.just("due"), st.sampled_from([0.0, 0.0, 0.0, 0.25])),
    st.just(("look",)),
    st.tuples(
        st.just("hand"), st.sampled_from(["closed", "closed", "forced_open", "forced_closed"])
    ),
)
steps = st.lists(step, min_size=15, max_size=60)


class Duel:
    """The same steps for both, compared after each."""

    def __init__(self, rules: Thresholds) -> None:
        self.changes: list[Change] = []
        self.breaker = Breaker(rules, None, self.changes.append)
        self.simulation = Simulation(rules)
        self.now = 100.0
        self.number = 0
        self.tickets: dict[int, int] = {}
        self.ended: dict[int, tuple[int, int]] = {}

    def step(self, name: str, *details: Any) -> None:
        getattr(self, f"do_{name}")(*details)
        assert [change.state for change in self.changes] == self.simulation.history
        assert self.breaker.trips == self.simulation.trips

    def do_start(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            ticket = self.breaker.standing or self.breaker.admit(self.now)
            assert bool(ticket) == self.simulation.start(self.number, self.now)
            if ticket:
                self.tickets[self.number] = ticket

    def do_end(self, which: int, failed: bool | None, slow: bool) -> None:
        if self.tickets:
            self.end(list(self.tickets)[which % len(self.tickets)], failed, slow)

    def end(self, number: int, failed: bool | None, slow: bool = False) -> None:
        ticket = self.tickets.pop(number)
        self.simulation.finish(number, self.now, failed, slow)
        if failed is None:
            self.breaker.release(ticket, self.now)
            return
        place = self.breaker.record(ticket, self.now, failed, slow)
        if not failed:
            self.ended[number] = (ticket, place)

    def do_run(self, results: Sequence[bool]) -> None:
        for failed in results:
            self.do_start(1)
            if self.number in self.tickets:
                self.end(self.number, failed)

    def do_break(self, which: int) -> None:
        if self.ended:
            number = list(self.ended)[which % len(self.ended)]
            self.breaker.amend(*self.ended.pop(number), self.now)
            self.simulation.break_off(number, self.now)

    def do_wait(self, seconds: float) -> None:
        self.now += seconds

    def do_due(self, before: float) -> None:
        moment = min(self.simulation.due(), default=self.now)
        self.now = max(moment - before, self.now)

    def do_look(self) -> None:
        simulation = self.simulation
        simulation.advance(self.now)
        assert self.breaker.look(self.now) == simulation.state
        assert self.breaker.out == len(simulation.under_way())
        if simulation.state != "half_open" or simulation.ramp_from is not None:
            seen = simulation.window(self.now)
            counted = (len(seen), sum(e[1] for e in seen), sum(e[2] for e in seen))
            assert self.breaker.stats[:3] == counted

    def do_hand(self, state: Any) -> None:
        self.breaker.set(state, self.now)
        self.simulation.by_hand(state, self.now)


@settings(max_examples=600, deadline=None)
@given(thresholds, steps)
def test_breaker_does_as_the_simulation(rules: Thresholds, steps: Sequence[Any]) -> None:
    """Every admission, every change and every count is the same, whatever happens in what order."""
    duel = Duel(rules)
    for step in steps:
        duel.step(*step)


@pytest.mark.parametrize("percent", range(1, 101))
def test_a_rate_is_reached_exactly(percent: int) -> None:
    """55 of 100 are 55 %, although 0.55 * 100 is a little more than 55 in binary."""
    rules = Thresholds(
        waits=(1.0,), chance=lambda: 0.0, failure_rate=percent / 100, min_calls=100, ramp=0.0
    )
    for failures, state in [(percent - 1, "closed"), (percent, "open")]:
        breaker = Breaker(rules, None, lambda change: None)
        ticket = breaker.standing
        for position in range(100):
            breaker.record(ticket, 0.0, failed=position >= 100 - failures)
        assert breaker.state == state
