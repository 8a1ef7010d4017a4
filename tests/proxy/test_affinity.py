"""A client stays where it was: by cookie, by header, after a restart, and not by forgery."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from gatekit import Cluster, ConfigurationError, CookieAffinity, HeaderAffinity, Proxy
from gatekit.testing import Answer, make_request
from tests.proxy.fleet import NOW, SECRET, destination, fleet, member
from tests.proxy.handlers import Send

OTHER = b"another secret of its own"


def sticky(affinity: Any = None, names: str = "abcd", **options: Any) -> Cluster:
    affinity = affinity or CookieAffinity(SECRET)
    return fleet(dict.fromkeys(names, 1.0), affinity=affinity, **options)


def cookie_in(answer: Answer) -> str:
    """What a browser would send back."""
    return str(answer.headers["set-cookie"]).partition(";")[0]


def test_a_browser_stays_where_it_was(send: Send) -> None:
    """The first answer sets a cookie, later ones none, and all come from one destination."""
    proxy = Proxy(sticky())
    first = send(proxy)
    cookie = cookie_in(first)
    for _ in range(20):
        again = send(proxy, headers={"cookie": f"theme=dark; {cookie}"})
        assert again.text == first.text
        assert "set-cookie" not in again.headers


def test_the_destination_is_not_in_the_cookie(send: Send) -> None:
    """Neither its name nor its address can be read from it, encrypted or hashed."""
    for encrypted in (False, True):
        answer = send(Proxy(sticky(CookieAffinity(SECRET, encrypted=encrypted), names="ab")))
        line = answer.headers["set-cookie"]
        assert re.fullmatch(
            r"gatekit-fleet=[A-Za-z0-9_-]{20,80}; Path=/; HttpOnly; SameSite=Lax", line
        )
        assert ".test" not in line


@pytest.mark.parametrize("encrypted", [False, True])
def test_it_holds_after_a_restart(send: Send, encrypted: bool) -> None:
    """Another process with the same secret finds the same destination."""
    first = send(Proxy(sticky(CookieAffinity(SECRET, encrypted=encrypted))))
    for _ in range(10):
        restarted = Proxy(sticky(CookieAffinity(SECRET, encrypted=encrypted)))
        again = send(restarted, headers={"cookie": cookie_in(first)})
        assert again.text == first.text
        assert "set-cookie" not in again.headers


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize(
    "forge",
    [
        lambda token: "http://a.test",
        lambda token: "a",
        lambda token: "",
        lambda token: token[:-4] + "AAAA",
        lambda token: token + "A",
        lambda token: "é" * 9,
        lambda token: "A" * 5000,
        lambda token: "====",
    ],
)
def test_a_forged_cookie_is_ignored(
    send: Send, encrypted: bool, forge: Callable[[str], str]
) -> None:
    """It binds to nobody, and the answer brings a true one."""
    proxy = Proxy(sticky(CookieAffinity(SECRET, encrypted=encrypted)))
    name, _, token = cookie_in(send(proxy)).partition("=")
    fields = [("cookie", f"{name}={forge(token)}")]
    answer = send(proxy, headers=fields)
    assert answer.status == 200
    assert cookie_in(answer).startswith(f"{name}=")


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_cookie_of_another_secret_or_cluster_is_ignored(send: Send, encrypted: bool) -> None:
    """Tokens are bound to the secret and to the cluster that they were made for."""
    for other in (
        sticky(CookieAffinity(OTHER, encrypted=encrypted, cookie="c")),
        sticky(CookieAffinity(SECRET, encrypted=encrypted, cookie="c"), name="other"),
    ):
        cookie = cookie_in(send(Proxy(other)))
        proxy = Proxy(sticky(CookieAffinity(SECRET, encrypted=encrypted, cookie="c")))
        assert "set-cookie" in send(proxy, headers={"cookie": cookie}).headers


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_secret_can_be_changed(send: Send, encrypted: bool) -> None:
    """A token of a previous secret still binds, and is replaced by one of the new."""
    old = cookie_in(send(Proxy(sticky(CookieAffinity(SECRET, encrypted=encrypted)))))
    rotated = CookieAffinity(OTHER, previous=[SECRET], encrypted=encrypted)
    proxy = Proxy(sticky(rotated))
    first = send(proxy, headers={"cookie": old})
    new = cookie_in(first)
    assert new != old
    again = send(Proxy(sticky(CookieAffinity(OTHER, encrypted=encrypted))), headers={"cookie": new})
    assert again.text == first.text
    assert "set-cookie" not in again.headers


def test_a_planted_cookie_does_not_hide_ours(send: Send) -> None:
    """A neighbour's cookie of the same name stands in front; the true one still binds."""
    proxy = Proxy(sticky())
    first = send(proxy)
    for _ in range(10):
        planted = f"gatekit-fleet=planted; {cookie_in(first)}"
        assert send(proxy, headers={"cookie": planted}).text == first.text


