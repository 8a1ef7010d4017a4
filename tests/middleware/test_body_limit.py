"""A bound on request bodies, with and without an announced length."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest

from gatekit import ConfigurationError, Request, Response, asgi, asgi_app, wsgi
from gatekit.errors import BodyTooLarge
from gatekit.middleware.body_limit import BodyLimit
from gatekit.middleware.correlation import CorrelationId
from gatekit.testing import call_asgi, call_wsgi, exercise
from gatekit.typing import Handler
from tests.conftest import Door
from tests.doors.messages import Server, http_scope
from tests.doors.spec import Spec

TEN = BodyLimit(10)


def test_an_announced_excess_never_reaches_the_app(door: Door) -> None:
    """413 from the length alone: the app is not called."""
    spec = Spec(reads_body=True)
    headers = {"content-length": "11"}
    answer = door(spec, TEN, method="POST", headers=headers, body=b"12345678901")
    assert (answer.status, spec.seen) == (413, [])
    assert answer.headers["content-type"] == "application/problem+json"
    assert "urn:gatekit:body-too-large" in answer.text


def test_exactly_as_much_passes(door: Door) -> None:
    """The bound itself is allowed, announced."""
    spec = Spec(reads_body=True)
    headers = {"content-length": "10"}
    answer = door(spec, TEN, method="POST", headers=headers, body=b"1234567890")
    assert (answer.status, spec.seen[0]["body"]) == (200, b"1234567890")


def test_exactly_as_much_passes_in_chunks() -> None:
    """The bound itself is allowed, counted."""
    spec = Spec(reads_body=True)
    app = asgi(spec.asgi(), TEN)
    answer = asyncio.run(call_asgi(app, "POST", body=[b"12345", b"67890"]))
    assert (answer.status, spec.seen[0]["body"]) == (200, b"1234567890")


def test_chunks_are_counted() -> None:
    """Without a length whoever reads the byte too many is stopped, and the client gets a 413."""
    spec = Spec(reads_body=True)
    app = asgi(spec.asgi(), TEN)
    answer = asyncio.run(call_asgi(app, "POST", body=[b"12345", b"67890", b"1"]))
    assert (answer.status, spec.seen) == (413, [])


def test_chunks_are_counted_beside_a_length() -> None:
    """`Transfer-Encoding` overrides `Content-Length`, so a small length proves nothing."""
    headers = {"content-length": "3", "transfer-encoding": "chunked"}
    app = asgi(Spec(reads_body=True).asgi(), TEN)
    answer = asyncio.run(call_asgi(app, "POST", headers=headers, body=[b"12345678901"]))
    assert answer.status == 413


def test_an_app_cannot_swallow_the_refusal() -> None:
    """Even where the app catches the error and answers, the client sees the 413."""
    caught: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            while (await receive())["more_body"]:
                pass
        except Exception as error:
            caught.append(error)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fine"})

    answer = asyncio.run(call_asgi(asgi(app, TEN), "POST", body=[b"12345", b"678901"]))
    assert (answer.status, type(caught[0])) == (413, BodyTooLarge)


def test_a_wsgi_app_cannot_swallow_it_either() -> None:
    """A chunked body under WSGI is counted, and the app's own answer replaced."""
    caught: list[Exception] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except Exception as error:
            caught.append(error)
        start_response("200 OK", [])
        return [b"fine"]

    def server(environ: Any, start_response: Any) -> Any:
        """Hands on a body whose end is told by the stream alone."""
        environ["wsgi.input"] = io.BytesIO(b"12345678901")
        environ["wsgi.input_terminated"] = True
        return wsgi(app, TEN)(environ, start_response)

    answer = call_wsgi(server, "POST", headers={"transfer-encoding": "chunked"})
    assert (answer.status, type(caught[0])) == (413, BodyTooLarge)


def test_a_handler_is_stopped_too() -> None:
    """A handler of gatekit's own that streams the body is refused in the same way."""

    async def sums(request: Request) -> Response:
        return Response.text(str(sum([len(chunk) async for chunk in request.body])))

    app = asgi_app(sums, TEN)
    for body, status in [([b"12345"] * 2, 200), ([b"12345"] * 3, 413)]:
        assert asyncio.run(call_asgi(app, "POST", body=body)).status == status


