"""RemoteAuth: a service of the house says who calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gatekit import ConfigurationError, RemoteAuth, Response, UpstreamError
from gatekit.testing import FakeIO, exercise, upstream
from gatekit.testing.upstreams import Sent
from tests.conftest import Door
from tests.doors.spec import Spec
from tests.middleware.auth.tokens import NOW, bearer, clock

URL = "http://auth:8000/verify"
ADA = {"sub": "ada", "roles": ["admin"]}


class Service:
    def __init__(self, answer: Any = None) -> None:
        self.answer: Any = ADA if answer is None else answer
        self.transport = upstream(self._respond)

    def _respond(self, sent: Sent) -> Response:
        answer = self.answer
        if isinstance(answer, UpstreamError):
            raise answer
        if callable(answer):
            answer = answer(sent)
        return answer if isinstance(answer, Response) else Response.json(answer)

    @property
    def asked(self) -> int:
        return len(self.transport.requests)

    def auth(self, **options: Any) -> RemoteAuth:
        return RemoteAuth(URL, **{"transport": self.transport, "clock": clock, **options})


def test_the_service_says_who_it_is(door: Door) -> None:
    """It is sent the token as JSON, and answers with the claims."""
    seen: list[Any] = []
    service = Service()
    spec = Spec(before=lambda request: seen.append(request.identity))
    assert door(spec, service.auth(), headers=bearer("t-1")).status == 200
    assert (seen[0].subject, seen[0].roles, seen[0].method) == ("ada", {"admin"}, "remote")
    [sent] = service.transport.requests
    assert (sent.method, sent.target) == ("POST", "/verify")
    assert json.loads(sent.body) == {"token": "t-1"}
    assert "authorization" not in sent.headers


def test_services_that_name_things_in_their_own_way() -> None:
    """Another member for the token, a secret of its own, claims inside of an object."""
    service = Service({"valid": True, "user": {"id": 7, "groups": ["a"]}})
    auth = service.auth(
        token_field="jwt",
        service_headers={"X-Service-Key": "hush"},
        claim_names={"subject": "user.id", "roles": "user.groups"},
    )
    identity = exercise(auth, headers=bearer("t")).request.identity
    assert identity is not None
    assert (identity.subject, set(identity.roles)) == ("7", {"a"})
    [sent] = service.transport.requests
    assert (json.loads(sent.body), sent.headers["x-service-key"]) == ({"jwt": "t"}, "hush")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Response(401), 401),
        (Response(400), 401),
        (Response(422), 401),
        (Response(403), 403),
        ({"valid": False}, 401),
        ({"active": False, "sub": "ada"}, 401),
        ({"authenticated": "true", "sub": "ada"}, 401),
        ({"active": None, "sub": "ada"}, 401),
        ({"sub": "ada", "exp": NOW}, 401),
        (Response(204), 200),
        ({"valid": True}, 200),
        ({"user_id": 5}, 200),
        (Response(500), 503),
        (Response(404), 503),
        (Response(429), 503),
        (Response(302, {"location": "/login"}), 503),
        (Response.text("ok"), 503),
        ({"error": "invalid token"}, 503),
        ({"success": False}, 503),
        ({"sub": "ada", "exp": "soon"}, 503),
        (Response(200, {}, b" " * 70_000), 503),
        (UpstreamError("first_byte_timeout", "late"), 503),
    ],
    ids=range(22),
)
def test_what_the_service_can_answer(answer: Any, status: int) -> None:
    """Yes, no, or nothing that could be taken for either: then it is unavailable."""
    found = exercise(Service(answer).auth(), headers=bearer("t"))
    assert found.status == status
    assert ("www-authenticate" in found.headers) is (status == 401)


def test_a_decision_is_remembered() -> None:
    """For `ttl`, less where the answer says so, and a refusal for less again."""
    now = [NOW]
    service = Service()
    auth = service.auth(clock=lambda: now[0], ttl=10.0, negative_ttl=2.0)
    for later, asked in ((0, 1), (9, 1), (10, 2)):
        now[0] = NOW + later
        exercise(auth, headers=bearer("t"))
        assert service.asked == asked
    service.answer = Response.json(ADA, headers={"cache-control": "max-age=3"})
    for later, asked in ((20, 3), (22, 3), (23, 4)):
        now[0] = NOW + later
        exercise(auth, headers=bearer("t"))
        assert service.asked == asked
    service.answer = Response.json(ADA, headers={"cache-control": "no-store"})
    for asked in (5, 6):
        exercise(auth, headers=bearer("u"))
        assert service.asked == asked
    service.answer = Response(401)
    for later, asked in ((30, 7), (31, 7), (32, 8)):
        now[0] = NOW + later
        assert exercise(auth, headers=bearer("v")).status == 401
        assert service.asked == asked


def test_without_the_service_nobody_passes_unless_it_is_said(door: Door) -> None:
    """`on_error="allow"` lets them pass, as anonymous, and says so in the decisions."""
    away = UpstreamError("connect", "refused")
    assert door(Spec(), Service(away).auth(), headers=bearer("t")).status == 503
    seen: list[Any] = []
    spec = Spec(before=lambda request: seen.append((request.identity, request.decisions)))
    lenient = Service(away).auth(on_error="allow", forward_headers={"X-User-ID": "subject"})
    assert door(spec, lenient, headers=bearer("t")).status == 200
    identity, decisions = seen[0]
    assert identity.is_anonymous
    assert [decision.outcome for decision in decisions] == ["error", "allow"]
    assert "x-user-id" not in spec.seen[0]["headers"]


def test_a_bad_token_is_refused_in_spite_of_allow() -> None:
    """It is the service's silence that is allowed for, not its no."""
    assert (
        exercise(Service(Response(401)).auth(on_error="allow"), headers=bearer("t")).status == 401
    )


