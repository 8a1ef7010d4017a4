"""What a policy decided about a request, and why: for logs, metrics and whoever explains.

    note(request, Decision("rate-limit", "allow", "within 100-per-minute"))
    [decision.outcome for decision in request.decisions]        # ["allow"]

A reason names the rule that spoke. It never holds what a client sent, a key or a token among it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from gatekit._core.messages import Request

Ruling: TypeAlias = Literal["allow", "deny", "shadow_deny", "error", "skip"]


class Decision(NamedTuple):
    """`policy` is the name of the middleware's rule; `shadow_deny` would have been a refusal.

    `error` is a decision that had to be taken without what it should rest on, such as a store.
    """

    policy: str
    outcome: Ruling
    reason: str


def note(request: Request, decision: Decision) -> None:
    """Leaves a decision on the request, after those before it."""
    decisions = request._decisions
    if decisions is None:
        request._decisions = [decision]
    else:
        decisions.append(decision)
