"""One record for each request, whatever becomes of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from gatekit import ConfigurationError, Outcome, Request, Response, UpstreamError, asgi
from gatekit.middleware.access_log import AccessLog, JSONFormatter
from gatekit.middleware.auth.identity import Identity
from gatekit.middleware.correlation import CorrelationId
from gatekit.testing import FakeIO, exercise, make_request
from gatekit.typing import Handler
from tests.conftest import AppRaised, Door
from tests.doors.messages import Server, http_scope, websocket_scope
from tests.doors.spec import Spec


class Log(logging.Logger):
    """A logger of the test's own, which keeps what it is given."""

    def __init__(self, level: int = logging.INFO) -> None:
        super().__init__("test.access", level)
        self.records: list[logging.LogRecord] = []
        self.addFilter(self._keep)

    def _keep(self, record: logging.LogRecord) -> bool:
        self.records.append(record)
        return False

    @property
    def only(self) -> dict[str, Any]:
        (record,) = self.records
        members: dict[str, Any] = record.__dict__["gatekit"]
        return members

    @property
    def message(self) -> str:
        return self.records[0].getMessage()


def test_a_request_is_one_record(door: Door) -> None:
    """It says who asked for what, how it was answered and how long that took."""
    log = Log()
    headers = {"user-agent": "curl/8", "host": "shop.example"}
    answer = door(Spec(), AccessLog(log), target="/a/b?page=2", headers=headers)
    assert answer.body == b"hello world"
    record = log.only
    expected = {
        "client": "127.0.0.1",
        "method": "GET",
        "scheme": "http",
        "host": "shop.example",
        "path": "/a/b",
        "query": "page=2",
        "http_version": "1.1",
        "websocket": False,
        "user_agent": "curl/8",
        "status": 200,
        "outcome": "complete",
        "error": None,
        "bytes_sent": 11,
        "bytes_received": 0,
        "correlation_id": None,
        "identity": None,
    }
    assert {name: record[name] for name in expected} == expected
    assert 0 <= record["first_byte"] <= record["duration"] < 60
    assert log.message.startswith("GET /a/b 200 ")


def test_a_body_that_was_read_is_counted(door: Door) -> None:
    """Bytes received are those of the request's body."""
    log = Log()
    headers = {"content-length": "5"}
    door(Spec(reads_body=True), AccessLog(log), method="POST", headers=headers, body=b"12345")
    assert (log.only["method"], log.only["bytes_received"]) == ("POST", 5)


def test_an_app_error_is_a_500(door: Door) -> None:
    """The record has the status that the client was sent."""
    log = Log()
    answer = door(Spec(error=RuntimeError("boom")), AccessLog(log))
    assert (answer.status, log.only["status"]) == (500, 500)


def test_an_app_error_is_named() -> None:
    """What went wrong is in the record by the name of its class, and not in its words."""
    log = Log()

    def app(request: Request) -> Response:
        raise ValueError("the secret is 42")

    async def fallback(request: Request, call_next: Handler) -> Response:
        try:
            return await call_next(request)
        except ValueError:
            return Response.text("sorry", 503)

    exercise(AccessLog(log), fallback, app=app)
    assert (log.only["error"], log.only["status"]) == ("ValueError", 503)
    assert "42" not in json.dumps(log.only)


def test_a_refusal_is_logged(door: Door) -> None:
    """So is what a middleware further in answers."""

    async def refuse(request: Request, call_next: Handler) -> Response:
        return Response.text("no", 403)

    log = Log()
    door(Spec(), AccessLog(log), refuse)
    assert (log.only["status"], log.only["outcome"]) == (403, "complete")


def test_an_answer_that_breaks_off_failed(door: Door) -> None:
    """The status is the one that was sent; the outcome tells that it was not the end."""
    log = Log()
    with pytest.raises(AppRaised):
        door(Spec(late_error=RuntimeError("boom")), AccessLog(log))
    assert (log.only["status"], log.only["outcome"]) == (200, "failed")
    assert log.only["bytes_sent"] == 6
    assert " 200 failed " in log.message


