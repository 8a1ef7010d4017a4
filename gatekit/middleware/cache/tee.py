"""Keeps a copy of a body while it streams by, and never holds it up.

    recorder = Recorder(limit, expected, fill, done)
    response.filter(recorder)                    # an app's own body, or one that is filtered inside
    response.body = record(body, recorder, io)   # a stream of a handler's

`done(body)` is called once, with the whole body, when its last byte has passed. A body that is cut
short, or longer than the limit, or not as long as it said, is never whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import Any, Self

from gatekit._core.body import aclose_body, close_body
from gatekit._core.io import IO
from gatekit.middleware.cache.coalesce import Fill


class Recorder:
    """A codec that changes nothing."""

    observes = True

    __slots__ = ("_chunks", "_done", "_expected", "_fill", "_limit", "_size", "after",
                 "draining", "ended")  # fmt: skip

    def __init__(
        self, limit: int, expected: int | None, fill: Fill | None, done: Callable[[bytes], None]
    ) -> None:
        self._limit = limit
        self._expected = expected
        self._fill = fill
        self._done = done
        self._chunks: list[bytes] | None = []
        self._size = 0
        self.ended = False
        self.draining = False
        self.after: Callable[[], Coroutine[Any, Any, None]] | None = None
        """What is to be done when others have been read on for to the end."""

    @property
    def goes_on(self) -> bool:
        """Somebody still reads on for those who read along."""
        return self.draining and not self.ended

    @property
    def is_read_along(self) -> bool:
        return self._fill is not None and bool(self._fill.followers or self._fill.waiting)

    def feed(self, data: bytes) -> bytes:
        if self.ended:
            return data
        # A server may reuse the buffer that it hands on.
        kept = bytes(data)
        self._size += len(kept)
        if self._chunks is not None:
            self._chunks.append(kept)
            if self._size > self._limit:
                self._chunks = None
                if self._fill is not None:
                    self._fill.overflow()
        if self._fill is not None and kept:
            self._fill.feed(kept)
        if self._size == self._expected:
            # A server may ask for nothing more than it declared.
            self.finish()
        return data

    def finish(self) -> bytes:
        if self.ended:
            return b""
        if self._expected is not None and self._size != self._expected:
            self.fail()
            return b""
        self.ended = True
        chunks, self._chunks = self._chunks, None
        if chunks is not None:
            self._done(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if self._fill is not None:
            self._fill.finish()
        return b""

    def fail(self) -> None:
        """It was cut short."""
        if not self.ended:
            self.ended = True
            self._chunks = None
            if self._fill is not None:
                self._fill.lose()


Drain = Callable[[Callable[[IO], Coroutine[Any, Any, None]]], bool]
"""Runs a job beside the requests; False if it cannot."""


def record(
    body: Iterable[bytes] | AsyncIterable[bytes], recorder: Recorder, drain: Drain
) -> RecordedAsync | Recorded:
    """The same body, of which a copy is kept."""
    if isinstance(body, AsyncIterable):
        return RecordedAsync(body, recorder, drain)
    return Recorded(body, recorder, drain)


class RecordedAsync:
    """For an event loop. Who reads along is not hurt when the first client leaves."""

    __slots__ = ("_body", "_drain", "_reading", "_recorder", "_source")

    def __init__(self, body: AsyncIterable[bytes], recorder: Recorder, drain: Drain) -> None:
        self._body = body
        self._source: AsyncIterator[bytes] = aiter(body)
        self._recorder = recorder
        self._drain = drain
        self._reading: asyncio.Task[bytes] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            if self._recorder.is_read_along:
                chunk = await self._shielded()
            else:
                chunk = await anext(self._source)
        except StopAsyncIteration:
            self._recorder.finish()
            raise
        except asyncio.CancelledError:
            if self._reading is None:
                self._recorder.fail()
            raise
        except BaseException:
            self._recorder.fail()
            raise
        return self._recorder.feed(chunk)

    async def aclose(self) -> None:
        if self._recorder.draining:
            return
        goes_on = not self._recorder.ended and self._recorder.is_read_along
        self._recorder.draining = goes_on
        if goes_on and self._drain(self._read_on):
            return
        self._recorder.draining = False
        self._recorder.fail()
        if self._reading is not None:
            self._reading.cancel()
        await aclose_body(self._body)

    async def _shielded(self) -> bytes:
        # In a task of its own a read survives that this one is cancelled.
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read())
        try:
            chunk = await asyncio.shield(self._reading)
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._reading = None
            raise
        self._reading = None
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def _read(self) -> bytes:
        # A task cannot end in StopAsyncIteration; an empty chunk is passed over, so it is the end.
        async for chunk in self._source:
            if chunk:
                return chunk
        return b""

    async def _read_on(self, io: IO) -> None:
        try:
            async for _ in self:
                if not self._recorder.is_read_along:
                    break
        finally:
            self._recorder.fail()
            await aclose_body(self._body)
            if self._recorder.after is not None:
                await self._recorder.after()


class Recorded:
    """For a thread."""

    __slots__ = ("_body", "_drain", "_recorder", "_source")

    def __init__(self, body: Iterable[bytes], recorder: Recorder, drain: Drain) -> None:
        self._body = body
        self._source: Iterator[bytes] = iter(body)
        self._recorder = recorder
        self._drain = drain

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._source)
        except StopIteration:
            self._recorder.finish()
            raise
        except BaseException:
            self._recorder.fail()
            raise
        return self._recorder.feed(chunk)

    def close(self) -> None:
        if self._recorder.draining:
            return
        goes_on = not self._recorder.ended and self._recorder.is_read_along
        self._recorder.draining = goes_on
        if goes_on and self._drain(self._read_on):
            return
        self._recorder.draining = False
        self._recorder.fail()
        close_body(self._body)

    async def _read_on(self, io: IO) -> None:
        try:
            for _ in self:
                if not self._recorder.is_read_along:
                    break
        finally:
            self._recorder.fail()
            close_body(self._body)
            if self._recorder.after is not None:
                await self._recorder.after()
