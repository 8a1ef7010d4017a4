"""What is wrong with an option of `ConcurrencyLimit`, or None."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from gatekit._core.options import integer_problem, seconds_problem
from gatekit.middleware._bulkhead import share_of
from gatekit.middleware._gradient import AdaptiveLimit


def limit_problem(limit: object, key: object) -> str | None:
    if isinstance(limit, AdaptiveLimit):
        if key is not None:
            return "an AdaptiveLimit learns from all requests together and takes no key"
        return None
    return integer_problem(limit, 1)


def target_problem(target: object, max_wait: object) -> str | None:
    problem = seconds_problem(target)
    if problem is None and isinstance(max_wait, int | float) and cast("float", target) >= max_wait:
        return f"must be less than `max_wait`, which is {max_wait!r}, not {target!r}"
    return problem


def pair_problem(partition: object, partitions: object) -> str | None:
    if (partition is None) != (partitions is None):
        return "and `partitions` need each other"
    return None


def waiting_problem(priority: object, queue: object) -> str | None:
    return "is for those who wait: give a `queue`" if priority is not None and queue == 0 else None


def partitions_problem(
    partitions: object, limit: object, queue: object, *, borrow: bool
) -> str | None:
    if partitions is None:
        return None
    if not isinstance(partitions, Mapping) or not partitions:
        return f"must map names to parts of 1, not {partitions!r}"
    shares = cast("Mapping[object, object]", partitions)
    least = limit.least if isinstance(limit, AdaptiveLimit) else limit
    found = [_share_problem(name, part, least) for name, part in shares.items()]
    problems = [what for what in found if what]
    if not problems and sum(cast("Mapping[str, float]", partitions).values()) > 1 + 1e-9:
        problems.append("the parts are more than 1 together")
    if borrow and queue == 0:
        problems.append(
            "an owner can have back what it lent only if it may wait for it: give a `queue`, "
            "or `borrow=False`"
        )
    return "; ".join(problems) or None


def _share_problem(name: object, part: object, least: object) -> str | None:
    if not isinstance(name, str):
        return f"{name!r} is not a string"
    if isinstance(part, bool) or not isinstance(part, int | float) or not 0 < part <= 1:
        return f"{name}: must be above 0 and up to 1, not {part!r}"
    if isinstance(least, int) and least > 0 and share_of(least, part) < 1:
        return f"{name}: {part:g} of {least} is less than one request"
    return None
