"""The attempts after the first one: whether there is one more, and how it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatekit._core.decisions import Decision, note
from gatekit._core.messages import Request
from gatekit.errors import UpstreamError
from gatekit.proxy.attempts.budget import reserve
from gatekit.proxy.attempts.leg import Leg
from gatekit.proxy.attempts.replay import Replay
from gatekit.proxy.attempts.retry import UNREACHED
from gatekit.proxy.transport.exchange import RequestBody, UpstreamRequest

if TYPE_CHECKING:
    from gatekit.proxy.attempts.attempts import Attempts
    from gatekit.proxy.attempts.retry import Retry
    from gatekit.proxy.clusters.members import Member

POLICY = "retry"
_AGAIN = Decision(POLICY, "allow", "tried again")
_NO_BUDGET = Decision(POLICY, "deny", "the budget is spent")
_NO_TIME = Decision(POLICY, "deny", "the deadline would be over")
_NO_REPLAY = Decision(POLICY, "deny", "the body was sent and not kept")
_TOO_LONG = Decision(POLICY, "deny", "the upstream asks to wait for longer")
_NOBODY = Decision(POLICY, "deny", "there is no destination to try")


class Retrying:
    """The retries of one request, which `began` at that moment.

    `first` went to the first of `tried`, and `replay` is its body where that streams.
    """

    __slots__ = (
        "_attempts", "_first", "_limit", "_replay", "_request", "_retry", "_tried", "_was",
    )  # fmt: skip

    def __init__(
        self,
        attempts: Attempts,
        retry: Retry,
        request: Request,
        first: UpstreamRequest,
        tried: list[Member],
        replay: Replay | None,
        began: float,
    ) -> None:
        self._attempts = attempts
        self._retry = retry
        self._request = request
        self._first = first
        self._was = tried[0]
        self._tried = tried
        self._replay = replay
        self._limit = attempts.limit(began)

    async def run(self, result: Leg | UpstreamError) -> Leg:
        """The answer to give on; where there is none, the last failure is raised."""
        state = self._attempts.state
        try:
            for number in range(1, self._retry.retries + 1):
                wait = self._wait(result, number)
                if wait is None:
                    break
                is_free = self._is_free(result)
                if not is_free and not reserve(state, self._retry, self._request.io.now()):
                    note(self._request, _NO_BUDGET)
                    break
                try:
                    again = await self._again(result, wait)
                finally:
                    if not is_free:
                        state.retrying.remove()
                if again is None:
                    break
                result = again
        except BaseException:
            if isinstance(result, Leg):
                result.drop()
            raise
        if isinstance(result, Leg):
            return result
        raise result

    def _is_free(self, result: Leg | UpstreamError) -> bool:
        """Whether the budget has nothing to say: nobody has had any work with the request so far.

        So it is no load that is added, and one that is gone costs no request of the others.
        """
        if isinstance(result, Leg) or result.stage not in UNREACHED:
            return False
        return any(member not in self._tried for member in self._attempts.state.members)

    def _wait(self, result: Leg | UpstreamError, number: int) -> float | None:
        """The pause before another attempt; None where there shall be none."""
        retry, request = self._retry, self._request
        error = None if isinstance(result, Leg) else result
        if not _is_wanted(retry, result):
            return None
        if not retry.may_repeat(request.method, has_key=has_key(request), error=error):
            return None
        reason: Decision | None = None
        wait: float | None = retry.pause(number)
        if isinstance(result, Leg):
            wait = retry.wait_after(result.answer.headers, retry.pause(number))
        limit = self._limit_now()
        if self._replay is not None and not self._replay.is_repeatable:
            reason = _NO_REPLAY
        elif wait is None:
            reason = _TOO_LONG
        elif limit is not None and request.io.now() + wait >= limit:
            reason = _NO_TIME
        if reason is None:
            return wait
        note(request, reason)
        return None

    async def _again(self, result: Leg | UpstreamError, wait: float) -> Leg | UpstreamError | None:
        """After the pause, with somebody else if there is somebody; None if there is nobody."""
        attempts, request, tried = self._attempts, self._request, self._tried
        await request.io.sleep(wait)
        chosen = attempts.choose(request, tried)
        if chosen is None:
            note(request, _NOBODY)
            return None
        member, call = chosen
        try:
            timeouts = attempts.timeouts_at(request.io.now(), self._limit)
            if isinstance(result, Leg):
                # Not before now: until there is somebody to ask, it is the client's.
                await result.discard()
        except BaseException:
            if call is not None:
                call.release(request.io.now())
            raise
        tried.append(member)
        note(request, _AGAIN)
        outgoing = attempts.address.readdressed(
            request, self._first, self._was, member, number=len(tried), body=self._body()
        )
        try:
            return await attempts.attempt(
                request, outgoing, member, call, request.io.now(), timeouts
            )
        except UpstreamError as error:
            return error

    def _body(self) -> RequestBody:
        body = self._first.body
        if self._replay is None or not isinstance(body, tuple):
            return body
        return self._replay.from_start(), body[1]

    def _limit_now(self) -> float | None:
        """By when the head has to be there."""
        deadline, limit = self._request.deadline, self._limit
        if deadline is None or limit is None:
            return limit if deadline is None else deadline
        return min(deadline, limit)


def _is_wanted(retry: Retry, result: Leg | UpstreamError) -> bool:
    if isinstance(result, Leg):
        return retry.wants_answer(result.answer.status, result.answer.headers)
    return retry.wants_error(result)


def has_key(request: Request) -> bool:
    """Whether the client says that the upstream knows a repeated request by its key."""
    return bool(request.headers.get("idempotency-key"))
