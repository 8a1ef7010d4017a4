"""Bodies: the request's, which is pulled, and the bounded reading of either.

    data = await request.body.read(limit=65_536)      # whole, 413 beyond the limit
    async for chunk in request.body: ...              # streamed
    request.body.filter(codec)                        # changed or counted on its way to the app

A body that a middleware has read is still there for the app: the door replays it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TypeAlias

from gatekit.errors import BodyTooLarge, ClientDisconnected
from gatekit.typing import Codec

READ_LIMIT = 1_048_576

# Bytes that keep a slow codec busy for a millisecond or more.
_MUCH = 65_536

Pull: TypeAlias = Callable[[], Awaitable[tuple[bytes, bool]]]


class RequestBody:
    """The request's body in both colours.

    `pull()` gives the next bytes and whether more may follow; it raises `ClientDisconnected`
    when the client left. `received` counts the bytes pulled, before any filter.
    """

    __slots__ = (
        "_ahead",
        "_codecs",
        "_end",
        "_ended",
        "_held",
        "_pull",
        "_reading",
        "_refusal",
        "received",
    )

    def __init__(self, pull: Pull | None = None) -> None:
        self._pull = pull
        self._codecs: list[Codec] | None = None
        self._held: list[bytes] | None = None
        self._ended = pull is None
        self._reading = False
        self._refusal: Exception | None = None
        self._ahead: asyncio.Event | None = None
        self._end: asyncio.Event | None = None
        self.received = 0

    @property
    def touched(self) -> bool:
        """Whether the app must be given this body instead of the server's own."""
        return self._codecs is not None or self._held is not None or self._reading

    @property
    def ended(self) -> bool:
        """Whether nothing is left to come."""
        return self._ended and not self._held

    def filter(self, codec: Codec) -> None:
        """Passes every chunk through the codec; what it raises refuses the request.

        What was read before and is still there for the app passes through it at once.
        """
        if self._held:
            self._held = [_through([codec], b"".join(self._held), not self._ended)]
        self._codecs = [*(self._codecs or ()), codec]

    async def chunk(self) -> bytes:
        """The next bytes, `b""` only at the end."""
        if self._ahead is not None:
            await self._ahead.wait()
        if self._held:
            data = b"".join(self._held)
            self._held = []
            if data:
                return data
        self._reading = True
        while not self._ended:
            if data := await self._next():
                return data
        return b""

    async def peek(self) -> tuple[bytes, bool]:
        """The next bytes, which stay to be read unless they are all: then True."""
        data = await self.chunk()
        if self.ended:
            return data, True
        self._held = [data]
        return data, False

    async def read(self, limit: int = READ_LIMIT) -> bytes:
        """The whole body, kept for who reads next; more than `limit` bytes is a 413."""
        held: list[bytes] = []
        size = 0
        try:
            while data := await self.chunk():
                held.append(data)
                size += len(data)
                if size > limit:
                    raise BodyTooLarge(limit)
        finally:
            self._held = held
        return b"".join(held)

    async def watch(self) -> None:
        """Waits until the client leaves, which raises `ClientDisconnected`; asyncio only.

        A chunk that arrives before anybody reads is kept. While somebody reads, that is who
        learns of it, and this waits for the body's end.
        """
        assert self._pull is not None
        if not self._ended and not self._reading:
            self._ahead = asyncio.Event()
            try:
                data = await self._next()
                self._held = [*(self._held or ()), data]
            finally:
                self._ahead.set()
                self._ahead = None
        if not self._ended:
            self._end = asyncio.Event()
            await self._end.wait()
        await self._pull()

    def close(self) -> None:
        """The exchange is over, and the door's `pull`, which knows the request, is let go."""
        self._pull = None

    async def _next(self) -> bytes:
        if self._refusal is not None:
            raise self._refusal
        if self._pull is None:
            raise ClientDisconnected("the exchange is over")
        data, more = await self._pull()
        self.received += len(data)
        if self._codecs is not None:
            try:
                data = _through(self._codecs, data, more)
            except Exception as error:
                # Refused once is refused for all who read: there may be nothing more to wait for.
                self._refusal = error
                raise
        if not more:
            self._ended = True
            if self._end is not None:
                self._end.set()
        return data

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = await self.chunk()
        if not data:
            raise StopAsyncIteration
        return data


def _through(codecs: list[Codec], data: bytes, more: bool) -> bytes:
    for codec in codecs:
        data = codec.feed(data) if data else b""
        if not more:
            data += codec.finish()
    return data


def alters(codecs: Iterable[Codec]) -> bool:
    """Whether one of them changes the body; one with `observes` set only looks at it."""
    for codec in codecs:  # noqa: SIM110 — a generator would take twice as long
        if not getattr(codec, "observes", False):
            return True
    return False


class Filters:
    """The codecs of one response body, run in the order in which they were added."""

    __slots__ = ("_codecs", "_is_slow", "only_observe")

    def __init__(self, codecs: list[Codec]) -> None:
        self._codecs = codecs
        self._is_slow = False
        self.only_observe = not alters(codecs)
        if not self.only_observe:
            self._is_slow = any(getattr(codec, "is_slow", False) for codec in codecs)

    def observe(self, data: bytes, more: bool) -> None:
        """Shows what passes to codecs that `only_observe`."""
        for codec in self._codecs:
            if data:
                codec.feed(data)
            if not more:
                codec.finish()

    def feed(self, data: bytes) -> bytes:
        return _through(self._codecs, data, True)

    def finish(self, data: bytes = b"") -> bytes:
        return _through(self._codecs, data, False)

    async def afeed(self, data: bytes) -> bytes:
        """The same under asyncio: much for a codec with `is_slow` set is done in a thread."""
        if self._is_slow and len(data) >= _MUCH:
            return await asyncio.to_thread(self.feed, data)
        return self.feed(data)

    async def afinish(self, data: bytes = b"") -> bytes:
        if self._is_slow and len(data) >= _MUCH:
            return await asyncio.to_thread(self.finish, data)
        return self.finish(data)


async def collect(
    body: Iterable[bytes] | AsyncIterable[bytes], limit: int
) -> tuple[bytes | Iterable[bytes] | AsyncIterable[bytes], bool]:
    """The whole body and True; or, beyond `limit` bytes, one that replays what was taken."""
    held: list[bytes] = []
    size = 0
    if isinstance(body, AsyncIterable):
        source = aiter(body)
        async for chunk in source:
            held.append(chunk)
            size += len(chunk)
            if size > limit:
                return _replay_async(held, source, body), False
    else:
        blocking = iter(body)
        for chunk in blocking:
            held.append(chunk)
            size += len(chunk)
            if size > limit:
                return _replay(held, blocking, body), False
    return b"".join(held), True


async def _replay_async(
    held: list[bytes], source: AsyncIterator[bytes], body: object
) -> AsyncIterator[bytes]:
    try:
        for chunk in held:
            yield chunk
        async for chunk in source:
            yield chunk
    finally:
        await aclose_body(body)


def _replay(held: list[bytes], source: Iterator[bytes], body: object) -> Iterator[bytes]:
    try:
        yield from held
        yield from source
    finally:
        close_body(body)


def close_body(body: object) -> None:
    """Closes a body that wants it, as WSGI does (PEP 3333)."""
    close = getattr(body, "close", None)
    if close is not None:
        close()


async def aclose_body(body: object) -> None:
    """The same for one that may want to be closed with an await."""
    aclose = getattr(body, "aclose", None)
    if aclose is not None:
        await aclose()
    else:
        close_body(body)
