"""A service whose health is set by hand, with a breaker before it."""

from __future__ import annotations

from typing import Any

from gatekit import Request, Response
from gatekit.middleware.circuit_breaker import CircuitBreaker
from gatekit.testing import Answer, FakeIO, exercise

EXACT: dict[str, Any] = {"jitter": 0, "min_calls": 4}


class Service:
    """Both are on one fake clock."""

    def __init__(self, breaker: CircuitBreaker, io: FakeIO) -> None:
        self.breaker = breaker
        self.io = io
        self.result: int | Exception = 200
        self.seconds = 0.0
        self.asked = 0

    def app(self, request: Request) -> Response:
        self.asked += 1
        self.io.advance(self.seconds)
        if isinstance(self.result, Exception):
            raise self.result
        return Response.text("service", self.result)

    def call(self, result: int | Exception | None = None, **options: Any) -> Answer:
        if result is not None:
            self.result = result
        return exercise(self.breaker, app=self.app, io=self.io, **options)

    def calls(self, *results: int | Exception) -> list[int]:
        return [self.call(result).status for result in results]


def service(**options: Any) -> Service:
    io = FakeIO()
    return Service(CircuitBreaker("svc", clock=io.now, **{**EXACT, **options}), io)
