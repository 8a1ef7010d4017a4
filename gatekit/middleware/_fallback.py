"""What answers in place of a service that fails: a response, a handler, or the last good answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias, runtime_checkable

from gatekit._core.messages import Request, Response

Fallback: TypeAlias = Callable[[Request], Awaitable[Response | None]]
"""A handler; None says that it knows no answer either."""


@runtime_checkable
class Keeper(Protocol):
    """A fallback that is shown every good answer, so that it may keep it."""

    async def __call__(self, request: Request, /) -> Response | None: ...

    async def remember(self, request: Request, response: Response) -> None: ...


def as_fallback(fallback: Response | Fallback | None) -> Fallback | None:
    return _repeated(fallback) if isinstance(fallback, Response) else fallback


def fallback_problem(fallback: object, *, on_failure: bool = False) -> str | None:
    """Of the option; a class is a forgotten pair of brackets."""
    if fallback is None:
        return "is missing, and fallback_on_failure asks for one" if on_failure else None
    if isinstance(fallback, Response):
        if isinstance(fallback.body, bytes):
            return None
        return "is a response whose body can be sent once only; give it as bytes, or a handler"
    if isinstance(fallback, type) or not callable(fallback):
        return f"must be a Response or a handler, not {fallback!r}"
    return None


def _repeated(template: Response) -> Fallback:
    """A fresh copy for each request: middlewares further out change what they are given."""
    status, fields, body = template.status, list(template.headers.raw), template.body

    async def answer(_: Request) -> Response:
        return Response(status, fields, body)

    return answer
