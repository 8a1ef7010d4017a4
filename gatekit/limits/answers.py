"""What a policy of limits says: its refusals, its fields, and what it notes for observers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, cast

from gatekit._core.decisions import Decision, Ruling
from gatekit._core.messages import Request, Response
from gatekit._core.problems import problem
from gatekit.limits.fields import Style, add_legacy, limit_field, retry_after
from gatekit.limits.limit_set import LimitSet
from gatekit.limits.limiter import Verdict

# It stands in keys and in the patterns that find them.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!#-;=?-\[\]_a-z~]+")
# A store that is away is tried again within about this time.
_RETRY_STORE = "1"


class Answers:
    """`kind` ends the type of the problem unless there is another; `what` begins its detail."""

    __slots__ = (
        "_clock", "_jitter", "_kind", "_legacy", "_name", "_random", "_type", "_what", "style",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        kind: str,
        what: str,
        style: Style | None,
        jitter: float,
        random: Random | None,
        clock: Callable[[], float],
        problem_type: str | None = None,
    ) -> None:
        self._name = name
        self._kind = kind
        self._type = problem_type or f"urn:gatekit:{kind}"
        self._what = what
        self.style: Style | None = style
        self._legacy = style in {"legacy", "both"}
        self._jitter = jitter
        self._random = random or Random()  # noqa: S311 — it spreads clients, and hides nothing
        self._clock = clock

    def add_fields(self, response: Response, limits: LimitSet, verdict: Verdict) -> None:
        """Also on a refusal; nothing of limits that were not counted."""
        headers = response.headers
        if verdict.standings:
            if self.style != "legacy":
                headers.extend((limits.policy, limit_field(limits.meters, verdict.standings)))
            if self._legacy:
                add_legacy(headers, limits.meters, verdict.standings, self._clock())
        if verdict.degraded is not None:
            headers["x-ratelimit-degraded"] = verdict.degraded

    def refusal(
        self, request: Request, limits: LimitSet, verdict: Verdict, violated: Sequence[str]
    ) -> Response:
        """429, with the wait after which the same request is admitted."""
        stretch = 1 + self._jitter * self._random.random() if self._jitter else 1.0
        wait = retry_after(verdict.standings, stretch)
        if wait is None:
            advice = "This request costs more than there ever is."
        else:
            advice = f"Try again in {wait} second{'s' if wait > 1 else ''}."
        members: dict[str, object] = {"violated-policies": list(violated)}
        response = problem(
            429,
            f"{self._what}: {', '.join(violated)}. {advice}",
            type=self._type,
            headers=() if wait is None else {"Retry-After": str(wait)},
            instance=request.correlation_id,
            **cast("Any", members),
        )
        if self.style:
            self.add_fields(response, limits, verdict)
        return response

    def unavailable(self, request: Request) -> Response:
        """503: the fault is not the client's."""
        response = problem(
            503,
            "Requests cannot be counted at the moment.",
            type="urn:gatekit:limits-unavailable",
            headers={"Retry-After": _RETRY_STORE},
            instance=request.correlation_id,
        )
        if self.style:
            response.headers["x-ratelimit-degraded"] = "deny"
        return response

    def keyless(self, request: Request) -> Response:
        """403: what it is to be counted by is missing."""
        return problem(
            403,
            "This request does not say whom to count it for.",
            type=f"urn:gatekit:{self._kind}-key",
            instance=request.correlation_id,
        )

    def denial(self, violated: Sequence[str], *, shadow: bool) -> Decision:
        outcome: Ruling = "shadow_deny" if shadow else "deny"
        return Decision(self._name, outcome, f"over {', '.join(violated)}")

    def degraded(self, verdict: Verdict) -> Decision:
        return Decision(self._name, "error", f"the store is away: {verdict.degraded}")


def is_preflight(request: Request) -> bool:
    """Fetch, "CORS-preflight request"; nobody's answer to it costs anything."""
    names = {name for name, _ in request.headers.raw}
    return b"origin" in names and b"access-control-request-method" in names


def name_problem(name: object) -> str | None:
    if isinstance(name, str) and _NAME.fullmatch(name):
        return None
    return f"must be 1 to 64 of A-Za-z0-9._-, not {name!r}"


def type_problem(uri: object) -> str | None:
    """Of a problem's type (RFC 9457 §3.1.1)."""
    if uri is None or (isinstance(uri, str) and _URI.fullmatch(uri)):
        return None
    return f"must be a URI, not {uri!r}"


def jitter_problem(jitter: object) -> str | None:
    if isinstance(jitter, int | float) and not isinstance(jitter, bool) and 0 <= jitter <= 1:
        return None
    return f"must be from 0 to 1, not {jitter!r}"


def share_problem(share: object) -> str | None:
    if isinstance(share, int | float) and not isinstance(share, bool) and 0 < share <= 1:
        return None
    return f"must be above 0 and at most 1, not {share!r}"
