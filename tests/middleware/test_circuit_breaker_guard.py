"""A circuit around any block of code, and around what a handler calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatekit import Request, Response
from gatekit.middleware.circuit_breaker import CircuitBreaker, CircuitOpen
from gatekit.testing import FakeIO, exercise, make_request

EXACT: dict[str, Any] = {"min_calls": 2, "jitter": 0, "probes": 1, "ramp": 0}


class Mail:
    """A service that is called from anywhere, on a fake clock."""

    def __init__(self, **options: Any) -> None:
        self.io = FakeIO()
        self.breaker = CircuitBreaker("mail", clock=self.io.now, **{**EXACT, **options})

    def send(self, error: BaseException | None = None, key: str | None = None) -> None:
        with self.breaker.guard(key):
            if error is not None:
                raise error

    def fail(self, error: BaseException, times: int = 2) -> None:
        for _ in range(times):
            with pytest.raises(type(error)):
                self.send(error)


def test_what_the_block_raises_is_a_failure() -> None:
    """It passes unchanged, and after enough of it the block is not entered any more."""
    mail = Mail()
    mail.fail(ConnectionError())
    with pytest.raises(CircuitOpen) as caught:
        mail.send()
    assert (caught.value.name, caught.value.retry_after) == ("mail", 10.0)
    mail.io.advance(10)
    mail.send()
    assert mail.breaker.state() == "closed"


def test_unhandled_it_is_a_503_with_a_time() -> None:
    """In a handler a refusal becomes the same answer that the middleware gives."""
    mail = Mail()
    mail.fail(ConnectionError())

    async def handler(request: Request, _: Any) -> Response:
        mail.send()
        raise AssertionError

    answer = exercise(handler, request=make_request())
    assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    assert "urn:gatekit:circuit-open" in answer.text


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])
def test_what_ends_it_from_outside_counts_neither_way(error: BaseException) -> None:
    """It says nothing of the service, and a probe's place is free again."""
    mail = Mail()
    mail.fail(error, 5)
    assert mail.breaker.state() == "closed"
    assert mail.breaker.status()[0].stats.calls == 0
    mail.fail(ConnectionError())
    mail.io.advance(10)
    mail.fail(error)
    assert mail.breaker.status()[0].probes == 0
    assert mail.breaker.state() == "half_open"


def test_a_cancelled_task_leaves_no_probe_behind() -> None:
    """In async code it is the same object."""
    mail = Mail()
    mail.fail(ConnectionError())
    mail.io.advance(10)

    async def main() -> None:
        inside = asyncio.Event()

        async def sends() -> None:
            with mail.breaker.guard():
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(sends())
        await inside.wait()
        assert mail.breaker.status()[0].probes == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert mail.breaker.status()[0].probes == 0


def test_slow_blocks_count() -> None:
    """The time is that of the whole block."""
    mail = Mail(slow_threshold=2.0)
    for _ in range(2):
        with mail.breaker.guard():
            mail.io.advance(2.0)
    assert mail.breaker.state() == "open"


def test_each_key_is_a_circuit() -> None:
    """As many destinations as there are names."""
    mail = Mail()
    for _ in range(2):
        with pytest.raises(ConnectionError):
            mail.send(ConnectionError(), key="eu")
    assert (mail.breaker.allows("eu"), mail.breaker.allows("us")) == (False, True)
    mail.send(key="us")


def test_failures_say_what_a_failure_is() -> None:
    """A function of what was raised; one that fails itself is asked in vain."""
    mail = Mail(failures=lambda result: isinstance(result, OSError))
    mail.fail(KeyError())
    assert mail.breaker.status()[0].stats[:2] == (2, 0)
    mail.fail(OSError(), 5 - 3)
    assert mail.breaker.state() == "open"
    mail = Mail(failures=lambda result: 1 / 0 > 0)
    mail.fail(KeyError(), 5)
    assert mail.breaker.status()[0].stats.calls == 0


def test_in_shadow_the_block_is_entered() -> None:
    """And what happens in it is not counted, for it would not have happened."""
    mail = Mail(shadow=True)
    mail.fail(ConnectionError())
    mail.send()
    assert mail.breaker.state() == "open"
    assert mail.breaker.status()[0].rejected == 1


def test_a_change_is_told_at_the_end_of_the_block() -> None:
    """At once, for there is no request whose end could be waited for."""
    told: list[str] = []
    mail = Mail(on_change=lambda change: told.append(change.reason))
    mail.fail(ConnectionError())
    assert told == ["2 of 2 calls failed"]


def test_an_async_callback_waits_for_a_request() -> None:
    """What cannot be awaited here is told at the end of the next request."""
    told: list[str] = []

    async def on_change(change: Any) -> None:
        told.append(change.state)

    mail = Mail(on_change=on_change)
    mail.breaker.force_open()
    assert told == []
    assert exercise(mail.breaker, io=mail.io).status == 503
    assert told == ["forced_open"]
