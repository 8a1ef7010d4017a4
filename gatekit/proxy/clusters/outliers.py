"""Takes a destination out for a while whose answers to ordinary requests are bad.

    Cluster("orders", destinations=[...], outliers=Outliers())
    Cluster("orders", destinations=[...], outliers=Outliers(consecutive=3, failure_rate=None))

Nothing is sent to find out: every attempt is looked at. A destination is ejected after so many
failures in a row, or when too large a part of its attempts failed lately.

**How long.** `base_ejection` seconds the first time, as much longer each further time, at most
`max_ejection`; for every `base_ejection` seconds that it has been back without another one it
counts one time less. Afterwards it is not known to be well, only tried again.

**How many.** A part of `max_ejected` of the destinations, but at least one; never the last that is
available, for bad answers are better than none.
"""

from __future__ import annotations

from collections.abc import Collection
from random import Random
from typing import TYPE_CHECKING, Any

from gatekit._core.classify import OURS, SERVER_FAILURES
from gatekit._core.latch import Latch
from gatekit._core.options import chance_problem, integer_problem, known_keywords, seconds_problem
from gatekit._core.windows import TimeWindow
from gatekit.errors import UpstreamError, check
from gatekit.proxy.clusters.health_options import expect_problem, jitter_problem

if TYPE_CHECKING:
    from gatekit.proxy.clusters.members import ClusterState, Member, Result

__all__ = ["Outliers"]

# What a gateway says when it got no good answer from what is behind it (RFC 9110 §15.6.3-5).
_GATEWAY = frozenset({502, 503, 504})

# A deadline of less says more of whoever set it, who may be the client, than of the destination.
_SHORT = 1.0

# A destination that may not be ejected for now is not looked at again for so many seconds.
_PAUSE = 1.0


