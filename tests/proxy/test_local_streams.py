"""Apps of this process that stream, are late, or whose client leaves: through the transport."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gatekit.errors import ClientDisconnected, UpstreamError
from gatekit.proxy.local.transport import AppTransport
from gatekit.proxy.transport import Origin, Timeouts, UpstreamRequest

HERE = Origin("http://localhost")
GET = UpstreamRequest(b"GET", b"/", [])
PIECE = b"x" * 40_000


class Streaming:
    """An app of either kind that counts what it has sent, and notes how it ended."""

    def __init__(self, pieces: int = 100) -> None:
        self.pieces = pieces
        self.sent = 0
        self.ended = threading.Event()
        self.how = ""

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(self.pieces):
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
                self.sent += 1
            await send({"type": "http.response.body", "body": b""})
            self.how = "complete"
        except asyncio.CancelledError:
            self.how = "left"
            raise
        finally:
            self.ended.set()

    def wsgi(self, environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            for _ in range(self.pieces):
                self.sent += 1
                yield PIECE
            self.how = "complete"
        except GeneratorExit:
            self.how = "left"
            raise
        finally:
            self.ended.set()


KINDS = pytest.mark.parametrize("kind", ["asgi", "wsgi"])


@KINDS
def test_an_answer_streams_under_asgi(kind: str) -> None:
    """The app is a few pieces ahead of who reads, never all of them, and nothing is lost."""

    async def main() -> None:
        app = Streaming()
        transport = AppTransport(getattr(app, kind))
        answer = await transport.asend(HERE, GET, Timeouts())
        assert not isinstance(answer.body, bytes)
        size = 0
        async for piece in answer.body:
            size += len(piece)
            assert app.sent - size // len(PIECE) <= 8
        assert size == 100 * len(PIECE)
        assert app.ended.wait(5)
        assert app.how == "complete"
        await transport.aclose()

    asyncio.run(main())


@KINDS
def test_an_answer_streams_under_wsgi(kind: str) -> None:
    """The same for a thread that asks."""
    app = Streaming()
    transport = AppTransport(getattr(app, kind))
    answer = transport.send(HERE, GET, Timeouts())
    assert not isinstance(answer.body, bytes)
    size = 0
    for piece in answer.body:
        size += len(piece)
        assert app.sent - size // len(PIECE) <= 8
    assert size == 100 * len(PIECE)
    assert app.ended.wait(5)
    transport.close()


@KINDS
def test_an_app_learns_that_the_client_has_left(kind: str) -> None:
    """Closed in the middle: the ASGI app is cancelled, the WSGI app's iterable is closed."""

    async def main() -> None:
        app = Streaming()
        transport = AppTransport(getattr(app, kind))
        answer = await transport.asend(HERE, GET, Timeouts())
        assert not isinstance(answer.body, bytes)
        await anext(answer.body)
        await answer.body.aclose()
        assert await asyncio.to_thread(app.ended.wait, 5)
        assert app.how == "left"
        assert app.sent < 100
        await transport.aclose()

    asyncio.run(main())
    app = Streaming()
    transport = AppTransport(getattr(app, kind))
    answer = transport.send(HERE, GET, Timeouts())
    assert not isinstance(answer.body, bytes)
    next(answer.body)
    answer.body.close()
    assert app.ended.wait(5)
    assert app.how == "left"
    transport.close()


def test_a_wait_for_the_head_can_be_cancelled() -> None:
    """The ASGI app is cancelled with who waited, and told of the disconnect if it asks."""

    async def main() -> None:
        begun, seen = asyncio.Event(), list[str]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                seen.append((await receive())["type"])

        transport = AppTransport(app)
        asking = asyncio.create_task(transport.asend(HERE, GET, Timeouts()))
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert seen == ["http.disconnect"]
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("timeouts", "stage"),
    [
        (Timeouts(first_byte=0.02), "first_byte_timeout"),
        (Timeouts(total=0.02), "total_timeout"),
    ],
)
def test_an_app_that_is_late_is_given_up(timeouts: Timeouts, stage: str) -> None:
    """The limits of a transport hold for an app too, in its own colour and from a thread."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    transport = AppTransport(app)

    async def main() -> None:
        with pytest.raises(UpstreamError) as caught:
            await transport.asend(HERE, GET, timeouts)
        assert caught.value.stage == stage
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    with pytest.raises(UpstreamError) as caught:
        transport.send(HERE, GET, timeouts)
    assert caught.value.stage == stage
    transport.close()


def test_a_wsgi_app_that_is_late_is_given_up_by_a_loop() -> None:
    """The loop stops waiting; the thread itself ends when the app does."""
    may = threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        may.wait(5)
        start_response("200 OK", [])
        return [b"late"]

    async def main() -> None:
        transport = AppTransport(app)
        with pytest.raises(UpstreamError) as caught:
            await transport.asend(HERE, GET, Timeouts(first_byte=0.02))
        assert caught.value.stage == "first_byte_timeout"
        may.set()
        await transport.aclose()

    asyncio.run(main())


@KINDS
def test_a_silence_in_the_middle_is_given_up(kind: str) -> None:
    """`idle` is the longest silence of a body, and the app is told that nobody reads on."""
    ended, may = threading.Event(), threading.Event()

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def wsgi(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            yield b"one"
            may.wait(5)
            yield b"two"
        finally:
            ended.set()

    async def main() -> None:
        transport = AppTransport(asgi if kind == "asgi" else wsgi)
        answer = await transport.asend(HERE, GET, Timeouts(idle=0.02))
        assert not isinstance(answer.body, bytes)
        assert await anext(answer.body) == b"one"
        with pytest.raises(UpstreamError) as caught:
            await anext(answer.body)
        assert caught.value.stage == "idle_timeout"
        may.set()
        assert await asyncio.to_thread(ended.wait, 5)
        await transport.aclose()

    asyncio.run(main())


@KINDS
def test_an_app_that_breaks_off_is_no_complete_answer(kind: str) -> None:
    """What it raises after its head ends the stream with an error, never with a silent end."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        for _ in range(5):
            await asyncio.sleep(0)
        raise ValueError("out of luck")

    def wsgi(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"one"
        raise ValueError("out of luck")

    app = asgi if kind == "asgi" else wsgi

    async def main() -> None:
        transport = AppTransport(app)
        answer = await transport.asend(HERE, GET, Timeouts())
        assert not isinstance(answer.body, bytes)
        with pytest.raises(UpstreamError) as caught:
            [piece async for piece in answer.body]
        assert caught.value.stage == "closed"
        await transport.aclose()

    asyncio.run(main())
    transport = AppTransport(app)
    answer = transport.send(HERE, GET, Timeouts())
    assert not isinstance(answer.body, bytes)
    with pytest.raises(UpstreamError) as caught:
        list(answer.body)
    assert caught.value.stage == "closed"
    transport.close()


async def _reads(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"read"})


