"""The correlation id: one for each request, everywhere."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

import pytest

from gatekit import ConfigurationError, Rejected, Request, Response, asgi
from gatekit.middleware.correlation import CorrelationFilter, CorrelationId, correlation_id, uuid7
from gatekit.testing import exercise, make_request
from gatekit.typing import Handler
from tests.conftest import Door
from tests.doors.messages import Server, http_scope, websocket_scope
from tests.doors.spec import Spec


def test_a_fresh_id_is_the_same_everywhere(door: Door) -> None:
    """App, request and client see one UUID of version 7."""
    requests: list[Request] = []
    spec = Spec(before=requests.append)
    answer = door(spec, CorrelationId())
    sent = answer.headers.getlist("x-correlation-id")
    assert sent == [requests[0].correlation_id] == [spec.seen[0]["headers"]["x-correlation-id"]]
    assert uuid.UUID(sent[0]).version == 7


def test_a_valid_id_of_the_client_is_kept(door: Door) -> None:
    """An inbound id of allowed characters goes through unchanged."""
    spec = Spec()
    answer = door(spec, CorrelationId(), headers={"X-Correlation-ID": "order.66_a-B"})
    assert answer.headers["x-correlation-id"] == "order.66_a-B"
    assert spec.seen[0]["headers"]["x-correlation-id"] == "order.66_a-B"


@pytest.mark.parametrize(
    "value",
    ["", "two words", "a" * 129, "a\tb", "tr\u00e4ger", "<script>", "a,b", 'x" level="error'],
)
def test_an_unsafe_id_is_replaced(door: Door, value: str) -> None:
    """What could forge a log line or a header reaches neither the app nor the client."""
    spec = Spec()
    answer = door(spec, CorrelationId(), headers={"x-correlation-id": value})
    fresh = answer.headers["x-correlation-id"]
    assert uuid.UUID(fresh).version == 7
    assert spec.seen[0]["headers"]["x-correlation-id"] == fresh


def test_128_characters_are_the_most() -> None:
    """The bound itself is still accepted."""
    answer = exercise(CorrelationId(), headers={"x-correlation-id": "a" * 128})
    assert answer.request.correlation_id == "a" * 128


def test_two_ids_are_none(door: Door) -> None:
    """A field that occurs twice is replaced by one, so that nobody reads the other."""
    spec = Spec()
    twice = [("x-correlation-id", "one"), ("x-correlation-id", "two")]
    answer = door(spec, CorrelationId(), headers=twice)
    (sent,) = answer.headers.getlist("x-correlation-id")
    assert sent not in ("one", "two")
    assert spec.seen[0]["headers"]["x-correlation-id"] == sent


@pytest.mark.parametrize(
    ("accept", "client", "kept"),
    [
        (False, "10.0.0.1", False),
        (lambda request: request.client[0] == "10.0.0.1", "10.0.0.1", True),
        (lambda request: request.client[0] == "10.0.0.1", "203.0.113.9", False),
    ],
)
def test_accept_says_whose_ids_count(accept: Any, client: str, kept: bool) -> None:
    """An id is taken from whom `accept` admits, and from nobody else."""
    request = make_request(headers={"x-correlation-id": "theirs"}, client=(client, 1))
    answer = exercise(CorrelationId(accept=accept), request=request)
    assert (answer.headers["x-correlation-id"] == "theirs") is kept


def test_an_app_error_carries_the_id(door: Door) -> None:
    """The 500 of an app that raised has the header."""
    answer = door(Spec(error=RuntimeError("boom")), CorrelationId(generate=lambda: "abc"))
    assert (answer.status, answer.headers["x-correlation-id"]) == (500, "abc")


def test_a_refusal_carries_the_id(door: Door) -> None:
    """A problem made further in has the header, and names the id as its instance."""

    async def refuse(request: Request, call_next: Handler) -> Response:
        raise Rejected(429, "slow down")

    answer = door(Spec(), CorrelationId(generate=lambda: "abc"), refuse)
    assert (answer.status, answer.headers["x-correlation-id"]) == (429, "abc")
    assert '"instance":"abc"' in answer.text


def test_the_apps_own_field_is_replaced(door: Door) -> None:
    """The client gets one id, not the app's beside it."""
    spec = Spec(headers=[("content-type", "text/plain"), ("X-Correlation-ID", "of the app")])
    answer = door(spec, CorrelationId(generate=lambda: "abc"))
    assert answer.headers.getlist("x-correlation-id") == ["abc"]


