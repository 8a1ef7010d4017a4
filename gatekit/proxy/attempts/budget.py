"""The budget for retries and hedges of one cluster, which all its proxies share.

note_request(state, now)                     # where `state.lately` counts them
if reserve(state, retry, now):
    try:
        ...                        # the attempt, its pause included
    finally:
        state.retrying.remove()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatekit.proxy.attempts.retry import Retry
    from gatekit.proxy.clusters.members import ClusterState


def reserve(state: ClusterState, retry: Retry, now: float) -> bool:
    """Counts one more, if what is under way, or was lately, leaves room for it."""
    lately = state.lately
    # Outside of the lock: it looks at every member.
    active = state.active if lately is None else 0
    lock = state.latch.take()
    try:
        if lately is None:
            is_affordable = retry.affords(len(state.retrying), active)
        else:
            lately.expire(now)
            again = lately.failures
            is_affordable = retry.affords(again, lately.calls - again)
        if not is_affordable:
            return False
        if lately is not None:
            lately.add(now, failed=True, slow=False)
        state.retrying.add()
        return True
    finally:
        lock.release()


def note_request(state: ClusterState, now: float) -> None:
    """The first attempt of a request, for a budget of what was lately."""
    assert state.lately is not None
    lock = state.latch.take()
    state.lately.add(now, failed=False, slow=False)
    lock.release()
