"""The first attempt of a request, and others beside it where it is late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatekit._core.decisions import Decision, note
from gatekit._core.messages import Request
from gatekit.errors import UpstreamError
from gatekit.proxy.attempts.budget import reserve
from gatekit.proxy.attempts.leg import Leg
from gatekit.proxy.attempts.race import Entrant, race
from gatekit.proxy.attempts.retry import Retry
from gatekit.proxy.transport.exchange import UpstreamRequest
from gatekit.proxy.transport.interrupt import Interrupt

if TYPE_CHECKING:
    from gatekit.middleware._circuit_guard import Call
    from gatekit.proxy.attempts.attempts import Attempts
    from gatekit.proxy.attempts.hedge import Hedge
    from gatekit.proxy.clusters.members import Member

POLICY = "hedge"
_SENT = Decision(POLICY, "allow", "the first attempt was late")
_NO_BUDGET = Decision(POLICY, "deny", "the budget is spent")
_NOBODY = Decision(POLICY, "deny", "there is no destination to try")

# What counts as a good answer, and the budget, where the cluster does not retry.
_BY_DEFAULT = Retry()


async def hedged(
    attempts: Attempts,
    hedge: Hedge,
    request: Request,
    outgoing: UpstreamRequest,
    tried: list[Member],
    call: Call | None,
    after: float,
    began: float,
) -> Leg:
    """The first good answer, else the last one; every member that was asked is put into `tried`.

    Raises `UpstreamError` where nobody answered.
    """
    first = tried[0]
    retry = attempts.retry or _BY_DEFAULT
    is_async = request.io.is_async
    limit = attempts.limit(began)

    def another() -> Entrant | None:
        if not reserve(attempts.state, retry, request.io.now()):
            note(request, _NO_BUDGET)
            return None
        chosen = attempts.choose(request, tried)
        if chosen is None:
            attempts.state.retrying.remove()
            note(request, _NOBODY)
            return None
        member, leave = chosen
        tried.append(member)
        note(request, _SENT)
        extra = attempts.address.readdressed(
            request, outgoing, first, member, number=len(tried), body=outgoing.body
        )
        return entrant(extra, member, leave, is_extra=True)

    def entrant(
        sent: UpstreamRequest, member: Member, leave: Call | None, *, is_extra: bool
    ) -> Entrant:
        begun = False

        async def run() -> Leg:
            nonlocal begun
            begun = True
            now = request.io.now()
            timeouts = attempts.timeouts_at(now, limit) if is_extra else None
            return await attempts.attempt(request, sent, member, leave, now, timeouts)

        def over() -> None:
            if is_extra:
                attempts.state.retrying.remove()
            if leave is not None and not begun:
                leave.release(request.io.now())

        if not is_async:
            sent.interrupt = Interrupt()
        return Entrant(run(), over, sent.interrupt)

    result = await race(
        request.io,
        entrant(outgoing, first, call, is_extra=False),
        another,
        after=after,
        more=hedge.max,
        is_good=lambda leg: not retry.wants_answer(leg.answer.status, leg.answer.headers),
    )
    if isinstance(result, UpstreamError):
        raise result
    return result
