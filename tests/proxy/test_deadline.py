"""One budget of time for a request: through attempts and pauses, and on to the upstream."""

from __future__ import annotations

from typing import Any

import pytest

from gatekit import ConfigurationError, Proxy, Request, Response, Timeout, Timeouts
from gatekit._core.time_left import field_for, seconds_in
from gatekit.errors import UpstreamError
from gatekit.proxy.attempts.retry import Retry
from gatekit.proxy.clusters.cluster import Cluster
from gatekit.proxy.transport.exchange import UpstreamRequest, UpstreamResponse
from gatekit.proxy.transport.origin import Origin
from gatekit.testing import FakeIO, exercise
from tests.proxy.scripted import NoChance, asked, cluster, is_at_rest, scripted


class Slow:
    """A transport every attempt of which takes `seconds` of a clock that is advanced by hand."""

    def __init__(self, io: FakeIO, seconds: float) -> None:
        self.io = io
        self.seconds = seconds
        self.limits: list[tuple[float | None, float | None]] = []

    def send(
        self, origin: Origin, request: UpstreamRequest, timeouts: Timeouts, deadline: float | None
    ) -> UpstreamResponse[Any]:
        left = None if deadline is None else round(deadline - self.io.now(), 6)
        self.limits.append((left, None if timeouts.total is None else round(timeouts.total, 6)))
        if left is not None and left < self.seconds:
            self.io.advance(left)
            raise UpstreamError("total_timeout", "late")
        self.io.advance(self.seconds)
        return UpstreamResponse(503, [])

    async def asend(self, *arguments: Any) -> Any:
        raise NotImplementedError


def send(io: FakeIO, transport: Any, *middlewares: Any, **options: Any) -> Any:
    described = Cluster("c", destinations=["http://a", "http://b"], transport=transport, **options)
    answer = exercise(*middlewares, app=Proxy(described), io=io)
    assert is_at_rest(described)
    return answer


def test_no_pause_runs_into_the_deadline() -> None:
    """An answer in time is better than a retry that would be late."""
    io = FakeIO()
    transport = Slow(io, 0.99)
    retry = Retry(5, backoff=0.1, chance=NoChance())
    answer = send(io, transport, Timeout(1.0), retry=retry)
    assert (answer.status, len(transport.limits), io.slept) == (503, 1, [])
    assert answer.request.decisions[-1].reason == "the deadline would be over"


def test_each_attempt_has_what_is_left() -> None:
    """Retries do not lengthen a deadline; the last attempt ends with it, as a 504."""
    io = FakeIO()
    transport = Slow(io, 0.4)
    retry = Retry(5, backoff=0.0, max_backoff=0.0)
    answer = send(io, transport, Timeout(1.0), retry=retry)
    assert [left for left, _ in transport.limits] == [1.0, 0.6, 0.2]
    assert (answer.status, answer.request.upstream_error.stage) == (504, "total_timeout")


def test_an_attempt_has_a_limit_of_its_own() -> None:
    """And what is over is the attempt, which may be followed by another one."""
    io = FakeIO()
    transport = Slow(io, 9.0)
    retry = Retry(1, per_try_timeout=0.3, backoff=0.0, max_backoff=0.0)
    answer = send(io, transport, retry=retry)
    assert [left for left, _ in transport.limits] == [0.3, 0.3]
    assert (answer.status, answer.request.upstream_error.stage) == (504, "attempt_timeout")
    assert [attempt.result for attempt in answer.request.attempts] == ["attempt_timeout"] * 2
    answer = send(io, transport, Timeout(0.2), retry=retry)
    assert answer.request.upstream_error.stage == "total_timeout"


def test_the_total_shrinks_with_each_attempt() -> None:
    """So that the body of the last answer ends in time as well."""
    io = FakeIO()
    transport = Slow(io, 0.4)
    retry = Retry(2, backoff=0.0, max_backoff=0.0)
    send(io, transport, retry=retry, timeouts=Timeouts(total=1.0))
    assert [total for _, total in transport.limits] == [1.0, 0.6, 0.2]


