"""Several ways to prove who one is: any of them, or all of them."""

from __future__ import annotations

from typing import Any

import pytest

from gatekit import ConfigurationError, RemoteAuth, Request, Response, UpstreamError
from gatekit.keys import KeyManager, MemoryKeys
from gatekit.middleware.auth.api_key import ApiKeyAuth
from gatekit.middleware.auth.basic import BasicAuth
from gatekit.middleware.auth.combine import AllOf, AnyOf
from gatekit.middleware.auth.identity import Identity
from gatekit.testing import Answer, exercise, make_request
from gatekit.typing import Handler
from tests.conftest import Door
from tests.doors.spec import Spec
from tests.keys.stubs import SECRET, Clock
from tests.middleware.auth.test_basic import cheap, field
from tests.middleware.auth.test_remote import Service
from tests.middleware.auth.tokens import bearer

KEY = "a-key-of-a-partner-0123456789"
GOOD_KEY, BAD_KEY = {"x-api-key": KEY}, {"x-api-key": KEY[::-1]}
GOOD_NAME, BAD_NAME = field("ada", "lovelace"), field("ada", "byron")
BOTH = ['Basic realm="api", charset="UTF-8"', 'ApiKey realm="api"']


def parts(**options: Any) -> tuple[BasicAuth, ApiKeyAuth]:
    return (
        BasicAuth({"ada": cheap("lovelace")}, **options),
        ApiKeyAuth({KEY: Identity("robot", roles=frozenset({"r"}))}, **options),
    )


def ask(auth: Any, *headers: dict[str, str]) -> Answer:
    merged: dict[str, str] = {}
    for each in headers:
        merged |= each
    return exercise(auth, headers=merged)


def test_any_of_them_will_do(door: Door) -> None:
    """A name or a key; whoever has neither is told both challenges, in a field each."""
    auth = AnyOf(*parts())
    found: list[Request] = []
    spec = Spec(before=found.append)
    assert door(spec, auth, headers=GOOD_NAME).status == 200
    assert door(spec, auth, headers=GOOD_KEY).status == 200
    identities = [request.identity for request in found]
    assert [identity.subject for identity in identities if identity] == ["ada", "robot"]
    answer = door(spec, auth)
    assert answer.status == 401
    challenges = answer.headers.getlist("www-authenticate")
    assert challenges in (BOTH, [", ".join(BOTH)])  # Django has one field of a name
    assert len(spec.seen) == 2
    for part in auth.parts:
        part.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("optional", [False, True])
def test_a_bad_one_is_not_rescued(optional: bool) -> None:
    """The first that finds its credentials decides: nothing beside them makes them good."""
    auth = AnyOf(*parts(), optional=optional)
    assert ask(auth, BAD_NAME).status == 401
    assert ask(auth, BAD_KEY).status == 401
    assert ask(auth, BAD_NAME, GOOD_KEY).status == 401
    assert ask(auth, BAD_KEY).headers.getlist("www-authenticate") == [
        'ApiKey realm="api", error="invalid_token"'
    ]
    nobody = ask(auth)
    assert nobody.status == (200 if optional else 401)
    if optional:
        assert nobody.request.identity is not None
        assert nobody.request.identity.is_anonymous


def test_all_of_them_are_needed(door: Door) -> None:
    """The identity is that of the first, until the earliest end."""
    clock = Clock()
    keys = KeyManager(MemoryKeys(), secret=SECRET, clock=clock)
    made = keys.create("robot", expires_in=60, roles=["r"])
    auth = AllOf(parts()[0], ApiKeyAuth(keys, track_use=False))
    found: list[Request] = []
    spec = Spec(before=found.append)
    key = {"x-api-key": made.text}
    assert door(spec, auth, headers={**GOOD_NAME, **key}).status == 200
    assert found[0].identity == Identity("ada", method="basic+api_key", expires_at=clock.now + 60)
    assert "x-api-key" not in spec.seen[0]["headers"]
    assert "authorization" not in spec.seen[0]["headers"]
    for headers in (GOOD_NAME, key, {**BAD_NAME, **key}, {**GOOD_NAME, **BAD_KEY}):
        assert door(spec, auth, headers=headers).status == 401
    assert len(spec.seen) == 1
    auth.parts[0].close()  # type: ignore[attr-defined]


def test_some_of_them_are_not_nobody() -> None:
    """With `optional` only who presents nothing at all is anonymous."""
    auth = AllOf(*parts(), optional=True)
    assert ask(auth).status == 200
    answer = ask(auth, GOOD_NAME)
    assert answer.status == 401
    assert answer.headers.getlist("www-authenticate") == BOTH


def test_they_are_merged_as_you_like() -> None:
    """`merge` is given the identities in order."""
    auth = AllOf(*parts(), merge=lambda found: found[1])
    identity = ask(auth, GOOD_NAME, GOOD_KEY).request.identity
    assert identity is not None
    assert identity.subject == "robot"


