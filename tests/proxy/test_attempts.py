"""A request's way to an answer: who is asked, how often, and what the client gets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gatekit import Proxy, Request, Response, Timeouts, asgi_app
from gatekit.proxy.attempts.retry import Retry
from gatekit.proxy.clusters.cluster import Destination
from gatekit.proxy.transport import InvalidMessage
from gatekit.testing import FakeIO, call_asgi, exercise
from gatekit.typing import Handler
from tests.proxy.handlers import Send, through_asgi
from tests.proxy.scripted import NoChance, ask, asked, cluster, is_at_rest, scripted


@pytest.mark.parametrize("first", [502, 503, 504, "connect", "dns", "reset", "first_byte_timeout"])
def test_another_destination_is_tried(send: Send, first: Any) -> None:
    """The client sees one good answer, through either door."""
    transport = scripted(a=[first], b=[200])
    orders = cluster(transport, retry=Retry(backoff=0.0, max_backoff=0.0))
    answer = send(Proxy(orders))
    assert (answer.status, answer.text, asked(transport)) == (200, "200 of b", "ab")
    assert is_at_rest(orders)


def test_a_good_answer_is_asked_for_once(send: Send) -> None:
    """Nothing is sent twice that need not be; a 404 or a 500 is an answer."""
    for status in (200, 304, 404, 500):
        transport = scripted(a=[status], b=[200])
        assert send(Proxy(cluster(transport))).status == status
        assert asked(transport) == "a"


def test_the_last_answer_is_given_on(send: Send) -> None:
    """Where all say 503, the client gets the upstream's own, fields and body, not one of ours."""
    told = Response(503, {"retry-after": "0", "x-from": "b"}, b"busy, says b")
    transport = scripted(a=[503], b=[told])
    answer = send(Proxy(cluster(transport)))
    assert (answer.status, answer.text, answer.headers["x-from"]) == (503, "busy, says b", "b")
    assert "proxy-status" not in answer.headers


def test_the_last_failure_is_named(send: Send) -> None:
    """Where nobody answers, the problem is that of the last attempt."""
    transport = scripted(a=["connect"], b=["reset"])
    answer = send(Proxy(cluster(transport)))
    assert (answer.status, json.loads(answer.body)["type"]) == (502, "urn:gatekit:upstream-broken")
    assert asked(transport) == "ab"


def test_the_tried_ones_are_avoided_while_others_are_left() -> None:
    """Three destinations and three retries: all three are asked before one is asked again."""
    transport = scripted(a=[503], b=[503], c=[503])
    orders = cluster(transport, names="abc", retry=Retry(3, chance=NoChance()))
    assert ask(orders).status == 503
    assert sorted(asked(transport)[:3]) == ["a", "b", "c"] and len(transport.requests) == 4


def test_then_the_next_tier() -> None:
    """A retry goes to a destination of the first tier, and only then to one further back."""
    transport = scripted(a=[503], b=[503], far=[200])
    destinations = [
        Destination("http://far", priority=1),
        Destination("http://a"),
        Destination("http://b"),
    ]
    orders = cluster(transport, destinations=destinations, retry=Retry(2, chance=NoChance()))
    assert ask(orders).status == 200
    assert [sent.origin.host for sent in transport.requests][-1] == "far"
    assert len(transport.requests) == 3


def test_a_single_destination_may_be_tried_again() -> None:
    """Avoiding it would leave nobody."""
    transport = scripted(a=["connect", 200])
    assert ask(cluster(transport, names="a")).status == 200
    assert asked(transport) == "aa"


def test_the_pauses_double() -> None:
    """A quarter of a second at most between two attempts."""
    io = FakeIO()
    ask(cluster(scripted(a=[503]), names="a", retry=Retry(5, chance=NoChance())), io=io)
    assert io.slept == pytest.approx([0.0125, 0.025, 0.05, 0.1, 0.125])


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_is_not_idempotent_is_sent_once(send: Send, method: str) -> None:
    """After an answer, or a connection that was lost, nobody knows what has been done."""
    for first in (503, "reset", "send", "first_byte_timeout"):
        transport = scripted(a=[first], b=[200])
        orders = cluster(transport)
        assert send(Proxy(orders), method=method, body=b"pay").status != 200
        assert asked(transport) == "a"


