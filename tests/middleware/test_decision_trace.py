"""What each policy decided, for those alone who may know."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from gatekit import (
    AccessLog,
    BodyLimit,
    ConfigurationError,
    Decision,
    DecisionTrace,
    RateLimit,
    Request,
    Response,
)
from gatekit._core.attempt import Attempt
from gatekit._core.decisions import note
from gatekit.testing import FakeIO, exercise
from gatekit.typing import Handler
from tests.conftest import Door
from tests.doors.spec import Spec
from tests.middleware.test_access_log import Log

KEY = b"k" * 32


def deciding(*decisions: Decision) -> Any:
    async def decide(request: Request, call_next: Handler) -> Response:
        for decision in decisions:
            note(request, decision)
        return await call_next(request)

    return decide


def test_a_token_shows_what_was_decided(door: Door) -> None:
    """In a structured field and in Server-Timing; the app never sees the token."""
    trace, spec = DecisionTrace(key=KEY), Spec()
    headers = {"x-gatekit-trace": trace.token()}
    answer = door(spec, trace, RateLimit("100/minute"), headers=headers)
    told = answer.headers["x-gatekit-trace"]
    assert told.startswith("rate-limit;decision=allow;reason=")
    timing = answer.headers["server-timing"]
    assert timing.startswith("total;dur=")
    assert 'rate-limit;desc="allow: ' in timing
    assert answer.headers["cache-control"] == "no-store"
    assert "x-gatekit-trace" not in spec.seen[0]["headers"]


def test_a_refusal_is_explained(door: Door) -> None:
    """Where it matters most: the answer is the refusal of a policy, or the app's failure."""
    trace = DecisionTrace(authorised=lambda request: True)
    limit = RateLimit("1/minute", key=lambda request: "one")
    door(Spec(), limit)
    answer = door(Spec(), trace, limit)
    assert answer.status == 429
    assert "decision=deny" in answer.headers["x-gatekit-trace"]
    failed = door(Spec(error=ValueError("boom")), trace)
    assert (failed.status, "server-timing" in failed.headers) == (500, True)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "1",
        "9999999999.",
        "9999999999." + "A" * 43,
        "9999999999." + "A" * 44,
        "99999999999999999999." + "A" * 43,
        "-1." + "A" * 43,
        "ü" * 54,
        "1_0." + "A" * 43,
    ],
)
def test_a_false_token_shows_nothing(token: str) -> None:
    """Nor is it handed on."""
    trace = DecisionTrace(key=KEY)
    answer = exercise(
        trace, deciding(Decision("a", "allow", "b")), headers={"x-gatekit-trace": token}
    )
    assert "x-gatekit-trace" not in answer.headers
    assert "server-timing" not in answer.headers
    assert answer.request is not None
    assert "x-gatekit-trace" not in answer.request.headers


def test_a_token_ends() -> None:
    """It is good for as long as was said, under the key that made it, and cannot be stretched."""
    now = [1_000.0]
    trace = DecisionTrace(key=KEY, clock=lambda: now[0])
    other = DecisionTrace(key=b"l" * 32, clock=lambda: now[0])
    token = trace.token(60)

    def is_traced(by: DecisionTrace, sent: str) -> bool:
        return "server-timing" in exercise(by, headers={"x-gatekit-trace": sent}).headers

    assert is_traced(trace, token)
    assert not is_traced(other, token)
    assert not is_traced(trace, f"9999.{token.partition('.')[2]}")
    now[0] += 59.9
    assert is_traced(trace, token)
    now[0] += 0.2
    assert not is_traced(trace, token)


def test_others_are_left_alone() -> None:
    """Without a token nothing is registered, and the response is not looked at."""
    answer = exercise(DecisionTrace(key=KEY, log=True), deciding(Decision("a", "allow", "b")))
    assert answer.request is not None
    assert answer.request._finish is None
    assert list(answer.headers) == ["content-type"]