def test_what_is_hidden_is_what_was_used() -> None:
    """The winner's credentials are taken off, as the winner says."""
    for hidden in (True, False):
        auth = AnyOf(*parts(hide_credentials=hidden))
        request = make_request(headers=GOOD_KEY)
        exercise(auth, request=request)
        assert ("x-api-key" in request.headers) is not hidden


def test_public_paths_and_fields_are_said_around_them() -> None:
    """The combination has them, and a part that has them too is refused."""
    auth = AnyOf(*parts(), public=["/health"], forward_headers={"X-Who": "subject"})
    assert exercise(auth, target="/health").status == 200
    request = make_request(headers={**GOOD_KEY, "x-who": "root", "x-user-id": "root"})
    exercise(auth, request=request)
    assert (request.headers["x-who"], request.headers.get("x-user-id")) == ("robot", None)
    for options in ({"public": ["/x"]}, {"optional": True}, {"forward_headers": {"X": "subject"}}):
        for kind in (AnyOf, AllOf):
            with pytest.raises(ConfigurationError, match="say it around all of them"):
                kind(*parts(**options))


def test_one_of_your_own() -> None:
    """Whatever can be called, asked and challenged is an authenticator."""

    class Ticket:
        async def __call__(self, request: Request, call_next: Handler) -> Response:
            raise NotImplementedError

        async def authenticate(self, request: Request) -> Identity | None:
            return Identity("guest") if "x-ticket" in request.headers else None

        def challenge(self, request: Request) -> str:
            return "Ticket"

    auth = AnyOf(Ticket(), *parts())
    identity = ask(auth, {"x-ticket": "1"}).request.identity
    assert identity is not None
    assert identity.subject == "guest"
    assert ask(auth).headers.getlist("www-authenticate") == ["Ticket", *BOTH]


@pytest.mark.parametrize(
    "given", [[], [BasicAuth({"a": cheap("x")})], [BasicAuth, ApiKeyAuth], ["basic", "key"]]
)
def test_wrong_parts(given: list[Any]) -> None:
    """Fewer than two, classes for instances, and what is no authenticator."""
    for kind in (AnyOf, AllOf):
        with pytest.raises(ConfigurationError) as raised:
            kind(*given)
        assert list(raised.value.problems) == ["authenticators"]


def test_they_nest() -> None:
    """A key together with a name or with another key."""
    basic, key = parts()
    other = ApiKeyAuth({"another-key-0123456789": "other"}, header="X-Other", schemes=())
    auth = AllOf(key, AnyOf(basic, other))
    assert ask(auth, GOOD_KEY, GOOD_NAME).status == 200
    assert ask(auth, GOOD_KEY, {"x-other": "another-key-0123456789"}).status == 200
    assert ask(auth, GOOD_KEY).status == 401


def copying(**options: Any) -> RemoteAuth:
    """Asks a service that answers with a team, for the upstream to know."""
    service = Service(lambda _: Response(200, {"x-user-id": "ada", "x-team": "blue"}))
    return service.auth(mode="forward", copy_headers=["X-Team"], **options)


@pytest.mark.parametrize("kind", [AnyOf, AllOf])
def test_fields_of_a_part_that_was_not_asked_cannot_be_forged(kind: Any) -> None:
    """What one part would copy is nobody else's to say, whichever part decides."""
    combined = kind(parts()[1], copying())
    forged = {"x-team": "red", "x_team": "red"}
    headers = ask(combined, GOOD_KEY, forged).request.headers
    assert headers.getlist("x_team") == []
    assert headers.getlist("x-team") == ([] if kind is AnyOf else ["blue"])


@pytest.mark.parametrize("optional", [True, False])
def test_copied_fields_are_kept_inside_of_another_authenticator(optional: bool) -> None:
    """The inner one's word on the caller reaches the upstream, and the client's does not."""
    outer = ApiKeyAuth({KEY: "robot"}, optional=optional)
    answer = exercise(outer, copying(), headers={**GOOD_KEY, "x-team": "red"})
    assert answer.request.headers.getlist("x-team") == ["blue"]


def test_who_was_let_through_unproved_is_not_the_one_who_calls() -> None:
    """`on_error="allow"` proves nothing: the identity is that of the part that did."""
    away = Service(UpstreamError("connect", "refused"))
    both = AllOf(away.auth(on_error="allow"), parts()[1])
    identity = ask(both, bearer("t"), GOOD_KEY).request.identity
    assert identity is not None
    assert (identity.method, set(identity.roles)) == ("api_key", {"r"})
    nobody = AllOf(away.auth(on_error="allow"), away.auth(on_error="allow"))
    found = ask(nobody, bearer("t")).request.identity
    assert found is not None
    assert found.is_anonymous
