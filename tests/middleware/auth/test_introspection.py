"""IntrospectionAuth against a server that is a function."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest

from gatekit import ConfigurationError, IntrospectionAuth, Response, UpstreamError, asgi
from gatekit.testing import FakeIO, call_asgi, exercise, upstream
from gatekit.testing.upstreams import Sent
from tests.conftest import Door
from tests.doors.spec import Spec
from tests.middleware.auth.tokens import NOW, bearer, clock, private_pem, public_pem

URL = "https://id.example/introspect"
ACTIVE = {"active": True, "sub": "ada", "scope": "read write", "client_id": "app", "exp": NOW + 300}


class Server:
    def __init__(self, answer: Any = None) -> None:
        self.answer = ACTIVE if answer is None else answer
        self.error: UpstreamError | None = None
        self.transport = upstream(self._respond)

    def _respond(self, sent: Sent) -> Response:
        if self.error is not None:
            raise self.error
        return self.answer if isinstance(self.answer, Response) else Response.json(self.answer)

    @property
    def asked(self) -> int:
        return len(self.transport.requests)

    def auth(self, **options: Any) -> IntrospectionAuth:
        given = {"client_id": "gate way", "client_secret": "s:é", "clock": clock}
        return IntrospectionAuth(URL, **{"transport": self.transport, **given, **options})


def test_an_active_token_is_an_identity(door: Door) -> None:
    """With what the server told of it."""
    seen: list[Any] = []
    server = Server()
    spec = Spec(before=lambda request: seen.append(request.identity))
    assert door(spec, server.auth(), headers=bearer("opaque-1~2")).status == 200
    [ada] = seen
    assert (ada.subject, ada.client_id, ada.method) == ("ada", "app", "introspection")
    assert (ada.scopes, ada.expires_at) == ({"read", "write"}, NOW + 300)


def test_the_request_is_that_of_rfc7662() -> None:
    """§2.1: a form with the token; the client proves itself by RFC 6749 §2.3.1."""
    server = Server()
    exercise(server.auth(), headers=bearer("a+b/c=="))
    [sent] = server.transport.requests
    assert (sent.method, sent.target) == ("POST", "/introspect")
    assert sent.headers["content-type"] == "application/x-www-form-urlencoded"
    form = parse_qs(sent.body.decode())
    assert form == {"token": ["a+b/c=="], "token_type_hint": ["access_token"]}
    pair = b64decode(sent.headers["authorization"].removeprefix("Basic "))
    assert pair == b"gate+way:s%3A%C3%A9"


def test_the_other_ways_to_prove_who_asks() -> None:
    """In the form, by a token, by a signed assertion (RFC 7523 §2.2)."""
    server = Server()
    exercise(server.auth(client_auth="post", client_secret="x"), headers=bearer("t1"))
    exercise(server.auth(client_auth="bearer", client_secret="x"), headers=bearer("t1"))
    signed = server.auth(
        client_auth="private_key_jwt", client_secret=None, client_key=private_pem("ES256")
    )
    exercise(signed, headers=bearer("t1"))
    exercise(signed, headers=bearer("t2"))
    post, by_token, first, second = server.transport.requests
    assert parse_qs(post.body.decode())["client_secret"] == ["x"]
    assert by_token.headers["authorization"] == "Bearer x"
    ids = []
    for sent in (first, second):
        form = parse_qs(sent.body.decode())
        assert form["client_assertion_type"] == [
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        ]
        claims = jwt.decode(
            form["client_assertion"][0],
            public_pem("ES256"),
            ["ES256"],
            audience=URL,
            options={"verify_exp": False, "verify_iat": False},
        )
        assert (claims["iss"], claims["sub"]) == ("gate way", "gate way")
        ids.append(claims["jti"])
    assert ids[0] != ids[1]


def test_an_answer_is_remembered_for_a_while() -> None:
    """`ttl` seconds, and never past the token's end."""
    now = [NOW]
    server = Server()
    auth = server.auth(clock=lambda: now[0], ttl=60.0)
    for later, asked in ((0, 1), (59, 1), (60, 2), (119, 2), (120, 3)):
        now[0] = NOW + later
        assert exercise(auth, headers=bearer("t")).status == 200
        assert server.asked == asked
    server.answer = {**ACTIVE, "exp": NOW + 130}
    now[0] = NOW + 125
    assert exercise(auth, headers=bearer("u")).status == 200
    now[0] = NOW + 130
    assert exercise(auth, headers=bearer("u")).status == 401


def test_a_refusal_is_remembered_for_less() -> None:
    """A token that becomes active is not kept out for long."""
    now = [NOW]
    server = Server({"active": False})
    auth = server.auth(clock=lambda: now[0], negative_ttl=5.0)
    for later, asked in ((0, 1), (4.9, 1), (5, 2)):
        now[0] = NOW + later
        answer = exercise(auth, headers=bearer("t"))
        assert (answer.status, server.asked) == (401, asked)
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_refused_tokens_do_not_push_out_good_ones() -> None:
    """They have a place of their own."""
    server = Server()
    auth = server.auth(cache_size=10)
    exercise(auth, headers=bearer("good"))
    server.answer = {"active": False}
    for number in range(50):
        exercise(auth, headers=bearer(f"bad{number}"))
    asked = server.asked
    assert exercise(auth, headers=bearer("good")).status == 200
    assert server.asked == asked


def test_a_revoked_token_can_be_forgotten() -> None:
    """By an app that hears of it before the memory ends."""
    server = Server()
    auth = server.auth()
    assert exercise(auth, headers=bearer("t")).status == 200
    server.answer = {"active": False}
    assert exercise(auth, headers=bearer("t")).status == 200
    auth.forget("t")
    assert exercise(auth, headers=bearer("t")).status == 401


