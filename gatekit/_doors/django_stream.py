"""Streams that Django sends in place of a body which is counted, changed, or gatekit's own.

Each is an iterator of one colour with a `close()`, which Django registers with the response and
calls when that is closed. The book of the exchange learns from it where the body ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import TypeAlias, cast

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase

from gatekit._core.body import Filters
from gatekit._doors.django_book import DjangoBook
from gatekit._doors.wsgi_exchange import _blocking

Chunks: TypeAlias = "Iterator[bytes] | AsyncIterator[bytes]"


class BlockingStream:
    """Sent by Django's WSGI handler; under ASGI Django collects it in a thread first."""

    def __init__(self, book: DjangoBook, chunks: Iterator[bytes], filters: Filters | None) -> None:
        self._book = book
        self._chunks = chunks
        self._filters = filters

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            for chunk in self._chunks:
                data = self._filters.feed(chunk) if self._filters else chunk
                if data:
                    self._book.count(data)
                    return data
            if self._filters is not None:
                data, self._filters = self._filters.finish(), None
                if data:
                    self._book.count(data)
                    return data
        except BaseException as error:
            self._book.error = error
            self._book.close()
            raise
        self._book.finished = True
        raise StopIteration

    def close(self) -> None:
        self._book.close()


class AsyncStream:
    """Sent by Django's ASGI handler. At its end the book is closed in the request's own task."""

    def __init__(
        self, book: DjangoBook, chunks: AsyncIterator[bytes], filters: Filters | None
    ) -> None:
        self._book = book
        self._chunks = chunks
        self._filters = filters

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            async for chunk in self._chunks:
                data = self._filters.feed(chunk) if self._filters else chunk
                if data:
                    self._book.count(data)
                    return data
            if self._filters is not None:
                data, self._filters = self._filters.finish(), None
                if data:
                    self._book.count(data)
                    return data
        except BaseException as error:
            self._book.error = error
            await self._book.stream_ended()
            raise
        self._book.finished = True
        await self._book.stream_ended()
        raise StopAsyncIteration

    def close(self) -> None:
        self._book.close()


def stream(
    book: DjangoBook, chunks: Chunks, filters: Filters | None
) -> BlockingStream | AsyncStream:
    """The stream of the colour that the chunks have."""
    if isinstance(chunks, AsyncIterator):
        return AsyncStream(book, chunks, filters)
    return BlockingStream(book, chunks, filters)


def in_colour(body: Iterable[bytes] | AsyncIterable[bytes], *, wanted_async: bool) -> Chunks:
    """A body of gatekit's own as the stack that sends it wants it."""
    if isinstance(body, AsyncIterable):
        chunks = aiter(body)
        return chunks if wanted_async else _blocking(chunks)
    return _awaited(iter(body)) if wanted_async else iter(body)


def open_stream(response: HttpResponseBase) -> Chunks:
    """The chunks of a streaming response, as bytes."""
    content = cast("StreamingHttpResponse", response).streaming_content
    return aiter(content) if isinstance(content, AsyncIterable) else iter(content)


def rejoin(held: list[bytes], chunks: Chunks) -> Chunks:
    """What was taken from a stream, and then its rest."""
    if not held:
        return chunks
    if isinstance(chunks, AsyncIterator):
        return _rejoined(held, chunks)
    return chain(held, chunks)


def take(chunks: Iterator[bytes], held: list[bytes], limit: int) -> bool:
    """Adds chunks to `held` until their end, then True, or until it has more than `limit` bytes."""
    size = sum(map(len, held))
    while size <= limit:
        chunk = next(chunks, None)
        if chunk is None:
            return True
        held.append(chunk)
        size += len(chunk)
    return False


async def atake(chunks: AsyncIterator[bytes], held: list[bytes], limit: int) -> bool:
    """The same for an async stream."""
    size = sum(map(len, held))
    while size <= limit:
        try:
            chunk = await anext(chunks)
        except StopAsyncIteration:
            return True
        held.append(chunk)
        size += len(chunk)
    return False


def run_closers(response: HttpResponseBase) -> None:
    """Frees what a dropped response holds, without the signal that the request is finished."""
    registered = response._resource_closers  # type: ignore[attr-defined]
    closers = cast("list[Callable[[], None]]", registered)
    while closers:
        with suppress(Exception):  # as Django itself closes a response
            closers.pop(0)()
    response.closed = True


async def _awaited(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def _rejoined(held: list[bytes], chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in held:
        yield chunk
    async for chunk in chunks:
        yield chunk
