"""One attempt that has been answered, as far as the head.

Whoever has one ends it in exactly one way: `give_on` where the client gets the answer, or `discard`
where another attempt is made instead. `drop` is for who cannot wait.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gatekit._core.body import aclose_body
from gatekit._core.io import IO
from gatekit._core.messages import Request
from gatekit._core.outcome import Outcome
from gatekit.errors import UpstreamError
from gatekit.proxy.transport.exchange import UpstreamResponse

if TYPE_CHECKING:
    from gatekit.middleware._circuit_guard import Call
    from gatekit.proxy.clusters.members import ClusterState, Member


class Leg:
    """An answer and who gave it. `seconds` went by until its head was there.

    The member counts it as under way until the last byte of its body; where the body came with the
    head that is over already.
    """

    __slots__ = ("_io", "_is_over", "_state", "answer", "call", "member", "seconds")

    def __init__(
        self,
        state: ClusterState,
        io: IO,
        member: Member,
        answer: UpstreamResponse[Any],
        seconds: float,
        call: Call | None,
    ) -> None:
        self._state = state
        self._io = io
        self.member = member
        self.answer = answer
        self.seconds = seconds
        self.call = call
        self._is_over = isinstance(answer.body, bytes)

    def give_on(self, request: Request) -> None:
        """The client gets it: it is over when the exchange is."""
        if not self._is_over:
            request.on_finish(self._finished)

    async def discard(self) -> None:
        """Nobody reads it: closed before its end, it costs its connection."""
        if not self._is_over:
            try:
                await aclose_body(self.answer.body)
            finally:
                self._end()

    def drop(self) -> None:
        """`discard` in one step. A body that can only be closed with an await is left alone."""
        if not self._is_over:
            self._end()
            body = self.answer.body
            close = getattr(body, "abandon", None) or getattr(body, "close", None)
            if close is not None:
                with suppress(Exception):
                    close()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self.member.finish()

    def _finished(self, outcome: Outcome) -> None:
        self._end()
        error = outcome.error
        if outcome.ended == "failed" and isinstance(error, UpstreamError):
            # It was reported as a success, and has broken off after all.
            now = self._io.now()
            self._state.report(self.member, error, self.seconds, now)
            if self.call is not None:
                self.call.amend(error, now)
