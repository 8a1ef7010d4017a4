"""What a proxy tried on behalf of a request: one entry for each attempt, in order.

    request.attempts        # [Attempt("http://orders-1:8002", "connect", 0.004),
                            #  Attempt("http://orders-2:8002", 200, 0.012)]

More than one, and the request was tried again. Attempts that were given up, because another one was
faster or the client left, are not among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gatekit.errors import Stage

if TYPE_CHECKING:
    from gatekit._core.messages import Request


class Attempt(NamedTuple):
    """`destination` is a name; `result` the status of the answer, or the stage of its failure.

    `seconds` went by until the head, or the failure, was there.
    """

    destination: str
    result: int | Stage
    seconds: float


def note_attempt(request: Request, attempt: Attempt) -> None:
    """Leaves it on the request, where the observers of every door around it find it too."""
    request.attempts += (attempt,)
    outer = request._outer
    while outer is not None:
        outer.attempts += (attempt,)
        outer = outer._outer
