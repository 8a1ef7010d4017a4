"""What answers in place of a service that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from gatekit import Proxy, Request, Response, Timeout, asgi, asgi_app, wsgi_app
from gatekit.errors import Rejected, UpstreamError
from gatekit.middleware.circuit_breaker import CircuitBreaker
from gatekit.testing import call_asgi, call_wsgi, upstream
from gatekit.typing import Handler
from tests.conftest import Door
from tests.doors.spec import Spec
from tests.middleware.circuits import EXACT, service

BROKEN = Spec(error=RuntimeError("boom"))
FIRST: dict[str, Any] = {"consecutive_failures": 1}


def test_a_response_answers_for_an_open_circuit(door: Door) -> None:
    """Each client gets a copy of its own: what is changed on one is not on the next."""
    breaker = CircuitBreaker(**FIRST, fallback=Response.json({"hits": []}, 203))

    async def stamps(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        assert "x-stamp" not in response.headers
        response.headers["x-stamp"] = "1"
        return response

    assert door(Spec(status=500), breaker).status == 500
    for _ in range(2):
        answer = door(Spec(), stamps, breaker)
        assert (answer.status, answer.text) == (203, '{"hits":[]}')


def test_a_failed_call_can_be_answered_for(door: Door) -> None:
    """With `fallback_on_failure` the client sees neither the 500 nor the exception."""
    breaker = CircuitBreaker(fallback=Response.text("old"), fallback_on_failure=True)
    assert door(Spec(status=500), breaker).text == "old"
    assert door(BROKEN, breaker).text == "old"
    assert door(Spec(status=404), breaker).status == 404
    assert breaker.status()[0].stats.failures == 2


def test_what_the_fallback_hides_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody further out would see the exception any more."""
    it = service(fallback=Response.text("old"), fallback_on_failure=True)
    assert it.call(RuntimeError("boom")).text == "old"
    assert "circuit svc: the fallback answers for RuntimeError('boom')" in caplog.text


def test_another_upstream_answers() -> None:
    """A `Proxy` is a handler and so a fallback; the door closes it with the rest."""

    def fails(sent: Any) -> Response:
        raise UpstreamError("connect", "refused")

    second = upstream(lambda sent: Response.text(f"second {sent.target}"))
    spare = Proxy("http://spare:8002", transport=second)
    breaker = CircuitBreaker(**FIRST, fallback=spare)
    app = wsgi_app(Proxy("http://users:8001", transport=upstream(fails)), breaker)
    assert call_wsgi(app, target="/users?id=7").status == 502
    assert call_wsgi(app, target="/users?id=7").text == "second /users?id=7"
    assert list(breaker.gatekit_parts()) == [spare]


def test_a_handler_knows_what_it_stands_in_for() -> None:
    """The error and the decision are on the request."""
    seen: list[Any] = []

    async def fallback(request: Request) -> Response:
        seen.append((request.app_error, [d.outcome for d in request.decisions]))
        return Response.text("instead")

    it = service(consecutive_failures=1, fallback=fallback, fallback_on_failure=True)
    boom = RuntimeError("boom")
    assert [it.call(boom).text, it.call(200).text] == ["instead", "instead"]
    assert seen == [(boom, ["allow"]), (None, ["deny"])]


def test_a_fallback_without_an_answer_is_none(door: Door) -> None:
    """None stands for the refusal, or for what failed."""

    async def knows_nothing(request: Request) -> Response | None:
        return None

    breaker = CircuitBreaker(**FIRST, fallback=knows_nothing, fallback_on_failure=True)
    assert [door(Spec(status=502), breaker).status, door(Spec(), breaker).status] == [502, 503]


def test_a_fallback_that_raises_is_none(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """The client gets the refusal, the log gets the error; a `Rejected` is an answer."""

    async def raises(request: Request) -> Response:
        raise KeyError("oops")

    async def rejects(request: Request) -> Response:
        raise Rejected(451)

    breaker = CircuitBreaker("svc", **FIRST, fallback=raises)
    assert [door(Spec(status=502), breaker).status, door(Spec(), breaker).status] == [502, 503]
    assert "the fallback of circuit svc raised" in caplog.text
    breaker = CircuitBreaker(**FIRST, fallback=rejects)
    assert [door(Spec(status=502), breaker).status, door(Spec(), breaker).status] == [502, 451]


def test_a_fallback_that_hangs_draws_on_the_deadline() -> None:
    """It is cancelled when the request's time is up, and the client gets the 504."""
    cancelled: list[BaseException] = []

    async def hangs(request: Request) -> Response:
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            cancelled.append(error)
            raise
        raise AssertionError

    breaker = CircuitBreaker(**FIRST, fallback=hangs)
    assert asyncio.run(call_asgi(asgi(Spec(status=500).asgi(), breaker))).status == 500
    answer = asyncio.run(call_asgi(asgi(Spec().asgi(), Timeout(0.01), breaker)))
    assert answer.status == 504
    assert [type(error) for error in cancelled] == [asyncio.CancelledError]


def test_the_replaced_answer_is_closed() -> None:
    """What a failed upstream's body holds is given back."""
    closed: list[str] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"half"])

        def close(self) -> None:
            closed.append("closed")

    async def handler(request: Request) -> Response:
        return Response(502, body=Body())

    breaker = CircuitBreaker(fallback=Response.text("old"), fallback_on_failure=True)
    assert call_wsgi(wsgi_app(handler, breaker)).text == "old"
    assert closed == ["closed"]


def test_a_fallback_below_a_gateway_under_asgi() -> None:
    """A handler of the door's own may be replaced as well."""

    async def handler(request: Request) -> Response:
        raise RuntimeError("boom")

    breaker = CircuitBreaker(**EXACT, fallback=Response.text("old"), fallback_on_failure=True)
    assert asyncio.run(call_asgi(asgi_app(handler, breaker))).text == "old"
