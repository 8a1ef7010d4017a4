"""An origin to put a cache in front of: it counts, and answers as it is told."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from gatekit import Cache, Request, Response
from gatekit.testing import Answer, FakeIO, exercise

P = ParamSpec("P")

START = 1_700_000_000.0


class Clock:
    """Seconds since 1970, moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Origin:
    """`answer` makes the next response; `seen` are the requests that came through."""

    def __init__(self, *fields: tuple[str, str], body: bytes = b"hello", status: int = 200) -> None:
        self.status = status
        self.fields = list(fields)
        self.body = body
        self.error: Exception | None = None
        self.answer: Callable[[Request], Response] | None = None
        self.seen: list[dict[str, str]] = []

    def __call__(self, request: Request) -> Response:
        self.seen.append(dict(request.headers.items()))
        if self.error is not None:
            raise self.error
        if self.answer is not None:
            return self.answer(request)
        return Response(self.status, self.fields, self.body)


class Bench:
    """A cache with its own clock, an origin, and what a client gets of the two."""

    def __init__(self, *fields: tuple[str, str], origin: Origin | None = None, **options: Any):
        self.clock = Clock()
        self.io = FakeIO()
        self.cache = Cache(clock=self.clock, **options)
        self.origin = origin or Origin(*fields)

    def get(self, target: str = "/", method: str = "GET", **headers: str) -> Answer:
        """Field names are written with underscores."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return exercise(
            self.cache, app=self.origin, method=method, target=target, headers=fields, io=self.io
        )

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.io.advance(seconds)

    @property
    def asked(self) -> int:
        """How often the origin was."""
        return len(self.origin.seen)


def is_hit(answer: Answer) -> bool:
    return "; hit" in answer.headers.get("cache-status", "")


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test that runs in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run