@known_keywords
class Outliers:
    """Ejects after `consecutive` failures in a row: `statuses`, and attempts without an answer.

    Or after `gateway_consecutive` in a row of 502, 503, 504 and attempts without an answer; or
    after `unanswered_consecutive` of the last alone. Or when, of at least `min_requests` in the
    last `window` seconds, a part of `failure_rate` failed. None leaves one out.

    The durations are in seconds; up to a part of `jitter` is added to an ejection.
    """

    __slots__ = (
        "_base", "_chance", "_consecutive", "_gateway", "_jitter", "_latch", "_least", "_longest",
        "_part", "_rate", "_statuses", "_unanswered", "_window",
    )  # fmt: skip

    def __init__(
        self,
        *,
        consecutive: int | None = 5,
        gateway_consecutive: int | None = 5,
        unanswered_consecutive: int | None = 5,
        failure_rate: float | None = 0.3,
        window: float = 60.0,
        min_requests: int = 10,
        statuses: Collection[int] = SERVER_FAILURES,
        base_ejection: float = 30.0,
        max_ejection: float = 300.0,
        jitter: float = 0.1,
        max_ejected: float = 0.1,
        chance: Random | None = None,
    ) -> None:
        check(
            "Outliers",
            consecutive=_count_problem(consecutive),
            gateway_consecutive=_count_problem(gateway_consecutive),
            unanswered_consecutive=_count_problem(unanswered_consecutive),
            failure_rate=None if failure_rate is None else _part_problem(failure_rate),
            window=seconds_problem(window),
            min_requests=integer_problem(min_requests, 1),
            statuses=_statuses_problem(statuses),
            base_ejection=seconds_problem(base_ejection),
            max_ejection=seconds_problem(max_ejection) or _below(max_ejection, base_ejection),
            jitter=jitter_problem(jitter),
            max_ejected=_part_problem(max_ejected),
            chance=chance_problem(chance),
        )
        self._consecutive = consecutive
        self._gateway = gateway_consecutive
        self._unanswered = unanswered_consecutive
        self._rate = failure_rate
        self._window = window
        self._least = min_requests
        self._statuses = frozenset(statuses)
        self._base = base_ejection
        self._longest = max_ejection
        self._jitter = jitter
        self._part = max_ejected
        self._chance = Random() if chance is None else chance  # noqa: S311 — it hides nothing
        self._latch = Latch()

    def observe(
        self, state: ClusterState, member: Member, result: Result, seconds: float, now: float, /
    ) -> None:
        """One attempt more; a cluster calls it."""
        tally = member.tally
        if tally is None or tally.owner is not self:
            tally = self._begin(member)
        if isinstance(result, UpstreamError):
            if result.stage in OURS or (result.stage == "total_timeout" and seconds < _SHORT):
                return
            failed, is_gateway, is_unanswered = True, True, True
        else:
            failed = result in self._statuses
            is_gateway, is_unanswered = failed and result in _GATEWAY, False
        if not failed and tally.window is None and not tally.failures:
            return
        lock = self._latch.take()
        try:
            # What was under way when it was ejected is known to be bad.
            if now < member.ejected_until or now < tally.paused_until or tally.is_going:
                return
            if tally.window is not None:
                tally.window.add(now, failed, False)
            if not failed:
                if tally.failures:
                    tally.failures = tally.gateway = tally.unanswered = 0
                return
            tally.failures += 1
            tally.gateway = tally.gateway + 1 if is_gateway else 0
            tally.unanswered = tally.unanswered + 1 if is_unanswered else 0
            reason = self._reason(tally)
            if reason is None:
                return
            until = self._eject(state, member, tally, now)
        finally:
            lock.release()
        if until is not None:
            state.eject(member, until, reason, now)
            tally.is_going = False

    def _reason(self, tally: _Tally) -> str | None:
        """Why it should be ejected now."""
        if self._consecutive is not None and tally.failures >= self._consecutive:
            return f"{tally.failures} failures in a row"
        if self._gateway is not None and tally.gateway >= self._gateway:
            return f"{tally.gateway} gateway failures in a row"
        if self._unanswered is not None and tally.unanswered >= self._unanswered:
            return f"{tally.unanswered} attempts in a row without an answer"
        window, rate = tally.window, self._rate
        if window is None or rate is None or window.calls < self._least:
            return None
        if window.failures < rate * window.calls:
            return None
        return f"{window.failures} of {window.calls} attempts failed in {self._window:g} s"

    def _eject(
        self, state: ClusterState, member: Member, tally: _Tally, now: float
    ) -> float | None:
        """Until when, if it may be: the part that is out is bounded. Inside the lock."""
        tally.failures = tally.gateway = tally.unanswered = 0
        members = state.members
        out = available = 0
        for other in members:
            if other.ejected_until > now or _is_going(other):
                out += 1
            elif other is not member and other.weight > 0 and other.is_available(now):
                available += 1
        if not available or out >= max(1.0, self._part * len(members)) or member.draining:
            tally.paused_until = now + _PAUSE
            return None
        if tally.window is not None:
            tally.window.clear()
        forgiven = max(now - tally.back_at, 0.0) // self._base
        tally.times = max(tally.times - int(min(forgiven, tally.times)), 0) + 1
        length = min(self._base * tally.times, self._longest)
        until = now + length * (1.0 + self._jitter * self._chance.random())
        tally.back_at = until
        tally.is_going = True
        return until

    def _begin(self, member: Member) -> _Tally:
        before = member.tally
        tally = _Tally(self, None if self._rate is None else TimeWindow(self._window))
        if isinstance(before, _Tally):
            # Another description of the cluster: what was known of it stays.
            tally.times, tally.back_at = before.times, before.back_at
        member.tally = tally
        return tally


class _Tally:
    """What is known of one destination: a few numbers, however many requests it gets."""

    __slots__ = (
        "back_at", "failures", "gateway", "is_going", "owner", "paused_until", "times",
        "unanswered", "window",
    )  # fmt: skip

    def __init__(self, owner: Outliers, window: TimeWindow | None) -> None:
        self.owner = owner
        self.window = window
        self.failures = self.gateway = self.unanswered = 0
        self.times = 0
        self.back_at = 0.0
        self.paused_until = 0.0
        self.is_going = False


def _is_going(member: Member) -> bool:
    """Chosen to be ejected by another thread, which has not told the cluster yet."""
    tally: Any = member.tally
    return isinstance(tally, _Tally) and tally.is_going


def _count_problem(count: object) -> str | None:
    return None if count is None else integer_problem(count, 1)


def _part_problem(part: object) -> str | None:
    if isinstance(part, int | float) and not isinstance(part, bool) and 0 < part <= 1:
        return None
    return f"must be a part above 0 and at most 1, not {part!r}"


def _statuses_problem(statuses: object) -> str | None:
    if isinstance(statuses, int):
        return f"must be a list of statuses, not {statuses!r}"
    is_empty = hasattr(statuses, "__len__") and not statuses
    return None if is_empty and not isinstance(statuses, str | bytes) else expect_problem(statuses)


def _below(longest: float, base: object) -> str | None:
    if isinstance(base, int | float) and longest < base:
        return f"is shorter than base_ejection, {base!r}"
    return None