@pytest.mark.parametrize("gone", ["unhealthy", "ejected", "removed"])
def test_who_loses_its_destination_is_given_another(send: Send, gone: str) -> None:
    """By default the client moves, with a cookie for where it is now."""
    cluster = sticky()
    first = send(Proxy(cluster))
    lose(cluster, first.text, gone)
    moved = send(Proxy(cluster), headers={"cookie": cookie_in(first)})
    assert moved.status == 200
    assert moved.text != first.text
    again = send(Proxy(cluster), headers={"cookie": cookie_in(moved)})
    assert again.text == moved.text


@pytest.mark.parametrize("gone", ["unhealthy", "ejected"])
def test_who_loses_its_destination_may_be_refused(send: Send, gone: str) -> None:
    """`on_failure="refuse"`: better a 503 than a server that knows nothing of the session."""
    cluster = sticky(CookieAffinity(SECRET, on_failure="refuse"))
    first = send(Proxy(cluster))
    lose(cluster, first.text, gone)
    refused = send(Proxy(cluster), headers={"cookie": cookie_in(first)})
    assert (refused.status, "set-cookie" in refused.headers) == (503, False)
    assert "no-destination" in refused.text
    assert send(Proxy(cluster)).status == 200


def lose(cluster: Cluster, host: str, how: str) -> None:
    out = next(known for known in cluster.state.members if known.origin.host == host)
    if how == "unhealthy":
        cluster.state.set_health(out, "unhealthy", "test", NOW)
    elif how == "ejected":
        cluster.state.eject(out, float("inf"), "test", NOW)
    else:
        stay = [known.destination for known in cluster.state.members if known is not out]
        cluster.state.update(stay, NOW)


def test_weight_zero_keeps_its_clients(send: Send) -> None:
    """To empty a destination without hurting anybody: no new clients, the old ones stay."""
    cluster = sticky(names="ab")
    first = send(Proxy(cluster))
    name = first.text.partition(".")[0]
    cluster.state.update([destination(n, weight=0 if n == name else 1) for n in "ab"], NOW)
    assert send(Proxy(cluster), headers={"cookie": cookie_in(first)}).text == first.text
    assert {send(Proxy(cluster)).text for _ in range(10)} != {first.text}


def test_clients_of_no_browser_use_a_header(send: Send) -> None:
    """The token comes in a field of the first answer and binds when it is sent back."""
    proxy = Proxy(sticky(HeaderAffinity(SECRET, header="X-Home")))
    first = send(proxy)
    token = first.headers["x-home"]
    for _ in range(10):
        again = send(proxy, headers={"x-home": token})
        assert (again.text, "x-home" in again.headers) == (first.text, False)
    assert "x-home" in send(proxy, headers={"x-home": "forged"}).headers


def test_the_attributes_of_the_cookie(send: Send) -> None:
    """Each option is in the line, and `Secure` is there where the request was."""
    affinity = CookieAffinity(
        SECRET,
        cookie="home",
        max_age=3600,
        domain="example.com",
        path="/shop",
        secure=True,
        http_only=False,
        same_site="none",
        partitioned=True,
    )
    line = send(Proxy(sticky(affinity))).headers["set-cookie"]
    assert re.sub("=[^;]+", "", line, count=1) == (
        "home; Path=/shop; Domain=example.com; Max-Age=3600; SameSite=None; Partitioned; Secure"
    )
    assert send(Proxy(sticky()), scheme="https").headers["set-cookie"].endswith("; Secure")


def test_each_seal_is_another() -> None:
    """Two clients of one destination cannot tell that they share it; a hash is the same."""
    cluster = sticky(CookieAffinity(SECRET, encrypted=True), names="a")
    affinity, state = cluster.state.affinity, cluster.state
    assert affinity is not None
    lines = {affinity.fields(make_request(), state, member(cluster, "a"))[0][1] for _ in range(50)}
    assert len(lines) == 50


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("secret", "a string, which is no key"),
        ("secret", b"short"),
        ("previous", SECRET),
        ("previous", [b"short"]),
        ("cookie", "a b"),
        ("on_failure", "503"),
        ("max_age", 0),
        ("domain", "example.com; Secure"),
        ("path", "shop"),
        ("path", "/a;b"),
        ("same_site", "Lax"),
        ("partitioned", True),
        ("encrypted", "no"),
    ],
)
def test_wrong_options_are_told(option: str, value: Any) -> None:
    """A wrong option is an error at construction, and no secret is in it."""
    with pytest.raises(ConfigurationError, match=option) as caught:
        CookieAffinity(**{"secret": SECRET, option: value})
    assert "short" not in str(caught.value)
    assert "sixteen" not in repr(CookieAffinity(SECRET))
