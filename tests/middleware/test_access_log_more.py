"""What the access log tells of policies, attempts and failures, and what it leaves out."""

from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from gatekit import (
    AccessLog,
    BodyLimit,
    ConfigurationError,
    CorrelationId,
    Decision,
    Identity,
    JSONFormatter,
    Proxy,
    Rejected,
    Request,
    Response,
    UpstreamError,
    asgi_app,
    problem,
)
from gatekit._core.attempt import Attempt
from gatekit._core.decisions import note
from gatekit.testing import FakeIO, call_asgi, exercise, upstream
from gatekit.typing import Handler
from tests.conftest import Door
from tests.doors.spec import Spec
from tests.middleware.test_access_log import Log


def test_the_golden_record() -> None:
    """Every member of a record, as it is written out."""
    log, io = Log(), FakeIO()

    async def policies(request: Request, call_next: Handler) -> Response:
        request.client_ip = "203.0.113.9"
        request.identity = Identity("ada", tenant="acme", method="bearer")
        request.trace = SimpleNamespace(trace_id="4bf9")  # type: ignore[assignment]
        note(request, Decision("rate-limit", "allow", "within 100-per-minute"))
        note(request, Decision("gatekit", "skip", "miss"))
        request.attempts = (Attempt("orders-1", "connect", 0.125), Attempt("orders-2", 200, 0.25))
        request.upstream_time = 0.25
        io.advance(0.5)
        return await call_next(request)

    exercise(
        CorrelationId(generate=lambda: "id-1"),
        AccessLog(log, clock=lambda: 1_700_000_000.5),
        policies,
        target="/orders?page=2",
        headers={"user-agent": "curl/8", "host": "shop.example"},
        io=io,
    )
    assert log.only == {
        "kind": "response",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "correlation_id": "id-1",
        "trace_id": "4bf9",
        "client": "203.0.113.9",
        "identity": "ada",
        "tenant": "acme",
        "method": "GET",
        "scheme": "http",
        "host": "shop.example",
        "path": "/orders",
        "query": "page=2",
        "route": "<unmatched>",
        "http_version": "1.1",
        "websocket": False,
        "user_agent": "curl/8",
        "status": 200,
        "outcome": "complete",
        "flag": None,
        "error_source": None,
        "error": None,
        "upstream_error": None,
        "duration": 0.5,
        "first_byte": 0.5,
        "upstream_time": 0.25,
        "gateway_time": 0.25,
        "bytes_sent": 2,
        "bytes_received": 0,
        "attempts": [
            {"destination": "orders-1", "result": "connect", "seconds": 0.125},
            {"destination": "orders-2", "result": 200, "seconds": 0.25},
        ],
        "decisions": [
            {"policy": "rate-limit", "decision": "allow", "reason": "within 100-per-minute"},
            {"policy": "gatekit", "decision": "skip", "reason": "miss"},
        ],
        "cache": "miss",
    }
    assert log.message == "GET /orders 200 0.5 s 2 bytes"
    line = json.loads(JSONFormatter().format(log.records[0]))
    assert {name: line[name] for name in log.only} == log.only


def test_a_refusal_has_the_flag_of_its_problem(door: Door) -> None:
    """The registry's three letters, and whose failure it was."""
    log = Log()
    headers = {"content-length": "5"}
    door(Spec(), AccessLog(log), BodyLimit(1), method="POST", headers=headers, body=b"12345")
    assert (log.only["flag"], log.only["error_source"]) == ("BTL", "client")


@pytest.mark.parametrize(
    ("spec", "flag", "source"),
    [
        (Spec(status=404), "U4X", "client"),
        (Spec(status=503), "U5X", "upstream"),
        (Spec(error=ValueError("boom")), "APP", "upstream"),
        (Spec(), None, None),
    ],
    ids=["404", "503", "raised", "200"],
)
def test_what_the_app_did(door: Door, spec: Spec, flag: str | None, source: str | None) -> None:
    """Its own errors are told from those of gatekit."""
    if door.name.startswith("django") and spec.error is not None:
        flag = "U5X"  # Django has made a response of it
    log = Log()
    door(spec, AccessLog(log))
    assert (log.only["flag"], log.only["error_source"]) == (flag, source)


@pytest.mark.parametrize(
    ("raised", "flag", "source"),
    [
        (Rejected(418), "REJ", "client"),
        (Rejected(503, type="https://api.example/problems/night"), "OWN", "gateway"),
        (Rejected(429, type="urn:gatekit:rate-limited"), "RLM", "client"),
        (Rejected(503, type="urn:gatekit:circuit-open"), "CBO", "upstream"),
    ],
)
def test_what_a_middleware_did(raised: Rejected, flag: str, source: str) -> None:
    """A problem of one's own has a flag too."""

    async def refuse(request: Request, call_next: Handler) -> Response:
        raise raised

    log = Log()
    exercise(AccessLog(log), refuse)
    assert (log.only["flag"], log.only["error_source"]) == (flag, source)


def test_what_an_upstream_did() -> None:
    """The stage of its failure has a flag each."""

    def late(sent: object) -> Response:
        raise UpstreamError("first_byte_timeout", "10.0.0.7 was silent")

    log = Log()
    app = asgi_app(Proxy("http://users", transport=upstream(late)), AccessLog(log))
    assert asyncio.run(call_asgi(app)).status == 504
    assert (log.only["flag"], log.only["error_source"]) == ("UFT", "upstream")
    assert "10.0.0.7" not in json.dumps({**log.only, "attempts": None})


