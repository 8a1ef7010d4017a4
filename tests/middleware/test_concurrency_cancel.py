"""Nothing stays behind, whatever stage a request is cancelled in."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from typing import Any

import pytest

from gatekit import Outcome, Request, Response, asgi, asgi_app, wsgi
from gatekit.limits import keys
from gatekit.middleware.concurrency import ConcurrencyLimit
from gatekit.testing import call_asgi, call_wsgi, exercise
from gatekit.typing import Handler
from tests.doors.messages import Server, http_scope
from tests.middleware.crowd import Crowd, counts, threads, until

PATIENT = 20.0


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("order", ["fifo", "lifo"])
def test_in_the_queue(order: Any) -> None:
    """Its place in line is free at once, and those behind it move up."""

    async def main() -> None:
        crowd = Crowd(ConcurrencyLimit(1, queue=2, order=order, max_wait=PATIENT))
        first = await crowd.arrive("1")
        second, third = await crowd.arrive("2"), await crowd.arrive("3")
        await cancel(second)
        assert counts(crowd.limit) == (1, 1)
        crowd.let_go("1")
        crowd.let_go("3")
        await asyncio.gather(first, third)
        assert crowd.inside == ["1", "3"]
        assert counts(crowd.limit) == (0, 0)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("outside", "held"), [(True, (1, 1)), (False, (1, 2))], ids=["after", "before"]
)
def test_when_it_is_its_turn_and_it_does_not_know(
    outside: bool, held: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Cancelled just before or after it was let in, and not run since: the next has the place."""

    async def main() -> None:
        limit = ConcurrencyLimit(1, queue=2, max_wait=PATIENT)
        seen: list[Any] = []

        async def watches(request: Request, call_next: Handler) -> Response:
            def cancel_the_second(_: Outcome) -> None:
                seen.append((counts(limit), list(crowd.inside)))
                second.cancel()

            if request.path == "/1":
                request.on_finish(cancel_the_second)
            return await call_next(request)

        # Last in, first out: the first goes before this callback, or after it.
        crowd = Crowd(*((watches, limit) if outside else (limit, watches)))
        first = await crowd.arrive("1")
        second, third = await crowd.arrive("2"), await crowd.arrive("3")
        crowd.let_go("1")
        crowd.let_go("3")
        await asyncio.gather(first, third)
        assert seen == [(held, ["1"])]
        assert second.cancelled()
        assert crowd.inside == ["1", "3"]
        assert counts(limit) == (0, 0)

    asyncio.run(main())
    assert caplog.records == []


def test_between_the_limit_and_the_app() -> None:
    """Where a middleware further in awaits something."""

    async def main() -> None:
        reached = asyncio.Event()

        async def waits(request: Request, call_next: Handler) -> Response:
            reached.set()
            await asyncio.Event().wait()
            return await call_next(request)

        crowd = Crowd(limit := ConcurrencyLimit(1), waits)
        task = crowd.send("1")
        await reached.wait()
        assert counts(limit) == (1, 0)
        await cancel(task)
        assert counts(limit) == (0, 0)

    asyncio.run(main())


@pytest.mark.parametrize("half", [False, True], ids=["in the app", "in the middle of the body"])
def test_while_the_app_works(half: bool) -> None:
    """Before and after its head alike; who waits is let in."""

    async def main() -> None:
        crowd = Crowd(ConcurrencyLimit(1, queue=1, max_wait=PATIENT))
        crowd.sent_half = half
        first = await crowd.arrive("1")
        await until(lambda: not half or crowd.servers["1"].body == b"half")
        second = await crowd.arrive("2")
        await cancel(first)
        crowd.let_go("2")
        await second
        assert crowd.answer("2") == 200
        assert counts(crowd.limit) == (0, 0)

    asyncio.run(main())


def test_on_the_way_out() -> None:
    """A middleware further out awaits before the head is sent: still inside, then free."""

    async def main() -> None:
        back = asyncio.Event()

        async def lingers(request: Request, call_next: Handler) -> Response:
            response = await call_next(request)
            back.set()
            await asyncio.Event().wait()
            return response

        crowd = Crowd(lingers, limit := ConcurrencyLimit(1))
        task = crowd.send("1")
        crowd.let_go("1")
        await back.wait()
        assert counts(limit) == (1, 0)
        await cancel(task)
        assert counts(limit) == (0, 0)

    asyncio.run(main())


def test_in_a_callback_at_the_end() -> None:
    """Another's `on_finish` that is cancelled while it waits does not keep the place."""

    async def main() -> None:
        limit = ConcurrencyLimit(1)
        ending = asyncio.Event()

        async def writes(request: Request, call_next: Handler) -> Response:
            async def slowly(_: Outcome) -> None:
                ending.set()
                await asyncio.Event().wait()

            request.on_finish(slowly)
            return await call_next(request)

        crowd = Crowd(limit, writes)
        task = crowd.send("1")
        crowd.let_go("1")
        await ending.wait()
        await cancel(task)
        assert counts(limit) == (0, 0)

    asyncio.run(main())


