"""What happens when there is no fresh answer: one request asks, the others read along.

lead ─▶ forward ─▶ call_next ─▶ 304   the stored answer, freshened
                             ├▶ 5xx   the stored answer, where it may be used stale
                             └▶ else  passes on, and is recorded on its way if it may be stored
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from gatekit._core.background import Background
from gatekit._core.body import aclose_body
from gatekit._core.messages import Outcome, Request, Response
from gatekit._core.signals import AppBody
from gatekit.middleware.cache.asking import Ask, without_conditions
from gatekit.middleware.cache.coalesce import Fill
from gatekit.middleware.cache.entry import Entry
from gatekit.middleware.cache.policy import may_serve_on_error
from gatekit.middleware.cache.recipe import Recipe
from gatekit.middleware.cache.serve import Server
from gatekit.middleware.cache.shelf import Looked, Shelf, names_of
from gatekit.middleware.cache.stats import Counts
from gatekit.middleware.cache.tee import Recorder, record
from gatekit.middleware.cache.validators import condition_of, freshened, selects
from gatekit.middleware.cache.vary import variant
from gatekit.typing import Handler, RawHeaders

_ERRORS = frozenset({500, 502, 503, 504})


class Passing:
    """Keys whose answers were not to be stored lately: nobody waits for another one's."""

    __slots__ = ("_most", "_until")

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._until: dict[bytes, float] = {}

    def add(self, key: bytes, until: float) -> None:
        self._until.pop(key, None)
        self._until[key] = until
        while len(self._until) > self._most:
            # Another thread may be at it just now, and then it need not be done here.
            with suppress(RuntimeError):
                self._until.pop(next(iter(self._until), b""), None)

    def holds(self, key: bytes, now: float) -> bool:
        until = self._until.get(key)
        return until is not None and now < until

    def drop(self, key: bytes) -> None:
        self._until.pop(key, None)


class Job(NamedTuple):
    """A request that asks the origin. `fill` is what others read along from, `owner` its lease."""

    request: Request
    ask: Ask
    looked: Looked
    fill: Fill | None
    owner: bytes
    why: str


