"""What the doors make of a client that leaves or stalls, with servers that are functions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatekit import Outcome, Proxy, Request, Response, Timeouts, asgi, asgi_app
from gatekit.testing import upstream
from gatekit.typing import Handler, Message, Receive, Scope
from gatekit.typing import Send as SendMessage
from tests.proxy.messages import messages


class Notes:
    """A middleware that keeps how each exchange ended."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        request.on_finish(self.outcomes.append)
        return await call_next(request)


def breaking(at: int) -> tuple[list[Message], Any]:
    """A server whose client is gone when message number `at` is sent, and says so as ASGI does."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        if len(sent) == at:
            raise OSError("the client is gone")
        sent.append(message)

    return sent, send


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_send_that_fails_is_a_client_that_left(at: int) -> None:
    """The exchange was abandoned, which is nobody's fault and no error of the app's."""
    closed: list[bool] = []

    class Pieces:
        def __init__(self) -> None:
            self.left = [b"a", b"b"]

        def __aiter__(self) -> Pieces:
            return self

        async def __anext__(self) -> bytes:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop()

        async def aclose(self) -> None:
            closed.append(True)

    async def handler(request: Request) -> Response:
        return Response(200, body=Pieces())

    notes, (sent, send) = Notes(), breaking(at)
    asyncio.run(messages(asgi_app(handler, notes), send=send))
    assert len(sent) == at
    assert [outcome.ended for outcome in notes.outcomes] == ["abandoned"]
    assert closed == [True]


def test_around_an_app_too() -> None:
    """The app hears of it, as it would without the door; the outcome is the client's."""

    async def app(scope: Scope, receive: Receive, send: SendMessage) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    notes, (_, send) = Notes(), breaking(1)
    with pytest.raises(OSError, match="gone"):
        asyncio.run(messages(asgi(app, notes), send=send))
    assert [outcome.ended for outcome in notes.outcomes] == ["abandoned"]


def test_an_error_of_the_apps_own_is_still_one() -> None:
    """A file that is not there is no client that left, though it is an `OSError` as well."""

    async def app(scope: Scope, receive: Receive, send: SendMessage) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise FileNotFoundError("nowhere")

    notes = Notes()
    with pytest.raises(FileNotFoundError):
        asyncio.run(messages(asgi(app, notes)))
    assert [outcome.ended for outcome in notes.outcomes] == ["failed"]


LENGTH = [(b"content-length", b"10")]
CHUNKED = [(b"transfer-encoding", b"chunked")]


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("pieces", [[], [b"hell"]], ids=["nothing", "half of it"])
def test_a_client_that_stalls_is_told_so(framing: Any, pieces: list[bytes]) -> None:
    """408 (RFC 9110 §15.5.9), and the connection is closed: the rest may still come."""
    users = upstream(lambda sent: Response.text("ok"))
    proxy = Proxy("http://users", transport=users, timeouts=Timeouts(client=0.01))
    left = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]

    async def receive() -> Message:
        if left:
            return left.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    sent = asyncio.run(messages(asgi_app(proxy), method="POST", headers=framing, receive=receive))
    fields = dict(sent[0]["headers"])
    assert sent[0]["status"] == 408
    assert fields[b"connection"] == b"close"
    assert b"urn:gatekit:request-timeout" in sent[1]["body"]


def test_each_piece_has_its_own_time() -> None:
    """A slow upload that goes on is let: the limit is on silence, not on the whole."""
    users = upstream(lambda sent: Response(200, body=sent.body))
    proxy = Proxy("http://users", transport=users, timeouts=Timeouts(client=None))
    left = [b"he", b"llo"]

    async def receive() -> Message:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    sent = asyncio.run(messages(asgi_app(proxy), method="POST", headers=CHUNKED, receive=receive))
    assert sent[0]["status"] == 200
    assert sent[1]["body"] == b"hello"
