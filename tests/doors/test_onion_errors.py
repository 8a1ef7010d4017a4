"""What every door makes of errors: the app's, a middleware's, and a rule that was broken."""

from __future__ import annotations

from typing import Any

import pytest

from gatekit import Rejected, Request, Response
from gatekit.typing import Handler
from tests.conftest import AppRaised, Door
from tests.doors.spec import Spec
from tests.doors.test_onion import adds


def test_an_app_that_raises_before_its_head_can_be_caught(door: Door) -> None:
    """`try` around `call_next` gives a fallback, through middlewares that do not catch.

    Django has made a 500 of a view's exception before any middleware sees it.
    """
    is_django = door.name.startswith("django")

    async def fallback(request: Request, call_next: Handler) -> Response:
        try:
            return await call_next(request)
        except KeyError:
            return Response.text("fallback", 503)

    answer = door(Spec(error=KeyError("k")), adds("x-outer"), fallback, adds("x-inner"))
    assert answer.status == (500 if is_django else 503)
    assert (answer.body == b"fallback") is not is_django
    assert answer.headers["x-outer"] == "1"


def test_an_app_that_raises_uncaught_is_a_500(door: Door) -> None:
    """The client gets an answer without the error's text."""
    answer = door(Spec(error=KeyError("secret")), adds("x-outer"))
    assert answer.status == 500
    assert b"secret" not in answer.body


def test_an_app_that_raises_after_its_head_is_not_hidden(door: Door) -> None:
    """The server learns of it, so that it can cut the connection, and the outcome says so."""
    outcomes: list[Any] = []

    async def watch(request: Request, call_next: Handler) -> Response:
        request.on_finish(outcomes.append)
        return await call_next(request)

    with pytest.raises(AppRaised) as raised:
        door(Spec(late_error=KeyError("late")), watch)
    assert isinstance(raised.value.error, KeyError)
    assert [(o.ended, o.status, o.sent) for o in outcomes] == [("failed", 200, 6)]
    assert isinstance(outcomes[0].error, KeyError)


@pytest.mark.parametrize("when_it_raises", ["on the way in", "on the way out"])
def test_a_middleware_that_raises_is_a_500_for_those_outside(
    door: Door, when_it_raises: str
) -> None:
    """The 500 passes through the outer middlewares; the app's own answer is gone."""

    async def broken(request: Request, call_next: Handler) -> Response:
        if when_it_raises == "on the way in":
            raise ValueError("secret")
        await call_next(request)
        raise ValueError("secret")

    answer = door(Spec(), adds("x-outer"), broken, adds("x-inner"))
    assert (answer.status, answer.headers["x-outer"]) == (500, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"secret" not in answer.body
    assert "x-inner" not in answer.headers


def test_rejected_is_its_problem(door: Door) -> None:
    """Raising `Rejected` anywhere answers with its status, fields and members."""

    async def deny(request: Request, call_next: Handler) -> Response:
        raise Rejected(403, "Not yours.", headers={"x-why": "policy"}, extensions={"code": 7})

    answer = door(Spec(), adds("x-outer"), deny)
    assert (answer.status, answer.headers["x-why"]) == (403, "policy")
    assert b'"detail":"Not yours."' in answer.body and b'"code":7' in answer.body
    assert answer.headers["x-outer"] == "1"


def test_a_second_call_next_is_an_error(door: Door) -> None:
    """Awaiting it twice is answered 500 by the offender's link; the app ran once."""

    async def twice(request: Request, call_next: Handler) -> Response:
        await call_next(request)
        return await call_next(request)

    spec = Spec()
    answer = door(spec, adds("x-outer"), twice, adds("x-inner"))
    assert (answer.status, answer.headers["x-outer"]) == (500, "1")
    assert len(spec.seen) == 1


def test_a_middleware_that_returns_nothing_is_an_error(door: Door) -> None:
    """A forgotten `return` is a 500, not a crash of the server."""

    async def forgetful(request: Request, call_next: Handler) -> Any:
        await call_next(request)

    assert door(Spec(), forgetful).status == 500