class Fetcher:
    """Asks the origin and keeps what it may."""

    __slots__ = ("_background", "_clock", "_pass_for", "counts", "passing", "recipe", "server",
                 "shelf")  # fmt: skip

    def __init__(
        self,
        shelf: Shelf,
        recipe: Recipe,
        server: Server,
        background: Background,
        *,
        pass_for: float,
        clock: Callable[[], float],
    ) -> None:
        self.shelf = shelf
        self.recipe = recipe
        self.server = server
        self.passing = Passing()
        self.counts = Counts()
        self._background = background
        self._pass_for = pass_for
        self._clock = clock

    def now(self) -> float:
        return self._clock()

    async def forward(self, job: Job, call_next: Handler) -> Response:
        """Asks, and gives what the client is answered."""
        request, ask, fill = job.request, job.ask, job.fill
        entry = job.looked.entry
        conditions: RawHeaders = []
        if entry is not None and not ask.is_head:
            conditions = condition_of(entry)
            if conditions:
                request.headers.replace([*without_conditions(request.headers.raw), *conditions])
        asked_at = self._clock()
        try:
            response = await call_next(request)
        except Exception:
            stale = self._instead(entry, ask)
            await self._over(job, failed=True)
            if stale is None:
                raise
            return stale
        except BaseException:
            if fill is not None:
                fill.lose()
            await self.release(job)
            raise
        received = self._clock()
        if conditions and response.status == 304 and entry is not None:
            return await self._not_modified(job, entry, response, asked_at, received)
        if response.status in _ERRORS:
            stale = self._instead(entry, ask)
            if stale is not None:
                await _discard(response)
                await self._over(job, failed=True)
                return stale
        return await self._pass_on(job, response, asked_at, received)

    def _instead(self, entry: Entry | None, ask: Ask) -> Response | None:
        """The stored answer in place of an error, where it may be used stale."""
        now = self._clock()
        if entry is None or not may_serve_on_error(entry, ask.asked.control, now):
            return None
        self.counts.stale += 1
        return self.server.forwarded(entry, ask, now, "hit; detail=stale-if-error")

    async def _not_modified(
        self, job: Job, entry: Entry, response: Response, asked_at: float, received: float
    ) -> Response:
        request, ask = job.request, job.ask
        await _discard(response)
        raw = response.headers.raw
        fresh, stays = entry, False
        if selects(entry, raw):
            fields = freshened(entry.fields, raw)
            fresh, stays = self.recipe.refreshed(
                entry, request.url_path, fields, asked_at=asked_at, received=received
            )
        self.counts.revalidated += 1
        said = f"fwd={job.why}; fwd-status=304"
        if not stays:
            # It speaks of another answer than this one, or takes back the leave to keep it. The
            # client's is answered all the same; the next one asks for all of it.
            await self.drop(request, ask)
            await self._over(job, failed=False)
            return self.server.forwarded(fresh, ask, received, said)
        fresh.tags = (*fresh.tags, *(tag for tag in ask.tags if tag not in fresh.tags))
        if job.fill is not None:
            self.introduce(job.fill, ask, fresh)
            job.fill.give(fresh)
        await self.keep(job, fresh)
        return self.server.forwarded(fresh, ask, received, f"{said}; stored")

    async def _pass_on(
        self, job: Job, response: Response, asked_at: float, received: float
    ) -> Response:
        request, ask = job.request, job.ask
        draft = self.recipe.draft(
            ask, request.url_path, response, asked_at=asked_at, received=received
        )
        if draft.strips:
            response.headers.replace(
                [field for field in response.headers.raw if field[0] not in self.recipe.strip]
            )
        said = f"fwd={job.why}; fwd-status={response.status}"
        entry = draft.entry
        if entry is None or ask.is_head:
            await self._over(job, failed=response.status in _ERRORS)
            detail = draft.reason.replace(" ", "-")
            self.server.say(response, f"{said}; detail={detail}" if detail else said)
            return response
        if ask.tags:
            entry.tags = (*entry.tags, *(tag for tag in ask.tags if tag not in entry.tags))
        self.passing.drop(ask.lane)
        self.record(job, response, entry, draft.length)
        self.server.say(response, f"{said}; stored")
        return response

    def record(self, job: Job, response: Response, entry: Entry, length: int | None) -> None:
        """Keeps a copy of the body as it passes; what is there at once is stored at once."""
        fill, body = job.fill, response.body
        if fill is not None:
            self.introduce(fill, job.ask, entry)
        if response.status == 204:
            self._record_whole(job, entry, b"")
        elif isinstance(body, bytes) and response.codecs is None:
            self._record_whole(job, entry, body)
        else:
            self._record_stream(job, response, entry, length)

    def _record_whole(self, job: Job, entry: Entry, body: bytes) -> None:
        _complete(entry, body)
        if job.fill is not None:
            job.fill.give(entry)
        if self.shelf.memory is not None:
            self.put(job, entry)
        else:
            job.request.on_finish(lambda _: self.keep(job, entry))

    def _record_stream(
        self, job: Job, response: Response, entry: Entry, length: int | None
    ) -> None:
        request, fill, body = job.request, job.fill, response.body
        recording = _Recording(self, job, entry)
        recording.recorder = recorder = Recorder(
            self.recipe.max_object, length, fill, recording.done
        )
        if isinstance(body, bytes | AppBody) or response.codecs is not None:
            response.filter(recorder)
        else:
            recording.recorded = response.body = record(
                body, recorder, lambda work: self._background.spawn(request.io, work)
            )
        if fill is not None:
            fill.ready(entry, self.recipe.max_object)
        request.on_finish(recording.finished)

    def introduce(self, fill: Fill, ask: Ask, entry: Entry) -> None:
        """Tells who waits what the answer differs by."""
        fill.names = names = names_of(entry)
        if names:
            fill.variant = variant(names, ask.raw, self.shelf.normalisers)

    def put(self, job: Job, entry: Entry) -> None:
        memory, ask = self.shelf.memory, job.ask
        if memory is not None and self.shelf.put(memory, ask.key, ask.raw, entry, job.looked):
            self.counts.stored += 1
        if job.fill is not None:
            job.fill.close()

    async def keep(self, job: Job, entry: Entry) -> None:
        ask = job.ask
        try:
            if await self.shelf.keep(job.request.io, ask.key, ask.raw, entry, job.looked):
                self.counts.stored += 1
            await self.release(job)
        finally:
            if job.fill is not None:
                job.fill.close()

    async def _over(self, job: Job, *, failed: bool) -> None:
        """Nothing will be stored: who waits is let go, or one of them tries in turn."""
        fill, key = job.fill, job.ask.key
        if fill is not None:
            if failed and fill.attempt == 0:
                fill.lose()
            else:
                fill.free()
        if not failed and job.ask.is_plain and not job.ask.is_head:
            now, lane = self._clock(), job.ask.lane
            if job.owner and not job.ask.asked.owned and not self.passing.holds(lane, now):
                until = now + self._pass_for
                await self.shelf.mark(job.request.io, key, until, self._pass_for, job.looked)
            self.passing.add(lane, now + self._pass_for)
        await self.release(job)

    async def drop(self, request: Request, ask: Ask) -> None:
        store = self.shelf.store
        await self.shelf.guard.ask(request.io, store.delete, store.adelete, [ask.key])

    async def release(self, job: Job) -> None:
        if job.owner:
            store = self.shelf.store
            key = job.ask.key
            await self.shelf.guard.ask(
                job.request.io, store.release, store.arelease, key, job.owner
            )


