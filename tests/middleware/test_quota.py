"""Quotas by plan in windows of the calendar: what a caller may use, has used, and is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gatekit import ConfigurationError, Request, Response
from gatekit.limits import MemoryStore, SQLiteStore, keys
from gatekit.limits.plans import Plan, merged
from gatekit.middleware.auth.identity import Identity
from gatekit.middleware.quota import Quota
from gatekit.middleware.rate_limit import RateLimit
from gatekit.testing import Answer, FakeIO, exercise, make_request
from tests.conftest import Door
from tests.doors.spec import Spec

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()


class Wall:
    """A wall clock that is set by hand."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def plan_of(request: Request) -> Any:
    return None if request.identity is None else request.identity.plan


def build(plans: Any, wall: Wall | None = None, **options: Any) -> Quota:
    options = {"plan": plan_of, "store": "memory://", "clock": wall or Wall(), **options}
    return Quota(plans, **options)


def send(quota: Quota, plan: Any = "free", who: str = "ada", **request: Any) -> Answer:
    made = make_request(**request)
    made.identity = Identity(who, plan=plan)
    return exercise(quota, request=made)


def statuses(quota: Quota, count: int, plan: Any = "free", who: str = "ada") -> list[int]:
    return [send(quota, plan, who).status for _ in range(count)]


def test_beyond_the_quota_is_a_429_of_its_own(door: Door) -> None:
    """Not 403, and another name and type than a rate limit's; the wait is until midnight."""
    quota = build({"free": "2/day"}, plan=lambda _: "free", key=keys.method)
    rate = RateLimit("9/hour", store=MemoryStore(clock=lambda: 0.0))
    for _ in range(2):
        assert door(Spec(), rate, quota).status == 200
    answer = door(Spec(), rate, quota)
    assert (answer.status, answer.headers["retry-after"]) == (429, str(12 * 3600))
    problem = json.loads(answer.body)
    assert problem["type"] == "urn:gatekit:quota-exceeded"
    assert problem["violated-policies"] == ["quota-day"]
    told = ", ".join(answer.headers.getlist("ratelimit"))
    assert told == '"quota-day";r=0;t=43200, "9-per-hour";r=6;t=400'


def test_a_new_day_begins_at_midnight_there() -> None:
    """In the time zone of the quota, not in UTC."""
    wall = Wall()
    quota = build({"free": "1/day"}, wall, timezone="Europe/Berlin")
    assert statuses(quota, 2) == [200, 429]
    wall.now = datetime(2026, 11, 21, 22, 59, 59, tzinfo=UTC).timestamp()
    assert statuses(quota, 1) == [429]
    wall.now += 1
    assert statuses(quota, 2) == [200, 429]


def test_day_and_month_are_one_step() -> None:
    """What the day refuses the month has not counted."""
    quota = build({"free": "2/day;3/month"})
    statuses(quota, 5)
    usage = json.loads(exercise(app=quota.usage, request=signed_in()).body)
    assert [row["used"] for row in usage["quotas"]] == [2, 2]


def signed_in(plan: Any = "free", who: str = "ada") -> Request:
    request = make_request()
    request.identity = Identity(who, plan=plan)
    return request


def test_usage_tells_the_caller() -> None:
    """Plan, windows, what is used and left and when they end; asking costs nothing."""
    quota = build({"free": "5/day;100/month"}, timezone="Europe/Berlin")
    statuses(quota, 3)
    exercise(app=quota.usage, request=signed_in())
    answer = exercise(app=quota.usage, request=signed_in())
    assert answer.headers["cache-control"] == "no-store"
    assert json.loads(answer.body) == {
        "plan": "free",
        "quotas": [
            {
                "policy": "quota-day",
                "period": "day",
                "limit": 5,
                "used": 3,
                "remaining": 2,
                "over": 0,
                "resets_at": "2026-11-22T00:00:00+01:00",
            },
            {
                "policy": "quota-month",
                "period": "month",
                "limit": 100,
                "used": 3,
                "remaining": 97,
                "over": 0,
                "resets_at": "2026-12-01T00:00:00+01:00",
            },
        ],
    }
    assert exercise(app=quota.usage).status == 403