def test_the_upstream_is_told_what_is_left() -> None:
    """Anew with each attempt; what the client said is replaced, and nothing said without one."""
    io = FakeIO()

    def slow() -> Response:
        io.advance(0.25)
        return Response.text("", 503)

    for name, said in [("X-Request-Timeout", ["2.000", "1.737"]), ("grpc-timeout", None)]:
        transport = scripted(a=[slow], b=[200])
        proxy = Proxy(cluster(transport), deadline_header=name)
        headers = {name: "9"}
        exercise(Timeout(2.0), app=proxy, io=io, headers=headers)
        values = [sent.headers.getlist(name) for sent in transport.requests]
        expected = said or ["2000m", "1737m"]
        assert values == [[expected[0]], [expected[1]]]
    transport = scripted(a=[200], b=[200])
    exercise(app=Proxy(cluster(transport), deadline_header="x-request-timeout"), io=io)
    assert "x-request-timeout" not in transport.requests[0].headers


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({}, 10.0),
        ({"x-request-timeout": "2.5"}, 2.5),
        ({"x-request-timeout": "60"}, 10.0),
        ({"grpc-timeout": "300m"}, 0.3),
        ({"grpc-timeout": "1M"}, 10.0),
        ({"x-request-timeout": "3", "grpc-timeout": "2S"}, 2.0),
        ({"x-request-timeout": "0"}, 10.0),
        ({"x-request-timeout": "-1"}, 10.0),
        ({"x-request-timeout": "1e-3"}, 10.0),
        ({"x-request-timeout": "inf"}, 10.0),
        ({"x-request-timeout": "٣"}, 10.0),
        ({"grpc-timeout": "3"}, 10.0),
        ({"grpc-timeout": "123456789m"}, 10.0),
    ],
)
def test_a_client_may_ask_for_less(fields: dict[str, str], left: float) -> None:
    """Never for more; and what is no time is ignored."""
    io = FakeIO()
    seen: list[float | None] = []

    def app(request: Request) -> Response:
        seen.append(None if request.deadline is None else round(request.deadline - io.now(), 9))
        return Response.text("ok")

    encoded = [(name, value.encode().decode("latin-1")) for name, value in fields.items()]
    timeout = Timeout(10.0, accept=["X-Request-Timeout", "grpc-timeout"])
    exercise(timeout, app=app, io=io, headers=encoded)
    exercise(Timeout(10.0), app=app, io=io, headers=encoded)
    assert seen == [left, 10.0]


def test_a_route_without_a_deadline() -> None:
    """`Timeout(None)` lifts what was set further out, and what is late there is not replaced."""
    io = FakeIO()

    def late(request: Request) -> Response:
        assert request.deadline is None
        io.advance(60.0)
        return Response.text("at last")

    assert exercise(Timeout(1.0), Timeout(None), app=late, io=io).text == "at last"
    with pytest.raises(ConfigurationError, match="accept"):
        Timeout(None, accept=["grpc-timeout"])
    with pytest.raises(ConfigurationError, match="accept"):
        Timeout(1.0, accept="grpc-timeout")


@pytest.mark.parametrize("seconds", [0.001, 0.25, 1.0, 3_599.999, 90_000.0])
def test_what_is_written_can_be_read(seconds: float) -> None:
    """In both notations, to the millisecond."""
    for name in ("x-request-timeout", "grpc-timeout"):
        read = seconds_in(name, field_for(name.encode(), seconds).decode())
        assert read == pytest.approx(seconds, abs=0.0011)


def test_a_deadline_that_is_over_sends_nothing_more() -> None:
    """Whatever the policy says, a pause that ends after it is not begun."""
    io = FakeIO()
    transport = scripted(a=[503], b=[200])
    proxy = Proxy(cluster(transport, retry=Retry(3, chance=NoChance())))

    def run(request: Request) -> Any:
        request.deadline = io.now() + 0.001
        return proxy(request)

    assert exercise(app=run, io=io).status == 503
    assert asked(transport) == "a"
