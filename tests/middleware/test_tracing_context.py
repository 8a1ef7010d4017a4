"""What the app records itself is a child of its request: in views, threads, executors and tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from opentelemetry import trace as otel
from opentelemetry.trace import SpanKind

from gatekit import Trace, Tracing, asgi, current_trace, wsgi
from gatekit._core.background import Background
from gatekit._core.io import IO
from gatekit.testing import call_asgi, call_wsgi, exercise
from tests.conftest import Door
from tests.doors.spec import Spec
from tests.middleware.test_tracing_spans import Recorder


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def work(recorder: Recorder, name: str = "work") -> None:
    """What an app's own code does."""
    with recorder.provider.get_tracer("app").start_as_current_span(name):
        pass


def check(recorder: Recorder, *names: str) -> None:
    """Each of these spans is a child of the one SERVER span."""
    (server,) = recorder.of(SpanKind.SERVER)
    assert server.context is not None
    inner = {span.name: span for span in recorder.of(SpanKind.INTERNAL)}
    assert set(inner) == set(names)
    for span in inner.values():
        assert span.parent is not None and span.context is not None
        assert span.parent.span_id == server.context.span_id
        assert span.context.trace_id == server.context.trace_id


def test_in_an_app(door: Door, recorder: Recorder) -> None:
    """Through every door, an app in a child task among them."""
    door(Spec(before=lambda request: work(recorder)), recorder.middleware())
    check(recorder, "work")


def test_in_views_of_starlette(recorder: Recorder) -> None:
    """Async ones, sync ones in the thread pool, a background task, a stream."""
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route

    async def asynchronous(request: Any) -> PlainTextResponse:
        work(recorder)
        await asyncio.to_thread(work, recorder, "thread")
        return PlainTextResponse("ok", background=BackgroundTask(work, recorder, "background"))

    def synchronous(request: Any) -> PlainTextResponse:
        work(recorder)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(copy_context().run, work, recorder, "executor").result()
        return PlainTextResponse("ok")

    async def streaming(request: Any) -> StreamingResponse:
        async def body() -> Any:
            work(recorder)
            yield b"ok"

        return StreamingResponse(body())

    for view, names in (
        (asynchronous, ("work", "thread", "background")),
        (synchronous, ("work", "executor")),
        (streaming, ("work",)),
    ):
        recorder.exporter.clear()
        app = Starlette(routes=[Route("/", view)])
        asyncio.run(call_asgi(asgi(app, recorder.middleware())))
        check(recorder, *names)
        recorder.exporter.clear()
        inside = Starlette(routes=[Route("/", view)])
        inside.add_middleware(asgi, recorder.middleware())
        asyncio.run(call_asgi(inside))
        check(recorder, *names)


def test_in_views_of_fastapi(recorder: Recorder) -> None:
    """A dependency and a sync view run in threads."""
    from fastapi import Depends, FastAPI

    app = FastAPI()

    def dependency() -> None:
        work(recorder, "dependency")

    @app.get("/items/{number}")
    def view(number: int, needed: None = Depends(dependency)) -> dict[str, int]:
        work(recorder)
        return {"number": number}

    asyncio.run(call_asgi(asgi(app, recorder.middleware()), target="/items/7"))
    check(recorder, "work", "dependency")
    assert recorder.of(SpanKind.SERVER)[0].name == "GET /items/{number}"


def test_in_views_of_flask(recorder: Recorder) -> None:
    """In the view, in what it streams, and in a thread that is given the context."""
    from flask import Flask, Response

    app = Flask("shop")

    @app.get("/items/<int:number>")
    def view(number: int) -> Response:
        work(recorder)
        thread = threading.Thread(target=copy_context().run, args=(work, recorder, "thread"))
        thread.start()
        thread.join()

        def body() -> Iterator[bytes]:
            work(recorder, "stream")
            yield b"ok"

        return Response(body())

    app.wsgi_app = wsgi(app.wsgi_app, recorder.middleware())  # type: ignore[method-assign]
    assert call_wsgi(app, target="/items/7").body == b"ok"
    check(recorder, "work", "thread", "stream")
    assert recorder.of(SpanKind.SERVER)[0].name == "GET /items/<int:number>"