def _reads_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"read"]


@pytest.mark.parametrize("app", [_reads, _reads_wsgi])
def test_a_client_that_breaks_off_its_upload_is_not_the_apps_fault(app: Any) -> None:
    """What the body's stream raises passes through, so that it is answered in its own words."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"one"
        raise ClientDisconnected("gone")

    def broken_too() -> Iterator[bytes]:
        yield b"one"
        raise ClientDisconnected("gone")

    async def main() -> None:
        transport = AppTransport(app)
        with pytest.raises(ClientDisconnected):
            await transport.asend(
                HERE, UpstreamRequest(b"POST", b"/", [], (broken(), None)), Timeouts()
            )
        await transport.aclose()

    asyncio.run(main())
    transport = AppTransport(app)
    with pytest.raises(ClientDisconnected):
        transport.send(HERE, UpstreamRequest(b"POST", b"/", [], (broken_too(), None)), Timeouts())
    transport.close()


@pytest.mark.parametrize("app", [_reads, _reads_wsgi])
def test_an_upload_is_not_taken_for_silence(app: Any) -> None:
    """A slow client is not a slow app: the clock of the head stands still while it sends."""

    async def main() -> None:
        pause = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            asyncio.get_running_loop().call_later(0.3, pause.set)
            await pause.wait()
            yield b"x"

        transport = AppTransport(app)
        request = UpstreamRequest(b"POST", b"/", [], (slow(), None))
        answer = await transport.asend(HERE, request, Timeouts(first_byte=0.25))
        assert answer.status == 200
        await transport.aclose()

    asyncio.run(main())


def test_threads_and_loops_are_gone_after_close() -> None:
    """What bridges the colours is begun when it is needed, and ends with `close`."""
    before = set(threading.enumerate())
    asgi, wsgi = AppTransport(_reads), AppTransport(_reads_wsgi)
    asgi.send(HERE, GET, Timeouts())
    asyncio.run(wsgi.asend(HERE, GET, Timeouts()))
    begun = set(threading.enumerate()) - before
    assert {thread.name.rstrip("_0") for thread in begun} == {"gatekit app", "gatekit app loop"}
    asgi.close()
    wsgi.close()
    for thread in begun:
        thread.join(5)
        assert not thread.is_alive()
    # And they begin anew.
    assert asgi.send(HERE, GET, Timeouts()).status == 200
    asgi.close()


def test_an_upgrade_is_refused() -> None:
    """An app of this process takes no WebSockets from a proxy: it answers 501."""
    request = UpstreamRequest(b"GET", b"/", [], upgrade=True)
    transport = AppTransport(_reads)
    assert transport.send(HERE, request, Timeouts()).status == 501
    assert asyncio.run(transport.asend(HERE, request, Timeouts())).status == 501


def test_a_thread_outlives_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that was closed in the middle of an answer, without a word, keeps no thread."""
    monkeypatch.setattr("gatekit.proxy.local.threads._LOOK_AGAIN", 0.01)
    app = Streaming()
    transport = AppTransport(app.wsgi)
    loop = asyncio.new_event_loop()
    answer = loop.run_until_complete(transport.asend(HERE, GET, Timeouts()))
    assert not isinstance(answer.body, bytes)
    loop.run_until_complete(anext(answer.body))
    loop.close()
    assert app.ended.wait(5)
    assert app.sent < 100
    transport.close()
