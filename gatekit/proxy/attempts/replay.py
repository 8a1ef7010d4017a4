"""A request's body that streams, kept as far as a limit allows, so that it can be sent again.

    replay = Replay(stream, limit=65_536)
    first = replay.from_start()              # one attempt reads as far as it gets
    if replay.is_repeatable:
        second = replay.from_start()         # the next one reads the same from the beginning

What an attempt has read is kept for the next one; the rest still comes from the client. Beyond the
limit what was kept is dropped: the body streams through as if nobody had kept it, and cannot be
sent again. A body of which nothing has been read needs no copy.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator

from gatekit.proxy.transport.exchange import Stream


class Replay:
    """Read by one attempt at a time: the one before has to be over."""

    __slots__ = ("_limit", "_size", "_stream", "is_repeatable", "kept")

    def __init__(self, stream: Stream, limit: int) -> None:
        self._stream = aiter(stream) if isinstance(stream, AsyncIterable) else iter(stream)
        self._limit = limit
        self._size = 0
        self.kept: list[bytes] = []
        self.is_repeatable = True

    def from_start(self) -> Stream:
        """The body from its beginning, in the colour that it came in."""
        if isinstance(self._stream, AsyncIterator):
            return _AsyncStream(self, self._stream)
        return _Stream(self, self._stream)

    def keep(self, data: bytes) -> None:
        """What has just been read for the first time."""
        if self.is_repeatable:
            self._size += len(data)
            if self._size <= self._limit:
                self.kept.append(data)
            else:
                self.is_repeatable = False
                self.kept.clear()


class _AsyncStream:
    __slots__ = ("_next", "_replay", "_stream")

    def __init__(self, replay: Replay, stream: AsyncIterator[bytes]) -> None:
        self._replay = replay
        self._stream = stream
        self._next = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        replay, place = self._replay, self._next
        self._next = place + 1
        if place < len(replay.kept):
            return replay.kept[place]
        data = await anext(self._stream)
        replay.keep(data)
        return data


class _Stream:
    __slots__ = ("_next", "_replay", "_stream")

    def __init__(self, replay: Replay, stream: Iterator[bytes]) -> None:
        self._replay = replay
        self._stream = stream
        self._next = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        replay, place = self._replay, self._next
        self._next = place + 1
        if place < len(replay.kept):
            return replay.kept[place]
        data = next(self._stream)
        replay.keep(data)
        return data