def test_times_and_attempts() -> None:
    """Milliseconds, and what became of each attempt; where it went is not told."""
    io = FakeIO()

    async def proxied(request: Request, call_next: Handler) -> Response:
        io.advance(0.25)
        request.upstream_time = 0.125
        request.attempts = (Attempt("10.0.0.7", "reset", 0.0625), Attempt("10.0.0.8", 200, 0.125))
        return await call_next(request)

    trace = DecisionTrace(authorised=lambda request: True)
    timing = exercise(trace, proxied, io=io).headers["server-timing"]
    assert timing == (
        'total;dur=250.000, upstream;dur=125.000, attempt-1;dur=62.500;desc="reset", '
        'attempt-2;dur=125.000;desc="200"'
    )


def test_no_name_or_reason_breaks_a_field() -> None:
    """Whatever a policy is called, and however much was decided."""
    odd = [Decision('7 "a", b;c', "skip", 'quote " \\ line\r\nend ü'), Decision("", "allow", "")]
    trace = DecisionTrace(authorised=lambda request: True)
    told = exercise(trace, deciding(*odd)).headers["x-gatekit-trace"]
    assert told == (
        '*7-a-b-c;decision=skip;reason="quote \\" \\\\ line??end ?", *;decision=allow;reason=""'
    )
    many = exercise(trace, deciding(*[Decision("a", "allow", "b" * 100)] * 500))
    for name in ("x-gatekit-trace", "server-timing"):
        assert len(many.headers[name]) <= 3_010
        assert many.headers[name].endswith(", more")


def test_what_an_upstream_says_is_not_ours() -> None:
    """A field of that name is taken away; its Server-Timing stands before ours."""

    def app(request: Request) -> Response:
        return Response(200, {"x-gatekit-trace": "forged", "server-timing": "db;dur=1"})

    answer = exercise(DecisionTrace(authorised=lambda request: True), app=app)
    assert "x-gatekit-trace" not in answer.headers
    first, second = answer.headers.getlist("server-timing")
    assert (first, second.startswith("total;")) == ("db;dur=1", True)


def test_the_log_has_all_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """At the end, and without fields on the answer if so wished; the token is in no record."""
    trace = DecisionTrace(key=KEY, log=True, respond=False)
    log, token = Log(), trace.token()
    with caplog.at_level(logging.INFO, "gatekit.trace"):
        answer = exercise(
            AccessLog(log, log_headers=["x-gatekit-trace"]),
            trace,
            deciding(Decision("rate-limit", "allow", "within")),
            headers={"x-gatekit-trace": token},
        )
    assert "server-timing" not in answer.headers
    (record,) = caplog.records
    assert record.getMessage() == "traced: rate-limit allow"
    members = record.__dict__["gatekit"]
    assert members["decisions"] == [
        {"policy": "rate-limit", "decision": "allow", "reason": "within"}
    ]
    assert (members["status"], members["attempts"]) == (200, [])
    assert "headers" not in log.only or token not in str(log.only)


def test_all_wrong_options_are_named() -> None:
    """One error names every parameter that is wrong, and no key."""
    with pytest.raises(ConfigurationError) as caught:
        DecisionTrace(
            key=b"short",
            authorised=7,  # type: ignore[arg-type]
            header="a b",
            respond="no",  # type: ignore[arg-type]
            timing=1,  # type: ignore[arg-type]
            log=1,  # type: ignore[arg-type]
            clock=1,  # type: ignore[arg-type]
        )
    assert set(caught.value.problems) == {
        "key", "authorised", "header", "respond", "timing", "log", "clock",
    }  # fmt: skip
    assert "short" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="is needed"):
        DecisionTrace()
    with pytest.raises(ConfigurationError, match="there is none"):
        DecisionTrace(authorised=lambda request: True).token()
    with pytest.raises(ConfigurationError, match="seconds"):
        DecisionTrace(key=KEY).token(-1)


def test_a_body_limit_is_no_exception(door: Door) -> None:
    """What raises `Rejected` passes through it like any answer."""
    trace = DecisionTrace(authorised=lambda request: True)
    headers = {"content-length": "5"}
    answer = door(Spec(), trace, BodyLimit(1), method="POST", headers=headers, body=b"12345")
    assert (answer.status, "server-timing" in answer.headers) == (413, True)
