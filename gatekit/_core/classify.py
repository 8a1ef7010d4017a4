"""What counts as a failure of what is behind: one question of breaker, retry and metrics alike.

    failures = Failures(ignore=[404, KeyError])
    failures(Response(503))         # True: it failed
    failures(Response(200))         # False: it did not
    failures(Response(404))         # None: this says nothing either way

A client's own doing says nothing: that it left, that its body was too large or broke off. Nor does
what never got as far as the upstream, such as a wait for a free connection of our own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias, cast

from gatekit._core.messages import Request, Response
from gatekit._core.options import integer_problem, known_keywords
from gatekit.errors import BodyTooLarge, ClientDisconnected, Rejected, Stage, UpstreamError, check

Verdict: TypeAlias = bool | None
Classifier: TypeAlias = Callable[[Response | Exception], Verdict]

# The upstream was not asked (RFC 9110 §15.6.2 and §15.6.6 are about what the server supports at
# all, not about how it is).
SERVER_FAILURES: frozenset[int] = frozenset(range(500, 600)) - {501, 505}

# 408: the client was too slow. 499: nginx's word for a client that left.
CLIENT_LEFT: frozenset[int] = frozenset({408, 499})

GRPC_FAILURES: frozenset[int] = frozenset({2, 4, 13, 14, 15})
"""UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and DATA_LOSS."""

# The stages at which an exchange ends through no fault of the upstream's.
OURS: frozenset[Stage] = frozenset({"no_destination", "pool_timeout", "pool_full", "body_client"})


@known_keywords
class Failures:
    """`statuses` and `exceptions` are failures; `ignore` lists those that count neither way.

    An exception is looked up by its class and those above; `ignore` wins. A `Rejected` counts as
    the status that it stands for. `grpc` names the values of `grpc-status` that are failures,
    `GRPC_FAILURES` for the usual ones; they are seen only where they come in the head.
    """

    __slots__ = ("_exceptions", "_grpc", "_ignored", "verdicts")

    def __init__(
        self,
        *,
        statuses: Collection[int] = SERVER_FAILURES,
        exceptions: Collection[type[Exception]] = (Exception,),
        ignore: Collection[int | type[Exception]] = (),
        grpc: Collection[int] = (),
    ) -> None:
        check(
            "Failures",
            statuses=_list_problem(statuses, _status_problem),
            exceptions=_list_problem(exceptions, _exception_problem),
            ignore=_list_problem(ignore, _ignored_problem),
            grpc=_list_problem(grpc, integer_problem),
        )
        ignored = {*CLIENT_LEFT, *(entry for entry in ignore if isinstance(entry, int))}
        self.verdicts: Mapping[int, Verdict] = {
            **dict.fromkeys(statuses, True),
            **dict.fromkeys(ignored, None),
        }
        """By status; one that is not in it is no failure."""
        self._exceptions = tuple(exceptions)
        kinds = tuple(entry for entry in ignore if isinstance(entry, type))
        self._ignored = (ClientDisconnected, BodyTooLarge, *kinds)
        self._grpc = frozenset(str(code) for code in grpc)

    @property
    def needs_fields(self) -> bool:
        """Whether the status of a response is not enough to tell."""
        return bool(self._grpc)

    def __call__(self, result: Response | Exception) -> Verdict:
        if isinstance(result, Response):
            verdict = self.verdicts.get(result.status, False)
            if verdict is False and self._grpc:
                return result.headers.get("grpc-status") in self._grpc
            return verdict
        if isinstance(result, self._ignored):
            return None
        if isinstance(result, Rejected):
            return self.verdicts.get(result.status, False)
        if isinstance(result, UpstreamError) and result.stage in OURS:
            return None
        return isinstance(result, self._exceptions)


def reached(request: Request) -> bool:
    """Whether the app, or an upstream behind it, was asked at all.

    An answer that a middleware further in gave by itself says nothing of what is behind it.
    """
    error = request.upstream_error
    return request._answering and (error is None or error.stage not in OURS)


def classifier_problem(value: object) -> str | None:
    """Of an option that takes a `Failures` or a function in its place."""
    if isinstance(value, type) or not callable(value):
        return f"must be a Failures or a function of a response or an exception, not {value!r}"
    return None


def _list_problem(values: object, problem: Callable[[object], str | None]) -> str | None:
    if isinstance(values, str | bytes) or not isinstance(values, Collection):
        return f"must be a list, not {values!r}"
    found = map(problem, cast("Collection[object]", values))
    return "; ".join(what for what in found if what) or None


def _status_problem(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
        return None
    return f"{value!r} is not a status from 100 to 599"


def _exception_problem(value: object) -> str | None:
    if isinstance(value, type) and issubclass(value, Exception):
        return None
    return f"{value!r} is not a class of exceptions"


def _ignored_problem(value: object) -> str | None:
    return _exception_problem(value) if isinstance(value, type) else _status_problem(value)
