"""A bound on the wait for a response's head: 504 beyond it (RFC 9110 §15.6.5).

    Timeout(10)

It sets `request.deadline`, which everything inside draws on. Under ASGI the app is cancelled when
time is up. A WSGI app cannot be stopped: its head, when it comes at last, is replaced by the 504.

The clock stops at the head: a download or a WebSocket may take as long as it likes after that.
"""

from __future__ import annotations

from gatekit._core.body import aclose_body
from gatekit._core.messages import Request, Response
from gatekit._core.options import known_keywords, seconds_problem
from gatekit._core.problems import ran_late, timed_out
from gatekit.errors import check
from gatekit.typing import Handler


@known_keywords
class Timeout:
    """At most `seconds` until the head. Of several, the earliest deadline holds."""

    __slots__ = ("_seconds",)

    def __init__(self, seconds: float) -> None:
        check("Timeout", seconds=seconds_problem(seconds))
        self._seconds = float(seconds)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        deadline = request.io.now() + self._seconds
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
        if response.status == 504 or request.io.now() < deadline:
            return response
        await aclose_body(response.body)
        return timed_out(request)
