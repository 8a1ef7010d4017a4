"""Whether a failed attempt is made again, and when: a policy without I/O.

    Cluster("orders", destinations=[...], retry=Retry(2, per_try_timeout=0.5))
    Retry(on=[*RETRIABLE, 429], methods=["GET", "HEAD"])
    Retry(on=Failures(grpc=[14]), idempotency_key=True)

**What is tried again** is what the client cannot tell from the first time: an idempotent request
(RFC 9110 §9.2.2) of which nothing has been answered yet. Any other one goes out a second time only
where it provably never went out before, or where it carries an `Idempotency-Key` and
`idempotency_key=True` says that the upstream keeps to it.

**When.** After a pause of full jitter, at random between nothing and a bound that doubles; not
before the upstream's own `Retry-After`; and never so late that the deadline would be over.

**How often.** `retries` for one request; for all requests of a cluster together a *budget*, so that
an upstream in trouble is not asked twice as often as one in health.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from random import Random, random
from typing import Final, TypeAlias, cast, get_args

from gatekit._core.messages import Response
from gatekit._core.options import (
    chance_problem,
    each_problem,
    flag_problem,
    function_problem,
    integer_problem,
    known_keywords,
    seconds_problem,
    token_problem,
)
from gatekit.errors import Stage, UpstreamError, check
from gatekit.proxy.attempts.retry_after import seconds_to_wait
from gatekit.proxy.transport.exchange import Headers

Predicate: TypeAlias = Callable[[Response | Exception], bool | None]
Trigger: TypeAlias = "int | Stage | range | Predicate"

UNSENT: Final[frozenset[Stage]] = frozenset(
    {"dns", "connect", "connect_timeout", "tls", "pool_timeout", "pool_full"}
)
"""The stages at which not a byte of the request has been written."""

UNREACHED: Final[frozenset[Stage]] = frozenset({"dns", "connect"})
"""Those at which nobody was there who could have been busy with it."""

RETRIABLE: Final[tuple[int | Stage, ...]] = (
    *sorted(UNSENT),
    "send",
    "reset",
    "closed",
    "first_byte_timeout",
    "attempt_timeout",
    502,
    503,
    504,
)
"""What is tried again by default: no answer, or one of a gateway further in."""

IDEMPOTENT: Final[frozenset[str]] = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})

# What another attempt cannot mend: the time is over, or the client's own body is broken.
_FINAL: Final[frozenset[Stage]] = frozenset({"total_timeout", "body_client", "no_destination"})


@known_keywords
class Retry:
    """How one cluster retries; a value, shared by all requests.

    `on` lists statuses, ranges of them, stages of `UpstreamError` and functions of a `Response`
    (its body still empty) or an exception; one function may stand for the list, a `Failures` too.
    `backoff` and `max_backoff` bound the pause, in seconds; `per_try_timeout` bounds one attempt up
    to its head. A body that streams is kept up to `max_replay` bytes: a longer one is not retried
    once a byte of it has been sent. Of the attempts of a cluster that are under way, a part of
    `budget` may be retries, or `min_budget` where that is more; None is no bound. With
    `budget_window` that counts for the attempts of so many seconds instead. An answer that
    asks to wait for longer than `max_retry_after` seconds is given on. `attempt_header` tells the
    upstream `X-Gatekit-Attempt`, from 1. `clock` is the wall clock, for dates.
    """

    __slots__ = (
        "_always", "_backoff", "_chance", "_clock", "_max_backoff", "_max_retry_after", "_methods",
        "_predicates", "_respect", "_share", "_stages", "attempt_header", "budget_window",
        "idempotency_key", "max_replay", "min_budget", "per_try_timeout", "retries", "statuses",
    )  # fmt: skip

    def __init__(
        self,
        retries: int = 1,
        *,
        on: Collection[Trigger] | Predicate = RETRIABLE,
        methods: Collection[str] = IDEMPOTENT,
        backoff: float = 0.025,
        max_backoff: float = 0.25,
        per_try_timeout: float | None = None,
        max_replay: int = 65_536,
        budget: float | None = 0.2,
        min_budget: int = 3,
        budget_window: float | None = None,
        respect_retry_after: bool = True,
        max_retry_after: float = 1.0,
        idempotency_key: bool = False,
        attempt_header: bool = False,
        chance: Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        triggers: Collection[object] = [on] if callable(on) else cast("Collection[object]", on)
        check(
            "Retry",
            retries=integer_problem(retries, 1),
            on=_triggers_problem(triggers),
            methods=each_problem(methods, token_problem),
            backoff=_pause_problem(backoff),
            max_backoff=_pause_problem(max_backoff)
            or (None if _pause_problem(backoff) else _order_problem(backoff, max_backoff)),
            per_try_timeout=None if per_try_timeout is None else seconds_problem(per_try_timeout),
            max_replay=integer_problem(max_replay),
            budget=None if budget is None else _share_problem(budget),
            min_budget=integer_problem(min_budget),
            budget_window=None
            if budget_window is None
            else seconds_problem(budget_window)
            or ("is of no use without a budget" if budget is None else None),
            respect_retry_after=flag_problem(respect_retry_after),
            max_retry_after=_pause_problem(max_retry_after),
            idempotency_key=flag_problem(idempotency_key),
            attempt_header=flag_problem(attempt_header),
            chance=chance_problem(chance),
            clock=function_problem(clock),
        )
        self.retries = retries
        self.per_try_timeout = per_try_timeout
        self.max_replay = max_replay
        self.min_budget = min_budget
        self.budget_window = budget_window
        self.idempotency_key = idempotency_key
        self.attempt_header = attempt_header
        self._methods = frozenset(method.upper() for method in methods)
        self._backoff = backoff
        self._max_backoff = max_backoff
        self._share = budget
        self._respect = respect_retry_after
        self._max_retry_after = max_retry_after
        # The module's own generator is seeded anew in every process that is forked.
        self._chance = random if chance is None else chance.random
        self._clock = clock
        self.statuses = frozenset(_statuses(triggers))
        """A status among these is tried again whatever the fields say."""
        self._stages = frozenset(entry for entry in triggers if isinstance(entry, str))
        self._predicates = tuple(cast("Predicate", entry) for entry in triggers if callable(entry))
        self._always = not self._predicates

    def wants_answer(self, status: int, fields: Headers) -> bool:
        """Whether an answer is one to try again on."""
        if status in self.statuses:
            return True
        if self._always:
            return False
        response = Response.from_head(status, fields, b"")
        return any(predicate(response) for predicate in self._predicates)

    def wants_error(self, error: UpstreamError) -> bool:
        """Whether a failure is one to try again on."""
        if error.stage in _FINAL:
            return False
        return error.stage in self._stages or any(wants(error) for wants in self._predicates)

    def may_repeat(self, method: str, *, has_key: bool, error: UpstreamError | None) -> bool:
        """Whether this request may go out again after `error`, or after an answer."""
        if method in self._methods or (has_key and self.idempotency_key):
            return True
        return error is not None and error.stage in UNSENT

    def keeps(self, method: str, *, has_key: bool) -> int:
        """How many bytes of a body that streams are kept for another attempt."""
        # What may go out again only if nothing of it has gone out needs no copy.
        may = self.may_repeat(method, has_key=has_key, error=None)
        return self.max_replay if may else 0

    def pause(self, number: int) -> float:
        """Seconds before retry `number`, which begins with 1."""
        # 2.0 ** 64 doublings are beyond any bound, and beyond 1,023 a float overflows.
        bound = min(self._max_backoff, self._backoff * 2.0 ** min(number - 1, 64))
        return bound * self._chance()

    def wait_after(self, fields: Headers, pause: float) -> float | None:
        """The pause, or what the answer asks for if that is longer; None where it is too long."""
        if not self._respect:
            return pause
        asked = seconds_to_wait(fields, self._clock)
        if asked is None or asked <= pause:
            return pause
        return asked if asked <= self._max_retry_after else None

    def affords(self, retrying: int, active: int) -> bool:
        """Whether one more retry is within the budget, where `retrying` of `active` are."""
        if self._share is None:
            return True
        return retrying < max(self.min_budget, self._share * active)

    def total_problem(self, total: float | None) -> str | None:
        """Whether `total` seconds leave time for every attempt."""
        if total is None or self.per_try_timeout is None:
            return None
        needed = (self.retries + 1) * self.per_try_timeout
        if needed <= total:
            return None
        return (
            f"{self.retries + 1} attempts of {self.per_try_timeout:g} s take {needed:g} s, "
            f"and the timeouts' total is {total:g} s"
        )

    def __repr__(self) -> str:
        return f"Retry({self.retries})"


def _statuses(triggers: Collection[object]) -> list[int]:
    found: list[int] = []
    for entry in triggers:
        if isinstance(entry, int):
            found.append(entry)
        elif isinstance(entry, range):
            found.extend(entry)
    return found


def _triggers_problem(triggers: object) -> str | None:
    if isinstance(triggers, str | bytes) or not isinstance(triggers, Collection):
        return f"must be a list or a function, not {triggers!r}"
    found = [_trigger_problem(entry) for entry in cast("Collection[object]", triggers)]
    return "; ".join(what for what in found if what) or None


def _trigger_problem(entry: object) -> str | None:
    if isinstance(entry, str):
        if entry in _FINAL:
            return f"{entry!r} is a failure that no other attempt can mend"
        if entry in get_args(Stage):
            return None
        known = ", ".join(stage for stage in get_args(Stage) if stage not in _FINAL)
        return f"{entry!r} is not a stage; known are {known}"
    if isinstance(entry, range):
        ends = [entry[0], entry[-1]] if entry else [0]
        return None if all(_is_status(end) for end in ends) else f"{entry!r} holds no statuses"
    if isinstance(entry, int):
        return None if _is_status(entry) else f"{entry!r} is not a status from 200 to 599"
    if callable(entry) and not isinstance(entry, type):
        return function_problem(entry)
    return f"{entry!r} is neither a status, a range, a stage nor a function"


def _is_status(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 200 <= value <= 599


def _pause_problem(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
        return None
    return f"must be a number of seconds of at least 0, not {value!r}"


def _order_problem(backoff: float, max_backoff: float) -> str | None:
    return None if backoff <= max_backoff else f"{max_backoff:g} is less than backoff, {backoff:g}"


def _share_problem(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return None
    return f"must be a part from 0 to 1, or None for no bound, not {value!r}"
