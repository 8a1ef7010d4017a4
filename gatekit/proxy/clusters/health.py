"""Asks each destination of a cluster, again and again, whether it is well.

    Cluster("orders", destinations=[...], health=HealthCheck("/health", interval=10))
    Cluster("db", destinations=[...], health=HealthCheck(mode="tcp"))
    Cluster("jobs", destinations=[...], health=HealthCheck(probe=queue_is_short))

Who is found unhealthy gets nothing new until checks succeed again. While nothing is known of a
destination it is used, and the first check decides alone; from then on it takes `healthy_after`
good ones in a row, or as many bad ones as their kind needs.

**When it runs.** In every process, from the first request on: as a task of the event loop, or in
threads under WSGI. Checks run side by side, at most `concurrency` of them.

**What it costs.** N processes check N times; the jitter keeps them from doing it at once.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, deque
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from random import Random
from typing import TYPE_CHECKING, Any, Literal, assert_never

from gatekit._core.io import IO
from gatekit._core.options import (
    chance_problem,
    flag_problem,
    integer_problem,
    kind_problem,
    known_keywords,
    seconds_problem,
    token_problem,
)
from gatekit.errors import check
from gatekit.proxy.clusters.health_options import (
    expect_problem,
    headers_problem,
    host_problem,
    jitter_problem,
    path_problem,
    pattern_problem,
    port_problem,
    probe_problem,
)
from gatekit.proxy.clusters.health_probe import (
    Found,
    HTTPProbe,
    OwnCheck,
    OwnProbe,
    Probe,
    TCPProbe,
    Verdict,
)

if TYPE_CHECKING:
    from gatekit.proxy.clusters.member import Member
    from gatekit.proxy.clusters.members import ClusterState

__all__ = ["HealthCheck", "OwnCheck"]

logger = logging.getLogger("gatekit")

# Who has joined in between is seen after so many seconds at the latest; sooner, while nobody is
# there, for then it is a resolver's first answer that is awaited.
_LOOK_AGAIN = 1.0
_LOOK_FOR_ANY = 0.1

# With a thousand destinations one is always due: those of a moment are checked together.
_LEAST_PAUSE = 0.01


@known_keywords
class HealthCheck:
    """A `method` request of `path`, below the destination's own base path, on its own connections.

    Good is an answer whose status is in `expect` and whose body, of at most `max_body` bytes,
    holds the regular expression `body`. `send` is the body of the request, and `follow_redirects`
    how many redirects to another path of the same destination are followed. `host` is sent as
    `Host`; `port` is asked in place of the destination's. `mode="tcp"` only connects. `probe` is a
    function of the `Destination`, sync or async, that does it all: False, a text that says what is
    wrong, or an exception is bad.

    A destination that is well is checked every `interval` seconds, any other, and one whose last
    check was bad, every `unhealthy_interval`; both up to a part of `jitter` sooner or later. Where
    there was no request since its last check the next comes after `no_traffic_interval`, or with
    the first request, if that is not None. The first check comes within `initial_jitter` seconds.
    Each has `timeout` seconds.

    `unhealthy_after` bad answers in a row are needed, or `unreachable_after` failed connections,
    or `timeouts_after` timeouts. With `uneject`, `healthy_after` good checks in a row also end an
    ejection by `Outliers`.
    """

    __slots__ = (
        "_chance", "_concurrency", "_healthy_after", "_initial_jitter", "_interval", "_jitter",
        "_limits", "_no_traffic_interval", "_probe", "_timeout", "_unejects", "_unhealthy_interval",
    )  # fmt: skip

    def __init__(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        mode: Literal["http", "tcp"] = "http",
        probe: OwnCheck | None = None,
        interval: float = 30.0,
        unhealthy_interval: float = 5.0,
        no_traffic_interval: float | None = None,
        timeout: float = 5.0,
        jitter: float = 0.1,
        initial_jitter: float = 1.0,
        healthy_after: int = 2,
        unhealthy_after: int = 5,
        unreachable_after: int = 2,
        timeouts_after: int = 3,
        expect: int | range | Collection[int] = range(200, 300),
        body: str | bytes | re.Pattern[bytes] | None = None,
        max_body: int = 1_048_576,
        send: bytes | None = None,
        follow_redirects: int = 0,
        headers: Mapping[str, str] | None = None,
        host: str | None = None,
        port: int | None = None,
        uneject: bool = True,
        concurrency: int = 10,
        chance: Random | None = None,
    ) -> None:
        beside = {} if mode == "http" and probe is None else {"method": method, "body": body}
        check(
            "HealthCheck",
            path=path_problem(path),
            method=token_problem(method) or _unused(beside.get("method", "GET") != "GET"),
            mode=None if mode in ("http", "tcp") else f"must be 'http' or 'tcp', not {mode!r}",
            probe=probe_problem(probe, mode),
            interval=seconds_problem(interval),
            unhealthy_interval=seconds_problem(unhealthy_interval),
            no_traffic_interval=None
            if no_traffic_interval is None
            else seconds_problem(no_traffic_interval),
            timeout=seconds_problem(timeout),
            jitter=jitter_problem(jitter, most=0.9),
            initial_jitter=jitter_problem(initial_jitter),
            healthy_after=integer_problem(healthy_after, 1),
            unhealthy_after=integer_problem(unhealthy_after, 1),
            unreachable_after=integer_problem(unreachable_after, 1),
            timeouts_after=integer_problem(timeouts_after, 1),
            expect=expect_problem(expect),
            body=pattern_problem(body) or _unused(beside.get("body") is not None),
            max_body=integer_problem(max_body),
            send=kind_problem(bytes, send),
            follow_redirects=integer_problem(follow_redirects),
            headers=headers_problem(headers),
            host=host_problem(host),
            port=port_problem(port),
            uneject=flag_problem(uneject),
            concurrency=integer_problem(concurrency, 1),
            chance=chance_problem(chance),
        )
        self._timeout = timeout
        self._interval = interval
        self._unhealthy_interval = unhealthy_interval
        self._no_traffic_interval = no_traffic_interval
        self._jitter = jitter
        self._initial_jitter = initial_jitter
        self._healthy_after = healthy_after
        self._limits: Mapping[Verdict, int] = {
            "bad": unhealthy_after,
            "unreachable": unreachable_after,
            "timeout": timeouts_after,
        }
        self._unejects = uneject
        self._concurrency = concurrency
        self._chance = Random() if chance is None else chance  # noqa: S311 — it hides nothing
        self._probe: Probe
        if probe is not None:
            self._probe = OwnProbe(probe)
        elif mode == "tcp":
            self._probe = TCPProbe(port)
        else:
            self._probe = HTTPProbe(
                path, method, expect, body, max_body, dict(headers or {}), host, port,
                send=send, redirects=follow_redirects,
            )  # fmt: skip

    async def run(self, state: ClusterState, io: IO) -> None:
        """Checks what the cluster has, for ever: the work of a `Background`."""
        records: dict[Member, _Record] = {}
        while True:
            now = io.now()
            members = state.members
            for gone in records.keys() - set(members):
                del records[gone]
            for member in members:
                if member not in records:
                    records[member] = _Record(now + self._chance.random() * self._initial_jitter)
                elif records[member].is_put_off and records[member].asked != state.asked:
                    # The first request for a while: what is known of it is old.
                    records[member].due = min(records[member].due, now)
            due = deque(member for member in members if records[member].due <= now)
            if due:
                await self._check_all(state, io, due, records)
                now = io.now()
            next_due = min((record.due for record in records.values()), default=now + _LOOK_FOR_ANY)
            await io.sleep(min(max(next_due - now, _LEAST_PAUSE), _LOOK_AGAIN))

    async def _check_all(
        self, state: ClusterState, io: IO, due: deque[Member], records: Mapping[Member, _Record]
    ) -> None:
        async def work() -> None:
            while due:
                try:
                    member = due.popleft()
                except IndexError:  # another thread was faster
                    return
                await self._check(state, io, member, records[member])

        await io.gather(*[work() for _ in range(min(self._concurrency, len(due)))])

    async def _check(self, state: ClusterState, io: IO, member: Member, record: _Record) -> None:
        late = record.late
        if late is not None and not late.done():
            found = Found("timeout", "the check before it has not ended", late)
        else:
            try:
                found = await self._probe.check(io, member, self._timeout)
            except Exception as error:
                found = Found("bad", f"the check raised {type(error).__name__}")
                if not record.has_raised:
                    record.has_raised = True
                    logger.error(
                        "the health check of %s in cluster %s raised",
                        member.name,
                        state.name,
                        exc_info=error,
                    )
        now = io.now()
        record.late = found.late
        if not member.draining:
            self._conclude(state, member, record, found, now)
        is_well = member.health == "healthy" and not record.failures
        interval = self._interval if is_well else self._unhealthy_interval
        record.is_put_off = self._no_traffic_interval is not None and record.asked == state.asked
        record.asked = state.asked
        if self._no_traffic_interval is not None and record.is_put_off:
            interval = self._no_traffic_interval
        spread = self._jitter * (2.0 * self._chance.random() - 1.0)
        record.due = now + interval * (1.0 + spread)

    def _conclude(
        self,
        state: ClusterState,
        member: Member,
        record: _Record,
        found: Found,
        now: float,
    ) -> None:
        verdict, reason, _ = found
        match verdict:
            case "good":
                record.has_raised = False
                record.failures.clear()
                record.successes += 1
                is_enough = record.successes >= self._healthy_after
                if member.health == "unknown" or is_enough:
                    state.set_health(member, "healthy", reason, now)
                if is_enough and self._unejects and member.ejected_until > now:
                    if record.ejected_until == member.ejected_until:
                        state.eject(member, now, "health checks succeeded", now)
                    else:
                        # What came before it was ejected says nothing against that.
                        record.ejected_until = member.ejected_until
                        record.successes = 1
            case "bad" | "unreachable" | "timeout":
                record.successes = 0
                record.failures[verdict] += 1
                is_enough = record.failures[verdict] >= self._limits[verdict]
                if member.health == "unknown" or is_enough:
                    state.set_health(member, "unhealthy", reason, now)
            case "unclear":
                pass
            case _:
                assert_never(verdict)


class _Record:
    """What the checks of one destination have come to, and when the next one is due.

    `asked` is that of the cluster at the last one; where it was so before, the next `is_put_off`.
    """

    __slots__ = (
        "asked", "due", "ejected_until", "failures", "has_raised", "is_put_off", "late",
        "successes",
    )  # fmt: skip

    def __init__(self, due: float) -> None:
        self.due = due
        self.asked = -1
        self.is_put_off = False
        self.ejected_until = 0.0
        self.successes = 0
        self.failures: Counter[Verdict] = Counter()
        self.has_raised = False
        self.late: Future[Any] | None = None


def _unused(is_given: bool) -> str | None:
    return "is for requests: this check makes none" if is_given else None