@pytest.mark.parametrize("recorded", [True, False])
def test_in_work_beside_the_requests(recorder: Recorder, recorded: bool) -> None:
    """What a request starts in the background belongs to its trace, with an SDK or without."""
    background, found = Background("test"), []
    done = threading.Event()
    tracing = recorder.middleware() if recorded else Tracing()

    async def job(io: IO) -> None:
        found.append(current_trace())
        if recorded:
            work(recorder)
        done.set()

    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert background.spawn(scope["gatekit"].io, job)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        await call_asgi(asgi(app, tracing))
        await asyncio.to_thread(done.wait, 5)

    asyncio.run(main())
    assert found[0] is not None
    if recorded:
        check(recorder, "work")


def test_in_work_beside_the_requests_of_threads(recorder: Recorder) -> None:
    """The same under WSGI; what lives as long as the process belongs to no request."""
    background, found = Background("test"), dict[str, Trace | None]()
    done, lives = threading.Event(), threading.Event()

    async def job(io: IO) -> None:
        found["once"] = current_trace()
        work(recorder)
        done.set()

    async def kept(io: IO) -> None:
        found["kept"] = current_trace()
        lives.set()

    def app(environ: Any, start_response: Any) -> Any:
        io = environ["gatekit.request"].io
        assert background.spawn(io, job)
        background.keep(io, kept)
        start_response("200 OK", [])
        return [b""]

    call_wsgi(wsgi(app, recorder.middleware()))
    assert done.wait(5) and lives.wait(5)
    assert found["once"] is not None and found["kept"] is None
    check(recorder, "work")


def test_requests_side_by_side_do_not_meet(recorder: Recorder) -> None:
    """Each has its own, on one loop and on many threads."""
    found: dict[str, set[str]] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(3):
            trace = current_trace()
            assert trace is not None
            span = otel.get_current_span().get_span_context()
            assert f"{span.span_id:016x}" == trace.span_id
            found.setdefault(scope["path"], set()).add(trace.trace_id)
            await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def main() -> None:
        door = asgi(app, recorder.middleware())
        await asyncio.gather(*(call_asgi(door, target=f"/{number}") for number in range(20)))

    asyncio.run(main())
    assert [len(ids) for ids in found.values()] == [1] * 20
    assert len(set.union(*found.values())) == 20

    def blocking(environ: Any, start_response: Any) -> Any:
        trace = current_trace()
        assert trace is not None
        found.setdefault(f"wsgi {environ['PATH_INFO']}", set()).add(trace.trace_id)
        start_response("200 OK", [])
        return [b""]

    door = wsgi(blocking, recorder.middleware())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: call_wsgi(door, target=f"/{number}"), range(20)))
    assert len({frozenset(ids) for ids in found.values()}) == 40


def test_nothing_is_left_behind(recorder: Recorder) -> None:
    """After a request the context is as it was: a worker's thread, or a caller's task, goes on."""
    before = otel.get_current_span()
    call_wsgi(wsgi(Spec().wsgi(), recorder.middleware()))
    assert otel.get_current_span() is before

    async def main() -> None:
        with recorder.provider.get_tracer("app").start_as_current_span("outer") as outer:
            await call_asgi(asgi(Spec().asgi(), recorder.middleware()))
            assert otel.get_current_span() is outer

    asyncio.run(main())
    (server, *_) = [span for span in recorder.spans if span.name == "GET"]
    assert server.parent is None


def test_the_way_out_may_be_in_another_context(recorder: Recorder) -> None:
    """No token is held: the span ends all the same, and nothing is raised."""
    exercise(recorder.middleware())
    assert recorder.only.kind is SpanKind.SERVER


def test_an_sdk_that_comes_late_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The global provider is looked for on each request until there is one."""
    recorder, tracing = Recorder(), Tracing()
    monkeypatch.setattr(otel, "_TRACER_PROVIDER", None)
    exercise(tracing)
    assert recorder.spans == []
    monkeypatch.setattr(otel, "_TRACER_PROVIDER", recorder.provider)
    exercise(tracing)
    assert recorder.only.kind is SpanKind.SERVER
