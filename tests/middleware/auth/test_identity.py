"""What an identity is, and what every authenticator does around its one question."""

from __future__ import annotations

import pytest

from gatekit import IDENTITY_HEADERS, Authenticator, ConfigurationError, Identity, Request
from gatekit.limits import keys
from gatekit.middleware.auth._challenges import (
    AuthenticationUnavailable,
    bearer_failure,
    challenge,
)
from gatekit.middleware.auth._claims import ClaimNames
from gatekit.middleware.auth._forward import as_text, told
from gatekit.middleware.auth.identity import ANONYMOUS
from gatekit.testing import exercise, make_request
from tests.conftest import Door
from tests.doors.spec import Spec

ADA = Identity(
    "ada",
    issuer="https://id.example",
    scopes=frozenset({"b", "a"}),
    roles=frozenset({"admin"}),
    claims={"email": "ada@secret.example", "org": {"id": 7}},
    method="test",
)


class Named(Authenticator):
    """Believes a field that says who it is."""

    scheme = "Name"

    def __init__(self, field: str = "x-name", **options: object) -> None:
        super().__init__(
            **{
                "realm": "test",
                "public": (),
                "optional": False,
                "forward_headers": None,
                "hide_credentials": False,
                "name": "named",
                **options,
            }  # type: ignore[arg-type]
        )
        self.field = field

    async def authenticate(self, request: Request) -> Identity | None:
        name = request.headers.get(self.field)
        if name == "nobody":
            raise bearer_failure(self.realm, "nobody is no name")
        if name == "down":
            raise AuthenticationUnavailable("nobody answers", 7)
        return Identity(name, method="name") if name else None

    def hide(self, request: Request) -> None:
        del request.headers[self.field]


def test_an_identity_does_not_show_who_it_is() -> None:
    """A repr ends up in logs: it names the method and the claims, and tells none of them."""
    assert repr(ADA) == "<Identity test claims=['email', 'org']>"
    assert "ada" not in repr(ADA)


def test_an_identity_cannot_be_changed_and_can_be_compared() -> None:
    """It is shared by all requests with one token."""
    with pytest.raises(AttributeError):
        ADA.subject = "eve"  # type: ignore[misc]
    assert Identity(**{name: getattr(ADA, name) for name in ADA.__slots__}) == ADA
    assert len({ADA, ADA, ANONYMOUS}) == 2


def test_the_anonymous_identity_is_nobody_to_whoever_counts() -> None:
    """`keys.identity` has no key for it, as for a request without an identity."""
    request = make_request()
    request.identity = ANONYMOUS
    assert keys.identity(request) is None
    assert (ANONYMOUS.is_anonymous, ANONYMOUS.is_authenticated) == (True, False)
    assert (ADA.is_anonymous, ADA.is_authenticated, ADA.display_name) == (False, True, "ada")


def test_who_proves_nothing_is_asked_to(door: Door) -> None:
    """401 with a challenge, and the app is not called."""
    spec = Spec()
    answer = door(spec, Named())
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Name realm="test"')
    assert b"urn:gatekit:credentials-required" in answer.body
    assert spec.seen == []


def test_who_is_known_passes(door: Door) -> None:
    """The identity is on the request that the app sees."""
    seen: list[object] = []
    spec = Spec(before=lambda request: seen.append(request.identity))
    assert door(spec, Named(), headers={"x-name": "ada"}).status == 200
    assert seen == [Identity("ada", method="name")]


def test_fields_that_only_the_gateway_sets_are_stripped(door: Door) -> None:
    """In every spelling that a CGI behind it would take for them, on public paths too."""
    forged = {"X-User-ID": "eve", "X-User-Roles": "admin", "Remote-User": "eve", "x-name": "ada"}
    for target in ("/", "/public"):
        spec = Spec()
        mapped = Named(public=["/public"], forward_headers={"X-Team": "tenant"})
        assert door(spec, mapped, target=target, headers={**forged, "X-Team": "eve"}).status == 200
        assert "eve" not in str(spec.seen[0]["headers"])
        assert "admin" not in str(spec.seen[0]["headers"])


