"""Counting in a real Redis: exact among processes, one round trip, nothing readable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from math import inf
from typing import Any

import pytest

from gatekit import ConfigurationError, Request, asgi
from gatekit.limits import Limit, RedisStore, keys
from gatekit.middleware.rate_limit import RateLimit
from gatekit.testing import Answer, call_asgi, exercise
from tests.hammer import bare_asgi, hammer
from tests.redis_server import RedisServer, executable, free_port, redis_server, version

pytestmark = pytest.mark.skipif(executable() is None, reason="there is no Redis")


@pytest.fixture(scope="module")
def shared() -> Generator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def redis(shared: RedisServer) -> RedisServer:
    """Empty, with no script, and with nothing counted."""
    shared.ask("FLUSHALL")
    shared.ask("SCRIPT", "FLUSH")
    shared.ask("CONFIG", "RESETSTAT")
    return shared


@pytest.fixture
def own() -> Generator[RedisServer]:
    """One that a test may kill."""
    with redis_server() as server:
        yield server


@pytest.mark.parametrize("colour", ["wsgi", "asgi"])
@pytest.mark.parametrize("algorithm", ["gcra", "fixed-window", "sliding-window"])
def test_eight_processes_admit_exactly_the_limit(
    redis: RedisServer, algorithm: str, colour: Any
) -> None:
    """Through one server, in either colour: not one more and not one less."""
    limit = "100/day;150/month"
    assert hammer(redis.url, limit, algorithm, colour, processes=8, each=30) == 100


@pytest.mark.parametrize("colour", ["wsgi", "asgi"])
def test_one_round_trip(redis: RedisServer, colour: str) -> None:
    """One EVALSHA a request, three limits in it, and one EVAL for the first of all."""
    policy = RateLimit("100/minute;1000/hour;5000/day", store=RedisStore(redis.url, timeout=5))
    if colour == "wsgi":
        for _ in range(20):
            assert exercise(policy).status == 200
        policy.close()
    else:
        asyncio.run(flood(policy, 20))
    assert (redis.calls("evalsha"), redis.calls("eval")) == (20, 1)
    others = {"multi", "exec", "watch", "incr", "expire", "script|load", "evalsha_ro", "mget"}
    assert [name for name in others if redis.calls(name)] == []


async def flood(policy: RateLimit, count: int) -> list[Answer]:
    application = asgi(bare_asgi, policy)
    answers = [await call_asgi(application) for _ in range(count)]
    await policy.aclose()
    return answers


def test_a_script_that_is_lost_is_sent_again(redis: RedisServer) -> None:
    """A server that was told to forget its scripts counts on; nobody notices."""
    policy = RateLimit("2/hour", store=RedisStore(redis.url, timeout=5))
    answers = [exercise(policy)]
    redis.ask("SCRIPT", "FLUSH")
    answers += [exercise(policy) for _ in range(2)]
    policy.close()
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert not any("x-ratelimit-degraded" in answer.headers for answer in answers)


def test_no_key_leaves_the_process_readable(redis: RedisServer) -> None:
    """Neither an address nor a token is in the server; another secret makes another key."""
    for secret in (b"", b"sixteen bytes or more"):
        store = RedisStore(redis.url, timeout=5, secret=secret)
        policy = RateLimit("2/hour", store=store, key=keys.header("authorization"))
        exercise(policy, headers={"authorization": "Bearer hush"})
        policy.close()
    listed = redis.ask("KEYS", "*")
    assert listed.count("gatekit:") == 2
    assert "hush" not in listed


def test_buckets_expire_on_the_server(redis: RedisServer) -> None:
    """Every key has a time to live, no longer than it says anything."""
    store = RedisStore(redis.url, timeout=5)
    for algorithm in ("gcra", "fixed-window", "sliding-window"):
        exercise(RateLimit("100/minute", algorithm=algorithm, store=store))
    store.close()
    listed = [line for line in redis.ask("KEYS", "*").splitlines() if line.startswith("gatekit:")]
    lives = [int(redis.ask("PTTL", key).splitlines()[0][1:]) for key in listed]
    assert len(lives) == 3
    assert all(0 < life <= 120_000 for life in lives)
    assert min(lives) <= 600


def test_reset_and_peek(redis: RedisServer) -> None:
    """One key or a whole policy, in both colours, and no other policy's."""
    store = RedisStore(redis.url, timeout=5)
    one, other = (RateLimit("1/hour", store=store, name=name) for name in ("one", "one-more"))
    assert [exercise(policy).status for policy in (one, other, one)] == [200, 200, 429]
    assert one.peek("127.0.0.1")["1-per-hour"].remaining == 0
    one.reset()
    assert [exercise(policy).status for policy in (one, other)] == [200, 429]
    one.reset("127.0.0.1")
    assert exercise(one).status == 200

    async def main() -> None:
        await one.areset()
        assert (await one.apeek("127.0.0.1"))["1-per-hour"].remaining == 1
        assert (await other.apeek("127.0.0.1"))["1-per-hour"].remaining == 0
        await store.aclose()

    asyncio.run(main())