@pytest.mark.parametrize("stage", ["connect", "connect_timeout", "dns", "tls", "pool_full"])
def test_what_never_went_out_is_sent(send: Send, stage: Any) -> None:
    """A POST too: not a byte of it has been written."""
    transport = scripted(a=[stage], b=[200])
    assert send(Proxy(cluster(transport)), method="POST", body=b"pay").status == 200
    assert [sent.body for sent in transport.requests] == [b"pay", b"pay"]


def test_an_idempotency_key_lets_a_post_be_repeated() -> None:
    """If both sides say so."""
    keyed = Retry(idempotency_key=True, chance=NoChance())
    for headers, retry, way in [
        ({"idempotency-key": '"8e0"'}, keyed, "ab"),
        ({}, keyed, "a"),
        ({"idempotency-key": '"8e0"'}, Retry(chance=NoChance()), "a"),
    ]:
        transport = scripted(a=[503], b=[200])
        ask(cluster(transport, retry=retry), method="POST", body=b"pay", headers=headers)
        assert asked(transport) == way


def test_what_the_upstream_is_told_is_the_same_each_time() -> None:
    """Path, query, fields and body; base path and `Host` are each destination's own."""
    transport = scripted(a=[503], b=[200])
    destinations = [
        Destination("http://a/v1"),
        Destination("http://b:81/deep/v2", host="orders.example"),
    ]
    proxy = Proxy(cluster(transport, destinations=destinations), strip_prefix="/api")
    headers = {"x-tenant": "7", "accept": "text/plain"}
    answer = exercise(app=proxy, io=FakeIO(), method="PUT", target="/api/o?q=1", body=b"x",
                      headers={**headers, "content-length": "1"})  # fmt: skip
    assert answer.status == 200
    one, two = transport.requests
    assert (one.target, two.target) == ("/v1/o?q=1", "/deep/v2/o?q=1")
    assert (one.headers["host"], two.headers["host"]) == ("a", "orders.example")
    assert one.body == two.body == b"x"
    assert [f for f in one.headers.items() if f[0] != "host"] == [
        f for f in two.headers.items() if f[0] != "host"
    ]


def test_host_pass_is_passed_to_each() -> None:
    """The client's own, whoever answers."""
    transport = scripted(a=[503], b=[200])
    exercise(app=Proxy(cluster(transport), host="pass"), io=FakeIO())
    assert [sent.headers.getlist("host") for sent in transport.requests] == [["testserver"]] * 2


def test_a_redirect_is_rewritten_by_who_answered() -> None:
    """The second destination's own address is what becomes the gateway's."""
    moved = Response(302, {"location": "http://b:81/v2/login"})
    transport = scripted(a=[503], b=[moved])
    orders = cluster(transport, destinations=["http://a/v1", "http://b:81/v2"])
    answer = exercise(app=Proxy(orders, strip_prefix="/api"), io=FakeIO(), target="/api/x")
    assert answer.headers["location"] == "/api/login"


def test_the_attempt_is_told_on_demand() -> None:
    """`X-Gatekit-Attempt` counts from 1; what the client says of it is dropped."""
    transport = scripted(a=[503], b=[200])
    orders = cluster(transport, retry=Retry(attempt_header=True, chance=NoChance()))
    ask(orders, headers={"x-gatekit-attempt": "9"})
    assert [sent.headers.getlist("x-gatekit-attempt") for sent in transport.requests] == [
        ["1"], ["2"],
    ]  # fmt: skip
    transport = scripted(a=[503], b=[200])
    ask(cluster(transport))
    assert not any("x-gatekit-attempt" in sent.headers for sent in transport.requests)


def test_every_attempt_is_on_record() -> None:
    """For logs, metrics and traces: who, how it went, and how long it took."""
    io = FakeIO()

    def slow() -> Response:
        io.advance(0.5)
        return Response.text("late", 503)

    transport = scripted(a=["connect"], b=[slow], c=[200])
    orders = cluster(transport, names="abc", retry=Retry(2, chance=NoChance()))
    answer = ask(orders, io=io)
    assert [tuple(attempt) for attempt in answer.request.attempts] == [
        ("http://a", "connect", 0.0),
        ("http://b", 503, 0.5),
        ("http://c", 200, 0.0),
    ]
    assert (answer.request.upstream_time, answer.request.upstream_error) == (0.0, None)
    assert [(d.policy, d.outcome) for d in answer.request.decisions] == [("retry", "allow")] * 2