@pytest.mark.parametrize("name", ["X-User-ID", "x_user_id", "X-USER_ID", "X_User-Roles"])
def test_an_underscore_does_not_save_a_forged_field(name: str) -> None:
    """WSGI and CGI take `_` for `-`, so the gateway does."""
    answer = exercise(Named(), headers={name: "eve", "x-name": "ada"})
    assert "eve" not in str(answer.request.headers)


def test_identity_is_told_upstream(door: Door) -> None:
    """Attributes and claims, lists joined; what there is not is absent."""
    spec = Spec()
    named = Named(forward_headers={**IDENTITY_HEADERS, "X-Missing": "nothing.here"})
    assert door(spec, named, headers={"x-name": "ada"}).status == 200
    headers = spec.seen[0]["headers"]
    assert headers["x-user-id"] == "ada"
    assert "x-missing" not in headers
    assert "x-user-roles" not in headers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ada", "ada"),
        ("Zoë\r\nX-Role: admin", "Zo%C3%AB%0D%0AX-Role: admin"),
        ("100%", "100%25"),
        (frozenset({"b", "a"}), "a,b"),
        (["user", "x,admin"], "user,x%2Cadmin"),
        ([1, True], "1,true"),
        (7, "7"),
        ({"id": 7}, '{"id":7}'),
        (None, ""),
        ([], ""),
    ],
)
def test_a_claim_cannot_break_out_of_its_field(value: object, text: str) -> None:
    """Line ends are encoded, and in a list the comma too: no element becomes two."""
    assert as_text(value) == text


def test_claims_are_found_by_name_and_by_path() -> None:
    """A name with dots goes first, for claims named by a URL have some."""
    assert told(ADA, "org.id") == 7
    assert told(ADA, "email.x") is None
    assert told(ADA, "subject") == "ada"
    named = Identity("x", claims={"https://a.example/roles": ["r"]})
    assert told(named, "https://a.example/roles") == ["r"]


def test_an_optional_one_lets_pass_as_anonymous(door: Door) -> None:
    """Nothing presented is fine then; something bad is not."""
    seen: list[Identity | None] = []
    spec = Spec(before=lambda request: seen.append(request.identity))
    assert door(spec, Named(optional=True)).status == 200
    assert seen == [ANONYMOUS]
    assert door(spec, Named(optional=True), headers={"x-name": "nobody"}).status == 401


def test_bad_credentials_and_a_silent_issuer_are_told_apart(door: Door) -> None:
    """401 with a challenge for the one, 503 with `Retry-After` for the other."""
    answer = door(Spec(), Named(), headers={"x-name": "nobody"})
    assert (answer.status, "invalid_token" in answer.headers["www-authenticate"]) == (401, True)
    answer = door(Spec(), Named(), headers={"x-name": "down"})
    assert (answer.status, answer.headers["retry-after"]) == (503, "7")


def test_a_preflight_needs_no_credentials(door: Door) -> None:
    """A browser sends none with it; an OPTIONS that is no preflight needs them."""
    preflight = {"origin": "https://app.example", "access-control-request-method": "PUT"}
    assert door(Spec(), Named(), method="OPTIONS", headers=preflight).status == 200
    assert door(Spec(), Named(), method="OPTIONS").status == 401
    assert door(Spec(), Named(), method="GET", headers=preflight).status == 401


OPEN = ("/public", "/public/", "/public/a", "/public/%C3%A9")
CLOSED = (
    "/", "/admin", "//admin", "//public", "/publi", "/publicx", "/public%2f..%2fadmin",
    "/public/..%2fadmin", "/public/../admin", "/public/./../admin", "/public//admin",
    "/%2fpublic", "/public%00", "/public%5c..%5cadmin", "/public;/../admin", "/public/..;/admin",
    "/PUBLIC", "/public/%2e%2e/admin", "/public/.%2e/admin", "/x/../public",
)  # fmt: skip


@pytest.mark.parametrize("target", OPEN)
def test_public_paths_need_no_credentials(target: str) -> None:
    """They are matched by segments of the decoded path."""
    assert exercise(Named(public=["/public/*"]), target=target).status == 200


@pytest.mark.parametrize("target", CLOSED)
def test_a_path_that_could_be_read_in_two_ways_is_not_public(target: str) -> None:
    """Whatever an app behind it makes of such a path, it was not let in unknown."""
    assert exercise(Named(public=["/public/*"]), target=target).status == 401


