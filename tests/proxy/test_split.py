"""Versions of a service share its requests: by weight, by client, by wish."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from gatekit import (
    Cluster,
    ConfigurationError,
    Proxy,
    Ramp,
    Request,
    Response,
    Split,
    asgi_app,
    wsgi_app,
)
from gatekit.testing import Answer, call_asgi, call_wsgi, exercise, make_request, upstream
from gatekit.typing import Handler
from tests.proxy.fleet import chi_square, critical

BEGINS = datetime(2027, 1, 4, 8, tzinfo=UTC)
CLIENTS = [f"client-{number}" for number in range(1_500)]


def version(name: str) -> Cluster:
    transport = upstream(lambda sent: Response.text(name))
    return Cluster(name, destinations=[f"http://{name}"], transport=transport)


def split(stable: Any = 95, canary: Any = 5, **options: Any) -> Split:
    versions = {version("stable"): stable, version("canary"): canary}
    return Split(versions, chance=options.pop("chance", Random(11)), **options)


def ask(one: Split, **call: Any) -> Answer:
    return exercise(app=one, **call)


def counted(one: Split, count: int, **call: Any) -> Counter[str]:
    return Counter(ask(one, **call).text for _ in range(count))


def by_client(one: Split) -> dict[str, str]:
    return {client: ask(one, headers={"x-client": client}).text for client in CLIENTS}


def test_requests_are_shared_by_weight() -> None:
    """Each request is drawn for itself, and the shares are those of the weights."""
    assert chi_square(counted(split(), 2_000), {"stable": 95, "canary": 5}) < critical(1)


def test_weight_zero_gets_nothing() -> None:
    """A version of weight 0 is not drawn, whatever chance says."""

    class Edges(Random):
        numbers = [0.0, 1.0 - 2.0**-53] * 2

        def random(self) -> float:
            return self.numbers.pop()

    assert counted(split(100, 0, chance=Edges()), 2) == {"stable": 2}
    assert counted(split(0, 100, chance=Edges()), 2) == {"canary": 2}


def test_a_client_stays_by_its_key() -> None:
    """With a hash the same client always gets the same version, in every process."""
    found = by_client(split(70, 30, sticky="header:x-client"))
    assert found == by_client(split(70, 30, sticky="header:x-client", chance=Random(99)))
    assert chi_square(Counter(found.values()), {"stable": 70, "canary": 30}) < critical(1)


def test_a_growing_canary_keeps_whom_it_has() -> None:
    """More weight moves clients to the canary, and none of those that were there away."""
    before, after = (
        by_client(split(100 - weight, weight, sticky="header:x-client")) for weight in (5, 20)
    )
    assert {c for c in CLIENTS if before[c] == "canary"} < {
        c for c in CLIENTS if after[c] == "canary"
    }


def test_two_splits_do_not_draw_alike() -> None:
    """The name is part of the hash: who is first here is not first everywhere."""
    one, other = (by_client(split(50, 50, sticky="header:x-client", name=n)) for n in "ab")
    same = sum(one[client] == other[client] for client in CLIENTS)
    assert 0.45 < same / len(CLIENTS) < 0.55


def test_without_a_key_chance_decides() -> None:
    """A request that has no key is shared like any other."""
    found = counted(split(50, 50, sticky="header:x-client"), 1_000)
    assert chi_square(found, {"stable": 1, "canary": 1}) < critical(1)


@pytest.mark.parametrize("door", ["asgi", "wsgi"])
def test_a_client_stays_by_its_cookie(door: str) -> None:
    """The first answer sets a cookie, which decides from then on; later ones set none."""
    one = split(50, 50, sticky="cookie")
    names = set[str]()
    for _ in range(10):
        first = _through(door, one)
        cookie = first.headers["set-cookie"].partition(";")[0]
        assert cookie == f"gatekit-split={first.text}"
        again = _through(door, one, headers={"cookie": cookie})
        assert (again.text, "set-cookie" in again.headers) == (first.text, False)
        names.add(first.text)
    assert names == {"stable", "canary"}


def _through(door: str, one: Split, **call: Any) -> Answer:
    if door == "asgi":
        return asyncio.run(call_asgi(asgi_app(one), **call))
    return call_wsgi(wsgi_app(one), **call)


def test_a_version_without_weight_keeps_nobody() -> None:
    """When a canary is stopped, the cookies of its clients are of no use, and are replaced."""
    one = split(50, 50, sticky="cookie")
    one.reweigh({"canary": 0})
    answer = ask(one, headers={"cookie": "gatekit-split=canary"})
    assert answer.text == "stable"
    assert "gatekit-split=stable" in answer.headers["set-cookie"]
    assert ask(one, headers={"cookie": "gatekit-split=forged"}).text == "stable"


def test_who_asks_for_a_version_gets_it() -> None:
    """The override wins over weight, hash and cookie; a name that there is not is ignored."""
    one = split(100, 0, sticky="cookie", override="header:x-version")
    assert ask(one, headers={"x-version": "canary"}).text == "canary"
    assert "set-cookie" not in ask(one, headers={"x-version": "canary"}).headers
    assert ask(one, headers={"x-version": "nightly"}).text == "stable"
    stays = {"x-version": "canary", "cookie": "gatekit-split=stable"}
    assert ask(one, headers=stays).text == "canary"


def test_weights_can_be_changed() -> None:
    """From the next request on, those that are left out stay as they are."""
    one = split(100, 0)
    assert counted(one, 20) == {"stable": 20}
    one.reweigh({"stable": 0, "canary": 1})
    assert counted(one, 20) == {"canary": 20}
    assert one.weights() == {"stable": 0, "canary": 1}


def test_a_ramp_follows_the_clock() -> None:
    """Before it begins, half-way and afterwards the weight is that of the moment."""
    now = [BEGINS.timestamp() - 1.0]
    ramp = Ramp(0, 100, begins=BEGINS, over=3600)
    one = split(100, ramp, clock=lambda: now[0])
    assert counted(one, 20) == {"stable": 20}
    now[0] = BEGINS.timestamp() + 1_800.0
    assert one.weights() == {"stable": 100, "canary": 50}
    found = counted(one, 3_000)
    assert chi_square(found, {"stable": 2, "canary": 1}) < critical(1)
    now[0] += 7_200.0
    assert one.weights() == {"stable": 100, "canary": 100}


def test_any_handler_is_a_version() -> None:
    """Proxies, functions and clusters stand side by side, and each is known by its name."""

    async def mock(request: Request) -> Response:
        return Response.text("mock")

    proxy = Proxy(version("orders"))
    versions: dict[Handler, float] = {proxy: 1, mock: 1}
    one = Split(versions, override="query:version")
    assert ask(one, target="/?version=mock").text == "mock"
    assert ask(one, target="/?version=orders").text == "orders"
    assert _through("wsgi", one, target="/?version=mock").text == "mock"


def test_a_decision_says_which_and_why() -> None:
    """The log can tell which version answered, and what sent the request there."""
    one = split(100, 0, override="header:x-version")
    request = make_request(headers={"x-version": "canary"})
    exercise(app=one, request=request)
    assert [(d.policy, d.outcome, d.reason) for d in request.decisions] == [
        ("split", "allow", "canary by override")
    ]


def test_what_it_holds_is_closed() -> None:
    """A door that stops closes the proxies that the split has made of clusters."""
    one = split()
    assert [type(part) for part in one.gatekit_parts()] == [Proxy, Proxy]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("versions", {}),
        ("versions", {"http://a": 1}),
        ("sticky", "session"),
        ("override", "x-version"),
        ("name", "two words"),
        ("cookie", "home"),
        ("clock", 3),
    ],
)
def test_wrong_options_are_told(option: str, value: Any) -> None:
    """A wrong option is an error at construction that names it."""
    options = {"versions": {version("a"): 1}, option: value}
    with pytest.raises(ConfigurationError, match=option):
        Split(**options)


def test_wrong_weights_are_told() -> None:
    """Negative, all zero, unknown and doubled ones; a ramp that may be the only one left."""
    for wrong in (
        lambda: split(-1, 5),
        lambda: split(0, 0),
        lambda: split(0, Ramp(0, 5, begins=BEGINS, over=60)),
        lambda: Split({version("a"): 1, version("a"): 1}),
        lambda: split().reweigh({"nightly": 5}),
        lambda: split().reweigh({"stable": 0, "canary": 0}),
        lambda: Ramp(0, 5, begins=datetime(2027, 1, 4), over=60),  # noqa: DTZ001 — the mistake
        lambda: Ramp(0, -5, begins=BEGINS, over=60),
    ):
        with pytest.raises(ConfigurationError):
            wrong()
