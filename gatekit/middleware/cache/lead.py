"""Who asks the origin: the first of those that want the same, of a process or of all that share.

A store that several processes share gives out leases: who holds one asks, the others look every
few hundredths of a second whether the answer is there, for as long as a request waits at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gatekit._core.again import SecondRun, second_run
from gatekit._core.background import Background
from gatekit._core.headers import Headers
from gatekit._core.io import IO, resolve
from gatekit._core.messages import Outcome, Request, Response
from gatekit.middleware.cache.asking import Ask, without_conditions
from gatekit.middleware.cache.coalesce import Fill, Fills
from gatekit.middleware.cache.entry import OPEN, Entry
from gatekit.middleware.cache.fetch import Fetcher, Job, new_owner
from gatekit.middleware.cache.follow import Again, Follower
from gatekit.middleware.cache.key import digest_of
from gatekit.middleware.cache.policy import use_of
from gatekit.middleware.cache.shelf import Looked
from gatekit.middleware.cache.vary import variant
from gatekit.typing import Handler

# Seconds between two looks at a store in which another process fills.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.1


class Leader:
    """Single flight, across coroutines, threads and processes."""

    __slots__ = ("_background", "_clock", "_coalesces", "_fetcher", "_fills", "_wait")

    def __init__(
        self,
        fetcher: Fetcher,
        background: Background,
        coalesces: bool,
        wait: float,
        clock: Callable[[], float],
    ) -> None:
        self._fetcher = fetcher
        self._background = background
        self._coalesces = coalesces
        self._wait = wait
        self._clock = clock
        self._fills = Fills()

    async def lead(
        self, request: Request, call_next: Handler, ask: Ask, looked: Looked, why: str
    ) -> Response:
        """The answer to a request for which nothing fresh is stored."""
        now = self._clock()
        shared = ask.is_plain or (
            ask.is_conditional
            and not (ask.is_special or ask.range or ask.is_head)
            and looked.entry is not None
        )
        passing = self._fetcher.passing
        if looked.marked is not None and now < looked.marked.until:
            passing.add(ask.lane, looked.marked.until)
        if not self._coalesces or not shared or passing.holds(ask.lane, now):
            return await self._alone(request, call_next, ask, looked, why)
        io, key, attempt = request.io, ask.key, 0
        # In a loop nobody else had a turn since the memory was looked at.
        seen = io.is_async and self._fetcher.shelf.memory is not None
        until = io.now() + self._wait
        if request.deadline is not None:
            until = min(until, request.deadline)
        while True:
            epoch = looked.epoch
            if epoch > 0:
                held = self._fills.current(io, key)
                if held is not None and not self._fetcher.shelf.has_purged(held, ask.key, ask.tags):
                    epoch = held.epoch
            fill, leads = self._fills.enter(io, key, epoch, attempt)
            if leads:
                return await self._first(request, call_next, ask, looked, why, fill, seen)
            seen = False
            state = await fill.outlook(io, until - io.now())
            if state == "lost":
                attempt = fill.attempt + 1
                continue
            if state == "ready":
                again = self._again(request, call_next, ask, looked, why)
                response = self._join(io, ask, fill, why, again)
                if response is not None:
                    return response
                if fill.entry is not None and key == ask.key and fill.is_joinable:
                    # Another variant: those who want the same one queue up by themselves.
                    key = digest_of(
                        [key, variant(fill.names, ask.raw, self._fetcher.shelf.normalisers)]
                    )
                    continue
            return await self._alone(request, call_next, ask, looked, why)

    def validates_behind(
        self, request: Request, call_next: Handler, ask: Ask, looked: Looked
    ) -> bool:
        """Sees to it that somebody asks; False if it has to be this request, now."""
        io = request.io
        if self._fills.current(io, ask.key) is not None:
            return True
        run = second_run(request, call_next)
        if run is None:
            return False
        fill, leads = self._fills.enter(io, ask.key, looked.epoch)
        if leads:
            copy, plain = _copy(request, ask)

            async def job(own: IO) -> None:
                copy.io = own
                await self._behind(copy, plain, looked, fill, run)

            if not self._background.spawn(io, job):
                fill.lose()
        return True

    async def _alone(
        self, request: Request, call_next: Handler, ask: Ask, looked: Looked, why: str
    ) -> Response:
        return await self._fetcher.forward(Job(request, ask, looked, None, b"", why), call_next)

    async def _first(
        self,
        request: Request,
        call_next: Handler,
        ask: Ask,
        looked: Looked,
        why: str,
        fill: Fill,
        seen: bool = False,
    ) -> Response:
        try:
            if seen:
                job = Job(request, ask, looked, fill, b"", why)
                return await self._fetcher.forward(job, call_next)
            return await self._ask(request, call_next, ask, looked, why, fill)
        except BaseException:
            # Whatever went wrong, nobody must go on waiting for this one.
            fill.lose()
            raise

    async def _ask(
        self,
        request: Request,
        call_next: Handler,
        ask: Ask,
        looked: Looked,
        why: str,
        fill: Fill,
    ) -> Response:
        # It may have come while this request was on its way here.
        shelf, owner, again = self._fetcher.shelf, b"", looked
        if shelf.memory is not None:
            again = shelf.look(shelf.memory, ask.key, ask.raw)
        elif shelf.store.shared:
            owner, again = await self._lease(request.io, ask, looked)
        again = readable(ask, again)
        entry = self._usable(ask, again)
        if entry is not None:
            self._fetcher.introduce(fill, ask, entry)
            fill.give(entry)
            fill.close()
            self._fetcher.counts.collapsed += 1
            said = f"fwd={why}; collapsed"
            return self._fetcher.server.forwarded(entry, ask, self._clock(), said)
        if again.marked is not None:
            fill.free()
            return await self._alone(request, call_next, ask, again, why)
        job = Job(request, ask, again if again.entry or not looked.entry else looked, fill, owner,
                  why)  # fmt: skip
        return await self._fetcher.forward(job, call_next)

    def _usable(self, ask: Ask, looked: Looked) -> Entry | None:
        entry = looked.entry
        if entry is None or use_of(entry, ask.asked.control, self._clock()) != "fresh":
            return None
        return entry

    async def _lease(self, io: IO, ask: Ask, looked: Looked) -> tuple[bytes, Looked]:
        """The right to ask for all processes, or what another one has found meanwhile."""
        shelf, key = self._fetcher.shelf, ask.key
        owner, pause, until = new_owner(), _FIRST_PAUSE, io.now() + self._wait
        while True:
            store = shelf.store
            ours = await shelf.guard.ask(io, store.lease, store.alease, key, owner, self._wait)
            if ours is None:
                return b"", looked
            seen = await shelf.find(io, key, ask.raw)
            if self._usable(ask, readable(ask, seen)) is not None or seen.marked is not None:
                if ours:
                    await shelf.guard.ask(io, store.release, store.arelease, key, owner)
                return b"", seen
            if ours:
                return owner, seen
            if io.now() >= until:
                return b"", seen
            await io.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _join(
        self, io: IO, ask: Ask, fill: Fill, why: str, again: Again | None = None
    ) -> Response | None:
        """The answer that another request is getting, where it is this one's as well."""
        entry = fill.entry
        if entry is None or not fill.is_joinable:
            return None
        if ask.asked.owned and not entry.flags & OPEN:
            return None
        if variant(fill.names, ask.raw, self._fetcher.shelf.normalisers) != fill.variant:
            return None
        self._fetcher.counts.collapsed += 1
        said, now = f"fwd={why}; collapsed", self._clock()
        if fill.whole:
            return self._fetcher.server.forwarded(entry, ask, now, said)
        body = Follower(fill, io, again, self._wait)
        return self._fetcher.server.followed(entry, ask, body, now, said)

    def _again(
        self, request: Request, call_next: Handler, ask: Ask, looked: Looked, why: str
    ) -> Again | None:
        """For one who reads along: what asks in the leader's place when that one breaks off."""
        run = second_run(request, call_next)
        if run is None:
            return None
        copy, plain = _copy(request, ask)

        async def again(broken: Fill) -> Response | None:
            io = copy.io
            while True:
                # Of all who were left one asks, and once: a failing origin is spared the others.
                fill, leads = broken.heir, False
                if fill is None:
                    fill, leads = self._fills.enter(io, plain.key, looked.epoch, 1)
                    broken.heir = fill
                if leads:
                    try:
                        return await self._behind(copy, plain, looked, fill, run, why)
                    except asyncio.CancelledError:
                        # It is this client who left: another one asks.
                        broken.heir = None
                        raise
                state = await fill.outlook(io, self._wait)
                if state != "lost" or broken.heir is fill:
                    return self._join(io, plain, fill, why) if state == "ready" else None

        return again

    async def _behind(
        self,
        copy: Request,
        ask: Ask,
        looked: Looked,
        fill: Fill,
        run: SecondRun,
        why: str = "stale",
    ) -> Response:
        """Asks beside the request that was answered already."""
        limit = self._fetcher.recipe.max_object

        async def call(request: Request) -> Response:
            return await run(request.io, request.headers.raw, limit)

        try:
            return await self._first(copy, call, ask, looked, why, fill)
        finally:
            outcome = Outcome("complete", status=None, duration=0.0)
            for callback in reversed(copy._finish or []):
                await resolve(callback(outcome))
            fill.lose()


def readable(ask: Ask, looked: Looked) -> Looked:
    """Without an answer that somebody known must not get (RFC 9111 §3.5), nor change."""
    entry = looked.entry
    if entry is not None and ask.asked.owned and not entry.flags & OPEN:
        return looked._replace(entry=None)
    return looked


def _copy(request: Request, ask: Ask) -> tuple[Request, Ask]:
    """What the fetcher sees of a request that is over by then."""
    copy = Request(
        "GET",
        request.path,
        io=request.io,
        headers=Headers(without_conditions(ask.raw)),
        query=request.query,
        scheme=request.scheme,
        root_path=request.root_path,
    )
    plain = Ask(copy.headers.raw, heeds_client=True)
    plain.key, plain.tags, plain.asked = ask.key, ask.tags, ask.asked
    return copy, plain
