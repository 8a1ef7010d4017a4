"""Rate limits at every door: what is counted, what is refused, and what the client is told."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

import pytest

from gatekit import ConfigurationError, Request, Response, asgi
from gatekit.limits import Limit, MemoryStore, keys
from gatekit.middleware.cors import CORS
from gatekit.middleware.rate_limit import RateLimit
from gatekit.testing import FakeIO, exercise
from gatekit.typing import Handler
from tests.conftest import Door
from tests.doors.messages import Server, websocket_scope
from tests.doors.spec import Spec


def outcomes(answer: Any) -> list[tuple[str, str]]:
    return [(decision.outcome, decision.reason) for decision in answer.request.decisions]


def test_beyond_the_limit_the_app_is_not_called(door: Door) -> None:
    """Two pass, the third is a 429 problem that names the limit, at every door."""
    spec, limit = Spec(), RateLimit("2/hour", store=MemoryStore(clock=lambda: 0.0))
    statuses = [door(spec, limit).status for _ in range(2)]
    answer = door(spec, limit)
    assert (statuses, answer.status, len(spec.seen)) == ([200, 200], 429, 2)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(answer.body)
    assert problem["type"] == "urn:gatekit:rate-limited"
    assert problem["violated-policies"] == ["2-per-hour"]
    assert answer.headers["retry-after"] == "1800"


def test_fields_are_on_every_response(door: Door) -> None:
    """On what the app answers and on the refusal: the draft's two fields, as lists."""
    limit = RateLimit("2/hour;3/day", store=MemoryStore(clock=lambda: 0.0))
    first = door(Spec(), limit)
    assert first.headers["ratelimit-policy"] == ('"2-per-hour";q=2;w=3600, "3-per-day";q=3;w=86400')
    assert first.headers["ratelimit"] == '"2-per-hour";r=1;t=1800, "3-per-day";r=2;t=28800'
    door(Spec(), limit)
    refused = door(Spec(), limit)
    assert refused.headers["ratelimit"] == '"2-per-hour";r=0;t=1800, "3-per-day";r=1;t=28800'
    assert refused.headers["ratelimit-policy"] == first.headers["ratelimit-policy"]


def test_fields_are_on_an_error_of_the_app(door: Door) -> None:
    """The 500 that is made of an exception has them as well."""
    answer = door(Spec(error=RuntimeError("a bug")), RateLimit("2/hour"))
    assert answer.status == 500
    assert answer.headers["ratelimit"].startswith('"2-per-hour";r=1')


def test_an_error_passes_through_where_there_are_no_fields() -> None:
    """With `headers=None` what is further out sees the app's own exception."""
    seen: list[Exception] = []

    async def outer(request: Request, call_next: Handler) -> Response:
        try:
            return await call_next(request)
        except RuntimeError as error:
            seen.append(error)
            return Response(503)

    def fails(_: Request) -> Response:
        raise RuntimeError("a bug")

    answer = exercise(outer, RateLimit("2/hour", headers=None), app=fails)
    assert (answer.status, len(seen), "ratelimit" in answer.headers) == (503, 1, False)