def forward(service: Service, **options: Any) -> RemoteAuth:
    return service.auth(mode="forward", **options)


def allowed(**fields: str) -> Callable[[Sent], Response]:
    return lambda _: Response(
        200, {name.replace("_", "-"): value for name, value in fields.items()}
    )


def test_forward_auth_tells_what_was_asked_for(door: Door) -> None:
    """Method, scheme, host, path and address, and the fields that could prove something."""
    service = Service(allowed(X_User_ID="ada", X_User_Roles="admin, staff", X_Team="red"))
    seen: list[Any] = []
    spec = Spec(before=lambda request: seen.append(request.identity))
    answer = door(
        spec,
        forward(service, copy_headers=["X-Team"]),
        method="PUT",
        target="/orders/7?a=%20b",
        headers={
            "host": "shop.example",
            "cookie": "session=1",
            "x-team": "eve",
            "x-other": "1",
            "x-forwarded-uri": "/public",
            "x-forwarded-method": "GET",
        },
    )
    assert answer.status == 200
    assert (seen[0].subject, seen[0].roles) == ("ada", {"admin", "staff"})
    assert spec.seen[0]["headers"]["x-team"] == "red"
    [sent] = service.transport.requests
    assert (sent.method, sent.body) == ("GET", b"")
    told = {name: sent.headers.getlist(name) for name in sent.headers}
    assert told["x-forwarded-method"] == ["PUT"]
    assert told["x-forwarded-uri"] == ["/orders/7?a=%20b"]
    assert told["x-forwarded-host"] == ["shop.example"]
    assert told["x-forwarded-proto"] == ["http"]
    assert told["cookie"] == ["session=1"]
    assert "x-other" not in told
    assert "x-team" not in told


@pytest.mark.parametrize("status", [401, 403, 302])
def test_a_refusal_of_forward_auth_is_passed_on(door: Door, status: int) -> None:
    """With its body, its challenge, its redirect and its cookies; no field of another kind."""
    fields = [
        ("content-type", "text/html"),
        ("set-cookie", "state=1"),
        ("set-cookie", "nonce=2"),
        ("location", "https://login.example/"),
        ("x-internal", "10.0.0.1"),
    ]
    service = Service(lambda _: Response(status, fields, b"<p>no</p>"))
    answer = door(Spec(), forward(service))
    assert (answer.status, answer.body) == (status, b"<p>no</p>")
    assert answer.headers.getlist("set-cookie") == ["state=1", "nonce=2"]
    assert answer.headers["cache-control"] == "no-store"
    assert "x-internal" not in answer.headers
    assert ("www-authenticate" in answer.headers) is (status == 401)


def test_a_forward_decision_is_for_one_request() -> None:
    """Another path, method, host, cookie or address is asked about anew; a cookie is no one's."""
    service = Service(allowed(X_User_ID="ada"))
    auth = forward(service)
    base: dict[str, Any] = {"target": "/a", "headers": {"cookie": "s=1"}}
    others: list[dict[str, Any]] = [
        {},
        {"target": "/b"},
        {"target": "/a?x"},
        {"method": "POST"},
        {"headers": {"cookie": "s=2"}},
        {"headers": {"cookie": "s=1", "host": "b.example"}},
        {"headers": {"authorization": "s=1"}},
    ]
    for number, other in enumerate(others, 1):
        for _ in range(2):
            exercise(auth, **{**base, **other})
        assert service.asked == number
    service.answer = lambda _: Response(302, {"location": "/", "set-cookie": "state=1"})
    for _ in range(2):
        exercise(auth, target="/c")
    assert service.asked == len(others) + 2


def test_optional_forward_auth_asks_all_the_same() -> None:
    """Who presents nothing and is refused is anonymous; who presents something bad is refused."""
    service = Service(Response(401))
    auth = forward(service, optional=True)
    assert exercise(auth).status == 200
    assert exercise(auth, headers={"cookie": "s=1"}).status == 401
    service.answer = Response(503)
    assert exercise(auth, target="/b").status == 503


def test_a_service_that_fails_is_left_alone() -> None:
    """After three failures in a row, for a second at first."""
    service, io = Service(Response(500)), FakeIO()
    auth = service.auth()
    for number in range(10):
        exercise(auth, headers=bearer(f"t{number}"), io=io)
    assert service.asked == 3
    io.advance(1.0)
    exercise(auth, headers=bearer("t"), io=io)
    assert service.asked == 4


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"url": "auth:8000"}, "url"),
        ({"mode": "ask"}, "mode"),
        ({"on_error": "pass"}, "on_error"),
        ({"send": "Cookie"}, "send"),
        ({"service_headers": {"X-Key": "a\nb"}}, "service_headers"),
        ({"copy_headers": ["a b"]}, "copy_headers"),
        ({"ttl": "1"}, "ttl"),
        ({"modes": "verify"}, "modes"),
    ],
)
def test_what_could_not_work_is_refused(options: Any, named: str) -> None:
    """By the name of the option."""
    with pytest.raises(ConfigurationError) as wrong:
        RemoteAuth(**{"url": URL, **options})
    assert named in wrong.value.problems