def test_a_quota_survives_a_restart(tmp_path: Path) -> None:
    """In a file, what was used before is used after; callers are told apart."""
    for expected in ([200, 200], [429, 429]):
        store = SQLiteStore(tmp_path / "quota.db", timeout=10)
        quota = build({"free": "2/month"}, store=store)
        assert statuses(quota, 2) == expected
        quota.close()
    assert statuses(build({"free": "2/month"}, store=f"sqlite:///{tmp_path}/quota.db"), 1) == [429]


def test_a_change_of_plan_takes_along_what_was_used() -> None:
    """Who used two on the free plan has two less on the other."""
    quota = build({"free": "2/month", "pro": "3/month"})
    assert statuses(quota, 3, "free") == [200, 200, 429]
    assert statuses(quota, 2, "pro") == [200, 429]


def test_grace_overage_and_none() -> None:
    """A few more, all but counted, and no quota at all."""
    quota = build(
        {"g": Plan("2/day", grace=1), "o": Plan("2/day", overage=True), "n": Plan(None), "x": None}
    )
    assert statuses(quota, 4, "g", "grace") == [200, 200, 200, 429]
    assert statuses(quota, 4, "o", "over") == [200] * 4
    assert statuses(quota, 4, "n", "none") == [200] * 4
    usage = json.loads(exercise(app=quota.usage, request=signed_in("o", "over")).body)
    assert [(row["used"], row["over"]) for row in usage["quotas"]] == [(4, 2)]
    near = send(quota, "o", "over").request.decisions[-1]
    assert (near.outcome, near.reason) == ("allow", "near quota-day")


def test_rollover() -> None:
    """What yesterday left unused is added, at most one quota, and not twice."""
    wall = Wall()
    quota = build({"free": Plan("3/day", rollover=True)}, wall)
    assert statuses(quota, 1) == [200]
    wall.now += 86400
    assert statuses(quota, 6) == [200] * 5 + [429]
    wall.now += 86400
    assert statuses(quota, 4) == [200] * 3 + [429]
    wall.now += 3 * 86400
    assert statuses(quota, 7) == [200] * 6 + [429]


def test_a_rate_is_part_of_the_step() -> None:
    """What the plan's rate refuses has not used up the quota."""
    io = FakeIO()
    quota = build({"free": Plan("100/day", rate="1/second")})

    def status() -> int:
        request = signed_in()
        request.io = io
        return exercise(quota, request=request).status

    assert [status(), status()] == [200, 429]
    io.advance(1)
    assert status() == 200
    request = signed_in()
    request.io = io
    assert json.loads(exercise(app=quota.usage, request=request).body)["quotas"][0]["used"] == 2


def test_what_a_plan_grants() -> None:
    """Another path or method than the plan's is a 403, whatever is left of the quota."""
    quota = build({"free": Plan("9/day", paths=["/v1/*", "/me"], methods=["GET"])})
    grants = {"/v1/a": 200, "/v1": 200, "/v10": 403, "/me": 200, "/me/x": 403}
    assert {path: send(quota, target=path).status for path in grants} == grants
    assert send(quota, target="/me", method="HEAD").status == 200
    answer = send(quota, target="/me", method="POST")
    assert answer.status == 403
    assert "urn:gatekit:plan" in answer.text
    assert answer.request.decisions == [("quota", "deny", "not in free")]


def test_the_plan_is_on_the_request() -> None:
    """Its features and its concurrency are for whoever asks."""
    pro = Plan("9/day", features=["export"], concurrency=4, scopes=["read"])
    request = send(build({"pro": pro}), "pro").request
    assert request.plan is pro
    assert request.plan.features == frozenset(["export"])
    assert (request.plan.concurrency, request.plan.scopes) == (4, frozenset(["read"]))


def test_who_has_no_plan() -> None:
    """The default's, or a 403; an unknown name is none."""
    assert statuses(build({"free": "1/day"}), 1, None) == [403]
    assert statuses(build({"free": "1/day"}), 1, "gold") == [403]
    assert statuses(build({"free": "1/day"}, default="free"), 2, "gold") == [200, 429]


@pytest.mark.parametrize(("how", "admitted"), [("max", 3), ("min", 1), ("sum", 4), ("first", 1)])
def test_several_plans(how: Any, admitted: int) -> None:
    """Of their numbers what was said: the largest, the least, all together, or the first one's."""
    quota = build({"a": "1/day", "b": "3/day"}, merge=how)
    assert statuses(quota, 6, ["a", "b"]).count(200) == admitted