class _Recording:
    """One answer on its way, and what becomes of it when the exchange is over."""

    __slots__ = ("_entry", "_fetcher", "_is_whole", "_job", "recorded", "recorder")

    recorder: Recorder

    def __init__(self, fetcher: Fetcher, job: Job, entry: Entry) -> None:
        self._fetcher = fetcher
        self._job = job
        self._entry = entry
        self._is_whole = False
        self.recorded: object = None
        """The body, where it is a stream that somebody else may read to its end."""

    def done(self, whole: bytes) -> None:
        _complete(self._entry, whole)
        self._is_whole = True
        if self._fetcher.shelf.memory is not None:
            self._fetcher.put(self._job, self._entry)

    def finished(self, _: Outcome) -> Awaitable[None] | None:
        recorder = self.recorder
        if not recorder.ended:
            if self.recorded is not None:
                return self._leave()
            recorder.fail()
        return self._settle() if self._fetcher.shelf.memory is None else None

    async def _leave(self) -> None:
        # The door may not have come to the body at all: those who read along need it still.
        recorder = self.recorder
        recorder.after = self._settle
        await aclose_body(self.recorded)
        if not recorder.goes_on:
            recorder.after = None
            recorder.fail()
            await self._settle()

    async def _settle(self) -> None:
        if self._is_whole and self._fetcher.shelf.memory is None:
            await self._fetcher.keep(self._job, self._entry)
        else:
            await self._fetcher.release(self._job)


def new_owner() -> bytes:
    """Whose lease it is."""
    return os.urandom(8)


def _complete(entry: Entry, body: bytes) -> None:
    """The entry with its body, and the length that goes with it."""
    entry.body = body
    if entry.status != 204:
        length = (b"content-length", b"%d" % len(body))
        if length not in entry.fields:
            rest = [field for field in entry.fields if field[0] != b"content-length"]
            entry.fields = [*rest, length]


async def _discard(response: Response) -> None:
    """A response that is replaced: a stream of the proxy's gives its connection back."""
    if not isinstance(response.body, bytes | AppBody):
        await aclose_body(response.body)
