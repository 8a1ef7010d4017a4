"""What probes are told: by gatekit alone, through every door, and while things go wrong."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from gatekit import (
    Check,
    Cluster,
    ConfigurationError,
    Gateway,
    Health,
    Proxy,
    Response,
    asgi_app,
    wsgi_app,
)
from gatekit.testing import Answer, call_asgi, call_wsgi, make_request, upstream
from gatekit.typing import Handler, Middleware
from tests.conftest import Door
from tests.doors.spec import Spec


def well() -> None:
    """A check that finds nothing wrong."""


def says(answer: Answer) -> Any:
    return json.loads(answer.body)


def ask(handler: Handler, target: str = "/health", **call: Any) -> Answer:
    return asyncio.run(call_asgi(asgi_app(handler), target=target, **call))


def cluster(**options: Any) -> Cluster:
    transport = upstream(lambda sent: Response.text("ok"))
    places = ["http://10.0.0.7:8001", "http://10.0.0.8:8001"]
    return Cluster("orders", destinations=places, transport=transport, **options)


def as_middleware(handler: Handler) -> Middleware:
    async def answer(request: Any, call_next: Handler) -> Response:
        return await handler(request)

    return answer


def test_every_door_tells_the_same(door: Door) -> None:
    """Sync and async checks are made under every door, and each service has an entry."""

    async def queue() -> bool:
        await asyncio.sleep(0)
        return True

    health = Health({"database": well, "queue": queue}, version="1.4.2", clock=lambda: 0.5)
    answer = door(Spec(), as_middleware(health), target="/health")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"] == "no-store"
    assert says(answer) == {
        "status": "up",
        "timestamp": "1970-01-01T00:00:00.500Z",
        "version": "1.4.2",
        "services": {"database": {"status": "up"}, "queue": {"status": "up"}},
    }


def test_a_check_that_raises_is_down(door: Door) -> None:
    """It is a 503, and not a word of the exception is shown or kept."""

    def database() -> None:
        raise ConnectionError("postgres://app:hunter2@10.0.0.9/db")

    answer = door(Spec(), as_middleware(Health({"database": database}, details=True)))
    assert (answer.status, says(answer)["status"]) == (503, "down")
    entry = says(answer)["services"]["database"]
    assert (entry["status"], entry["reason"]) == ("down", "it raised ConnectionError")
    assert "hunter2" not in answer.text


def test_a_check_has_a_deadline(door: Door) -> None:
    """What does not answer in time is down, whichever colour it hangs in; the others are told."""
    stuck = threading.Event()

    async def hangs() -> None:
        await asyncio.Event().wait()

    checks = {"plain": Check(stuck.wait, timeout=0.01), "async": Check(hangs, timeout=0.01)}
    health = Health({**checks, "fine": well}, details=True, ttl=0)
    try:
        answer = door(Spec(), as_middleware(health))
        services = says(answer)["services"]
        assert [services[name]["status"] for name in services] == ["down", "down", "up"]
        assert services["plain"]["reason"] == "no answer within 0.01 s"
    finally:
        stuck.set()


@pytest.mark.parametrize("blocking", [False, True], ids=["asgi", "wsgi"])
def test_a_check_that_hangs_is_begun_once(blocking: bool) -> None:
    """A probe every second does not gather threads."""
    begun: list[int] = []
    stuck, ended = threading.Event(), threading.Event()

    def hangs() -> None:
        begun.append(1)
        stuck.wait()
        ended.set()

    health = Health({"database": Check(hangs, timeout=0.01)}, details=True, ttl=0)

    def once() -> str:
        answer = call_wsgi(wsgi_app(health)) if blocking else ask(health)
        reason: str = says(answer)["services"]["database"]["reason"]
        return reason

    assert [once(), once(), once()] == [
        "no answer within 0.01 s",
        "an earlier run has not ended",
        "an earlier run has not ended",
    ]
    assert len(begun) == 1
    stuck.set()
    ended.wait()


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (None, "up"),
        (True, "up"),
        ("up", "up"),
        ("degraded", "degraded"),
        ("down", "down"),
        (False, "down"),
        (0, "down"),
        ("fine", "down"),
        ([], "down"),
    ],
)
def test_what_a_check_may_say(value: Any, status: str) -> None:
    """None, a boolean or one of three words; anything else says nothing, and that is not well."""
    answer = ask(Health({"it": lambda: value}))
    assert says(answer)["services"]["it"]["status"] == status
    assert answer.status == (503 if status == "down" else 200)


def test_checks_run_side_by_side(door: Door) -> None:
    """Each waits for the other to have begun."""
    barrier = threading.Barrier(2, timeout=5)
    checks = {"a": lambda: barrier.wait() >= 0, "b": lambda: barrier.wait() >= 0}
    assert door(Spec(), as_middleware(Health(checks))).status == 200


def test_findings_hold_for_a_while() -> None:
    """Within `ttl` seconds the checks are not made again, whatever is asked for."""
    made: list[int] = []
    clock = [100.0]
    health = Health({"a": lambda: made.append(1)}, ttl=5)

    def probe(handler: Handler) -> None:
        request = make_request()
        request.io.now = lambda: clock[0]  # type: ignore[method-assign]
        with pytest.raises(StopIteration):
            handler(request).__await__().send(None)

    probe(health)
    probe(health.ready)
    assert len(made) == 1
    clock[0] += 4.9
    probe(health.startup)
    assert len(made) == 1
    clock[0] += 0.2
    probe(health)
    assert len(made) == 2


def test_who_asks_at_once_asks_once() -> None:
    """Ten probes at the same moment are one run of the checks."""
    made: list[int] = []

    async def main() -> list[int]:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow() -> None:
            made.append(1)
            begun.set()
            await go_on.wait()

        app = asgi_app(Health({"slow": slow}, ttl=0))
        calls = [asyncio.ensure_future(call_asgi(app)) for _ in range(10)]
        await begun.wait()
        calls[0].cancel()  # who came first leaves: the others go on
        go_on.set()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        return [answer.status for answer in answers if isinstance(answer, Answer)]

    assert asyncio.run(main()) == [200] * 9
    assert len(made) == 1


def test_a_cluster_is_a_service() -> None:
    """Some destinations away is degraded; all of them, too: other services can be served."""
    orders = cluster()
    health = Health({"database": well}, clusters=[orders], details=True, ttl=0)
    assert says(ask(health))["status"] == "up"
    first, second = orders.state.members
    orders.state.set_health(first, "unhealthy", "10.0.0.7 refused", 0.0)
    told = says(ask(health))
    assert (told["status"], told["services"]["orders"]["status"]) == ("degraded", "degraded")
    assert told["services"]["orders"]["reason"] == "1 of 2 destinations are available"
    orders.state.set_health(second, "unhealthy", "10.0.0.8 refused", 0.0)
    answer = ask(health)
    assert (answer.status, says(answer)["status"]) == (200, "degraded")
    assert says(answer)["services"]["orders"]["status"] == "down"
    assert ask(health.ready).status == 200


def test_what_is_critical_is_a_choice() -> None:
    """Names in `critical` take the whole down, and no others do."""
    orders = cluster()
    for member in orders.state.members:
        orders.state.set_health(member, "unhealthy", "refused", 0.0)
    assert ask(Health(clusters=[orders], critical=["orders"])).status == 503
    optional = Health({"cache": lambda: False}, critical=[])
    assert (ask(optional).status, says(ask(optional))["status"]) == (200, "degraded")


def test_addresses_are_told_only_if_asked_for() -> None:
    """Without `addresses` no entry, reason or name holds one, details or not."""
    orders = cluster()
    orders.state.set_health(orders.state.members[0], "unhealthy", "10.0.0.7:8001 refused", 0.0)
    for details in (False, True):
        text = ask(Health(clusters=[orders], details=details)).text
        assert "10.0.0" not in text
    told = says(ask(Health(clusters=[orders], details=True, addresses=True)))
    destinations = told["services"]["orders"]["destinations"]
    assert [one["name"] for one in destinations] == [m.name for m in orders.state.members]
    assert destinations[0]["reason"] == "10.0.0.7:8001 refused"
    assert "10.0.0" not in ask(Health(clusters=[orders], addresses=True)).text


def test_details_are_for_who_may_see_them(door: Door) -> None:
    """A predicate, plain or async, says who is told reasons and times."""

    def insider(request: Any) -> bool:
        return bool(request.headers.get("x-ops") == "yes")

    health = Health({"database": lambda: False}, details=insider)
    for headers, keys in (
        ({}, {"status"}),
        ({"x-ops": "yes"}, {"status", "critical", "reason", "seconds"}),
    ):
        answer = door(Spec(), as_middleware(health), headers=headers)
        assert set(says(answer)["services"]["database"]) == keys


def test_the_other_probes() -> None:
    """A database that is down makes the process not ready, and never dead."""
    up = [False]
    health = Health({"database": lambda: up[0]}, ttl=0)
    gateway = Gateway(routes=health.routes())
    app = gateway.wsgi()

    def status(target: str) -> int:
        return call_wsgi(app, target=target).status

    assert [status(path) for path in ("/livez", "/readyz", "/startupz")] == [200, 503, 503]
    up[0] = True
    assert [status(path) for path in ("/livez", "/readyz", "/startupz")] == [200, 200, 200]
    up[0] = False
    assert [status(path) for path in ("/livez", "/readyz", "/startupz")] == [200, 503, 200]
    assert call_wsgi(app, "POST", "/livez").status == 405
    assert call_wsgi(app, "HEAD", "/livez").status == 200


def test_routes_go_without_what_they_are_told_to() -> None:
    """Probes have no token: `without` leaves the authentication out, `prefix` moves them."""

    async def refuse(request: Any, call_next: Handler) -> Response:
        return Response(401)

    health = Health()
    gateway = Gateway(refuse, routes=health.routes(prefix="/internal", without=[refuse]))
    assert call_wsgi(gateway.wsgi(), target="/internal/readyz").status == 200
    assert call_wsgi(gateway.wsgi(), target="/other").status == 401


def test_other_methods_are_refused() -> None:
    """Also where no route has seen to it."""
    answer = ask(Health(), method="POST")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_the_drafts_format_is_given_to_who_asks_for_it() -> None:
    """`Accept: application/health+json` gets its words; a weight of 0 does not."""
    health = Health({"a": lambda: "degraded"}, version="2", clock=lambda: 0.0, details=True)
    answer = ask(health, headers={"accept": "text/html, application/health+json;q=0.9"})
    assert answer.headers["content-type"] == "application/health+json"
    told = says(answer)
    assert (told["status"], told["version"]) == ("warn", "2")
    (entry,) = told["checks"]["a"]
    assert (entry["status"], entry["time"]) == ("warn", "1970-01-01T00:00:00.000Z")
    assert entry["output"] == "it says so"
    for refused in ("application/health+json;q=0", "application/health+json; q=0.000", "*/*"):
        plain = ask(health, headers={"accept": refused})
        assert plain.headers["content-type"] == "application/json"


def test_changes_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A service that goes away is one line, and one when it comes back."""
    up = [True]
    health = Health({"database": lambda: up[0]}, ttl=0)
    with caplog.at_level("INFO", "gatekit.health"):
        for state in (True, False, False, True, True):
            up[0] = state
            ask(health)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "database is down: it says so"),
        ("INFO", "database is up"),
    ]


def test_all_wrong_options_are_named() -> None:
    """One error names every parameter that is wrong."""
    orders = cluster()
    with pytest.raises(ConfigurationError) as caught:
        Health(
            {"a": 7, "b": Health, 8: well},  # type: ignore[dict-item]
            clusters=[orders, orders],
            critical=["nobody"],
            version="1\n2",
            timeout=0,
            ttl=-1,
            details="yes",  # type: ignore[arg-type]
            addresses="no",  # type: ignore[arg-type]
            adresses=True,  # type: ignore[call-arg]
        )
    assert set(caught.value.problems) == {
        "checks", "clusters", "critical", "version", "timeout", "ttl", "details", "addresses",
        "adresses",
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match="there is a check of that name"):
        Health({"orders": well}, clusters=[orders])
    with pytest.raises(ConfigurationError, match="given by name"):
        Health(clusters=[Proxy("http://10.0.0.7")])  # type: ignore[list-item]
    assert "'users'" in repr(Health(clusters={"users": Proxy("http://10.0.0.7")}))
    with pytest.raises(ConfigurationError, match="timeout"):
        Check(well, timeout=-1)