def test_a_client_that_leaves_the_queue() -> None:
    """The door notices it, and a place in line is not kept for nobody."""

    async def main() -> None:
        crowd = Crowd(ConcurrencyLimit(1, queue=1, max_wait=PATIENT))
        first = await crowd.arrive("1")
        second = await crowd.arrive("2")
        crowd.servers["2"].leave()
        await second
        assert crowd.servers["2"].sent == []
        assert counts(crowd.limit) == (1, 0)
        crowd.let_go("1")
        await first
        assert counts(crowd.limit) == (0, 0)

    asyncio.run(main())


def test_a_client_that_leaves_a_handler() -> None:
    """A streamed answer of gatekit's own ends with the client, and so does its place."""

    async def main() -> None:
        limit = ConcurrencyLimit(1)

        async def forever() -> Any:
            yield b"half"
            await asyncio.Event().wait()

        async def handler(request: Request) -> Response:
            return Response(200, body=forever())

        server = Server(http_scope())
        task = asyncio.create_task(server.run(asgi_app(handler, limit)))
        await until(lambda: server.body == b"half")
        assert counts(limit) == (1, 0)
        server.leave()
        await task
        assert counts(limit) == (0, 0)

    asyncio.run(main())


def test_a_wsgi_client_that_leaves_half_way() -> None:
    """The server closes the iterable before its end."""
    limit = ConcurrencyLimit(1)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"half"
        yield b"never asked for"

    heads: list[Any] = []

    def server(environ: Any, start_response: Any) -> list[bytes]:
        body = wsgi(app, limit)(environ, start_response)
        assert next(iter(body)) == b"half"
        heads.append(counts(limit))
        body.close()  # type: ignore[attr-defined]
        start_response("200 OK", [])
        return []

    call_wsgi(server)
    assert heads == [(1, 0)]
    assert counts(limit) == (0, 0)


def test_a_thread_that_is_interrupted_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """`SystemExit`, as a server raises it in a worker that is to stop, leaves no place behind."""
    from gatekit.middleware import _waiters

    limit = ConcurrencyLimit(1, queue=1, max_wait=PATIENT)

    async def interrupted(_: object) -> None:
        assert counts(limit) == (1, 1)
        raise SystemExit

    monkeypatch.setattr(_waiters.BlockingWaiter, "wait", interrupted)
    with threads(limit) as crowd:
        crowd.arrive("1")
        with pytest.raises(SystemExit):
            exercise(limit)
        assert counts(limit) == (1, 0)


def test_what_a_loop_leaves_behind() -> None:
    """A request whose task was thrown away, loop and all, gives its place back when collected."""
    limit = ConcurrencyLimit(1, queue=1, key=keys.method, max_wait=PATIENT)

    def abandon() -> None:
        async def hangs(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.Event().wait()

        loop = asyncio.new_event_loop()
        door = asgi(hangs, limit)
        tasks = [loop.create_task(Server(http_scope()).run(door)) for _ in range(2)]
        for _ in range(3):
            loop.call_soon(loop.stop)
            loop.run_forever()
        assert counts(limit) == (1, 1)
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()

    abandon()
    gc.collect()
    assert limit.status() == []


def test_the_collector_may_come_while_the_lock_is_held() -> None:
    """What is given back then is done by whoever holds the lock, and nobody waits for ever."""
    limit = ConcurrencyLimit(2)
    turnstile = limit._here()
    place = turnstile.enter(None, 0)
    assert place is not None
    turnstile._lock.acquire()
    done = threading.Event()

    def collect() -> None:
        turnstile.leave(place)
        done.set()

    threading.Thread(target=collect).start()
    assert done.wait(PATIENT)
    turnstile._lock.release()
    assert exercise(limit).status == 200
    assert counts(limit) == (0, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_starts_empty() -> None:
    """What its parent holds, a lock among it, is the parent's; the child has all its places."""
    limit = ConcurrencyLimit(1)
    turnstile = limit._here()
    assert turnstile.enter(None, 0) is not None
    turnstile._lock.acquire()
    pid = os.fork()
    if not pid:
        try:
            fine = exercise(limit).status == 200 and counts(limit) == (0, 0)
        finally:
            os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_count_its_parents() -> None:
    """Also where there is room beside them, and nobody held the lock."""
    limit = ConcurrencyLimit(2)
    assert limit._here().enter(None, 0) is not None
    pid = os.fork()
    if not pid:
        inside: list[int] = []

        def crowded(request: Request) -> Response:
            inside.append(counts(limit)[0])
            return Response(exercise(limit, app=crowded).status)

        os._exit(0 if exercise(limit, app=crowded).status == 503 and inside == [1, 2] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_refusal_leaves_nothing() -> None:
    """Neither a place nor a line of its own."""

    async def main() -> None:
        limit = ConcurrencyLimit(1, key=keys.method)
        crowd = Crowd(limit)
        first = await crowd.arrive("1")
        answer = await call_asgi(asgi(lambda *_: None, limit))  # type: ignore[arg-type]
        assert answer.status == 429
        crowd.let_go("1")
        await first
        assert limit.status() == []

    asyncio.run(main())
