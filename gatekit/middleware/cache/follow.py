"""A body that is read along while another request gets it, and what happens when that one fails.

    Response.from_head(entry.status, fields, Follower(fill, request.io, again, patience))

When the leader breaks off, or gives nothing for `patience` seconds, as one does whose client does
not read, `again(fill)` gives the answer anew. What was passed on already is compared with it, byte
by byte, and left out; an answer that is another one breaks this one off, as its origin would have.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast

from gatekit._core.body import aclose_body
from gatekit._core.io import IO
from gatekit._core.messages import Response
from gatekit.errors import UpstreamError
from gatekit.middleware.cache.entry import Entry

if TYPE_CHECKING:
    from gatekit.middleware.cache.coalesce import Fill

Again: TypeAlias = Callable[["Fill"], Coroutine[Any, Any, Response | None]]

# What makes the same status and the same first bytes still another answer.
_TELLING = (b"etag", b"content-length", b"content-encoding", b"content-type", b"content-range")


class Follower:
    """Async in form; in a thread it blocks. Without `again` it breaks off with its leader."""

    __slots__ = ("_again", "_fill", "_io", "_patience", "_rest")

    def __init__(
        self, fill: Fill, io: IO, again: Again | None = None, patience: float | None = None
    ) -> None:
        self._fill = fill
        self._io = io
        self._again = again
        self._patience = None if again is None else patience
        self._rest: AsyncIterator[bytes] | None = None
        fill.followers[self] = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._rest is None:
            try:
                while (chunk := self._fill.next_for(self)) is None:
                    if not await self._fill.wait(self._io, self._patience, self):
                        # Nobody new is to wait for this one.
                        self._fill.close()
                        raise UpstreamError(
                            "idle_timeout", "the request that is read along stands still"
                        )
            except UpstreamError as error:
                self._rest = await self._anew(error)
            else:
                if not chunk:
                    raise StopAsyncIteration
                return chunk
        return await anext(self._rest)

    async def aclose(self) -> None:
        self._fill.followers.pop(self, None)
        if self._rest is not None:
            await aclose_body(self._rest)

    async def _anew(self, error: UpstreamError) -> AsyncIterator[bytes]:
        fill, again = self._fill, self._again
        passed = fill.passed_to(self)
        if again is None or passed is None:
            raise error
        # What this one has had is kept here from now on.
        self._again = None
        fill.followers.pop(self, None)
        try:
            response = await again(fill)
        except Exception as failure:
            raise error from failure
        if response is None or fill.entry is None:
            raise error
        if not _is_same(fill.entry, response):
            await aclose_body(response.body)
            raise error
        return _without(response.body, passed, error)


def _is_same(entry: Entry, response: Response) -> bool:
    old, new = dict(entry.fields[::-1]), dict(response.headers.raw[::-1])
    # The length is known by now where it was not when the head was sent.
    return response.status == entry.status and all(
        old.get(name) == new.get(name)
        for name in _TELLING
        if name in old or name != b"content-length"
    )


async def _without(body: object, passed: bytes, error: UpstreamError) -> AsyncIterator[bytes]:
    """What comes after the bytes that were passed on."""
    left = passed
    try:
        async for chunk in _chunks(body):
            known = min(len(left), len(chunk))
            if chunk[:known] != left[:known]:
                raise error
            left = left[known:]
            if known < len(chunk):
                yield chunk[known:]
        if left:
            raise error
    finally:
        await aclose_body(body)


async def _chunks(body: object) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        yield body
    elif isinstance(body, AsyncIterable):
        async for chunk in cast("AsyncIterable[bytes]", body):
            yield chunk
