"""The last good answer of each URL: what is kept, for whom, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from gatekit import ConfigurationError, Request, Response
from gatekit.middleware.auth.identity import Identity
from gatekit.middleware.circuit_breaker import CircuitBreaker
from gatekit.middleware.last_good import LastGood
from gatekit.testing import Answer, FakeIO, exercise
from gatekit.typing import Handler
from tests.conftest import Door
from tests.doors.spec import Spec

PUBLIC = [("content-type", "text/plain"), ("content-length", "11"), ("etag", '"v1"')]


def keeping(door: Door, spec: Spec, *around: Any, **request: Any) -> Answer:
    """What the second client gets when the service answered the first and then failed."""
    breaker = CircuitBreaker(fallback=LastGood(), fallback_on_failure=True)
    first = door(spec, *around, breaker, **request)
    assert (first.status, first.body) == (spec.status, b"hello world")
    return door(Spec(status=500), *around, breaker, **request)


def test_the_last_good_answer_is_given_again(door: Door) -> None:
    """Body and fields as they were, with an `Age`; the first client's own were untouched."""
    answer = keeping(door, Spec(headers=PUBLIC))
    assert (answer.status, answer.body) == (200, b"hello world")
    assert answer.headers["etag"] == '"v1"'
    assert answer.headers["age"] == "0"
    assert answer.headers["proxy-status"] == "gatekit; error=destination_unavailable"


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        pytest.param(200, [("set-cookie", "a=1")], id="it sets a cookie"),
        pytest.param(200, [("cache-control", "private, max-age=60")], id="it is private"),
        pytest.param(200, [("cache-control", "No-Store")], id="it must not be stored"),
        pytest.param(200, [("cache-control", "must-revalidate")], id="it must not be stale"),
        pytest.param(200, [("vary", "Accept, X-Tenant")], id="it varies by who knows what"),
        pytest.param(200, [("vary", "*")], id="it varies by everything"),
        pytest.param(203, [], id="it is not a plain 200"),
    ],
)
def test_what_is_not_kept(door: Door, status: int, fields: list[tuple[str, str]]) -> None:
    """Nothing that was meant for one client, or that its maker forbids."""
    assert keeping(door, Spec(status=status, headers=[*PUBLIC, *fields])).status == 500


@pytest.mark.parametrize(
    "fields",
    [{"authorization": "Bearer x"}, {"cookie": "a=1"}, {"x-api-key": "k"}, {"range": "bytes=0-1"}],
    ids=lambda fields: next(iter(fields)),
)
def test_who_says_who_asks_gets_nothing_old(door: Door, fields: dict[str, str]) -> None:
    """Neither remembered nor answered."""
    assert keeping(door, Spec(headers=PUBLIC), headers=fields).status == 500


def test_an_identity_gets_nothing_old(door: Door) -> None:
    """Whatever it was found out by."""

    async def identifies(request: Request, call_next: Handler) -> Response:
        request.identity = Identity("ada")
        return await call_next(request)

    assert keeping(door, Spec(headers=PUBLIC), identifies).status == 500


def test_a_post_is_not_kept(door: Door) -> None:
    """Only what `GET` answers."""
    assert keeping(door, Spec(headers=PUBLIC), method="POST").status == 500


def test_a_stream_is_not_held(door: Door) -> None:
    """Without an announced length it may never end, so it passes as it comes."""
    assert keeping(door, Spec(headers=[("content-type", "text/event-stream")])).status == 500


class Site:
    """A `LastGood` by itself, on a fake clock."""

    def __init__(self, **options: Any) -> None:
        self.io = FakeIO()
        self.last_good = LastGood(**options)
        self.breaker = CircuitBreaker(
            min_calls=1_000, fallback=self.last_good, fallback_on_failure=True
        )

    def get(self, target: str = "/", text: str = "", **options: Any) -> Answer:
        """`text` is what the service says; without it, it fails."""

        def app(_: Request) -> Response:
            if not text:
                return Response(500)
            return Response.text(text, headers={"content-length": str(len(text.encode()))})

        return exercise(self.breaker, app=app, target=target, io=self.io, **options)


def test_it_grows_old_and_is_forgotten() -> None:
    """`Age` counts whole seconds, and beyond `max_age` there is no answer."""
    site = Site(max_age=60.0)
    site.get(text="first")
    site.io.advance(59.9)
    assert site.get().headers["age"] == "59"
    site.io.advance(0.2)
    assert site.get().status == 500


def test_the_latest_is_kept() -> None:
    """A newer good answer takes the older one's place."""
    site = Site()
    site.get(text="first")
    site.get(text="second")
    assert site.get().text == "second"


def test_each_url_has_its_own() -> None:
    """Host, path, query and what is accepted make the difference."""
    site = Site()
    site.get("/a?x=1", text="one")
    assert site.get("/a?x=1").text == "one"
    others: list[dict[str, Any]] = [
        {"target": "/a?x=2"},
        {"target": "/b?x=1"},
        {"target": "/a?x=1", "headers": {"host": "other.example"}},
        {"target": "/a?x=1", "headers": {"accept-encoding": "gzip"}},
        {"target": "/a?x=1", "headers": {"accept-language": "de"}},
    ]
    for other in others:
        assert site.get(**other).status == 500, other


def test_its_memory_is_bounded() -> None:
    """What was kept longest ago goes; what is too large is not kept at all."""
    site = Site(max_body=100, max_bytes=400)
    for number in range(50):
        site.get(f"/{number}", text="x" * 100)
    kept = [number for number in range(50) if site.get(f"/{number}").status == 200]
    assert kept == [48, 49]
    site.get("/large", text="x" * 101)
    assert site.get("/large").status == 500
    site.last_good.clear()
    assert site.get("/49").status == 500


def test_otherwise_something_else_answers() -> None:
    """Where nothing was kept."""
    site = Site(otherwise=Response.text("nothing yet"))
    assert site.get("/new").text == "nothing yet"
    site.get("/new", text="new")
    assert site.get("/new").text == "new"
    assert len(list(site.last_good.gatekit_parts())) == 1


def test_a_head_is_answered_from_a_get() -> None:
    """The fields are the same, and the door sends no body."""
    site = Site()
    site.get(text="first")
    assert site.get(method="HEAD").status == 200


def test_wrong_options_are_named() -> None:
    """All of them at once."""
    options: Any = {
        "max_age": 0,
        "max_body": 0,
        "max_bytes": "1",
        "says_who": "Cookie",
        "otherwise": 7,
    }
    with pytest.raises(ConfigurationError) as caught:
        LastGood(**options)
    assert list(caught.value.problems) == list(options)