def test_the_refusal_passes_what_decorates() -> None:
    """A middleware further in that works on every response does so on this 413."""
    app = asgi(Spec(reads_body=True).asgi(), TEN, CorrelationId(generate=lambda: "abc"))
    answer = asyncio.run(call_asgi(app, "POST", body=[b"12345", b"678901"]))
    assert (answer.status, answer.headers["x-correlation-id"]) == (413, "abc")


@pytest.mark.parametrize("length", ["-1", "+5", "5, 5", "0x10", "1_0", "ten", "\u00b2", "5.0"])
def test_a_malformed_length_is_a_bad_request(length: str) -> None:
    """400: such a length is an attempt at the framing."""
    assert exercise(TEN, method="POST", headers={"content-length": length}).status == 400


def test_two_lengths_are_a_bad_request() -> None:
    """Even two that agree."""
    twice = [("content-length", "5"), ("content-length", "5")]
    assert exercise(TEN, method="POST", headers=twice).status == 400


def test_an_absurd_length_is_too_large() -> None:
    """A number of thousands of digits is refused without being read."""
    assert exercise(TEN, method="POST", headers={"content-length": "9" * 10_000}).status == 413


@pytest.mark.parametrize(("length", "status"), [("0", 200), ("1", 413)])
def test_none_at_all(length: str, status: int) -> None:
    """A limit of 0 admits requests without a body."""
    assert exercise(BodyLimit(0), headers={"content-length": length}).status == status


def test_the_narrower_of_two_holds() -> None:
    """A limit further in narrows one further out."""
    for body, status in [(b"12345", 200), (b"123456", 413)]:
        app = asgi(Spec(reads_body=True).asgi(), TEN, BodyLimit(5))
        assert asyncio.run(call_asgi(app, "POST", body=body)).status == status


def test_what_another_middleware_reads_is_counted() -> None:
    """`request.body.read()` further in runs into the limit like the app."""

    async def reads(request: Request, call_next: Handler) -> Response:
        await request.body.read()
        return await call_next(request)

    assert exercise(TEN, reads, method="POST", body=[b"12345", b"678901"]).status == 413


def test_an_app_that_asks_again_is_refused_again() -> None:
    """It does not wait for bytes that nobody will send."""
    caught: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            try:
                await receive()
            except BodyTooLarge as error:
                caught.append(error)
        raise caught[1]

    server = Server(http_scope(method="POST"), [{"type": "http.request", "body": b"12345678901"}])
    asyncio.run(asyncio.wait_for(server.run(asgi(app, TEN)), 10))
    assert (len(caught), server.sent[0]["status"]) == (2, 413)


def test_what_was_taken_ahead_is_counted() -> None:
    """A handler that reads late finds the refusal, although the door has listened meanwhile."""

    async def main() -> int:
        taken = asyncio.Event()

        async def handler(request: Request) -> Response:
            await taken.wait()
            return Response.text(str(len(await request.body.read())))

        class Listening(Server):
            async def receive(self) -> dict[str, Any]:
                message = await super().receive()
                taken.set()
                return message

        body = {"type": "http.request", "body": b"12345678901"}
        server = Listening(http_scope(method="POST"), [body])
        await asyncio.wait_for(server.run(asgi_app(handler, TEN)), 10)
        status: int = server.sent[0]["status"]
        return status

    assert asyncio.run(main()) == 413


def test_a_body_that_dies_half_way_is_not_too_large() -> None:
    """The app learns that the client left; nothing is answered."""
    spec = Spec(reads_body=True)
    server = Server(http_scope(method="POST"), [])
    server.say({"type": "http.request", "body": b"12345", "more_body": True})
    server.leave()
    asyncio.run(server.run(asgi(spec.asgi(), TEN)))
    assert spec.seen[0]["body"] == b"12345"
    assert server.sent[0]["status"] == 200


@pytest.mark.parametrize("value", [-1, 1.5, "10MiB", True, None])
def test_a_wrong_option_is_named(value: Any) -> None:
    """Bytes are a whole number."""
    with pytest.raises(ConfigurationError) as caught:
        BodyLimit(value)
    assert list(caught.value.problems) == ["max_bytes"]