@pytest.mark.parametrize("target", ["//public", "/public%2f..%2fadmin", "/public/../admin"])
def test_no_door_makes_an_ambiguous_path_public(door: Door, target: str) -> None:
    """The raw path counts, as far as the door has one, and else the decoded one."""
    assert door(Spec(), Named(public=["/public/*"]), target=target).status == 401


def test_the_inner_one_of_two_decides() -> None:
    """Its identity stands, its fields stand; the outer one's word is gone."""
    outer = Named("x-outer", forward_headers={"X-User-ID": "subject"}, name="outer")
    inner = Named("x-inner", name="inner")
    answer = exercise(outer, inner, headers={"x-outer": "ada", "x-inner": "bob"})
    assert answer.request.identity == Identity("bob", method="name")
    assert "x-user-id" not in answer.request.headers
    assert exercise(outer, inner, headers={"x-outer": "ada"}).status == 401


def test_an_optional_inner_one_keeps_what_it_was_given() -> None:
    """The identity, and the fields that tell of it."""
    outer = Named("x-outer", forward_headers={"X-User-ID": "subject"}, name="outer")
    inner = Named("x-inner", optional=True, name="inner")
    answer = exercise(outer, inner, headers={"x-outer": "ada", "x-user-id": "eve"})
    assert answer.request.identity == Identity("ada", method="name")
    assert answer.request.headers.getlist("x-user-id") == ["ada"]


def test_challenges_of_all_authenticators_are_known_further_in() -> None:
    """Whoever refuses an anonymous request there can tell what would help."""
    answer = exercise(Named(optional=True), headers={})
    assert answer.request.challenges == ('Name realm="test"',)


def test_hidden_credentials_do_not_go_on(door: Door) -> None:
    """Only where it was asked for."""
    for hides in (True, False):
        spec = Spec()
        door(spec, Named(hide_credentials=hides), headers={"x-name": "ada"})
        assert ("x-name" not in spec.seen[0]["headers"]) is hides


def test_every_decision_has_its_reason() -> None:
    """And none of them holds what the client sent."""
    said = {
        "ada": ("allow", "authenticated"),
        "nobody": ("deny", "nobody is no name"),
        "down": ("error", "nobody answers"),
        "": ("deny", "no credentials"),
    }
    for name, (outcome, reason) in said.items():
        [decision] = exercise(Named(), headers={"x-name": name} if name else {}).request.decisions
        assert (decision.policy, decision.outcome, decision.reason) == ("named", outcome, reason)


def test_a_failure_is_logged_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """With policy, reason and address, and without what was presented."""
    caplog.set_level("INFO", "gatekit.auth")
    exercise(Named(), target="/a%0Ab", headers={"x-name": "nobody"})
    [record] = caplog.records
    assert record.getMessage() == "named refused GET /a\\nb: nobody is no name"
    assert (vars(record)["client"], vars(record)["reason"]) == ("127.0.0.1", "nobody is no name")


def test_a_challenge_quotes_what_it_must() -> None:
    """What cannot stand in a quoted string of RFC 6750 §3 does not."""
    assert challenge("Bearer", realm='a"b\\c\r\n', error=None) == 'Bearer realm="a?b?c??"'
    assert challenge("Basic") == "Basic"


def test_a_path_that_is_no_template_is_refused_at_construction() -> None:
    """As every wrong option."""
    with pytest.raises(ConfigurationError, match="public"):
        Named(public=["health"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ada ", "ada%20"),
        ("  ada", "%20%20ada"),
        ("a b", "a b"),
        (" ", ""),
        ([" a", "b "], "%20a,b%20"),
    ],
)
def test_spaces_at_the_ends_are_not_lost(value: object, text: str) -> None:
    """RFC 9110 §5.5 has them stripped, and then somebody else's name would stand there."""
    assert as_text(value) == text


def test_only_a_space_stands_between_scopes() -> None:
    """RFC 6749 §3.3: a strange character within a word makes no second word of it."""
    names = ClaimNames()
    odd = "a\u00a0admin b\x1cc\tadmin"
    assert names.identity({"scope": odd}, "test").scopes == {"a\u00a0admin", "b\x1cc\tadmin"}
    assert names.identity({"scope": " a  b "}, "test").scopes == {"a", "b"}
