"""Trips shared by a real Redis: told once, learnt once, and harmless when it is away."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Generator
from typing import Any

import pytest

from gatekit import ConfigurationError, Outcome, Request, Response, asgi
from gatekit._core.io import block, resolve
from gatekit.middleware.circuit_breaker import CircuitBreaker
from gatekit.middleware.circuit_trips import RedisTrips
from gatekit.testing import Answer, FakeIO, call_asgi, exercise, make_request
from tests.doors.spec import Spec
from tests.redis_server import RedisServer, executable, redis_server
from tests.servers import ROOT

pytestmark = pytest.mark.skipif(executable() is None, reason="there is no Redis")

# A busy machine may be late; no test waits for it.
PATIENT = 2.0

OVER = Outcome("complete", status=200, duration=1.0)


async def answers(request: Request) -> Response:
    return Response(200)


@pytest.fixture(scope="module")
def shared() -> Generator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def redis(shared: RedisServer) -> RedisServer:
    shared.ask("FLUSHALL")
    shared.ask("CONFIG", "RESETSTAT")
    return shared


class Process:
    """One process's breaker, with a clock of its own."""

    def __init__(self, url: str, **options: Any) -> None:
        self.io = FakeIO()
        self.trips = RedisTrips(url, refresh=1.0, timeout=PATIENT)
        self.breaker = CircuitBreaker(
            "svc", consecutive_failures=1, trips=self.trips, clock=self.io.now, **options
        )

    def call(self, status: int = 200, **options: Any) -> Answer:
        return exercise(self.breaker, app=lambda _: Response(status), io=self.io, **options)

    def later(self, seconds: float = 1.0) -> None:
        """So much later, with a request to whom nothing matters."""
        self.io.advance(seconds)
        self.call()


def test_a_trip_opens_the_circuit_elsewhere(redis: RedisServer) -> None:
    """For as long as it is open there; and who learnt of it does not tell it on."""
    one, two = Process(redis.url), Process(redis.url)
    two.call()
    one.call(500)
    assert two.call().status == 200
    two.later()
    refused = two.call()
    assert refused.status == 503
    assert 9 <= int(refused.headers["retry-after"]) <= 12
    [status] = two.breaker.status()
    assert (status.state, status.reason) == ("open", "it opened in another process")
    assert redis.calls("zadd") == 1


def test_each_process_closes_by_itself(redis: RedisServer) -> None:
    """Its own probes tell, and a trip that is known is not taken over again."""
    one, two = Process(redis.url, ramp=0, probes=1), Process(redis.url, ramp=0, probes=1)
    two.call()
    one.call(500)
    two.later()
    two.io.advance(12.0)
    assert two.call().status == 200
    assert two.breaker.state() == "closed"
    two.later()
    assert two.breaker.state() == "closed"
    two.breaker.reset()
    two.later()
    assert two.call().status == 200


def test_a_reset_by_hand_stays_one(redis: RedisServer) -> None:
    """Where it opened, too: what is still known to the server opens nothing again."""
    one = Process(redis.url)
    one.call(500)
    one.breaker.reset()
    one.later()
    one.later()
    assert one.call().status == 200


def test_keys_are_told_apart_and_hashed(redis: RedisServer) -> None:
    """A tenant's name does not leave the process, and another tenant is not shut out."""
    options: dict[str, Any] = {"key": lambda request: request.headers.get("x-tenant")}
    one, two = Process(redis.url, **options), Process(redis.url, **options)
    for tenant in ("acme", "other"):
        two.call(headers={"x-tenant": tenant})
    one.call(500, headers={"x-tenant": "acme"})
    two.io.advance(1.0)
    two.call(headers={"x-tenant": "other"})
    assert two.call(headers={"x-tenant": "acme"}).status == 503
    assert two.call(headers={"x-tenant": "other"}).status == 200
    assert "acme" not in redis.ask("ZRANGE", "gatekit:trips:svc", "0", "-1")


def test_what_is_over_is_forgotten(redis: RedisServer) -> None:
    """The set lives no longer than the last trip in it."""
    one = Process(redis.url, open_for=100.0, jitter=0)
    one.call(500)
    lifetime = int(redis.ask("PTTL", "gatekit:trips:svc").splitlines()[0].removeprefix(":"))
    assert 0 < lifetime <= 100_000


def test_requests_ask_once_in_a_while(redis: RedisServer) -> None:
    """A hundred requests within `refresh` seconds are one round trip, and it is after an answer."""
    one = Process(redis.url)
    for _ in range(100):
        one.call()
    assert redis.calls("eval") == 1


