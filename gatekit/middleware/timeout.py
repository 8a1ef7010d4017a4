"""A bound on the wait for a response's head: 504 beyond it (RFC 9110 §15.6.5).

    Timeout(10)
    Timeout(10, accept=["x-request-timeout", "grpc-timeout"])      # a client may ask for less
    Timeout(None)                                                  # none, for this route

It sets `request.deadline`, which everything inside draws on. Under ASGI the app is cancelled when
time is up. A WSGI app cannot be stopped: its head, when it comes at last, is replaced by the 504.

The clock stops at the head: a download or a WebSocket may take as long as it likes after that.
"""

from __future__ import annotations

from collections.abc import Collection

from gatekit._core.body import aclose_body
from gatekit._core.messages import Request, Response
from gatekit._core.options import each_problem, known_keywords, name_problem, seconds_problem
from gatekit._core.problems import ran_late, timed_out
from gatekit._core.time_left import seconds_in
from gatekit.errors import check
from gatekit.typing import Handler


@known_keywords
class Timeout:
    """At most `seconds` until the head. Of several, the earliest deadline holds.

    `accept` names header fields in which a client may ask for less: `grpc-timeout` in its units,
    others in seconds. What cannot be read there is ignored. None instead of `seconds` lifts every
    deadline that was set further out.
    """

    __slots__ = ("_accept", "_seconds")

    def __init__(self, seconds: float | None, *, accept: Collection[str] = ()) -> None:
        nothing = "means nothing without a limit of one's own"
        check(
            "Timeout",
            seconds=None if seconds is None else seconds_problem(seconds),
            accept=each_problem(accept, name_problem)
            or (nothing if accept and seconds is None else None),
        )
        self._seconds = None if seconds is None else float(seconds)
        self._accept = tuple(name.lower() for name in accept)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        seconds = self._seconds
        if seconds is None:
            request.deadline = None
            return await call_next(request)
        for name in self._accept:
            asked = seconds_in(name, request.headers.get(name, ""))
            if asked is not None and asked < seconds:
                seconds = asked
        deadline = request.io.now() + seconds
        if request.deadline is None or deadline < request.deadline:
            request.deadline = deadline
        else:
            deadline = request.deadline
        try:
            response = await call_next(request)
        except TimeoutError as error:
            if not ran_late(request, error):
                raise
            return timed_out(request)
        # What is a 504 already may have been decorated further in.
        if response.status == 504 or not _is_late(request, deadline):
            return response
        await aclose_body(response.body)
        return timed_out(request)


def _is_late(request: Request, deadline: float) -> bool:
    """A deadline that was lifted further in does not count."""
    return request.deadline is not None and request.io.now() >= deadline