def test_merging_what_has_no_end() -> None:
    """No quota beside one is no end of it, with `min` the one; grants unite, with `min` meet."""
    some = Plan("5/day", methods=["GET", "PUT"], features=["a"], concurrency=2)
    none = Plan("7/month", paths=["/v1/*"], features=["b"], methods=["GET"])
    most, least = merged([some, none], "max"), merged([some, none], "min")
    assert (most.quotas, least.quotas) == ({}, {"day": 5, "month": 7})
    assert (sorted(most.methods or ()), sorted(least.methods or ())) == (["GET", "PUT"], ["GET"])
    assert (most.paths, sorted(least.paths or ())) == (None, ["/v1/*"])
    assert (sorted(most.features), sorted(least.features)) == (["a", "b"], [])
    assert (most.concurrency, least.concurrency) == (None, 2)


def test_who_cannot_be_told_apart_is_refused() -> None:
    """Without a subject there is nobody to count for."""
    quota = build({"free": "1/day"}, plan=lambda _: "free")
    assert exercise(quota).status == 403


def test_shadow_and_cost() -> None:
    """Counted by what a request costs, and let through all the same."""
    quota = build({"free": "3/day"}, cost=2, shadow=True)
    assert statuses(quota, 2) == [200, 200]
    assert send(quota).request.decisions[0].outcome == "shadow_deny"


class Away:
    """A store that never answers."""

    timeout = 0.05

    def take(self, claims: Any, cost: int, now: float, forced: bool = False) -> Any:
        raise ConnectionRefusedError

    def clear(self, claims: Any) -> None: ...

    atake = take
    aclear = clear_scope = aclear_scope = clear


def test_a_store_that_is_away_lets_pass() -> None:
    """The fault is not the customer's; usage cannot be told meanwhile."""
    quota = build({"free": "1/day"}, store=Away())
    answers = [send(quota) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert answers[0].headers["x-ratelimit-degraded"] == "allow"
    assert exercise(app=quota.usage, request=signed_in()).status == 503


def test_reset() -> None:
    """One caller, or all."""
    quota = build({"free": "1/day"})
    assert [send(quota, who=who).status for who in ("a", "b", "a")] == [200, 200, 429]
    quota.reset("a")
    assert [send(quota, who=who).status for who in ("a", "b")] == [200, 429]
    quota.reset()
    assert [send(quota, who=who).status for who in ("a", "b")] == [200, 200]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"plans": {}}, "plans"),
        ({"plans": {"a": "5/minute"}}, "plans"),
        ({"plans": {"a": "5/day;6/day"}}, "plans"),
        ({"plans": {"a": 5}}, "plans"),
        ({"plan": "free"}, "plan"),
        ({"store": "file:x"}, "store"),
        ({"default": "gold"}, "default"),
        ({"timezone": "Berlin"}, "timezone"),
        ({"day": 0}, "day"),
        ({"merge": "avg"}, "merge"),
        ({"name": "a/b"}, "name"),
    ],
    ids=str,
)
def test_a_wrong_option_is_named(options: Any, named: str) -> None:
    """At construction, by its parameter."""
    arguments = {"plans": {"free": "1/day"}, **options}
    with pytest.raises(ConfigurationError) as caught:
        build(arguments.pop("plans"), **arguments)
    assert list(caught.value.problems) == [named]


def test_a_wrong_plan_is_named() -> None:
    """Everything that is wrong with it at once."""
    with pytest.raises(ConfigurationError) as caught:
        Plan("often", rate="0/s", methods="GET", paths=["v1"], concurrency=0, grace=-1)
    assert list(caught.value.problems) == [
        "quota", "rate", "methods", "paths", "concurrency", "grace",
    ]  # fmt: skip


def test_the_app_is_asked_only_within_the_quota() -> None:
    """A refused request never reaches it."""
    asked: list[str] = []

    def app(request: Request) -> Response:
        asked.append(request.path)
        return Response.text("ok")

    quota = build({"free": "1/day"})
    for _ in range(3):
        exercise(quota, request=signed_in(), app=app)
    assert asked == ["/"]