def test_long_answers_that_end_together_are_one_exchange(redis: RedisServer) -> None:
    """It was due when each of them began; when they end, one has asked already."""
    one = Process(redis.url)
    requests = [make_request(io=one.io) for _ in range(20)]
    for request in requests:
        block(one.breaker(request, answers))
    for request in requests:
        for callback in request._finish or ():
            block(resolve(callback(OVER)))
    assert redis.calls("eval") == 1


def test_under_asgi_it_is_awaited(redis: RedisServer) -> None:
    """The asyncio client tells and learns within the event loop."""
    one = CircuitBreaker(
        "svc", consecutive_failures=1, trips=RedisTrips(redis.url, timeout=PATIENT)
    )
    two = CircuitBreaker("svc", trips=RedisTrips(redis.url, refresh=1e-9, timeout=PATIENT))

    async def main() -> None:
        await call_asgi(asgi(Spec(status=500).asgi(), one))
        app = asgi(Spec().asgi(), two)
        await call_asgi(app)
        assert (await call_asgi(app)).status == 503
        for breaker in (one, two):
            for part in breaker.gatekit_parts():
                assert isinstance(part, RedisTrips)
                await part.aclose()

    asyncio.run(main())


def test_another_process_learns(redis: RedisServer) -> None:
    """Over the border of a process, for real."""
    Process(redis.url).call(500)
    script = """
import sys
from gatekit.middleware.circuit_breaker import CircuitBreaker
from gatekit.middleware.circuit_trips import RedisTrips
from gatekit.testing import exercise
breaker = CircuitBreaker("svc", trips=RedisTrips(sys.argv[1], timeout=2.0))
print(exercise(breaker).status, exercise(breaker).status)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, redis.url],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert done.stdout.split() == ["200", "503"]


def test_without_the_server_each_is_on_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """Requests are answered, circuits open and close, and the log says so once."""
    with redis_server() as server:
        one = Process(server.url, ramp=0, probes=1, jitter=0)
        one.call()
        server.kill()
        one.later()
        assert one.call(500).status == 500
        assert one.call().status == 503
        one.io.advance(10.0)
        assert one.call().status == 200
        one.later(60.0)
        assert caplog.text.count("does not answer") == 1
        server.start()
        one.later(60.0)
        assert caplog.text.count("answers again") == 1


def test_an_open_circuit_learns_nothing_new(redis: RedisServer) -> None:
    """Whoever is open by itself stays so for its own time."""
    one, two = Process(redis.url, open_for=100.0, jitter=0), Process(redis.url, jitter=0)
    two.call()
    one.call(500)
    two.io.advance(0.5)
    two.call(500)
    two.later()
    assert two.breaker.status()[0].reason == "failures in a row: 1"


def test_a_class_of_ones_own_will_do(caplog: pytest.LogCaptureFixture) -> None:
    """What tells and learns is a protocol; here it is a dictionary, and then it breaks."""

    class Local:
        refresh, timeout = 1.0, 1.0

        def __init__(self) -> None:
            self.ends: dict[str, tuple[int, float]] = {}

        def mark(self, key: str | None) -> str:
            return key or ""

        def tell(self, name: str, mark: str, seconds: float) -> int:
            self.ends[mark] = (1, seconds)
            return 1

        async def atell(self, name: str, mark: str, seconds: float) -> int:
            return self.tell(name, mark, seconds)

        def learn(self, name: str) -> dict[str, tuple[int, float]]:
            return self.ends

        async def alearn(self, name: str) -> dict[str, tuple[int, float]]:
            return self.ends

    local, io = Local(), FakeIO()
    caplog.set_level(logging.INFO, "gatekit")

    def app(_: Request) -> Response:
        return Response(500)

    one = CircuitBreaker("svc", consecutive_failures=1, trips=local, clock=io.now)
    two = CircuitBreaker("svc", trips=local, clock=io.now)
    exercise(one, app=app, io=io)
    exercise(two, io=io)
    assert exercise(two, io=io).status == 503


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"url": "http://localhost"}, "url"),
        ({"url": 7}, "url"),
        ({"refresh": 0}, "refresh"),
        ({"timeout": -1}, "timeout"),
        ({"secret": b"short"}, "secret"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], name: str) -> None:
    """At construction, and those of the breaker too."""
    with pytest.raises(ConfigurationError) as caught:
        RedisTrips(**{"url": "redis://localhost", **options})
    assert list(caught.value.problems) == [name]
    unfit: Any = "redis://localhost"
    with pytest.raises(ConfigurationError) as caught:
        CircuitBreaker(trips=unfit)
    assert list(caught.value.problems) == ["trips"]
