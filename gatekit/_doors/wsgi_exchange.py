"""One exchange under WSGI: the app is asked for its body, and the server asks this object.

The head is taken from the app as late as PEP 3333 allows, at its first non-empty chunk, its first
`write()` or its end, so that an app may still change its mind with `exc_info`. Then the onion is
resumed, and only what it answers reaches the server's `start_response`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, cast

from gatekit._core.body import Filters, aclose_body, alters, close_body
from gatekit._core.exchange import Exchange, bodiless, fix_length, unanswered
from gatekit._core.flow import Onion, Step, fail_blocking, resume_blocking
from gatekit._core.io import block
from gatekit._core.messages import Request, Response
from gatekit._core.signals import APP, APP_BODY, AppBody, ReadBody
from gatekit._doors.bridges import tell_environ
from gatekit._doors.wsgi_head import declared_length, spelled, status_line
from gatekit._doors.wsgi_input import Input, content_length, put_body, put_headers
from gatekit.errors import BodyTooLarge, NoResponse, Rejected
from gatekit.typing import Environ, Handler, StartResponseCallable, WSGIApp

if TYPE_CHECKING:
    from _typeshed import OptExcInfo

logger = logging.getLogger("gatekit")


class WSGIExchange(Exchange):
    """Drives the onion around one request, and is the iterable that the server is given."""

    _iterable: Iterable[bytes] | None = None
    """What the app returned; to be closed whatever happens."""
    _chunks: Iterator[bytes] = iter(())
    """What is still to be sent, before the filters."""
    _whole: list[bytes] | None = None
    """All that is to be sent, where it is there already and nobody waits for its end."""
    _filters: Filters | None = None
    _write: Callable[[bytes], object] | None = None
    _head: tuple[str, list[tuple[str, str]]] | None = None
    _response: Response | None = None
    """What the onion was given for the app's head."""
    _input: Input | None = None
    _reading: ReadBody | None = None
    """The onion waits in `response.read()` while the app still uses `write()`."""
    _waiting = True
    _dropping = False
    _length: int | None = None
    _closed = False

    def __init__(
        self,
        request: Request,
        handler: Handler,
        app: WSGIApp | None,
        environ: Environ,
        start_response: StartResponseCallable,
    ) -> None:
        super().__init__(request)
        self._onion: Onion = handler(request)  # type: ignore[assignment]
        self._app = app
        self._environ = environ
        self._start_response = start_response
        self._held: list[bytes] = []

    def run(self) -> Iterable[bytes]:
        try:
            step = resume_blocking(self._onion, None)
            body = self._call_app() if step is APP else self._answer(cast("Response", step))
            return body if self._whole is None else self._at_once(self._whole)
        except BaseException as error:
            self.error = error
            if not isinstance(error, Exception) or self._app is not None:
                self.close()
                raise
            return self._answer(unanswered(self.request, error))

    def _at_once(self, whole: list[bytes]) -> list[bytes]:
        """A server may send a list together with the head; no `close()` of ours is called then."""
        self.finished = True
        self.close()
        return whole

    # The app's side.

    def _call_app(self) -> Iterable[bytes]:
        request, environ = self.request, self._environ
        headers, body = request._headers, request._body
        if headers is not None and headers.raw is not request._raw_headers:
            put_headers(environ, headers.raw)
        if request.identity is not None:
            tell_environ(request, environ)
        if body is not None and body.touched:
            self._input = put_body(environ, body)
        else:
            self.received = content_length(environ.get("CONTENT_LENGTH")) or 0
        assert self._app is not None
        try:
            iterable = self._app(environ, self._start)
            if self._dropping:  # replaced in a `write()`
                close_body(iterable)
                return self
            self._iterable = iterable
            if self._head is not None and self._is_file(self._iterable):
                return self._answer_file(self._iterable)
            self._chunks = iter(self._iterable)
            self._first_chunk()
        except Exception as error:
            if self._dropping:
                logger.debug("the app failed after its response was replaced", exc_info=error)
                return self
            if not self._waiting:
                raise
            return self._app_failed(error)
        return self._go_on()

    def _go_on(self) -> Iterable[bytes]:
        """The head and the first chunk are there: what does the onion make of them?"""
        if not self._waiting:
            return self
        try:
            step: Step = self._reading or self._resume()
        except Exception as error:
            self.error = error
            return self._answer(unanswered(self.request, error))
        while isinstance(step, ReadBody):
            try:
                step = self._hold(step)
            except Exception as error:
                return self._app_failed(error)
        return self._answer(cast("Response", step))

    def _start(
        self, status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        if exc_info is not None:
            try:
                if self._waiting and self._response is not None and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
                if not self._waiting and not self._dropping:
                    return self._start_response(status, headers, exc_info)
            finally:
                exc_info = None
        elif self._head is not None:
            raise AssertionError("start_response was called a second time without exc_info")
        self._head = (status, headers)
        if self.request._finish:  # Flask forgets its request before the body begins
            self.request.endpoint = self.request.endpoint or _endpoint(self._environ)
        return self._written

    def _written(self, data: bytes) -> None:
        """The `write()` callable: the app pushes."""
        if self._waiting and self._reading is None:
            step = self._resume()
            if isinstance(step, ReadBody):
                self._reading = step
            else:
                self._answer(cast("Response", step))
        if self._reading is not None:
            self._held.append(data)
        elif not self._dropping and self._write is not None:
            data = self._filters.feed(data) if self._filters else data
            self.sent += len(data)
            self._write(data)

    def _first_chunk(self) -> None:
        for chunk in self._chunks:
            if chunk:
                self._chunks = chain([chunk], self._chunks)
                break
        if self._head is None:
            raise NoResponse("the app returned without calling start_response")

    def _hold(self, step: ReadBody) -> Step:
        """Takes the app's body for `response.read()`, up to its limit."""
        size = sum(map(len, self._held))
        while size <= step.limit:
            chunk = next(self._chunks, None)
            if chunk is None:
                return resume_blocking(self._onion, b"".join(self._held))
            self._held.append(chunk)
            size += len(chunk)
        return fail_blocking(self._onion, BodyTooLarge(step.limit))

    def _resume(self) -> Step:
        assert self._head is not None
        status, headers = self._head
        refusal = self._input.refusal if self._input is not None else None
        if isinstance(refusal, Rejected):
            return fail_blocking(self._onion, refusal)
        deadline = self.request.deadline
        if deadline is not None and self.request.io.now() > deadline:
            late = self.request.app_error = TimeoutError("the head came after the deadline")
            return fail_blocking(self._onion, late)
        try:
            code = int(status[:3])
            raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        except ValueError as error:
            self.request.app_error = error
            return fail_blocking(self._onion, error)
        self._response = Response.from_head(code, raw, APP_BODY)
        return resume_blocking(self._onion, self._response)

    def _app_failed(self, error: Exception) -> Iterable[bytes]:
        if self._input is not None and isinstance(self._input.refusal, Rejected):
            error = self._input.refusal
        else:
            self.request.app_error = error
        try:
            step = fail_blocking(self._onion, error)
            while isinstance(step, ReadBody):
                step = fail_blocking(self._onion, error)
            response = cast("Response", step)
            if isinstance(response.body, AppBody):
                response = unanswered(self.request, error)
        except Exception as uncaught:
            response = unanswered(self.request, uncaught)
        self.error = error
        return self._answer(response)

    # The server's side.

    def _answer(self, response: Response) -> Iterable[bytes]:
        self._waiting = False
        body = response.body
        empty = bodiless(self.request.method, response.status)
        if isinstance(body, AppBody) and self._head is None:
            response = unanswered(self.request, NoResponse("there is no app to take a body from"))
            body = response.body
        if isinstance(body, AppBody) and empty and response.status != self._app_status():
            response.body = body = b""
        if isinstance(body, AppBody):
            if self._iterable.__class__ is list and not (self._held or self.sent):
                self._whole = cast("list[bytes]", self._iterable)
            self._chunks = chain(self._held, self._chunks)
            self._guess_length(response, empty)
        else:
            self._dropping = self._iterable is not None or self._head is not None
            try:
                self._close_app()
            except Exception as error:
                logger.error("closing a replaced response failed", exc_info=error)
            self._iterable, self._chunks = _chunks(b"" if empty else body)
            if isinstance(body, bytes):
                self._whole = [body]
            if empty:
                block(aclose_body(body))
        fix_length(self.request, response)
        if response.codecs is not None and not empty:
            self._filters = Filters(response.codecs)
        if empty or self._filters is not None or self.request._finish:
            self._whole = None
        self._begin(response)
        self.finished = empty
        return self

    def _begin(self, response: Response) -> None:
        status = status_line(response.status)
        if self._head is None or response is not self._response:
            headers = [
                (spelled(name), value.decode("latin-1")) for name, value in response.raw_headers
            ]
        else:
            if self._head[0][:3] == status[:3]:
                status = self._head[0]
            headers = self._head[1]
            if not response.is_untouched:
                own = {name.lower(): name for name, _ in headers}
                headers = [
                    (own.get(name) or name.title(), value)
                    for name, value in response.headers.items()
                ]
        if self._whole is None:
            self._length = declared_length(response.raw_headers)
        self.head(response.status)
        self._write = self._start_response(status, headers)

    def _guess_length(self, response: Response, empty: bool) -> None:
        """A server adds the length of a list of one chunk; it cannot see through this object."""
        if (
            not empty
            and not (response.codecs and alters(response.codecs))
            and isinstance(self._iterable, (list, tuple))
            and "content-length" not in response.headers
            and "transfer-encoding" not in response.headers
        ):
            response.headers["content-length"] = str(sum(map(len, self._iterable)))

    def _app_status(self) -> int:
        return int(self._head[0][:3]) if self._head is not None else 0

    def _is_file(self, iterable: object) -> bool:
        wrapper = self._environ.get("wsgi.file_wrapper")
        return isinstance(wrapper, type) and isinstance(iterable, wrapper)

    def _answer_file(self, file: Iterable[bytes]) -> Iterable[bytes]:
        """A server sends its own file wrapper by itself, if nothing has to see the bytes."""
        step = self._resume()
        response = cast("Response", step)
        untouched = (
            isinstance(step, Response)
            and isinstance(response.body, AppBody)
            and (response.status == self._app_status() or not bodiless("", response.status))
        )
        if untouched and response.codecs is None and hasattr(file, "__dict__"):
            self._waiting = False
            self._begin(response)
            close = getattr(file, "close", None)

            def closing() -> None:
                self.finished, self.sent = True, self._length or 0
                self._iterable = None
                del file.close  # type: ignore[attr-defined]  # it knows this
                try:
                    if close is not None:
                        close()
                finally:
                    self.close()

            file.close = closing  # type: ignore[attr-defined]
            return file
        self._chunks = iter(file)
        if isinstance(step, ReadBody):
            self._reading = step
            return self._go_on()
        return self._answer(response)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            for chunk in self._chunks:
                data = self._filters.feed(chunk) if self._filters else chunk
                if data:
                    self.sent += len(data)
                    if self._length is not None and self.sent >= self._length:
                        self.finished = self._filters is None
                    return data
            if self._filters is not None:
                data, self._filters = self._filters.finish(), None
                if data:
                    self.sent += len(data)
                    return data
        except BaseException as error:
            self.error = error
            raise
        self.finished = True
        raise StopIteration

    def close(self) -> None:
        """Closes the app's iterable (PEP 3333) and then the book."""
        if self._closed:
            return
        self._closed = True
        self.left = not self.finished and self.error is None
        try:
            self._close_app()
        finally:
            self.request._receive = None  # it knows the request
            if self.request._finish:
                self.request.endpoint = self.request.endpoint or _endpoint(self._environ)
                block(self.close_book())

    def _close_app(self) -> None:
        iterable, self._iterable = self._iterable, None
        if iterable is not None:
            if hasattr(iterable, "aclose"):
                block(aclose_body(iterable))
            else:
                close_body(iterable)


def _endpoint(environ: Environ) -> str | None:
    """The template of the route that Flask matched."""
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    return getattr(rule, "rule", None)


def _chunks(body: object) -> tuple[Iterable[bytes] | None, Iterator[bytes]]:
    """What to close at the end, and what to iterate over."""
    if isinstance(body, bytes):
        return None, iter((body,))
    if isinstance(body, AsyncIterable):
        return cast("Iterable[bytes]", body), _blocking(aiter(cast("AsyncIterable[bytes]", body)))
    return cast("Iterable[bytes]", body), iter(cast("Iterable[bytes]", body))


def _blocking(chunks: AsyncIterator[bytes]) -> Iterator[bytes]:
    while True:
        try:
            yield block(anext(chunks))
        except StopAsyncIteration:
            return
