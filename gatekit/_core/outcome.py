"""How an exchange ended, for whoever registered with `request.on_finish`."""

from __future__ import annotations

from typing import Literal, TypeAlias

Ending: TypeAlias = Literal["complete", "failed", "abandoned"]


class Outcome:
    """How an exchange ended.

    `ended` is `"complete"` (the last byte was handed to the server), `"failed"` (it broke off after
    the head) or `"abandoned"` (the client left, or the request was cancelled). `status` is that
    of the head that was sent, None if none was. `error` is what the app raised, also where a
    response was answered for it. Durations are seconds, `first_byte` until the
    head; `sent` and `received` count body bytes.
    """

    __slots__ = ("duration", "ended", "error", "first_byte", "received", "sent", "status")

    def __init__(
        self,
        ended: Ending,
        *,
        status: int | None,
        duration: float,
        first_byte: float | None = None,
        sent: int = 0,
        received: int = 0,
        error: BaseException | None = None,
    ) -> None:
        self.ended: Ending = ended
        self.status = status
        self.duration = duration
        self.first_byte = first_byte
        self.sent = sent
        self.received = received
        self.error = error

    def __repr__(self) -> str:
        return f"<Outcome {self.ended} {self.status} after {self.duration:.3f} s>"