def test_middlewares_see_one_request() -> None:
    """A rate limit, a log or an authentication further out is not run again."""
    seen: list[str] = []

    async def count(request: Request, call_next: Handler) -> Response:
        seen.append(request.path)
        return await call_next(request)

    transport = scripted(a=[503], b=[200])
    assert through_asgi(Proxy(cluster(transport)), count).status == 200
    assert (len(seen), asked(transport)) == (1, "ab")


def test_the_budget_in_a_storm() -> None:
    """1,000 requests at once that all fail: a fifth more attempts, and three."""

    async def main() -> None:
        transport = scripted(a=[503], b=["reset"])
        orders = cluster(transport, retry=Retry(2, backoff=0.0, max_backoff=0.0))
        app = asgi_app(Proxy(orders))
        await asyncio.gather(*[call_asgi(app) for _ in range(1000)])
        assert 1000 < len(transport.requests) <= 1203
        assert is_at_rest(orders)

    asyncio.run(main())


def test_the_budget_of_a_while() -> None:
    """The same one after the other; when they are forgotten there is a new budget."""
    transport = scripted(a=[503], b=[503])
    orders = cluster(transport, retry=Retry(2, budget_window=10.0, chance=NoChance()))
    io = FakeIO()
    for _ in range(1000):
        ask(orders, io=io)
    assert len(transport.requests) <= 1203
    assert ask(orders, io=io).request.decisions[-1].reason == "the budget is spent"
    io.advance(11.0)
    before = len(transport.requests)
    ask(orders, io=io)
    assert len(transport.requests) == before + 3


def test_the_budget_bounds_what_is_added() -> None:
    """No retry without room for it, and the reason is on record; nothing stays reserved."""
    transport = scripted(a=[503], b=[200])
    orders = cluster(transport, retry=Retry(budget=0.2, min_budget=0, chance=NoChance()))
    answer = ask(orders)
    assert (answer.status, asked(transport)) == (503, "a")
    assert answer.request.decisions[-1].reason == "the budget is spent"
    for member in orders.state.members:
        for _ in range(5):
            member.start()
    assert ask(orders).status == 200
    assert len(orders.state.retrying) == 0 and orders.state.active == 10


@pytest.mark.parametrize(
    ("value", "slept", "status"),
    [("0", [0.0125], 200), ("1", [1.0], 200), ("2", [], 503), ("soon", [0.0125], 200)],
)
def test_retry_after_is_waited_for(value: str, slept: list[float], status: int) -> None:
    """Never earlier than it says; where it is too long, the client is told to wait instead."""
    io = FakeIO()
    transport = scripted(a=[Response(503, {"retry-after": value})], b=[200])
    answer = ask(cluster(transport), io=io)
    assert (answer.status, io.slept) == (status, slept)
    assert answer.headers.get("retry-after") == (value if status == 503 else None)


def test_a_request_without_anybody_to_ask() -> None:
    """All destinations out: a 503 of ours that says so."""
    transport = scripted(a=[200], b=[200])
    orders = cluster(transport, panic=None)
    for member in orders.state.members:
        orders.state.set_health(member, "unhealthy", "the check failed", 0.0)
    answer = ask(orders)
    assert (answer.status, asked(transport)) == (503, "")
    assert json.loads(answer.body)["type"] == "urn:gatekit:no-destination"
    assert answer.headers["proxy-status"] == "gatekit; error=destination_unavailable"
    assert answer.headers["retry-after"] == "1"


def test_a_client_with_an_unwritable_request_is_answered_at_once(send: Send) -> None:
    """A 400 is nobody's failure, and not tried with another."""
    transport = scripted(a=[InvalidMessage("a field of it")], b=[200])
    orders = cluster(transport)
    assert send(Proxy(orders)).status == 400
    assert asked(transport) == "a" and is_at_rest(orders)


def test_the_total_is_for_all_attempts() -> None:
    """What one attempt has used up is gone for the next, and no attempt begins after it."""
    io = FakeIO()

    def slow() -> Response:
        io.advance(3.0)
        return Response.text("late", 503)

    transport = scripted(a=[slow], b=[slow], c=[slow])
    orders = cluster(
        transport,
        names="abc",
        retry=Retry(5, chance=NoChance()),
        timeouts=Timeouts(total=4.0),
    )
    answer = ask(orders, io=io)
    assert (answer.status, asked(transport)) == (503, "ab")
    assert answer.request.decisions[-1].reason == "the deadline would be over"
