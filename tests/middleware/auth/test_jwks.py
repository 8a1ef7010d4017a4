"""Keys from an issuer's URL: fetched once, kept fresh, and kept while the issuer is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from gatekit import JWKS, BearerAuth, Response, UpstreamError
from gatekit._core.io import IO, AsyncIO, BlockingIO, block
from gatekit.middleware.auth._challenges import AuthenticationUnavailable
from gatekit.middleware.auth._keys import Key
from gatekit.testing import FakeIO, exercise, upstream
from gatekit.testing.upstreams import Sent
from tests.middleware.auth.tokens import ISSUER, bearer, clock, jwk, private_key, token

URL = f"{ISSUER}/jwks"


class Issuer:
    """An issuer that publishes `keys`, or answers with `answer`, or raises `error`."""

    def __init__(self, *keys: dict[str, object], **fields: str) -> None:
        self.keys = list(keys)
        self.fields = fields
        self.answer: Response | None = None
        self.error: UpstreamError | None = None
        self.transport = upstream(self._respond)

    def _respond(self, sent: Sent) -> Response:
        if self.error is not None:
            raise self.error
        if self.answer is not None:
            return self.answer
        return Response.json({"keys": self.keys}, headers=self.fields)

    @property
    def asked(self) -> list[str]:
        return [sent.target for sent in self.transport.requests]

    def jwks(self, **options: Any) -> JWKS:
        return JWKS(URL, transport=self.transport, **options)


@pytest.fixture
def made() -> Any:
    """Closes what a test has made, for it may have a thread."""
    parts: list[JWKS] = []

    def make(issuer: Issuer, **options: Any) -> JWKS:
        parts.append(issuer.jwks(**options))
        return parts[-1]

    yield make
    for part in parts:
        part.close()


Make = Callable[..., JWKS]


def find(keys: JWKS, io: IO, kid: str | None = "a", algorithm: str = "ES256") -> list[Key]:
    return block(keys.find(io, kid, algorithm))


AWAY = UpstreamError("connect", "refused")


def test_keys_are_fetched_when_first_asked_for(made: Make) -> None:
    """Not at construction; then never again for a key that is known."""
    issuer, io = Issuer(jwk("ES256", "a")), FakeIO()
    keys = made(issuer)
    assert issuer.asked == []
    for _ in range(3):
        [key] = find(keys, io)
        assert key.kid == "a"
    assert issuer.asked == ["/jwks"]


def test_a_thousand_first_requests_cause_one_fetch(made: Make) -> None:
    """Those on one loop wait for the same answer."""
    issuer = Issuer(jwk("ES256", "a"))
    keys = made(issuer)

    async def run() -> list[list[Key]]:
        io = AsyncIO()
        return await asyncio.gather(*(keys.find(io, "a", "ES256") for _ in range(1000)))

    found = asyncio.run(run())
    assert len(found) == 1000
    assert all(found)
    assert issuer.asked == ["/jwks"]


def test_threads_that_come_first_cause_one_fetch(made: Make) -> None:
    """Under WSGI too: one asks, the others block until it has its answer."""
    issuer, together = Issuer(jwk("ES256", "a")), Barrier(20)
    keys = made(issuer)

    def first(_: int) -> bool:
        together.wait(10)
        return bool(find(keys, BlockingIO()))

    with ThreadPoolExecutor(20) as threads:
        assert all(threads.map(first, range(20)))
    assert issuer.asked == ["/jwks"]


def test_a_thousand_invented_ids_cause_one_fetch(made: Make) -> None:
    """One after the other and all at once; the known key is there all the while."""
    issuer, io = Issuer(jwk("ES256", "a")), FakeIO()
    keys = made(issuer)
    assert find(keys, io)
    assert not any(find(keys, io, f"invented-{number}") for number in range(1000))
    assert len(issuer.asked) == 2
    assert find(keys, io)

    async def run() -> None:
        port = AsyncIO()
        await asyncio.gather(*(keys.find(port, f"x{number}", "ES256") for number in range(1000)))

    issuer = Issuer(jwk("ES256", "a"))
    keys = made(issuer)
    asyncio.run(run())
    assert len(issuer.asked) <= 2


def test_a_new_key_is_found_at_once_and_then_after_the_cooldown(made: Make) -> None:
    """Rotation with overlap: both keys are good, and the second new one waits at most so long."""
    issuer, io = Issuer(jwk("ES256", "a")), FakeIO()
    keys = made(issuer, cooldown=30.0)
    find(keys, io)
    issuer.keys.append(jwk("ES256", "b", 2))
    assert find(keys, io, "b")
    assert find(keys, io, "a")
    issuer.keys.append(jwk("ES256", "c", 3))
    assert not find(keys, io, "c")
    io.advance(30.0)
    assert find(keys, io, "c")
    assert len(issuer.asked) == 3


def test_an_id_that_nobody_knows_is_not_asked_about_again(made: Make) -> None:
    """For a minute, however often it comes; other ids are free to be asked about."""
    issuer, io = Issuer(jwk("ES256", "a")), FakeIO()
    keys = made(issuer, cooldown=1.0)
    find(keys, io)
    for _ in range(20):
        assert not find(keys, io, "gone")
        io.advance(2.0)
    assert len(issuer.asked) == 2
    assert not find(keys, io, "other")
    assert len(issuer.asked) == 3
    io.advance(60.0)
    assert not find(keys, io, "gone")
    assert len(issuer.asked) == 4


def test_what_is_remembered_of_unknown_ids_is_bounded(made: Make) -> None:
    """Ten thousand of them take the place of a thousand."""
    issuer, io = Issuer(jwk("ES256", "a")), FakeIO()
    keys = made(issuer, cooldown=0.001)
    find(keys, io)
    for number in range(3000):
        io.advance(0.01)
        find(keys, io, f"k{number}")
    assert len(keys._unknown) == 1000


def test_an_issuer_that_was_never_there_is_a_503_and_left_alone(made: Make) -> None:
    """Nobody waits for it again before `failure_cooldown` is over."""
    issuer, io = Issuer(jwk("ES256", "a")), FakeIO()
    issuer.error = AWAY
    keys = made(issuer, failure_cooldown=5.0)
    for _ in range(10):
        with pytest.raises(AuthenticationUnavailable) as away:
            find(keys, io)
        assert (away.value.status, away.value.headers) == (503, [("retry-after", "5")])
    assert len(issuer.asked) == 1
    issuer.error = None
    io.advance(5.0)
    assert find(keys, io)


def test_keys_stay_while_the_issuer_is_away(made: Make) -> None:
    """For `stale_for` after they were fresh; a key that is known is not waited for."""
    issuer, io = Issuer(jwk("ES256", "a")), FakeIO()
    keys = made(issuer, ttl=600.0, stale_for=3600.0)
    find(keys, io)
    issuer.error = AWAY
    io.advance(600 + 3599)
    assert find(keys, io)
    assert len(issuer.asked) == 1
    io.advance(1)
    with pytest.raises(AuthenticationUnavailable):
        find(keys, io)


@pytest.mark.parametrize(
    "answer",
    [
        Response(500),
        Response(302, {"location": "https://eve.example/jwks"}),
        Response(301, {"location": "/jwks2"}),
        Response(204),
        Response.text("<html>"),
        Response.text(""),
        Response.json([]),
        Response.json({}),
        Response.json({"keys": {}}),
        Response.json({"keys": []}),
        Response.json({"keys": [{"kty": "EC"}, 7, None, {"kty": []}, {"kty": {}, "kid": {}}]}),
        Response.json({"keys": [jwk("ES256", "b", use="enc")]}),
        Response.json({"keys": [jwk("ES256", "b"), {"kty": "oct", "k": "QUJD" * 20}]}),
        Response.json({"keys": [jwk("ES256", str(number)) for number in range(101)]}),
        Response.text("[" * 100_000),
        Response.text('{"keys":' + "[" * 5000 + "]" * 5000 + "}"),
        Response(200, {}, b" " * 300_000),
        Response(200, {}, [b" " * 100_000] * 1000),
    ],
    ids=range(18),
)
def test_garbage_replaces_nothing(made: Make, answer: Response) -> None:
    """A redirect, an error, what is huge or no JSON, and a set without a usable key."""
    issuer, io = Issuer(jwk("ES256", "a")), FakeIO()
    keys = made(issuer)
    issuer.answer = answer
    with pytest.raises(AuthenticationUnavailable):
        find(keys, io)
    assert len(issuer.asked) == 1
    issuer.answer = None
    io.advance(10.0)
    assert find(keys, io)
    issuer.answer = answer
    assert not find(keys, io, "b")
    assert find(keys, io)


def test_a_shared_secret_at_a_url_is_no_key(made: Make) -> None:
    """Everybody could read it, and so sign with it."""
    issuer = Issuer({"kty": "oct", "k": "QUJD" * 20, "kid": "a"})
    with pytest.raises(AuthenticationUnavailable):
        find(made(issuer), FakeIO(), algorithm="HS256")


@pytest.mark.parametrize(
    ("fields", "ttl"),
    [
        ({}, 600.0),
        ({"cache-control": "max-age=900"}, 900.0),
        ({"cache-control": 'public, max-age="900"', "age": "100"}, 800.0),
        ({"cache-control": "max-age=5"}, 60.0),
        ({"cache-control": "max-age=999999"}, 3600.0),
        ({"cache-control": "no-store"}, 60.0),
        ({"cache-control": "no-cache, max-age=900"}, 60.0),
        ({"cache-control": "max-age=x"}, 600.0),
        ({"cache-control": f"max-age={'9' * 40}"}, 600.0),
        (
            {
                "date": "Tue, 01 Sep 2026 10:00:00 GMT",
                "expires": "Tue, 01 Sep 2026 10:20:00 GMT",
            },
            1200.0,
        ),
        ({"date": "x", "expires": "0"}, 600.0),
    ],
)
def test_freshness_is_what_the_answer_says(made: Make, fields: Any, ttl: float) -> None:
    """RFC 9111 §4.2, between `min_ttl` and `max_ttl`."""
    keys = made(Issuer(jwk("ES256", "a"), **fields))
    find(keys, FakeIO())
    assert keys._known is not None
    assert keys._known.ttl == ttl


def test_keys_are_fetched_anew_beside_the_requests(made: Make) -> None:
    """Before they are old, while requests go on with those that are known."""
    issuer, again = Issuer(jwk("ES256", "a")), asyncio.Event()
    keys = made(issuer, ttl=0.02, min_ttl=0.01)

    def answer(sent: Sent) -> Response:
        if len(issuer.asked) == 3:
            again.set()
        return Response.json({"keys": issuer.keys})

    async def run() -> None:
        io = AsyncIO()
        assert await keys.find(io, "a", "ES256")
        issuer.keys = [jwk("ES256", "b", 2)]
        issuer.transport._function = answer
        async with asyncio.timeout(10):
            await again.wait()
        assert await keys.find(io, "b", "ES256")
        await keys.aclose()

    asyncio.run(run())
    assert keys.version == 1


def test_what_a_removed_key_had_signed_is_verified_anew(made: Make) -> None:
    """The memory of tokens does not outlive the key."""
    issuer, io = Issuer(jwk("ES256", "a"), jwk("ES256", "b", 2)), FakeIO()
    keys = made(issuer)
    auth = BearerAuth(jwks=keys, algorithms=["ES256"], issuer=ISSUER, audience="api", clock=clock)
    old = bearer(token(private_key("ES256"), "ES256", {"kid": "a"}))
    new = bearer(token(private_key("ES256", 2), "ES256", {"kid": "b"}))
    assert [exercise(auth, headers=each, io=io).status for each in (old, new)] == [200, 200]
    issuer.keys.pop(0)
    assert exercise(auth, headers=old, io=io).status == 200
    find(keys, io, "c")
    assert [exercise(auth, headers=each, io=io).status for each in (old, new)] == [401, 200]


def test_tokens_without_an_id_are_tried_with_every_key(made: Make) -> None:
    """Those that fit the algorithm."""
    issuer = Issuer(jwk("ES256", "a"), jwk("ES256", "b", 2), jwk("RSA", "c"))
    keys = made(issuer)
    auth = BearerAuth(jwks=keys, algorithms=["ES256"], issuer=ISSUER, audience="api", clock=clock)
    for number, status in ((0, 200), (2, 200), (5, 401)):
        text = token(private_key("ES256", number), "ES256")
        assert exercise(auth, headers=bearer(text)).status == status


def test_a_new_key_is_looked_for_without_an_id_too(made: Make) -> None:
    """Where none of the known ones has signed, once for each cooldown."""
    issuer, io = Issuer(jwk("ES256", "a")), FakeIO()
    auth = BearerAuth(
        jwks=made(issuer), algorithms=["ES256"], issuer=ISSUER, audience="api", clock=clock
    )
    assert exercise(auth, headers=bearer(token(private_key("ES256"), "ES256")), io=io).status == 200
    issuer.keys = [jwk("ES256", "b", 2)]
    new = bearer(token(private_key("ES256", 2), "ES256"))
    assert exercise(auth, headers=new, io=io).status == 200
    for number in range(100):
        forged = token(private_key("ES256", 5), "ES256", jti=str(number))
        assert exercise(auth, headers=bearer(forged), io=io).status == 401
    assert len(issuer.asked) == 2


def test_what_would_be_refused_anyway_causes_no_fetch(made: Make) -> None:
    """A token of another issuer, or one that has expired, is not worth a key."""
    issuer = Issuer(jwk("ES256", "a"))
    auth = BearerAuth(
        jwks=made(issuer), algorithms=["ES256"], issuer=ISSUER, audience="api", clock=clock
    )
    signed = private_key("ES256")
    for changes in ({"iss": "https://eve.example"}, {"exp": 1}, {"aud": "x"}):
        assert exercise(auth, headers=bearer(token(signed, "ES256", **changes))).status == 401
    assert issuer.asked == []


def test_only_pinned_keys_count(made: Make) -> None:
    """By their thumbprint; a set without any of them is no set."""
    issuer, io = Issuer(jwk("ES256", "a"), jwk("ES256", "b", 2)), FakeIO()
    pinned = Key.from_jwk(jwk("ES256", "b", 2)).thumbprint
    keys = made(issuer, fingerprints=[pinned])
    assert not find(keys, io, "a")
    assert find(keys, io, "b")
    issuer.keys.pop()
    with pytest.raises(AuthenticationUnavailable):
        find(made(issuer, fingerprints=[pinned]), io, "b")


def test_under_wsgi_the_keys_are_watched_by_a_thread(made: Make) -> None:
    """One, which ends when the part is closed."""
    import threading

    fetched = threading.Event()
    issuer = Issuer(jwk("ES256", "a"))
    original = issuer._respond
    calls: list[int] = []

    def respond(sent: Sent) -> Response:
        calls.append(1)
        if len(calls) > 2:
            fetched.set()
        return original(sent)

    issuer.transport = upstream(respond)
    keys = made(issuer, ttl=0.02, min_ttl=0.01)
    assert find(keys, BlockingIO())
    assert fetched.wait(10)
    [watcher] = [thread for thread in threading.enumerate() if thread.name == "gatekit JWKS"]
    keys.close()
    watcher.join(10)
    assert not watcher.is_alive()
