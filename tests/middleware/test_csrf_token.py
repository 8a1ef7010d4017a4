"""A token in a cookie and in a field: who can repeat it has been given it."""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import Any

import pytest

from gatekit import ConfigurationError, Request, Response
from gatekit.middleware.csrf import CSRF, CSRFToken
from gatekit.testing import Answer, exercise
from tests.conftest import Door
from tests.doors.spec import Spec

SECRET = b"a secret of thirty-two bytes ..."
OURS = {"origin": "http://testserver"}


def csrf(**options: Any) -> CSRF:
    return CSRF(token=CSRFToken(SECRET, **options))


def given(answer: Answer) -> str:
    match = re.match(r"__Host-csrf=([0-9a-f.]+);", answer.headers["set-cookie"])
    assert match is not None
    return match[1]


def send(policy: CSRF, cookie: str | None, field: str | None, **more: str) -> Answer:
    headers = {**OURS, **more}
    if cookie is not None:
        headers["cookie"] = f"__Host-csrf={cookie}"
    if field is not None:
        headers["x-csrf-token"] = field
    return exercise(policy, method="POST", headers=headers)


def test_a_page_is_given_a_token_and_repeats_it(door: Door) -> None:
    """A cookie for https and this host alone, readable by scripts, and once only."""
    policy = csrf()
    found: list[Request] = []
    first = door(Spec(before=found.append), policy)
    token = given(first)
    assert first.headers["set-cookie"].endswith("; Path=/; SameSite=Lax; Secure")
    assert "cookie" in first.headers["vary"].lower()
    assert found[0].state["csrf_token"] == token
    cookie = {"cookie": f"a=b; __Host-csrf={token}"}
    again = door(Spec(before=found.append), policy, headers=cookie)
    assert "set-cookie" not in again.headers
    assert found[1].state["csrf_token"] == token
    sent = door(Spec(), policy, method="POST", headers={**OURS, **cookie, "x-csrf-token": token})
    assert sent.status == 200


def test_what_is_refused() -> None:
    """No token, half of one, another one, one that nobody signed, one for another secret."""
    policy = csrf()
    token, other = given(exercise(policy)), given(exercise(policy))
    foreign = given(exercise(CSRF(token=CSRFToken(b"an attacker's secret"))))
    plain = f"{'0' * 32}.{'0' * 64}"
    for cookie, field in (
        (None, None),
        (token, None),
        (None, token),
        (token, other),
        (foreign, foreign),
        (plain, plain),
        ("", ""),
        ("x", "x"),
        (token, token.upper()),
        (token, token + "0"),
    ):
        assert send(policy, cookie, field).status == 403
    assert send(policy, token, token).status == 200
    assert send(policy, token, token, **{"sec-fetch-site": "cross-site"}).status == 403


def test_what_a_neighbour_plants_is_of_no_use() -> None:
    """A cookie of another subdomain beside ours is not believed, and does not lock us out."""
    policy = csrf()
    token = given(exercise(policy))
    headers = {**OURS, "cookie": f"__Host-csrf=evil; __Host-csrf={token}"}
    both = exercise(policy, method="POST", headers={**headers, "x-csrf-token": token})
    planted = exercise(policy, method="POST", headers={**headers, "x-csrf-token": "evil"})
    assert (both.status, planted.status) == (200, 403)


def test_a_token_is_tied_to_a_session() -> None:
    """Another user's own token is refused, and he is given a new one."""

    def session(request: Request) -> str | None:
        return request.headers.get("x-session")

    policy = csrf(session=session)
    token = given(exercise(policy, headers={"x-session": "ada"}))
    assert send(policy, token, token, **{"x-session": "ada"}).status == 200
    refused = send(policy, token, token, **{"x-session": "eve"})
    assert refused.status == 403
    assert send(policy, token, token).status == 403
    renewed = exercise(policy, headers={"x-session": "eve", "cookie": f"__Host-csrf={token}"})
    assert given(renewed) != token


def test_a_session_is_no_other_one() -> None:
    """What is signed keeps session and token apart."""
    token = CSRFToken(SECRET, session=lambda request: "ada")
    start = "0" * 32
    ours = token._sign(exercise().request, start)
    for message in (f"csrf\0ada\0{start}", f"csrf\0{start}", f"csrf\0\0{start}"):
        assert hmac.digest(SECRET, message.encode(), sha256).hex() != ours


def test_a_token_is_handed_out_on_errors_too() -> None:
    """A page that shows an error may have a form, too."""

    async def broken(request: Request) -> Response:
        raise LookupError

    answer = exercise(csrf(), app=broken)
    assert answer.status == 500
    assert given(answer)


def test_other_names() -> None:
    """For a site without https the cookie has another name, and is not for https only."""
    policy = csrf(cookie="xsrf", header="X-XSRF", secure=False)
    answer = exercise(policy)
    assert answer.headers["set-cookie"].startswith("xsrf=")
    assert "Secure" not in answer.headers["set-cookie"]
    token = answer.headers["set-cookie"].partition("=")[2].partition(";")[0]
    headers = {**OURS, "cookie": f"xsrf={token}", "x-xsrf": token}
    assert exercise(policy, method="POST", headers=headers).status == 200


def test_no_two_are_the_same() -> None:
    """And the secret is not shown."""
    policy = csrf()
    assert len({given(exercise(policy)) for _ in range(100)}) == 100
    assert SECRET.decode() not in repr(policy)


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"secret": b"short"}, "secret"),
        ({"cookie": "a b"}, "cookie"),
        ({"secure": False}, "cookie"),
        ({"header": ""}, "header"),
        ({"session": "id"}, "session"),
        ({"sesion": None}, "sesion"),
    ],
)
def test_wrong_options(options: dict[str, Any], parameter: str) -> None:
    """Each is named."""
    with pytest.raises(ConfigurationError) as raised:
        CSRFToken(**{"secret": SECRET, **options})
    assert list(raised.value.problems) == [parameter]
