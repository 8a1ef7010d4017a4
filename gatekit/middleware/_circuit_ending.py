"""What the end of an answer's body may still tell a circuit breaker."""

from __future__ import annotations

from gatekit._core.messages import Request, Response
from gatekit._core.signals import AppBody
from gatekit.errors import UpstreamError


def may_break_off(request: Request, response: Response) -> bool:
    """Whether there is a body to come whose end tells something.

    A framework announces the length of what it sends in one piece, and to be told the end of every
    exchange costs more than all else here; an upstream's body may break off in any case.
    """
    # A fallback further in stands in for the app's error, which is not this answer's.
    if isinstance(response.body, bytes) or request.is_websocket or request.app_error is not None:
        return False
    if isinstance(response.body, AppBody):
        for name, _ in response.raw_headers:
            if name == b"content-length" or name.lower() == b"content-length":
                return False
    return True


def is_parting(error: Exception) -> bool:
    """Whether this is how an ASGI server says, where the app sends, that the client has left.

    It raises an `OSError`, in place of which Starlette raises one of its own.
    """
    if isinstance(error, UpstreamError):
        return False
    return isinstance(error, OSError) or (
        error.__cause__ is None and isinstance(error.__context__, OSError)
    )
