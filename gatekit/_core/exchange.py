"""The book that every door keeps of one exchange: what was sent, how it ended, who asked."""

from __future__ import annotations

import logging
from inspect import isawaitable

from gatekit._core.body import alters
from gatekit._core.messages import Request, Response, weaken_etag
from gatekit._core.outcome import Ending, Outcome
from gatekit._core.problems import internal_error, ran_late, timed_out
from gatekit._core.signals import AppBody
from gatekit._core.text import printable

logger = logging.getLogger("gatekit")


class Exchange:
    """Counts an exchange and closes its book exactly once."""

    status: int | None = None
    first_byte: float | None = None
    sent: int = 0
    received: int = 0
    finished: bool = False
    """The last byte was handed to the server."""
    ended: float | None = None
    """When that was, where anybody wants to know: an app may go on with work of its own."""
    left: bool = False
    """The client left before that."""
    error: BaseException | None = None

    def __init__(self, request: Request) -> None:
        self.request = request
        self.started = request.io.now()

    def head(self, status: int) -> None:
        """The head is about to be sent."""
        self.status = status
        if self.request._finish:
            self.first_byte = self.request.io.now() - self.started

    def ends(self, is_over: bool = True) -> None:
        """This was the last byte, or was not."""
        self.finished = is_over
        if is_over and self.request._finish:
            self.ended = self.request.io.now()

    async def close_book(self) -> None:
        """Runs what was registered with `on_finish`, last in first out."""
        callbacks = self.request._finish
        if not callbacks:
            return
        outcome = self.outcome()
        interrupted: BaseException | None = None
        while callbacks:
            callback = callbacks.pop()
            try:
                result = callback(outcome)
                if result is not None and isawaitable(result):
                    await result
            except Exception as error:
                logger.error("an on_finish callback raised", exc_info=error)
            except BaseException as error:
                # A cancellation, perhaps a second one: the others still give back what they hold.
                interrupted = interrupted or error
        if interrupted is not None:
            raise interrupted

    def outcome(self) -> Outcome:
        """How it stands now."""
        body, error = self.request._body, self.error
        ended: Ending = "failed"
        if self.left or not (error is None or isinstance(error, Exception)):
            ended = "abandoned"
        elif self.finished and not isinstance(error, OSError):  # what a failed send raises
            ended = "complete"
        return Outcome(
            ended,
            status=self.status,
            duration=(self.ended or self.request.io.now()) - self.started,
            first_byte=self.first_byte,
            sent=self.sent,
            received=self.received + (body.received if body is not None else 0),
            error=error or self.request.app_error,
        )


def bodiless(method: str, status: int) -> bool:
    """Whether a response has no body whatever its head says (RFC 9112 §6.3)."""
    return method == "HEAD" or status < 200 or status in {204, 304}


def fix_length(request: Request, response: Response) -> None:
    """Makes the head agree with the body that the door is about to send."""
    body = response.body
    if response.codecs is not None and alters(response.codecs):
        del response.headers["content-length"]
        weaken_etag(response.headers)
    elif isinstance(body, bytes):
        if response.rewritten:
            weaken_etag(response.headers)
        if response.status == 204 or response.status < 200:
            del response.headers["content-length"]
        elif not bodiless(request.method, response.status):
            length = b"%d" % len(body)
            # Most often it is right already, and the fields need not be looked at one by one.
            # Only a list may be looked through twice: an app may send any iterable.
            raw = response.raw_headers
            if not isinstance(raw, list) or (b"content-length", length) not in raw:
                response.headers["content-length"] = length.decode()
    elif not isinstance(body, AppBody) and response.status < 200:
        del response.headers["content-length"]


def unanswered(request: Request, error: Exception) -> Response:
    """What the door says when the app failed before its head and no middleware caught it."""
    if ran_late(request, error):
        return timed_out(request)
    where = f"{request.method} {printable(request.url_path)}"
    logger.error("%s failed before its head", where, exc_info=error)
    return internal_error(request)