def test_a_request_is_a_record_too() -> None:
    """`requests=True` writes one when it comes, before anything further in is asked."""
    log = Log()

    async def middle(request: Request, call_next: Handler) -> Response:
        assert [record.getMessage() for record in log.records] == ["GET /a …"]
        return await call_next(request)

    exercise(AccessLog(log, requests=True), middle, target="/a?token=abc")
    first, second = (record.__dict__["gatekit"] for record in log.records)
    assert (first["kind"], second["kind"]) == ("request", "response")
    assert "status" not in first
    assert first["query"] == "token=[redacted]"


def test_no_secret_reaches_a_log(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """Not from a header field, a cookie, the query or the body; not when everything fails."""
    from gatekit.middleware._redact import SECRET_HEADERS, SECRET_PARAMETERS

    secret = "hunter2"
    target = "/a?" + "&".join(f"{name}={secret}" for name in SECRET_PARAMETERS)
    headers = dict.fromkeys(SECRET_HEADERS, f"Bearer {secret}") | {
        "cookie": f"session={secret}",
        "content-length": "16",
    }
    access = AccessLog("test.scan", log_headers=SECRET_HEADERS)
    texts: list[str] = []
    with caplog.at_level("DEBUG"):
        for spec in (
            Spec(reads_body=True),
            Spec(reads_body=True, error=ValueError("boom")),
            Spec(status=500),
        ):
            answer = door(
                spec, access, BodyLimit(100), method="POST", target=target, headers=headers,
                body=b'{"pw":"%s"}' % secret.encode(),
            )  # fmt: skip
            texts.append(answer.text)
    formatter = JSONFormatter()
    texts += [formatter.format(record) for record in caplog.records]
    texts += [record.getMessage() for record in caplog.records]
    assert sum(record.name == "test.scan" for record in caplog.records) == 3
    assert [text for text in texts if secret in text] == []


def test_a_logger_of_structlog_is_given_keywords() -> None:
    """The sentence is the event, every member a keyword."""
    structlog = pytest.importorskip("structlog")
    from structlog.testing import CapturingLogger

    kept: list[dict[str, Any]] = []

    def keep(_: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
        kept.append({**event, "method_name": method})
        raise structlog.DropEvent

    bound = structlog.wrap_logger(
        CapturingLogger(), [keep], structlog.make_filtering_bound_logger(logging.INFO)
    )
    exercise(AccessLog(bound), target="/a?token=abc")
    (event,) = kept
    assert event["event"].startswith("GET /a 200 ")
    assert (event["status"], event["query"]) == (200, "token=[redacted]")
    quiet = structlog.wrap_logger(
        CapturingLogger(), [keep], structlog.make_filtering_bound_logger(logging.ERROR)
    )
    exercise(AccessLog(quiet))
    assert len(kept) == 1


def test_all_wrong_options_of_these_are_named() -> None:
    """One error names every parameter that is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        AccessLog(
            requests="yes",  # type: ignore[arg-type]
            redact_fields="token",
            hash_fields=["client"],
            sample={"/a": 2},
            slow=-1,
            errors=0,
            clock=0,  # type: ignore[arg-type]
        )
    assert set(caught.value.problems) == {
        "requests", "redact_fields", "hash_key", "sample", "slow", "errors", "clock",
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match="at least 16 bytes"):
        AccessLog(hash_fields=["client"], hash_key=b"short")
    with pytest.raises(ConfigurationError, match="from 0 to 1"):
        AccessLog(sample=True)


def test_a_problem_of_ones_own_is_no_app_error() -> None:
    """`problem()` returned by a handler is told by its type."""
    log = Log()
    exercise(AccessLog(log), answering(problem(410)))
    assert log.only["flag"] == "REJ"


def answering(response: Response) -> Any:
    async def answer(request: Request, call_next: Handler) -> Response:
        return response

    return answer


def test_a_record_has_what_others_have() -> None:
    """Every attribute that logging documents, so that any formatter and handler takes it."""
    log = Log()
    exercise(AccessLog(log))
    (ours,) = log.records
    theirs = log.makeRecord("test.access", logging.INFO, "a", 0, "%s", (1,), None)
    missing = set(vars(theirs)) - set(vars(ours))
    assert missing == set()
    for name in ("name", "levelno", "levelname", "process", "processName", "thread", "threadName"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert abs(ours.created - theirs.created) < 60
    assert 0 <= ours.msecs < 1000
    style = "%(asctime)s %(name)s %(filename)s:%(lineno)d %(threadName)s %(message)s"
    assert "test.access access_log:0 MainThread GET / 200" in logging.Formatter(style).format(ours)


def test_records_of_ones_own_kind_are_made() -> None:
    """By a factory of the process, or a logger that makes its own."""

    class Own(Log):
        def makeRecord(self, *args: Any, **options: Any) -> logging.LogRecord:  # noqa: N802
            record = super().makeRecord(*args, **options)
            record.made = "by the logger"
            return record

    class Kind(logging.LogRecord):
        pass

    own, log = Own(), Log()
    exercise(AccessLog(own))
    assert own.records[0].__dict__["made"] == "by the logger"
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(Kind)
    try:
        exercise(AccessLog(log))
    finally:
        logging.setLogRecordFactory(before)
    assert type(log.records[0]) is Kind
    assert log.only["path"] == own.only["path"] == "/"