def test_a_client_that_leaves_abandoned() -> None:
    """A download that the client gave up is told from one that the app did not finish."""
    log = Log()

    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass

        server = Server(http_scope())
        task = asyncio.create_task(server.run(asgi(app, AccessLog(log))))
        await server.head_sent.wait()
        server.leave()
        await task

    asyncio.run(main())
    assert (log.only["status"], log.only["outcome"]) == (200, "abandoned")
    assert log.only["bytes_sent"] == 5


def test_a_cancelled_request_has_no_status() -> None:
    """Where no head was sent there is none to tell."""
    log = Log()

    async def main() -> None:
        inside = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            inside.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(Server(http_scope()).run(asgi(app, AccessLog(log))))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (log.only["status"], log.only["outcome"]) == (None, "abandoned")
    assert log.message.startswith("GET / - abandoned ")


def test_a_websocket_is_one_record() -> None:
    """Written when it closes, with the handshake's status."""
    log = Log()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "four"})
        await send({"type": "websocket.close", "code": 1000})

    server = Server(websocket_scope(), [{"type": "websocket.connect"}])
    asyncio.run(server.run(asgi(app, AccessLog(log))))
    assert (log.only["status"], log.only["websocket"], log.only["bytes_sent"]) == (101, True, 4)


def test_times_are_split() -> None:
    """What the upstream took and what the gateway added are told apart."""
    log, io = Log(), FakeIO()

    async def proxy(request: Request, call_next: Handler) -> Response:
        io.advance(0.75)
        request.upstream_time = 0.5
        request.upstream_error = UpstreamError("first_byte_timeout", "10.0.0.7 was silent")
        return Response(502)

    exercise(AccessLog(log, clock=lambda: 1_700_000_000.75), proxy, io=io)
    assert log.only["timestamp"] == "2023-11-14T22:13:20.000Z"
    assert (log.only["duration"], log.only["first_byte"]) == (0.75, 0.75)
    assert (log.only["upstream_time"], log.only["gateway_time"]) == (0.5, 0.25)
    assert log.only["upstream_error"] == "first_byte_timeout"


@pytest.mark.parametrize(
    ("route", "endpoint", "label"),
    [
        (SimpleNamespace(path="/users/{id}"), "/inner/{x}", "/users/{id}"),
        (None, "/users/<int:id>", "/users/<int:id>"),
        (None, None, "<unmatched>"),
    ],
)
def test_the_route_is_a_template(route: Any, endpoint: str | None, label: str) -> None:
    """The gateway's, else the app's, else a constant: never the path itself."""
    log, request = Log(), make_request(target="/users/7")
    request.route, request.endpoint = route, endpoint
    exercise(AccessLog(log), request=request)
    assert (log.only["route"], log.only["path"]) == (label, "/users/7")


def test_who_it_was() -> None:
    """The resolved address counts before the peer's; an identity is told by its subject."""
    log, request = Log(), make_request()
    request.client_ip, request.identity = "203.0.113.9", Identity("alice")
    exercise(AccessLog(log), request=request)
    assert (log.only["client"], log.only["identity"]) == ("203.0.113.9", "alice")


def test_an_id_found_further_in_is_told(door: Door) -> None:
    """The record is written at the end, when all is known."""
    log = Log()
    door(Spec(), AccessLog(log), CorrelationId(generate=lambda: "abc"))
    assert log.only["correlation_id"] == "abc"


def test_secrets_are_not_logged() -> None:
    """Tokens in the query and credentials in header fields are only hinted at."""
    log = Log()
    middleware = AccessLog(log, log_headers=["Authorization", "Accept", "Referer", "X-Absent"])
    exercise(
        middleware,
        target="/cb?code=TOP&page=2",
        headers={
            "authorization": "Bearer TOP",
            "accept": "text/html",
            "referer": "https://a.example/?token=TOP",
        },
    )
    assert log.only["query"] == "code=[redacted]&page=2"
    assert log.only["headers"] == {
        "authorization": "[redacted]",
        "accept": "text/html",
        "referer": "https://a.example/?token=[redacted]",
    }
    assert "TOP" not in JSONFormatter().format(log.records[0])


