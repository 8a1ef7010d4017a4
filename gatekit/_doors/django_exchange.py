"""One exchange inside Django: a request goes in, an `HttpResponse` comes out, the body later.

    run ─▶ _through_app ─▶ get_response ─▶ _hold, if `response.read()` asks     the onion's steps
        ─▶ _respond     ─▶ _pass      the app's response, changed where a middleware changed it
                        ├▶ _rewrite   … with a content that was read or replaced
                        └▶ _replace   a new response; the app's is freed

The logic is written once, as a coroutine. In the async colour Django awaits it; in the blocking
colour nothing in it suspends, and the door steps it to its end.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, cast

from asgiref.sync import async_to_sync, sync_to_async
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from gatekit._core.body import Filters, aclose_body
from gatekit._core.exchange import bodiless, fix_length, unanswered
from gatekit._core.flow import Onion, Step, fail, fail_blocking, resume, resume_blocking
from gatekit._core.messages import Response
from gatekit._core.problems import reason
from gatekit._core.signals import APP, APP_BODY, AppBody, ReadBody
from gatekit._doors.bridges import tell_django
from gatekit._doors.django_book import DjangoBook
from gatekit._doors.django_request import (
    DjangoRequest,
    body_size,
    put_request_body,
    put_request_headers,
)
from gatekit._doors.django_response import fields_of, put_head
from gatekit._doors.django_stream import (
    Chunks,
    atake,
    in_colour,
    open_stream,
    rejoin,
    run_closers,
    stream,
    take,
)
from gatekit._doors.wsgi_input import Input
from gatekit.errors import BodyTooLarge, NoResponse, Rejected
from gatekit.typing import Handler, RawHeaders

GetResponse: TypeAlias = "Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]"


class DjangoExchange(DjangoBook):
    """Drives the onion around the rest of Django, or around a handler if there is none."""

    _app_response: HttpResponseBase | None = None
    _head: Response | None = None
    """The app's response as the onion was given it."""
    _fields: RawHeaders
    _input: Input | None = None
    _chunks: Chunks | None = None
    """The app's stream, once something has been taken from it."""
    _held: list[bytes]

    def __init__(
        self,
        request: DjangoRequest,
        handler: Handler,
        django_request: HttpRequest,
        get_response: GetResponse | None,
        threads: threading.local,
    ) -> None:
        super().__init__(request, threads)
        self._onion: Onion = handler(request)  # type: ignore[assignment]
        self._django_request = django_request
        self._get_response = get_response
        self._held = []

    async def run(self) -> HttpResponseBase:
        try:
            try:
                step = await self._resume(None)
                if step is APP:
                    step = await self._through_app()
                answer = cast("Response", step)
            except Exception as error:
                self.error = error
                answer = unanswered(self.request, error)
            return await self._respond(answer)
        except BaseException as error:
            self.error = error
            if self._app_response is not None:
                run_closers(self._app_response)
            await self._close_once()
            raise

    # The onion's steps, in the colour of the stack.

    async def _resume(self, value: Response | bytes | None) -> Step:
        if self._is_async:
            return await resume(self._onion, value)
        return resume_blocking(self._onion, value)

    async def _throw(self, error: BaseException) -> Step:
        if self._is_async:
            return await fail(self._onion, error)
        return fail_blocking(self._onion, error)

    async def _fail(self, error: BaseException) -> Step:
        """There is no response; a body that a middleware asks for is not there either."""
        step = await self._throw(error)
        while isinstance(step, ReadBody):
            step = await self._throw(error)
        return step

    # The app's side.

    async def _through_app(self) -> Step:
        request, django_request = self.request, self._django_request
        if request._headers is not None and request._headers.raw is not request._raw_headers:
            put_request_headers(django_request, request._headers.raw)
        if request.identity is not None:
            tell_django(request, django_request)
        if request._body is not None and request._body.touched:
            self._input = put_request_body(django_request, request._body)
        else:
            self.received = body_size(django_request)
        try:
            response = self._app_response = await self._call()
        except Exception as error:
            return await self._app_failed(error)
        except BaseException as error:
            await self._fail(error)
            raise
        match = django_request.resolver_match
        request.endpoint = match.route if match is not None else None
        if (refusal := self._too_late()) is not None:
            await self._drop()
            return await self._fail(refusal)
        self._fields = fields_of(response)
        self._head = Response.from_head(response.status_code, self._fields, APP_BODY)
        step = await self._resume(self._head)
        while isinstance(step, ReadBody):
            try:
                whole = await self._hold(step.limit)
            except Exception as error:
                await self._drop()
                return await self._app_failed(error)
            if whole:
                step = await self._resume(b"".join(self._held))
            else:
                step = await self._throw(BodyTooLarge(step.limit))
        return step

    async def _call(self) -> HttpResponseBase:
        get_response, django_request = self._get_response, self._django_request
        assert get_response is not None
        if not self._is_async:
            return cast("HttpResponseBase", get_response(django_request))
        awaited = cast("Awaitable[HttpResponseBase]", get_response(django_request))
        if self.request.deadline is None:
            return await awaited
        async with asyncio.timeout(self.request.deadline - self.request.io.now()):
            return await awaited

    def _too_late(self) -> Exception | None:
        """A body that a codec refused, or, where nothing could interrupt the view, its lateness."""
        refusal = self._input.refusal if self._input is not None else None
        if isinstance(refusal, Rejected):
            return refusal
        deadline = self.request.deadline
        if not self._is_async and deadline is not None and self.request.io.now() > deadline:
            late = self.request.app_error = TimeoutError("the head came after the deadline")
            return late
        return None

    async def _app_failed(self, error: Exception) -> Step:
        if self._input is not None and isinstance(self._input.refusal, Rejected):
            error = self._input.refusal
        else:
            self.request.app_error = error
        self.error = error
        return await self._fail(error)

    async def _hold(self, limit: int) -> bool:
        """Takes the app's body for `response.read()`; False if it is larger than that."""
        response = cast("HttpResponseBase", self._app_response)
        if not response.streaming:
            content = cast("HttpResponse", response).content
            self._held = [content]
            return len(content) <= limit
        if self._chunks is None:
            self._chunks = open_stream(response)
        if isinstance(self._chunks, AsyncIterator):
            if self._is_async:
                return await atake(self._chunks, self._held, limit)
            if hasattr(self._django_request, "scope"):
                return async_to_sync(atake)(self._chunks, self._held, limit)
            # Under WSGI each bridge has a loop of its own, whose end is the end of the stream too.
            # Django takes all of an async stream there itself.
            everything: list[bytes] = []
            async_to_sync(atake)(self._chunks, everything, sys.maxsize)
            self._chunks = iter(everything)
        if self._is_async:
            return await sync_to_async(take)(self._chunks, self._held, limit)
        return take(self._chunks, self._held, limit)

    async def _drop(self) -> None:
        """The app's response will not be sent."""
        response, self._app_response = self._app_response, None
        if response is None:
            return
        if self._is_async and isinstance(self._chunks, AsyncIterator):
            await aclose_body(self._chunks)
        if not response._resource_closers:  # type: ignore[attr-defined]
            response.closed = True
        elif self._is_async:
            await sync_to_async(run_closers)(response)
        else:
            run_closers(response)

    # Django's side.

    async def _respond(self, answer: Response) -> HttpResponseBase:
        old = self._app_response
        if isinstance(answer.body, AppBody):
            if old is None:
                cause = self.error if isinstance(self.error, Exception) else None
                none_left = NoResponse("there is no app to take a body from")
                answer = unanswered(self.request, cause or none_left)
            elif answer.status != old.status_code and bodiless("", answer.status):
                answer.body = b""
        empty = bodiless(self.request.method, answer.status)
        if old is not None and isinstance(answer.body, AppBody):
            response = self._pass(old, answer, empty)
        elif old is not None and isinstance(answer.body, bytes) and answer is self._head:
            response = await self._rewrite(old, answer, empty)
        else:
            response = await self._replace(answer, empty)
        self._app_response = None
        self.finished = empty
        self.head(answer.status)
        self._watch(self._django_request, response)
        del self._django_request  # which refers to this by now
        return response

    def _pass(self, old: HttpResponseBase, answer: Response, empty: bool) -> HttpResponseBase:
        filters = None
        if answer.codecs is not None:
            fix_length(self.request, answer)
            filters = None if empty else Filters(answer.codecs)
        if old.streaming:
            # A server sends a file by itself if nothing has to see the bytes.
            is_file = not self._is_async and getattr(old, "file_to_stream", None) is not None
            sendfile = is_file and self._django_request.META.get("wsgi.file_wrapper") is not None
            counts = self.request._finish and not empty and not sendfile
            if filters is not None or self._held or counts:
                chunks = rejoin(self._held, self._chunks or open_stream(old))
                self._streamed = not empty
                cast("StreamingHttpResponse", old).streaming_content = stream(self, chunks, filters)
        elif filters is not None:
            content = cast("HttpResponse", old)
            content.content = filters.finish(content.content)
        put_head(old, self._fields, answer)
        return old

    async def _rewrite(
        self, old: HttpResponseBase, answer: Response, empty: bool
    ) -> HttpResponseBase:
        """The content was read: the object stays, so that what hangs on it does."""
        if old.streaming or answer.status != old.status_code:
            return await self._replace(answer, empty)
        content = cast("bytes", answer.body)
        fix_length(self.request, answer)
        if answer.codecs is not None and not empty:
            content = Filters(answer.codecs).finish(content)
        cast("HttpResponse", old).content = content
        put_head(old, self._fields, answer)
        return old

    async def _replace(self, answer: Response, empty: bool) -> HttpResponseBase:
        await self._drop()
        body = answer.body
        fix_length(self.request, answer)
        filters = Filters(answer.codecs) if answer.codecs is not None and not empty else None
        response: HttpResponseBase
        if isinstance(body, bytes):
            if self.request.method == "HEAD" and answer.codecs is None:
                # Else CommonMiddleware declares the length of what HEAD leaves out to be nought.
                answer.headers.setdefault("content-length", str(len(body)))
            content = b"" if empty else filters.finish(body) if filters else body
            response = HttpResponse(content)
        elif empty:
            await aclose_body(body)
            response = HttpResponse()
        else:
            self._body, self._streamed = body, True
            chunks = in_colour(cast("Any", body), wanted_async=self._is_async)
            response = StreamingHttpResponse(stream(self, chunks, filters))
        response.status_code, response.reason_phrase = answer.status, reason(answer.status)
        put_head(response, fields_of(response), answer)
        return response
