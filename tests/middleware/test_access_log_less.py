"""Which requests are logged, and what is taken out of a record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any

from gatekit import AccessLog, Outcome, Request, Response, UpstreamError
from gatekit.testing import FakeIO, exercise, make_request
from tests.middleware.test_access_log import Log


class Fixed(Random):
    """A chance that always comes out the same."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def random(self) -> float:
        return self.value


def logged(log: Log, *, status: int = 200, seconds: float = 0.0, **options: Any) -> int:
    """How many records one request made."""
    io = FakeIO()

    def app(request: Request) -> Response:
        io.advance(seconds)
        return Response(status)

    log.records.clear()
    exercise(AccessLog(log, **options), app=app, io=io, target="/orders")
    return len(log.records)


def test_a_sample_keeps_errors_and_what_is_slow() -> None:
    """The others are logged by chance, with the rate in the record."""
    log = Log()
    options: Any = {"sample": 0.1, "slow": 1.0}
    assert logged(log, chance=Fixed(0.09), **options) == 1
    assert log.only["sample"] == 0.1
    assert logged(log, chance=Fixed(0.1), **options) == 0
    assert logged(log, chance=Fixed(0.9), seconds=1.0, **options) == 1
    assert "sample" not in log.only
    assert logged(log, chance=Fixed(0.9), status=404, **options) == 1
    assert logged(log, chance=Fixed(0.9), status=404, errors=500, **options) == 0
    assert logged(log, chance=Fixed(0.9), status=500, errors=500, **options) == 1


def test_a_sample_keeps_what_broke_off() -> None:
    """An app's error and an upstream's count, whatever the status that covers them."""
    log = Log()

    def app(request: Request) -> Response:
        request.upstream_error = UpstreamError("reset", "")
        return Response(200)

    exercise(AccessLog(log, sample=0.0), app=app)
    assert log.only["flag"] == "URS"


def test_a_sample_may_go_by_route() -> None:
    """Or by whatever a function of the request says."""
    log = Log()
    for rates, count in (
        ({"<unmatched>": 0.0, "*": 1.0}, 0),
        ({"/health": 0.0}, 1),
        ({"*": 0.0}, 0),
        (lambda request: 0.0 if request.path == "/orders" else 1.0, 0),
    ):
        assert logged(log, sample=rates, chance=Fixed(0.5)) == count


def test_both_records_of_a_request_share_their_luck() -> None:
    """No response without its request, errors apart."""
    log = Log()
    assert logged(log, requests=True, sample=0.5, chance=Fixed(0.4)) == 2
    assert logged(log, requests=True, sample=0.5, chance=Fixed(0.6)) == 0


def test_added_fields_are_scrubbed() -> None:
    """Names that stand for secrets, at any depth, and line ends in any text."""

    def fields(request: Request, outcome: Outcome) -> Mapping[str, object]:
        return {
            "cart": [{"item": "tea\u2028pot\r\n", "accessToken": "TOP"}, ("a", 2, None)],
            "Set-Cookie": "TOP",
            "password": {"any": "TOP"},
            "code": 7,
            "what": ValueError("a\nb"),
            "part": [float("nan"), 0.5, True],
        }

    log = Log()
    exercise(AccessLog(log, fields=fields))
    assert log.only["cart"] == [
        {"item": r"tea\u2028pot\r\n", "accessToken": "[redacted]"},
        ["a", 2, None],
    ]
    assert (log.only["Set-Cookie"], log.only["password"]) == ("[redacted]", "[redacted]")
    assert (log.only["code"], log.only["what"]) == (7, r"a\nb")
    assert log.only["part"] == ["nan", 0.5, True]
    assert "TOP" not in json.dumps(log.only)


def test_fields_are_redacted_and_hashed_by_path() -> None:
    """A path leads from the root of the record, its own members included; `*` is any."""

    def fields(request: Request, outcome: Outcome) -> Mapping[str, object]:
        return {"user": {"email": "a@b"}, "cards": [{"pan": 1}, {"pan": 2}], "email": "kept"}

    def record(key: bytes) -> dict[str, Any]:
        log, request = Log(), make_request()
        request.client_ip = "203.0.113.9"
        options: Any = {
            "redact_fields": ["cards.*.pan", "cards.9.pan", "a.b"],
            "hash_fields": ["client", "user.email", "identity"],
            "hash_key": key,
        }
        exercise(AccessLog(log, fields=fields, **options), request=request)
        return log.only

    one, again, other = (record(key) for key in (b"k" * 16, b"k" * 16, b"l" * 16))
    assert one["cards"] == [{"pan": "[redacted]"}, {"pan": "[redacted]"}]
    assert (one["email"], one["identity"]) == ("kept", None)
    for value in (one["client"], one["user"]["email"]):
        assert value.startswith("hmac:")
        assert len(value) == 21
    assert one["client"] == again["client"] != other["client"]


def test_a_value_that_contains_itself_ends() -> None:
    """The record is written, with the circle cut."""
    circle: dict[str, object] = {}
    circle["self"] = circle
    log = Log()
    exercise(AccessLog(log, fields=lambda request, outcome: {"circle": circle}))
    assert json.dumps(log.only).count("self") < 20