def test_what_is_secret_is_a_choice() -> None:
    """Names can be given, and the query left out."""
    log = Log()
    middleware = AccessLog(log, redact_query=["page"], redact_headers=["x"], log_headers=["x"])
    exercise(middleware, target="/?page=2&code=de", headers={"x": "1"})
    assert log.only["query"] == "page=[redacted]&code=de"
    assert log.only["headers"] == {"x": "[redacted]"}
    quiet = Log()
    exercise(AccessLog(quiet, log_query=False), target="/?page=2")
    assert quiet.only["query"] is None


def test_a_client_cannot_forge_a_record(door: Door) -> None:
    """Line ends and escape sequences in a path show as what they are."""
    log = Log()
    door(Spec(), AccessLog(log), target="/a%0D%0AGET%20/admin%20200%1B%5B31m")
    assert log.message.startswith(r"GET /a\r\nGET /admin 200\x1b[31m ")
    for line in (log.message, JSONFormatter().format(log.records[0])):
        assert line.isprintable()


def test_some_requests_can_be_skipped() -> None:
    """What `skip` is true for is not logged."""
    log = Log()
    middleware = AccessLog(log, skip=lambda request: request.path == "/health")
    for path in ("/health", "/orders"):
        exercise(middleware, target=path)
    assert log.only["path"] == "/orders"


def test_fields_of_ones_own() -> None:
    """A function adds members, from the request and its outcome."""

    def fields(request: Request, outcome: Outcome) -> Mapping[str, object]:
        return {"tenant": request.host, "slow": outcome.duration > 1}

    log = Log()
    exercise(AccessLog(log, fields=fields))
    assert (log.only["tenant"], log.only["slow"]) == ("testserver", False)


def test_a_function_that_fails_loses_its_own_fields_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The record is written all the same, and the error is told."""

    def fields(request: Request, outcome: Outcome) -> Mapping[str, object]:
        raise ZeroDivisionError

    log = Log()
    answer = asyncio.run(
        Server(http_scope()).run(asgi(Spec().asgi(), AccessLog(log, fields=fields)))
    )
    assert answer[0]["status"] == 200
    assert log.only["status"] == 200
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_a_logger_that_fails_breaks_no_request(door: Door) -> None:
    """A full disk is not the client's business."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("disk full")

    log = logging.getLogger("test.broken")
    log.setLevel(logging.INFO)
    log.handlers = [Broken()]
    assert door(Spec(), AccessLog(log)).body == b"hello world"


def test_a_level_that_is_off_costs_nothing() -> None:
    """Then nothing is even registered for the end."""
    log = Log(logging.WARNING)
    answer = exercise(AccessLog(log))
    assert (log.records, answer.request._finish) == ([], None)


def test_level_and_logger_by_name(caplog: pytest.LogCaptureFixture) -> None:
    """Both may be given by name."""
    with caplog.at_level("DEBUG", "shop.access"):
        exercise(AccessLog("shop.access", level="DEBUG"))
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("shop.access", "DEBUG")
    ]


def test_all_wrong_options_are_named() -> None:
    """One error names every parameter that is wrong."""

    async def asynchronous(request: Request) -> bool:
        return True

    with pytest.raises(ConfigurationError) as caught:
        AccessLog(
            7,  # type: ignore[arg-type]
            level="LOUD",
            fields="tenant",  # type: ignore[arg-type]
            skip=asynchronous,  # type: ignore[arg-type]
            log_headers="Accept",
            redact_headers=["a b"],
            redact_query=[7],  # type: ignore[list-item]
        )
    assert set(caught.value.problems) == {
        "logger",
        "level",
        "fields",
        "skip",
        "log_headers",
        "redact_headers",
        "redact_query",
    }
