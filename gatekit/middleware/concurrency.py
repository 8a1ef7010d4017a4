"""At most so many requests at the same time; the others wait in a short queue or are refused.

    ConcurrencyLimit(100)
    Route("/reports/*", Proxy("http://reports:8004"), ConcurrencyLimit(8, queue=16, max_wait=0.5))
    ConcurrencyLimit(5, key=keys.identity)              # for each client; more at once is a 429

A request counts until the last byte of its answer, a WebSocket until it is closed, and no longer
when the client leaves or is cancelled in whatever stage, in the queue too.

**Whose fault it is.** Without `key` it is the service that has too much to do: 503. With `key` it
is a client that asks too much at once: 429. Where the key is something of the service's own, such
as a route, say `status=503`.

**One process.** Each worker counts for itself: 4 workers with `ConcurrencyLimit(25)` let 100 in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import ceil
from os import getpid
from typing import Literal, TypeAlias, cast

from gatekit._core.classify import Failures, reached
from gatekit._core.decisions import Decision, Ruling, note
from gatekit._core.messages import Request, Response
from gatekit._core.options import (
    flag_problem,
    function_problem,
    integer_problem,
    known_keywords,
    seconds_problem,
    string_problem,
)
from gatekit._core.problems import problem
from gatekit.errors import check
from gatekit.limits.keys import Key, Keyring, Missing, async_in, key_problem, missing_problem
from gatekit.middleware._bulkhead import (
    WAITING,
    BulkheadStatus,
    Order,
    PartitionStatus,
    Place,
    Rules,
    Share,
)
from gatekit.middleware._concurrency_options import (
    limit_problem,
    pair_problem,
    partitions_problem,
    target_problem,
    waiting_problem,
)
from gatekit.middleware._gradient import AdaptiveLimit
from gatekit.middleware._turnstile import Turnstile
from gatekit.middleware._waiters import AsyncWaiter, BlockingWaiter, Waiting
from gatekit.typing import Handler

__all__ = ["AdaptiveLimit", "BulkheadStatus", "ConcurrencyLimit", "PartitionStatus"]

Status: TypeAlias = Literal[429, 503]

_FAILURES = Failures()


@known_keywords
class ConcurrencyLimit:
    """At most `max_concurrent` requests inside, or as many as an `AdaptiveLimit` finds good.

    `key` makes it so many for each key, with `missing` for requests that have none, as in
    `RateLimit`. `queue` is how many more may wait, for `max_wait` seconds and never beyond
    `request.deadline`; in a queue that has not been empty for that long, newcomers wait for
    `target_wait` only. `order="lifo"` lets the newest in first, and a newcomer takes the place of
    the oldest in a full queue.

    `partitions` maps names to parts of 1 that are guaranteed, `partition` tells the name for a
    request; each has a queue of its own. What is free is lent to whoever comes, and its owner is
    next when a place is given back; `borrow=False` keeps it free for the owner.

    `priority` gives a whole number: of those who wait the highest is let in first, and in a full
    queue the lowest gives way to a higher one. Among equals it is `order`.

    `retry_after` are the seconds said to those who are refused, with `status`. `shadow` refuses
    nobody, lets nobody wait and only tells.
    """

    __slots__ = (
        "_adaptive", "_allow", "_key", "_keyring", "_lanes", "_others", "_partition", "_priority",
        "_retry_after", "_rules", "_shadow", "_status", "_turnstile", "_turnstiles", "name",
    )  # fmt: skip

    def __init__(
        self,
        max_concurrent: int | AdaptiveLimit,
        *,
        key: Key | None = None,
        missing: Missing = "anonymous",
        queue: int = 0,
        max_wait: float = 1.0,
        target_wait: float | None = None,
        order: Order = "fifo",
        partitions: Mapping[str, float] | None = None,
        partition: Callable[[Request], str | None] | None = None,
        borrow: bool = True,
        priority: Callable[[Request], int] | None = None,
        status: Status | None = None,
        retry_after: float = 1.0,
        shadow: bool = False,
        name: str = "concurrency-limit",
    ) -> None:
        check(
            "ConcurrencyLimit",
            max_concurrent=limit_problem(max_concurrent, key),
            key=None if key is None else key_problem(key),
            missing=missing_problem(missing),
            queue=integer_problem(queue),
            max_wait=seconds_problem(max_wait),
            target_wait=None if target_wait is None else target_problem(target_wait, max_wait),
            order=None if order in ("fifo", "lifo") else f"must be 'fifo' or 'lifo', not {order!r}",
            partitions=partitions_problem(partitions, max_concurrent, queue, borrow=borrow),
            partition=function_problem(partition) or pair_problem(partition, partitions),
            priority=function_problem(priority) or waiting_problem(priority, queue),
            status=None if status in (None, 429, 503) else f"must be 429 or 503, not {status!r}",
            retry_after=seconds_problem(retry_after),
            shadow=flag_problem(shadow),
            name=string_problem(name),
        )
        adaptive = max_concurrent if isinstance(max_concurrent, AdaptiveLimit) else None
        shares = [Share(part, fraction) for part, fraction in (partitions or {}).items()]
        self.name = name
        self._adaptive = adaptive
        self._rules = Rules(
            adaptive.initial if adaptive is not None else cast("int", max_concurrent),
            queue,
            float(max_wait),
            target_wait,
            order,
            (*shares, Share(None)),
            borrow,
        )
        self._key = async_in(key)  # kept by its name for the WSGI door to look at
        self._keyring = None if key is None else Keyring(key, missing)
        self._lanes = {share.name: position for position, share in enumerate(shares)}
        self._others = len(shares)
        self._partition = partition
        self._priority = priority
        self._status: Status = status or (503 if key is None else 429)
        self._retry_after = str(max(1, ceil(retry_after)))
        self._shadow = shadow
        self._allow = Decision(name, "allow", "there is room")
        # Of the process that first needs one, which is not the one that forks the workers.
        self._turnstile: Turnstile | None = None
        self._turnstiles: dict[int, Turnstile] = {}

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        key = None
        if self._keyring is not None:
            key = await self._keyring.find(request)
            if key is None:
                return await self._without_key(request, call_next, self._keyring.missing)
        lane = self._others
        if self._partition is not None:
            lane = self._lanes.get(self._partition(request), lane)
        place = (self._turnstile or self._here()).enter(key, lane)
        if place is not None:
            note(request, self._allow)
        else:
            place = await self._arrive(request, key, lane)
            if not place.is_inside:
                return self._refuse(request, place.reason)
        request.on_finish(place)
        if self._adaptive is not None:
            return await self._sampled(request, call_next, place)
        return await call_next(request)

    def status(self) -> list[BulkheadStatus]:
        """What this process holds now: one without a key, else one for each key that is in use."""
        return self._here().status(self.name)

    @property
    def refused(self) -> dict[str, int]:
        """How many were refused since the start of this process, by reason."""
        return dict(self._here().refused)

    async def _arrive(self, request: Request, key: str | None, lane: int) -> Place:
        """The long way in, with a queue."""
        turnstile = self._here()
        now = request.io.now()
        left = None if request.deadline is None else request.deadline - now
        kind = AsyncWaiter if request.io.is_async else BlockingWaiter

        def queue(place: Place, patience: float) -> Waiting:
            seconds = patience if left is None else min(patience, left)
            return kind(request.io, seconds, partial(turnstile.expire, place))

        patient = None if left is not None and left <= 0 else queue
        priority = 0 if self._priority is None else int(self._priority(request))
        place = turnstile.arrive(key, lane, now, patient, forced=self._shadow, priority=priority)
        if place.state == WAITING:
            waiter = cast("Waiting", place.waiter)
            try:
                await waiter.wait()
            except BaseException:
                # Let in meanwhile or still in line: whatever it is, somebody else may have it.
                turnstile.leave(place)
                raise
            finally:
                place.waiter = None
            if place.is_inside:
                note(request, Decision(self.name, "allow", "there is room, after a wait"))
        elif place.is_inside:
            forced = Decision(self.name, "shadow_deny", place.reason)
            note(request, forced if place.reason else self._allow)
        return place

    async def _sampled(self, request: Request, call_next: Handler, place: Place) -> Response:
        turnstile, now = self._here(), request.io.now
        started = now()
        try:
            response = await call_next(request)
        except TimeoutError:
            turnstile.sample(place, now() - started, now())
            raise
        if reached(request) and (response.status == 504 or _FAILURES(response) is False):
            turnstile.sample(place, now() - started, now())
        return response

    def _here(self) -> Turnstile:
        """That of this process: what a forked child finds taken may be its parent's."""
        pid = getpid()
        turnstile = self._turnstiles.get(pid)
        if turnstile is None:
            fresh = Turnstile(self._rules, self._adaptive, keyed=self._keyring is not None)
            turnstile = self._turnstile = self._turnstiles.setdefault(pid, fresh)
        return turnstile

    async def _without_key(
        self, request: Request, call_next: Handler, missing: Missing
    ) -> Response:
        if missing == "deny" and not self._shadow:
            return self._refuse(request, "there is no key")
        ruling: Ruling = "skip" if missing == "skip" else "shadow_deny"
        note(request, Decision(self.name, ruling, "there is no key"))
        return await call_next(request)

    def _refuse(self, request: Request, reason: str) -> Response:
        note(request, Decision(self.name, "deny", reason))
        if self._status == 429:
            detail = "Too many requests at the same time."
            kind = "urn:gatekit:too-many-at-once"
        else:
            detail = "The service has more to do than it can take on."
            kind = "urn:gatekit:overloaded"
        return problem(
            self._status,
            detail,
            type=kind,
            headers={"retry-after": self._retry_after},
            instance=request.correlation_id,
        )

    def __repr__(self) -> str:
        return f"ConcurrencyLimit({self._adaptive or self._rules.limit}, name={self.name!r})"