def test_what_was_under_way_when_a_token_was_forgotten_is_not_kept() -> None:
    """An answer from before the revocation may land after it."""
    server = Server()

    def forget(sent: Sent) -> Response:
        auth.forget("t")
        return server._respond(sent)

    auth = server.auth(transport=upstream(forget))
    assert exercise(auth, headers=bearer("t")).status == 200
    server.answer = {"active": False}
    assert exercise(auth, headers=bearer("t")).status == 401


def test_a_token_is_asked_about_once() -> None:
    """However many requests bring it at the same time."""
    server = Server()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    async def run() -> list[int]:
        wrapped = asgi(app, server.auth())
        calls = [call_asgi(wrapped, headers=bearer("t")) for _ in range(200)]
        return [answer.status for answer in await asyncio.gather(*calls)]

    assert asyncio.run(run()) == [200] * 200
    assert server.asked == 1


BAD_ANSWERS = [
    Response(500),
    Response(401),
    Response(302, {"location": "https://eve.example/"}),
    Response.text("active"),
    Response.json([True]),
    Response.json({}),
    Response.json({"active": "true"}),
    Response.json({"active": 1}),
    Response.text('{"active": false, "active": true}'),
    Response(200, {}, b" " * 70_000),
]


@pytest.mark.parametrize("answer", BAD_ANSWERS, ids=range(len(BAD_ANSWERS)))
def test_what_is_no_answer_is_a_503(answer: Response) -> None:
    """Never a yes; and it is not remembered as a no."""
    server = Server(answer)
    auth = server.auth()
    refused = exercise(auth, headers=bearer("t"))
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    server.answer = ACTIVE
    assert exercise(auth, headers=bearer("t")).status == 200


def test_a_server_that_is_away_is_left_alone(door: Door) -> None:
    """After three failures; what is remembered counts on, and it is asked again after a while."""
    server, io = Server(), FakeIO()
    auth = server.auth()
    assert exercise(auth, headers=bearer("known"), io=io).status == 200
    server.error = UpstreamError("connect", "refused")
    for number in range(20):
        assert exercise(auth, headers=bearer(f"t{number}"), io=io).status == 503
    assert server.asked == 4
    assert exercise(auth, headers=bearer("known"), io=io).status == 200
    server.error = None
    io.advance(1.0)
    assert exercise(auth, headers=bearer("t0"), io=io).status == 200
    down = Server()
    down.error = UpstreamError("total_timeout", "late")
    answer = door(Spec(), down.auth(), headers=bearer("t"))
    assert (answer.status, b"authentication-unavailable" in answer.body) == (503, True)


def test_too_many_at_once_is_not_the_servers_failure() -> None:
    """A full pool is ours: a flood of invented tokens does not cut off who is good."""
    server, io = Server(), FakeIO()
    auth = server.auth()
    server.error = UpstreamError("pool_full", "too many wait")
    for number in range(20):
        assert exercise(auth, headers=bearer(f"t{number}"), io=io).status == 503
    server.error = None
    assert exercise(auth, headers=bearer("t"), io=io).status == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW},
        {"exp": "never"},
        {"exp": True},
        {"nbf": NOW + 1},
        {"iat": NOW + 1},
        {"iss": "https://eve.example"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"sub": 7},
    ],
)
def test_what_the_server_says_is_checked(claims: dict[str, object]) -> None:
    """Active for somebody else, or no longer, is not active here."""
    whole = {**ACTIVE, "iss": "https://id.example", "aud": ["api"]}
    server = Server(whole)
    options = {"issuer": "https://id.example", "audience": "api"}
    assert exercise(server.auth(**options), headers=bearer("t")).status == 200
    server.answer = {**whole, **claims}
    assert exercise(server.auth(**options), headers=bearer("t")).status == 401


@pytest.mark.parametrize(
    "text", ["two words", "a&token=b", "é", "=", "a" * 9000, '"quoted"', "a%00", "\x7f"]
)
def test_what_is_no_token_is_not_passed_on(text: str) -> None:
    """RFC 6750 §2.1, `b64token`."""
    server = Server()
    assert exercise(server.auth(), headers=bearer(text)).status == 401
    assert server.asked == 0


def test_without_a_token_nobody_is_asked(door: Door) -> None:
    """401 with a challenge, or anonymous where that is allowed."""
    server = Server()
    assert door(Spec(), server.auth()).headers["www-authenticate"] == 'Bearer realm="api"'
    assert door(Spec(), server.auth(optional=True)).status == 200
    assert server.asked == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"url": "http://id.example/i"}, "url"),
        ({"client_id": None}, "client_id"),
        ({"client_secret": None}, "client_secret"),
        ({"client_auth": "digest"}, "client_auth"),
        ({"client_auth": "private_key_jwt"}, "client_key"),
        ({"client_auth": "private_key_jwt", "client_key": public_pem("ES256")}, "client_key"),
        ({"client_key": private_pem("ES256")}, "client_key"),
        ({"ttl": -1}, "ttl"),
        ({"timeout": 0}, "timeout"),
        ({"audience": 7}, "audience"),
        ({"claim_names": {"x": "y"}}, "claim_names"),
        ({"audience_": "x"}, "audience_"),
    ],
)
def test_what_could_not_work_is_refused(options: Any, named: str) -> None:
    """By the name of the option, without the secret."""
    given: dict[str, Any] = {"url": URL, "client_id": "g", "client_secret": "very secret"}
    with pytest.raises(ConfigurationError) as wrong:
        IntrospectionAuth(**{**given, **options})
    assert named in wrong.value.problems
    assert "very secret" not in str(wrong.value)
    assert "very secret" not in repr(IntrospectionAuth(**given))
