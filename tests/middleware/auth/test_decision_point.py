"""Somebody else decides: how long it is waited for, what is remembered, what if nobody answers."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from gatekit import ConfigurationError, Decision, MisuseError, Request, asgi, wsgi
from gatekit.middleware.auth.decision_point import DecisionPoint
from gatekit.middleware.auth.identity import Identity
from gatekit.middleware.auth.require import Require
from gatekit.testing import FakeIO, call_asgi, exercise
from tests.doors.spec import Spec
from tests.hammer import bare_asgi
from tests.middleware.auth.people import signed_in, someone


class Engine:
    """Answers what it is told to, and counts how often it was asked."""

    def __init__(self, answer: bool | Decision = True) -> None:
        self.answer = answer
        self.error: Exception | None = None
        self.asked = 0

    def ask(self, identity: Identity, request: Request) -> bool | Decision:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.answer


def by_subject(identity: Identity, request: Request) -> str:
    return identity.subject


def ask(point: DecisionPoint, io: FakeIO | None = None, **options: Any) -> int:
    identity = someone(**options)
    return exercise(signed_in(identity), Require(decide=point), io=io).status


def test_it_decides() -> None:
    """Yes, no, and a decision whose reason is noted."""
    engine = Engine()
    point = DecisionPoint(engine.ask)
    assert ask(point) == 200
    engine.answer = Decision("opa", "deny", "policy 7")
    answer = exercise(signed_in(someone()), Require(decide=point))
    assert answer.status == 403
    assert answer.request.decisions[-1] == Decision("require", "deny", "policy 7")


def test_it_is_asked_last() -> None:
    """Whom this process can refuse by itself it does not ask about."""
    engine = Engine()
    require = Require(roles=["admin"], decide=engine.ask)
    assert exercise(signed_in(someone()), require).status == 403
    assert engine.asked == 0


def test_answers_are_remembered() -> None:
    """For `ttl` seconds, yes and no alike, each under its key."""
    engine, io = Engine(), FakeIO()
    point = DecisionPoint(engine.ask, ttl=10, key=by_subject)
    for _ in range(3):
        assert ask(point, io) == 200
    assert engine.asked == 1
    engine.answer = False
    assert ask(point, io, subject="bob") == 403
    assert ask(point, io, subject="bob") == 403
    assert engine.asked == 2
    io.advance(10)
    assert ask(point, io) == 403
    assert engine.asked == 3


def test_no_more_than_so_many_are_remembered() -> None:
    """The oldest is forgotten first; no key is no memory."""
    engine, io = Engine(), FakeIO()
    point = DecisionPoint(engine.ask, ttl=10, key=by_subject, max_entries=2)
    for subject in "abc":
        ask(point, io, subject=subject)
    assert len(point._kept) == 2
    unkept = DecisionPoint(engine.ask, ttl=10, key=lambda identity, request: None)
    engine.asked = 0
    ask(unkept, io)
    ask(unkept, io)
    assert engine.asked == 2


@pytest.mark.parametrize(("on_error", "status"), [("deny", 403), ("allow", 200)])
def test_nobody_answers(on_error: Any, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """As `on_error` says; it is noted as such, logged without its words, and not remembered."""
    engine, io = Engine(), FakeIO()
    engine.error = ConnectionError("password=hush")
    point = DecisionPoint(engine.ask, on_error=on_error, ttl=10, key=by_subject)
    with caplog.at_level(logging.WARNING, "gatekit.auth"):
        answer = exercise(signed_in(someone()), Require(decide=point), io=io)
    assert answer.status == status
    assert answer.request.decisions[-1].reason == "error: ConnectionError"
    if on_error == "allow":
        assert answer.request.decisions[-1].outcome == "error"
    assert "hush" not in caplog.text + answer.text
    engine.error = None
    assert ask(point, io) == 200


def test_an_answer_may_come_too_late() -> None:
    """Under ASGI `timeout` ends the wait."""

    async def never(identity: Identity, request: Request) -> bool:
        await asyncio.Event().wait()
        return True

    app = asgi(bare_asgi, signed_in(someone()), Require(decide=DecisionPoint(never, timeout=0.01)))
    assert asyncio.run(call_asgi(app)).status == 403


def test_a_crowd_asks_once() -> None:
    """Requests with one key that come together wait for one answer."""
    asked: list[str] = []

    async def slow(identity: Identity, request: Request) -> bool:
        asked.append(identity.subject)
        for _ in range(5):
            await asyncio.sleep(0)
        return True

    point = DecisionPoint(slow, ttl=10, key=by_subject)
    app = asgi(bare_asgi, signed_in(someone()), Require(decide=point))

    async def crowd() -> list[int]:
        answers = await asyncio.gather(*(call_asgi(app) for _ in range(50)))
        return [answer.status for answer in answers]

    assert asyncio.run(crowd()) == [200] * 50
    assert asked == ["ada"]


def test_both_colours() -> None:
    """`aask` is for event loops; without it an async `ask` is refused by a WSGI door."""

    async def aask(identity: Identity, request: Request) -> bool:
        return False

    both = Require(decide=DecisionPoint(Engine().ask, aask=aask))
    wsgi(Spec().wsgi(), both)
    assert exercise(signed_in(someone()), both).status == 200
    assert asyncio.run(call_asgi(asgi(bare_asgi, signed_in(someone()), both))).status == 403
    with pytest.raises(ConfigurationError, match="async"):
        wsgi(Spec().wsgi(), Require(decide=DecisionPoint(aask)))


def test_nonsense_is_no_answer() -> None:
    """Neither with `on_error="allow"`: it is the author's mistake."""
    point = DecisionPoint(lambda identity, request: "yes", on_error="allow")  # type: ignore[arg-type,return-value]
    with pytest.raises(MisuseError):
        ask(point)


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"ask": None}, "ask"),
        ({"ask": "x"}, "ask"),
        ({"ttl": 5}, "ttl"),
        ({"key": by_subject}, "ttl"),
        ({"ttl": -1, "key": by_subject}, "ttl"),
        ({"timeout": 0}, "timeout"),
        ({"on_error": "maybe"}, "on_error"),
        ({"max_entries": 0, "ttl": 1, "key": by_subject}, "max_entries"),
        ({"timout": 1}, "timout"),
    ],
)
def test_wrong_options(options: dict[str, Any], parameter: str) -> None:
    """Each is named."""
    with pytest.raises(ConfigurationError) as raised:
        DecisionPoint(**{"ask": Engine().ask, **options})
    assert list(raised.value.problems) == [parameter]