def test_the_response_header_can_be_left_out() -> None:
    """`response_header=False` keeps the id inside."""
    answer = exercise(CorrelationId(response_header=False))
    assert "x-correlation-id" not in answer.headers
    assert answer.request.correlation_id is not None


def test_another_header_and_generator() -> None:
    """The name is an option, and an id may be anything whose text is valid."""
    chosen = uuid.UUID(int=5)
    answer = exercise(CorrelationId("X-Request-ID", generate=lambda: chosen))
    assert answer.headers["x-request-id"] == str(chosen) == answer.request.headers["x-request-id"]


def test_a_generator_cannot_split_the_response() -> None:
    """An invalid id of one's own making is an error, not a header."""
    with pytest.raises(ValueError, match="generate"):
        exercise(CorrelationId(generate=lambda: "a\r\nset-cookie: x=1"))


def test_logs_carry_the_id(door: Door) -> None:
    """Inside the app the filter gives records the id."""
    ids: list[str] = []

    def log(request: Request) -> None:
        record = logging.makeLogRecord({"msg": "working"})
        assert CorrelationFilter().filter(record)
        ids.append(record.__dict__["correlation_id"])

    door(Spec(before=log), CorrelationId(generate=lambda: "abc"))
    assert ids == ["abc"]


def test_outside_of_a_request_there_is_no_id() -> None:
    """The filter never leaves a record without the attribute that a format string asks for."""
    record = logging.makeLogRecord({"msg": "starting"})
    correlation_id.set(None)
    CorrelationFilter().filter(record)
    assert record.__dict__["correlation_id"] == "-"


def test_concurrent_requests_do_not_mix() -> None:
    """Each of two requests that run at once keeps its own id in its context."""
    seen: dict[str, str | None] = {}

    async def main() -> None:
        both_inside = asyncio.Barrier(2)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await both_inside.wait()
            seen[scope["path"]] = correlation_id.get()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        wrapped = asgi(app, CorrelationId())
        servers = [
            Server(http_scope(path=f"/{name}", headers=[(b"x-correlation-id", name.encode())]))
            for name in ("one", "two")
        ]
        await asyncio.gather(*(server.run(wrapped) for server in servers))

    asyncio.run(main())
    assert seen == {"/one": "one", "/two": "two"}


def test_a_websocket_handshake_carries_the_id() -> None:
    """The 101 has the header, and the app finds it in the handshake."""
    found: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.extend(value for name, value in scope["headers"] if name == b"x-correlation-id")
        await receive()
        await send({"type": "websocket.accept", "headers": []})
        await send({"type": "websocket.close", "code": 1000})

    server = Server(websocket_scope(), [{"type": "websocket.connect"}])
    asyncio.run(server.run(asgi(app, CorrelationId(generate=lambda: "abc"))))
    assert found == [b"abc"]
    assert (b"x-correlation-id", b"abc") in list(server.sent[0]["headers"])


def test_uuid7_is_that_of_the_rfc() -> None:
    """Time and entropy of RFC 9562 appendix A.6 give its example."""
    made = uuid7(
        lambda: 0x017F22E279B0 * 1_000_000, lambda size: bytes.fromhex("1cc308c4dc0c0c07398f")
    )
    assert made == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


def test_ids_sort_by_time() -> None:
    """A later millisecond gives a greater id."""
    milliseconds = iter([1, 2, 0xFFFF, 0x10000, 1 << 40])
    made = [uuid7(lambda: next(milliseconds) * 1_000_000) for _ in range(5)]
    assert made == sorted(made)


def test_all_wrong_options_are_named() -> None:
    """One error names every parameter that is wrong."""

    async def asynchronous(request: Request) -> bool:
        return True

    with pytest.raises(ConfigurationError) as caught:
        CorrelationId("two words", accept=asynchronous, generate="uuid")  # type: ignore[arg-type]
    assert set(caught.value.problems) == {"header", "accept", "generate"}