def test_several_loops_have_a_client_each(redis: RedisServer) -> None:
    """One store under one loop after another counts on."""
    policy = RateLimit("2/hour", store=RedisStore(redis.url, timeout=5))
    statuses = [asyncio.run(flood(policy, 1))[0].status for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_more_requests_than_connections_take_turns(redis: RedisServer) -> None:
    """With two connections, two hundred requests at once are all counted."""
    store = RedisStore(redis.url, timeout=20, max_connections=2)
    policy = RateLimit("150/day", store=store, on_store_error="deny")

    async def main() -> list[int]:
        application = asgi(bare_asgi, policy)
        answers = await asyncio.gather(*(call_asgi(application) for _ in range(200)))
        await policy.aclose()
        return [answer.status for answer in answers]

    statuses = asyncio.run(main())
    assert (statuses.count(200), statuses.count(429)) == (150, 50)


@pytest.mark.parametrize("colour", ["wsgi", "asgi"])
def test_a_cluster(colour: str) -> None:
    """All limits of one key lie in one slot, so that a cluster takes them in one step."""
    if version() < (7,):
        pytest.skip("it cannot be told the port for the other nodes, which may then be none")
    # It is 10000 further on unless told otherwise: that may be no port.
    with redis_server("--cluster-enabled", "yes", "--cluster-port", str(free_port())) as server:
        server.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        until = time.monotonic() + 10
        while "cluster_state:ok" not in server.ask("CLUSTER", "INFO"):
            assert time.monotonic() < until
        store = RedisStore(f"redis+cluster://127.0.0.1:{server.port}", timeout=10)
        policy = RateLimit("2/hour;5/day", store=store, on_store_error="deny")
        if colour == "wsgi":
            statuses = [exercise(policy).status for _ in range(3)]
            policy.close()
        else:
            statuses = [answer.status for answer in asyncio.run(flood(policy, 3))]
    assert statuses == [200, 200, 429]


def test_limits_with_keys_of_their_own_do_not_work_on_a_cluster() -> None:
    """Which is said at construction."""
    with pytest.raises(ConfigurationError, match="several RateLimits"):
        RateLimit([Limit("1/hour", key=keys.tenant)], store="redis+cluster://127.0.0.1:1")


@pytest.mark.parametrize("colour", ["wsgi", "asgi"])
def test_sentinel(own: RedisServer, colour: str, tmp_path: Any) -> None:
    """The primary is asked for by its name."""
    config = tmp_path / "sentinel.conf"
    config.write_text(f"sentinel monitor shop 127.0.0.1 {own.port} 1\n")
    with redis_server("--sentinel", words=(str(config),)) as sentinel:
        store = RedisStore(f"redis+sentinel://127.0.0.1:{sentinel.port}/shop", timeout=10)
        policy = RateLimit("2/hour", store=store, on_store_error="deny")
        if colour == "wsgi":
            statuses = [exercise(policy).status for _ in range(3)]
            policy.close()
        else:
            statuses = [answer.status for answer in asyncio.run(flood(policy, 3))]
    assert statuses == [200, 200, 429]


@pytest.mark.parametrize(
    ("url", "options", "named"),
    [
        ("http://localhost", {}, "url"),
        ("redis+sentinel://localhost", {}, "url"),
        ("redis+cluster://", {}, "url"),
        ("unix://", {}, "url"),
        ("redis://localhost", {"timeout": -1}, "timeout"),
        ("redis://localhost", {"timeout": inf}, "timeout"),
        ("redis://localhost", {"prefix": "a*"}, "prefix"),
        ("redis://localhost", {"secret": "text"}, "secret"),
        ("redis://localhost", {"max_connections": 0}, "max_connections"),
    ],
)
def test_a_wrong_option_is_named(url: str, options: Any, named: str) -> None:
    """At construction, by its parameter; a password in the URL is never shown."""
    with pytest.raises(ConfigurationError) as caught:
        RedisStore(url, **options)
    assert list(caught.value.problems) == [named]
    assert "hush" not in repr(RedisStore("redis://:hush@localhost:6379/1"))


def test_a_request_is_never_hung_by_a_name_in_the_way(redis: RedisServer) -> None:
    """What lies under our keys and is no state of ours is trouble of the store, and no 500."""
    policy = RateLimit("2/hour", store=RedisStore(redis.url, timeout=5), on_store_error="allow")
    exercise(policy)
    [key] = [line for line in redis.ask("KEYS", "*").splitlines() if line.startswith("gatekit:")]
    redis.ask("DEL", key)
    redis.ask("LPUSH", key, "x")

    async def seen(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    answer = exercise(seen, policy)
    policy.close()
    assert (answer.status, answer.headers["x-ratelimit-degraded"]) == (200, "allow")
