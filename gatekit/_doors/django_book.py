"""The book of an exchange inside Django: who tells that it is over, and where that is heard.

An async stream closes the book at its own end, in the request's own task. All else waits for Django
to close the final response, which it does through `HttpRequest.close`, whatever its other
middlewares have made of ours by then. Under ASGI that happens in a thread; from there all callbacks
are sent back to the event loop, plain ones too, for they may wake somebody who waits there.

A request that is cancelled after it has passed this door, or whose sending fails, is never closed
by Django's ASGI handler. Then the end of what carried it tells. In the async colour that is a task:
the handler's own in Django 6; in Django 5 one that the handler has started, which ends by that
cancellation or error. In the blocking colour it is the thread that Django keeps for each request.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from types import FrameType
from typing import Any, cast

from asgiref.sync import SyncToAsync, async_to_sync
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from gatekit._core.body import aclose_body
from gatekit._core.exchange import Exchange
from gatekit._core.flow import settle
from gatekit._core.io import block
from gatekit._core.messages import Request

logger = logging.getLogger("gatekit")

_HANDLE = ASGIHandler.handle.__code__


class DjangoBook(Exchange):
    """Closed from wherever Django calls, once, in the context that the middlewares left behind."""

    _streamed = False
    """A stream counts what is sent; Django sends all else whole."""
    _length: int | None = None
    _body: object = None
    """A body of gatekit's own, to be closed at the end."""
    _closed = False
    _task: asyncio.Task[Any] | None = None
    _task_is_handlers = False
    _siblings: set[DjangoBook] | None = None

    def __init__(self, request: Request, threads: threading.local) -> None:
        super().__init__(request)
        self._is_async = request.io.is_async
        self._threads = threads

    def count(self, data: bytes) -> None:
        """A server may stop asking once it has as many bytes as were declared."""
        self.sent += len(data)
        if self._length is not None and self.sent >= self._length:
            self.finished = True

    async def stream_ended(self) -> None:
        """In the request's own task, if this stack has one."""
        if self._is_async:
            await self._close_once()

    def close(self) -> None:
        """Django's way: a second time does nothing, and nothing is raised."""
        if self._closed:
            return
        try:
            self._context.run(self._close_here)
        except Exception as error:
            logger.error("closing an exchange failed", exc_info=error)

    def _watch(self, django_request: HttpRequest, response: HttpResponseBase) -> None:
        """Has Django tell when it is done with this response, or with what became of it."""
        if response.streaming:
            declared = response.get("Content-Length", "")
            self._length = int(declared) if declared.isdecimal() else None
        elif not self.finished:
            self._length = len(cast("HttpResponse", response).content)
        # Django runs `close` outside of the task whose context variables the callbacks may read.
        self._context = copy_context()
        before: Callable[[], None] | None = django_request.close

        def close() -> None:
            nonlocal before
            first, before = before, None  # dropped, for it refers to Django's request
            try:
                if first is not None:
                    first()
            finally:
                self.close()

        django_request.close = close  # type: ignore[method-assign]
        if not self._has_work():
            return
        if self._is_async:
            self._task = asyncio.current_task()
            if self._task is not None:
                self._task_is_handlers = _is_handlers_task()
                self._task.add_done_callback(self._task_done)
        elif hasattr(django_request, "scope"):
            self._siblings = _books_of_this_thread(self._threads)
            self._siblings.add(self)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None or task.cancelled() or self._task_is_handlers:
            self.error = self.error or error
            self.give_up()

    def give_up(self) -> None:
        """Nobody will close it any more, and nobody knows how much of it was sent."""
        self.left = self.error is None and not self.finished
        self._length = None
        self.close()

    def _has_work(self) -> bool:
        return bool(self.request._finish) or self._body is not None

    def _close_here(self) -> None:
        if not self._is_async or not self._has_work():
            block(self._close_once())
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            async_to_sync(self._close_once)()
        else:
            _start(self._close_once())

    async def _close_once(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._tally()
        if self._task is not None:
            self._task.remove_done_callback(self._task_done)
        if self._siblings is not None:
            self._siblings.discard(self)
        try:
            if self._body is not None:
                await aclose_body(self._body)
        finally:
            # What Django's request refers to must not refer to it: that is a cycle.
            self.request._receive = self._body = self._task = self._siblings = None
            await self.close_book()

    def _tally(self) -> None:
        if self.finished or self.left or self.status is None:
            return
        if self._streamed:
            self.left = self.error is None
        else:
            self.finished, self.sent = True, self._length or 0


class _Thread:
    """The open books of one thread; nothing but the thread refers to this, and so ends it."""

    def __init__(self) -> None:
        self.books: set[DjangoBook] = set()
        bridge = SyncToAsync.threadlocal
        self._loop: asyncio.AbstractEventLoop | None = getattr(bridge, "main_event_loop", None)

    def __del__(self) -> None:
        if self._loop is not None:
            for book in tuple(self.books):  # the loop takes them out meanwhile
                # On a thread that is about to end not even logging can be relied upon.
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(book.give_up)


def _books_of_this_thread(threads: threading.local) -> set[DjangoBook]:
    carried = vars(threads)
    if "thread" not in carried:
        carried["thread"] = _Thread()
    thread: _Thread = carried["thread"]
    return thread.books


def _is_handlers_task() -> bool:
    """Whether Django's handler itself stands in the current task, so that both end together."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not _HANDLE:
        frame = frame.f_back
    return frame is not None


def _start(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs it in place; if it really awaits, the rest is a task, for nobody here can wait."""
    loop = asyncio.get_running_loop()
    if asyncio.current_task() is None:
        loop.create_task(coroutine).add_done_callback(_log_failure)
        return
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        return
    loop.create_task(_rest(coroutine, awaited)).add_done_callback(_log_failure)


async def _rest(coroutine: Coroutine[Any, Any, Any], awaited: object) -> None:
    await settle(coroutine, awaited)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("closing an exchange failed", exc_info=error)
