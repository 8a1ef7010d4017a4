"""One request fetches, those that come meanwhile read along: coroutines of a loop, or threads.

    fill, leads = fills.enter(request.io, key)
    if not leads:
        state = await fill.outlook(request.io, patience)
        # "ready": fill.entry and Follower(fill, request.io); "free": everybody fetches for himself;
        # "lost": the leader is gone, enter again; "late": patience is over

A leader says what it has as it comes: the head, chunks, the end. One that leaves or fails hands
over: the next to enter leads. Followers hold no more of a body than what is to be stored anyway, or
as much as the slowest of them lags behind.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from threading import Condition
from typing import Literal, TypeAlias
from weakref import WeakKeyDictionary

from gatekit._core.io import IO
from gatekit.errors import UpstreamError
from gatekit.middleware.cache.entry import Entry

_UNGUARDED = nullcontext()

Outlook: TypeAlias = Literal["waiting", "ready", "free", "lost", "late"]


class Fill:
    """What is known so far of an answer that is being fetched."""

    __slots__ = (
        "_chunks", "_first", "_kept", "_limit", "_name", "_storing", "_table", "attempt", "broken",
        "entry", "epoch", "followers", "guard", "heir", "names", "state", "variant",
        "waiting", "whole",
    )  # fmt: skip

    def __init__(
        self, table: dict[Hashable, Fill], name: Hashable, epoch: int, attempt: int
    ) -> None:
        self._table = table
        self._name = name
        self.epoch = epoch
        """The number of purges before it began."""
        self.attempt = attempt
        """How many leaders before this one have failed."""
        self.state: Outlook = "waiting"
        self.entry: Entry | None = None
        """The head; its body is empty until the end, unless it was there at once."""
        self.variant: bytes = b""
        self.names: tuple[bytes, ...] = ()
        self.whole = False
        self.broken = False
        self.followers: dict[object, int] = {}
        """The number of chunks that each of them has had."""
        self.waiting = 0
        self.heir: Fill | None = None
        """The one that goes on for those who read along, once this one has broken off."""
        self._chunks: list[bytes] = []
        self._first = 0
        self._kept = 0
        self._limit = 0
        self._storing = True
        self.guard: AbstractContextManager[object] = _UNGUARDED
        """Around what a leader and followers in several threads change."""

    @property
    def is_joinable(self) -> bool:
        """Whether the body can still be had from its first byte."""
        return self._storing and not self.broken

    # The leader's side.

    def ready(self, entry: Entry, limit: int) -> None:
        """The head is there and may be shared; `limit` bounds what is held for followers."""
        self.entry, self._limit, self.state = entry, limit, "ready"
        self.notify()

    def feed(self, chunk: bytes) -> None:
        guard = self.guard
        if guard is _UNGUARDED:
            self._add(chunk)
        else:
            with guard:
                self._add(chunk)
        if self.followers:
            self.notify()

    def _add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._kept += len(chunk)
        if not self._storing:
            self._trim()

    def finish(self) -> None:
        """The body is whole."""
        self.whole = True
        self.notify()

    def give(self, entry: Entry) -> None:
        """All of it at once. It stays known until `close`."""
        if entry.body:
            self._chunks = [entry.body]
        self.entry, self.whole, self.state = entry, True, "ready"
        self.notify()

    def free(self) -> None:
        """It may not be shared: nobody needs to wait."""
        if self.state == "waiting":
            self.state = "free"
            self.notify()
        self._forget()

    def overflow(self) -> None:
        """It is too long to be stored: who reads along goes on, nobody else joins."""
        self._forget()
        with self.guard:
            self._storing = False
            self._trim()

    def lose(self) -> None:
        """The leader failed or left."""
        if not self.whole:
            self.broken = True
            if self.state == "waiting":
                self.state = "lost"
            self.notify()
        self._forget()

    def close(self) -> None:
        """What newcomers need is in the store by now."""
        self._forget()

    def _forget(self) -> None:
        if self._table.get(self._name) is self:
            del self._table[self._name]

    # The followers' side.

    async def outlook(self, io: IO, patience: float) -> Outlook:
        """What became of the head, at most `patience` seconds from now."""
        self.waiting += 1
        until = io.now() + patience
        try:
            while self.state == "waiting":
                left = until - io.now()
                if left <= 0 or not await self.wait(io, left):
                    break
            return "late" if self.state == "waiting" else self.state
        finally:
            self.waiting -= 1

    def next_for(self, follower: object) -> bytes | None:
        """The next chunk for one, `b""` at the end, None if there is nothing new."""
        with self.guard:
            seen = self.followers[follower]
            if seen < self._first:
                raise UpstreamError("closed", "the reader fell too far behind")
            if seen - self._first < len(self._chunks):
                self.followers[follower] = seen + 1
                return self._chunks[seen - self._first]
            if self.broken:
                raise UpstreamError("closed", "the request that was read along with broke off")
            return b"" if self.whole else None

    def passed_to(self, follower: object) -> bytes | None:
        """What one has had of the body, None where that is no longer known."""
        with self.guard:
            seen = self.followers[follower]
            return None if self._first else b"".join(self._chunks[:seen])

    def _trim(self) -> None:
        """Lets go of what every follower has had, and of those who are too far behind."""
        least = min(self.followers.values(), default=self._first + len(self._chunks))
        while self._chunks and (self._first < least or self._kept > max(self._limit, 1)):
            self._kept -= len(self._chunks.pop(0))
            self._first += 1

    # What differs between the colours.

    def notify(self) -> None:
        raise NotImplementedError

    async def wait(self, io: IO, seconds: float | None, follower: object = None) -> bool:
        """Until something changes, for who has had what is there; False when that took too long."""
        raise NotImplementedError

    def _unchanged(self, follower: object) -> bool:
        if follower is None:
            return self.state == "waiting"
        seen = self.followers[follower]
        return not (self.whole or self.broken or seen - self._first < len(self._chunks))


class LoopFill(Fill):
    """Shared by the coroutines of one loop."""

    __slots__ = ("_futures",)

    def __init__(
        self, table: dict[Hashable, Fill], name: Hashable, epoch: int, attempt: int
    ) -> None:
        super().__init__(table, name, epoch, attempt)
        self._futures: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        if not self._futures:
            return
        futures, self._futures = self._futures, []
        for future in futures:
            if not future.done():
                future.set_result(None)

    async def wait(self, io: IO, seconds: float | None, follower: object = None) -> bool:
        future = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        try:
            async with io.timeout(seconds):
                await future
        except TimeoutError:
            return False
        return True


class ThreadFill(Fill):
    """Shared by the threads of one process."""

    __slots__ = ("_changed",)

    def __init__(
        self, table: dict[Hashable, Fill], name: Hashable, epoch: int, attempt: int
    ) -> None:
        super().__init__(table, name, epoch, attempt)
        self.guard = self._changed = Condition()

    def notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    async def wait(self, io: IO, seconds: float | None, follower: object = None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._unchanged(follower), seconds)


class Fills:
    """What is being fetched now, by key. A loop and the threads of a process share nothing."""

    __slots__ = ("_loops", "_threads")

    def __init__(self) -> None:
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, Fill]] = (
            WeakKeyDictionary()
        )
        # With the process in the key a fork does not wait for a thread that it has not got.
        self._threads: dict[Hashable, Fill] = {}

    def enter(self, io: IO, key: bytes, epoch: int, attempt: int = 0) -> tuple[Fill, bool]:
        """The fill of this key, and whether it is this request that does the work.

        One that began before the last purge, as `epoch` tells, is left to those who follow it.
        """
        fills, name, kind = self._table(io, key)
        fill = fills.get(name)
        if fill is not None and fill.epoch >= epoch:
            return fill, False
        ours = kind(fills, name, epoch, attempt)
        if fill is not None:
            fills[name] = ours
            return ours, True
        fill = fills.setdefault(name, ours)
        return fill, fill is ours

    def current(self, io: IO, key: bytes) -> Fill | None:
        """What is being fetched under this key."""
        fills, name, _ = self._table(io, key)
        return fills.get(name)

    def _table(self, io: IO, key: bytes) -> tuple[dict[Hashable, Fill], Hashable, type[Fill]]:
        if not io.is_async:
            return self._threads, (os.getpid(), key), ThreadFill
        loop = asyncio.get_running_loop()
        table = self._loops.get(loop)
        if table is None:
            table = self._loops.setdefault(loop, {})
        return table, key, LoopFill
