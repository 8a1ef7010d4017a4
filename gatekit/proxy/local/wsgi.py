"""One request to a WSGI app of this process, in the thread that asks.

The app's iterable is read until its head is known, and the rest as it is wanted; `close()` of it is
always called, and `write()` works. No time limit can interrupt an app that computes.
"""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import unquote_to_bytes

from gatekit.errors import Stage, UpstreamError
from gatekit.proxy.local.request import framed_fields, is_bodiless, length_of
from gatekit.proxy.transport.exchange import Body, Timeouts, UpstreamRequest, UpstreamResponse
from gatekit.proxy.transport.origin import Origin
from gatekit.proxy.transport.settings import limit_of
from gatekit.typing import RawHeaders, WSGIApp

if TYPE_CHECKING:
    from _typeshed import OptExcInfo

logger = logging.getLogger("gatekit")

_Error: TypeAlias = "tuple[type[BaseException], BaseException, TracebackType | None]"
_UNPREFIXED = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


def run_wsgi(
    app: WSGIApp,
    origin: Origin,
    request: UpstreamRequest,
    timeouts: Timeouts,
    deadline: float | None,
) -> UpstreamResponse[Body]:
    """The answer, its body whole where the app had it whole."""
    limit = limit_of(timeouts, deadline, time.monotonic())
    call = _Call(request, limit)
    try:
        return call.begin(app, _environ(origin, request, call.input))
    except BaseException:
        call.close()
        raise


class _Call:
    """One call of the app, and the rest of its answer."""

    def __init__(self, request: UpstreamRequest, limit: float) -> None:
        self.input = _Input(request)
        self._limit = limit
        self._method = request.method
        self._status = 0
        self._headers: RawHeaders | None = None
        self._is_bodiless = False
        self._declared: int | None = None
        self._written: list[bytes] = []
        self._iterable: Iterable[bytes] | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._taken = 0
        self._is_sent = False
        self._is_closed = False
        self._failure: UpstreamError | None = None

    def begin(self, app: WSGIApp, environ: dict[str, Any]) -> UpstreamResponse[Body]:
        try:
            self._iterable = app(environ, cast("Any", self._start_response))
            self._pieces = iter(self._iterable)
            first = self._written
            # What is a list is all there already, and can be looked at as a whole.
            is_list = isinstance(self._iterable, list | tuple)
            while is_list or self._headers is None or not first:
                piece = next(self._pieces, None)
                if piece is None:
                    self._finish()
                    return self._answer(first, is_whole=True)
                if piece:
                    first.append(piece)
        except Exception as error:
            raise self._failed(error) from error
        if self._declared is not None and sum(map(len, first)) >= self._declared:
            # All there is; what the app does after its last piece is done now.
            first += list(self)
            self._finish()
            return self._answer(first, is_whole=True)
        return self._answer(first, is_whole=False)

    def _answer(self, first: list[bytes], *, is_whole: bool) -> UpstreamResponse[Body]:
        if self._headers is None:
            raise self._fail("closed", "the app did not call start_response")
        self._is_sent = True
        if self._is_bodiless:
            self.close()
            return UpstreamResponse(self._status, self._headers, b"")
        data = b"".join(first)
        self._count(data)
        if is_whole:
            self._check_end()
            return UpstreamResponse(self._status, self._headers, data)
        self._written = [data]
        return UpstreamResponse(self._status, self._headers, self)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._is_sent and self._written:
            data = b"".join(self._written)
            self._written.clear()
            return data
        if time.monotonic() >= self._limit:
            self.close()
            raise UpstreamError("total_timeout", "the app's answer came too slowly")
        try:
            while True:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                if piece:
                    if self._is_sent:
                        self._count(piece)
                    return piece
        except Exception as error:
            raise self._failed(error) from error
        if self._is_sent:
            self._check_end()
            self._finish()
        raise StopIteration

    def close(self) -> None:
        """Give the app its `close()`; what it raises is logged."""
        try:
            self._finish()
        except UpstreamError as error:
            logger.error("an app in process raised as it was closed", exc_info=error)

    def _finish(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        close = getattr(self._iterable, "close", None)
        self._pieces = iter(())
        if close is not None:
            try:
                close()
            except Exception as error:
                raise self._failed(error) from error

    def _failed(self, error: Exception) -> Exception:
        if self.input.failure is not None:
            # It is the client's doing, and not the app's.
            return self.input.failure
        if error is self._failure:
            return error
        # Also an `UpstreamError`, of an upstream of its own: this request has reached the app.
        logger.error("an app in process raised", exc_info=error)
        return self._fail("closed", f"the app raised {type(error).__name__}")

    def _fail(self, stage: Stage, detail: str) -> UpstreamError:
        self._failure = UpstreamError(stage, detail)
        return self._failure

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None
    ) -> Any:
        if exc_info is not None and self._is_sent:
            try:
                raise cast("_Error", exc_info)[1]
            finally:
                exc_info = None
        if exc_info is None and self._headers is not None:
            raise AssertionError("start_response was called twice")
        self._status = int(status[:3])
        fields = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ]
        self._is_bodiless = is_bodiless(self._method, self._status)
        self._declared = None if self._is_bodiless else length_of(fields)
        self._headers = [field for field in fields if field[0] != b"transfer-encoding"]
        return self._write

    def _write(self, data: bytes) -> None:
        if self._is_sent:
            self._count(data)
        self._written.append(data)

    def _count(self, data: bytes) -> None:
        self._taken += len(data)
        if self._declared is not None and self._taken > self._declared:
            self.close()
            raise self._fail("protocol", "the app's body is longer than its Content-Length")

    def _check_end(self) -> None:
        if self._declared is not None and self._taken < self._declared:
            self.close()
            raise self._fail("closed", "the app's body is shorter than its Content-Length")


class _Input(io.RawIOBase):
    """`wsgi.input`: the body as it comes."""

    def __init__(self, request: UpstreamRequest) -> None:
        super().__init__()
        body = request.body
        self._stream: Iterator[bytes] = iter(())
        self._rest = b""
        if isinstance(body, tuple):
            self._stream = iter(cast("Iterable[bytes]", body[0]))
        else:
            self._rest = body or b""
        self.failure: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(cast("bytearray", buffer))
        while not self._rest:
            try:
                piece = next(self._stream, None)
            except Exception as error:
                self.failure = error
                raise
            if piece is None:
                return 0
            self._rest = piece
        taken = self._rest[: len(target)]
        target[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)


def _environ(origin: Origin, request: UpstreamRequest, body: _Input) -> dict[str, Any]:
    path, _, query = request.target.decode("ascii").partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method.decode("ascii"),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": request.target.decode("ascii"),
        "REQUEST_URI": request.target.decode("ascii"),
        "SERVER_NAME": origin.host,
        "SERVER_PORT": str(origin.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "0",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": origin.scheme,
        "wsgi.input": io.BufferedReader(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in framed_fields(origin, request):
        key = _UNPREFIXED.get(name) or f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}"
        text = value.decode("latin-1")
        # One place for each name: RFC 9110 §5.3 lets a list be joined, RFC 6265 §5.4 a cookie so.
        joint = "; " if name == b"cookie" else ", "
        environ[key] = f"{environ[key]}{joint}{text}" if key in environ else text
    return environ