def test_a_token_bucket_fills_up_evenly() -> None:
    """60/minute: sixty at once, and then one each second."""
    io, limit = FakeIO(), RateLimit("60/minute")
    assert [exercise(limit, io=io).status for _ in range(61)] == [200] * 60 + [429]
    io.advance(1.0)
    assert [exercise(limit, io=io).status for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("algorithm", ["gcra", "fixed-window", "sliding-window"])
@pytest.mark.parametrize("text", ["3/second", "7/minute", "1/minute", "100/2 hours"])
def test_who_waits_as_told_is_admitted(algorithm: Any, text: str) -> None:
    """`Retry-After` is enough, whole, above nought, and a second less is too early."""
    io, limit = FakeIO(1234.567), RateLimit(text, algorithm=algorithm)
    answer = exercise(limit, io=io)
    while answer.status == 200:
        answer = exercise(limit, io=io)
    wait = int(answer.headers["retry-after"])
    assert wait >= 1
    items = answer.headers["ratelimit"]
    assert int(items.rpartition("t=")[2]) <= wait
    io.advance(wait - 1)
    assert wait == 1 or exercise(limit, io=io).status == 429
    io.advance(1)
    assert exercise(limit, io=io).status == 200


def test_all_or_nothing() -> None:
    """A request that one limit refuses consumes nothing of the other."""
    io, limit = FakeIO(), RateLimit("1/second;3/hour")
    for _ in range(5):
        exercise(limit, io=io)
    assert limit.peek("127.0.0.1", now=io.now())["3-per-hour"].remaining == 2


def test_retry_after_is_that_of_the_limit_that_refused() -> None:
    """A second for the one a second, however long the day's would take."""
    io, limit = FakeIO(), RateLimit("1/second;100/day")
    exercise(limit, io=io)
    assert exercise(limit, io=io).headers["retry-after"] == "1"


def test_a_burst_of_its_own() -> None:
    """`burst` bounds what comes at once and leaves the rate alone."""
    io, limit = FakeIO(), RateLimit(Limit("60/minute", burst=2))
    assert [exercise(limit, io=io).status for _ in range(3)] == [200, 200, 429]
    io.advance(1.0)
    assert exercise(limit, io=io).status == 200


def test_legacy_fields() -> None:
    """The trio speaks of the tightest limit, and of a moment since 1970."""
    io = FakeIO()
    limit = RateLimit("2/minute;3/hour", headers="legacy", clock=lambda: 1_000_000.0)
    answers = [exercise(limit, io=io) for _ in range(3)]
    names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
    assert [[answer.headers[name] for name in names] for answer in answers] == [
        ["2", "1", "1000030"],
        ["2", "0", "1000030"],
        ["2", "0", "1000030"],
    ]
    assert "ratelimit" not in answers[0].headers


def test_two_of_them_in_one_response() -> None:
    """The draft's lists join; of the trio the tighter one stays, wherever it stands."""
    tight, wide = (RateLimit(text, headers="both", name=text[:1]) for text in ("2/hour", "9/hour"))
    for middlewares in ((tight, wide), (wide, tight)):
        answer = exercise(*middlewares)
        assert len(answer.headers.getlist("ratelimit")) == 2
        assert answer.headers.getlist("x-ratelimit-limit") == ["2"]


def test_no_fields() -> None:
    """`headers=None` leaves them out, and `Retry-After` in."""
    io, limit = FakeIO(), RateLimit("1/hour", headers=None)
    first, second = exercise(limit, io=io), exercise(limit, io=io)
    assert "ratelimit" not in first.headers
    assert (second.status, second.headers["retry-after"]) == (429, "3600")
    assert "ratelimit" not in second.headers


def test_jitter_only_lengthens() -> None:
    """A share of the wait is added by chance, never taken off."""
    io, limit = FakeIO(), RateLimit("1/hour", retry_jitter=0.5, random=Random(1))
    exercise(limit, io=io)
    waits = {int(exercise(limit, io=io).headers["retry-after"]) for _ in range(50)}
    assert len(waits) > 20
    assert 3600 <= min(waits) <= max(waits) <= 5400


def test_preflights_and_health_are_not_counted() -> None:
    """Neither consumes anything; an OPTIONS that is no preflight does, a POST to /healthz too."""
    io, limit = FakeIO(), RateLimit("2/hour")
    preflight = {"origin": "https://a.example", "access-control-request-method": "PUT"}
    for _ in range(3):
        assert exercise(limit, io=io, method="OPTIONS", headers=preflight).status == 200
        assert exercise(limit, io=io, target="/healthz").status == 200
    assert exercise(limit, io=io, method="OPTIONS").status == 200
    assert exercise(limit, io=io, method="POST", target="/healthz").status == 200
    assert exercise(limit, io=io).status == 429


def test_shadow_counts_and_refuses_nothing() -> None:
    """What would be a 429 passes, silent to the client, and is noted."""
    io, limit = FakeIO(), RateLimit("1/hour", shadow=True)
    first, second = exercise(limit, io=io), exercise(limit, io=io)
    assert (first.status, second.status) == (200, 200)
    assert outcomes(second) == [("shadow_deny", "over 1-per-hour")]
    assert "ratelimit" not in second.headers


def test_decisions_say_why() -> None:
    """Within, near from four fifths on, over, and not counted at all."""
    io, limit = FakeIO(), RateLimit("5/hour", exempt=["10.0.0.0/8"])
    notes = [outcomes(exercise(limit, io=io))[0] for _ in range(6)]
    assert notes == [
        *[("allow", "within 5-per-hour")] * 4,
        ("allow", "near 5-per-hour"),
        ("deny", "over 5-per-hour"),
    ]


def test_near_is_four_fifths_of_what_comes_at_once() -> None:
    """Of a burst of its own, not of the limit that it is a part of."""
    io, limit = FakeIO(), RateLimit(Limit("100/minute", burst=20))
    reasons = [exercise(limit, io=io).request.decisions[0].reason for _ in range(17)]
    assert reasons == ["within 100-per-minute"] * 16 + ["near 100-per-minute"]


def test_the_type_of_the_problem_may_be_the_drafts() -> None:
    """With the same members."""
    drafts = "https://iana.org/assignments/http-problem-types#quota-exceeded"
    limit = RateLimit("1/hour", problem_type=drafts)
    exercise(limit)
    problem = json.loads(exercise(limit).body)
    assert (problem["type"], problem["violated-policies"]) == (drafts, ["1-per-hour"])


def test_what_a_client_or_an_upstream_makes_up_is_no_error() -> None:
    """A cost that no float holds is refused; a number of 5,000 digits in a field is ignored."""
    dear = RateLimit("10/minute", cost=lambda request: int(request.query))
    answer = exercise(dear, target=f"/?1{'0' * 400}")
    assert (answer.status, "retry-after" in answer.headers) == (429, False)
    absurd = Response(200, {"x-ratelimit-remaining": "9" * 5_000})
    told = exercise(RateLimit("10/minute", headers="legacy"), app=lambda _: absurd)
    assert told.headers["x-ratelimit-remaining"] == "9"


def test_the_refusal_passes_what_decorates(door: Door) -> None:
    """A page may read the 429: CORS further out has put its fields on it."""
    cors = CORS(allow_origins=["https://app.example"], expose_headers=["Retry-After"])
    limit = RateLimit("1/hour", store=MemoryStore(clock=lambda: 0.0))
    headers = {"origin": "https://app.example"}
    door(Spec(), cors, limit, headers=headers)
    answer = door(Spec(), cors, limit, headers=headers)
    assert answer.status == 429
    assert answer.headers["access-control-allow-origin"] == "https://app.example"


def test_websockets_are_counted() -> None:
    """The handshake consumes, and beyond the limit it is denied by a 429."""
    opened: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        opened.append(scope["type"])
        await receive()
        await send({"type": "websocket.accept", "headers": []})

    async def main() -> list[dict[str, Any]]:
        wrapped, sent = asgi(app, RateLimit("1/hour")), []
        for _ in range(2):
            scope = websocket_scope(extensions={"websocket.http.response": {}})
            server = Server(scope, [{"type": "websocket.connect"}])
            await server.run(wrapped)
            sent.append(server.sent[0])
        return sent

    first, second = asyncio.run(main())
    assert first["type"] == "websocket.accept"
    assert (second["type"], second["status"]) == ("websocket.http.response.start", 429)
    assert opened == ["websocket"]


def test_disabled_limits_nobody() -> None:
    """Inside the block nothing is counted; after it everything is as before."""
    io, limit = FakeIO(), RateLimit("1/hour")
    exercise(limit, io=io)
    with limit.disabled(), limit.disabled():
        assert [exercise(limit, io=io).status for _ in range(3)] == [200] * 3
    assert exercise(limit, io=io).status == 429


def test_reset_forgets() -> None:
    """One key, or all of them."""
    io, limit = FakeIO(), RateLimit("1/hour", key=keys.header("x-key"))

    def status(key: str) -> int:
        return exercise(limit, io=io, headers={"x-key": key}).status

    assert [status("a"), status("b"), status("a")] == [200, 200, 429]
    limit.reset("a")
    assert [status("a"), status("b")] == [200, 429]
    limit.reset()
    assert [status("a"), status("b")] == [200, 200]
    asyncio.run(limit.areset("a"))
    assert asyncio.run(limit.apeek("a", now=io.now()))["1-per-hour"].remaining == 1
    assert [status("a"), status("b")] == [200, 429]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"limit": "often"}, "limit"),
        ({"limit": "0/minute"}, "limit"),
        ({"limit": f"{10**15}/minute"}, "limit"),
        ({"limit": "1/1001 years"}, "limit"),
        ({"limit": []}, "limit"),
        ({"limit": ["1/minute", 5]}, "limit"),
        ({"key": "address"}, "key"),
        ({"key": ()}, "key"),
        ({"missing": "whatever"}, "missing"),
        ({"algorithm": "leaky"}, "algorithm"),
        ({"store": "mysql://x"}, "store"),
        ({"store": "sqlite:///"}, "store"),
        ({"store": object()}, "store"),
        ({"on_store_error": "panic"}, "on_store_error"),
        ({"local_share": 0}, "local_share"),
        ({"cost": -1}, "cost"),
        ({"tiers": {"a": "x"}, "tier": keys.method}, "tiers"),
        ({"tiers": {"a": "1/day"}}, "tier"),
        ({"tier": keys.method}, "tier"),
        ({"overrides": {"a": "x"}}, "overrides"),
        ({"exempt": "10.0.0.0/8"}, "exempt"),
        ({"headers": "all"}, "headers"),
        ({"problem_type": "quota exceeded"}, "problem_type"),
        ({"retry_jitter": 2.0}, "retry_jitter"),
        ({"retry_jitter": "much"}, "retry_jitter"),
        ({"shadow": "no"}, "shadow"),
        ({"name": "a b"}, "name"),
    ],
    ids=str,
)
def test_a_wrong_option_is_named(options: Any, named: str) -> None:
    """At construction, by its parameter."""
    arguments = {"limit": "1/minute", **options}
    with pytest.raises(ConfigurationError) as caught:
        RateLimit(arguments.pop("limit"), **arguments)
    assert list(caught.value.problems) == [named]


def test_all_problems_at_once() -> None:
    """One error names each of them."""
    with pytest.raises(ConfigurationError) as caught:
        RateLimit("often", algorithm="leaky", headers="all")  # type: ignore[arg-type]
    assert list(caught.value.problems) == ["limit", "algorithm", "headers"]


def test_a_password_is_not_told() -> None:
    """Neither in an error of the URL nor in what a store is shown as."""
    with pytest.raises(ConfigurationError) as caught:
        RateLimit("1/minute", store="redis+sentinel://:hush@one:26379")
    assert "hush" not in str(caught.value)
