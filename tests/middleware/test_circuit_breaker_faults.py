"""Cancellation, late answers, threads and forks: what must leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from gatekit import Response, asgi, wsgi
from gatekit._core.breaker import Breaker
from gatekit._core.latch import Latch
from gatekit._core.thresholds import Thresholds
from gatekit.middleware.circuit_breaker import CircuitBreaker
from gatekit.middleware.last_good import LastGood
from gatekit.testing import call_asgi, call_wsgi
from tests.doors.messages import Server, http_scope, websocket_scope
from tests.doors.spec import Spec
from tests.middleware.circuits import service


def half_open(probes: int = 1, **rules: Any) -> tuple[Breaker, float]:
    """A breaker whose time is over."""
    breaker = Breaker(
        Thresholds(waits=(1.0,), chance=lambda: 0.0, consecutive=1, probes=probes, **rules),
        None,
        lambda change: None,
    )
    breaker.record(breaker.standing, 0.0, failed=True)
    assert breaker.look(1.0) == "half_open"
    return breaker, 1.0


def open_for_real(breaker: CircuitBreaker, app: Any) -> None:
    """One failed call is enough for those that open at the first."""
    assert asyncio.run(call_asgi(asgi(app, breaker))).status == 500


def test_a_cancelled_probe_gives_its_place_back() -> None:
    """A client that leaves a probe counts neither way, and the next one may try."""
    breaker = CircuitBreaker(
        consecutive_failures=1, open_for=1e-9, probes=1, ramp=0, failure_rate=None
    )
    open_for_real(breaker, Spec(status=500).asgi())

    async def main() -> None:
        entered = asyncio.Event()

        async def hangs(scope: Any, receive: Any, send: Any) -> None:
            entered.set()
            await asyncio.Event().wait()

        probe = asyncio.create_task(Server(http_scope()).run(asgi(hangs, breaker)))
        await entered.wait()
        assert breaker.status()[0].probes == 1
        refused = await call_asgi(asgi(Spec().asgi(), breaker))
        assert refused.status == 503
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        assert breaker.status()[0].probes == 0
        assert breaker.state() == "half_open"
        assert (await call_asgi(asgi(Spec().asgi(), breaker))).status == 200

    asyncio.run(main())
    assert breaker.state() == "closed"


def test_a_probe_that_is_cancelled_while_its_answer_is_kept() -> None:
    """Between head and body, too, nothing is left behind."""
    breaker = CircuitBreaker(
        consecutive_failures=1, open_for=1e-9, probes=1, ramp=0, fallback=LastGood()
    )
    open_for_real(breaker, Spec(status=500).asgi())

    async def main() -> None:
        half_way = asyncio.Event()

        async def hangs(scope: Any, receive: Any, send: Any) -> None:
            headers = [(b"content-length", b"10")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            half_way.set()
            await asyncio.Event().wait()

        probe = asyncio.create_task(Server(http_scope()).run(asgi(hangs, breaker)))
        await half_way.wait()
        assert breaker.status()[0].probes == 1
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe

    asyncio.run(main())
    [status] = breaker.status()
    assert (status.state, status.probes) == ("half_open", 0)


def test_cancelled_calls_do_not_open_it() -> None:
    """However many clients leave, nothing is counted."""
    breaker = CircuitBreaker(min_calls=1)

    async def main() -> None:
        for _ in range(5):
            entered = asyncio.Event()

            async def hangs(scope: Any, receive: Any, send: Any, inside: Any = entered) -> None:
                inside.set()
                await asyncio.Event().wait()

            task = asyncio.create_task(Server(http_scope()).run(asgi(hangs, breaker)))
            await entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert breaker.status()[0].stats.calls == 0


def test_a_late_answer_changes_nothing() -> None:
    """A call from before the trip that succeeds afterwards closes nothing, nor does it count."""
    breaker, now = half_open(probes=1, ramp=0.0)
    old = 1
    assert breaker.record(old, now, failed=False) == -1
    assert breaker.look(now) == "half_open"
    probe = breaker.admit(now)
    assert breaker.record(old, now, failed=True) == -1
    breaker.record(probe, now, failed=False)
    assert breaker.state == "closed"
    breaker.record(old, now, failed=True)
    breaker.record(probe, now, failed=True)
    assert (breaker.state, breaker.stats.calls) == ("closed", 0)


def test_a_lost_probe_has_failed_when_its_lease_ends() -> None:
    """A probe that hangs does not keep the breaker half-open for ever."""
    breaker, now = half_open(probes=1, probe_timeout=5.0)
    probe = breaker.admit(now)
    assert breaker.admit(now + 4.9) == 0
    assert breaker.look(now + 5.0) == "open"
    assert breaker.reason == "1 of 1 probes failed"
    breaker.record(probe, now + 5.0, failed=False)
    assert breaker.state == "open"


def test_the_ramp_lets_in_a_growing_share() -> None:
    """Beyond as many as there were probes, an eighth after an eighth of its time, and evenly."""
    breaker, now = half_open(probes=1, ramp=8.0, probe_timeout=60.0)
    breaker.record(breaker.admit(now), now, failed=False)
    assert breaker.admit(now), "one may be under way at any time"
    admitted = {}
    for second in (0, 1, 4, 7):
        tickets = [breaker.admit(now + second) for _ in range(64)]
        admitted[second] = sum(map(bool, tickets))
        longest = max(map(len, "".join("01"[bool(t)] for t in tickets).split("1")))
        assert second == 0 or longest <= 8 / second, "never a crowd, never a drought"
    assert admitted == {0: 0, 1: 8, 4: 32, 7: 56}
    assert breaker.look(now + 8) == "closed"


def test_an_exponential_ramp_begins_with_a_thousandth() -> None:
    """It doubles ten times on its way."""
    rules = Thresholds(waits=(1.0,), chance=lambda: 0.0, ramp=8.0, shape="exponential")
    assert [rules.share(at) for at in (0.0, 4.0, 8.0, 9.0)] == [
        2**-10, 2**-5, 1.0, 1.0,
    ]  # fmt: skip


def test_failures_in_the_ramp_open_it_again() -> None:
    """As many calls as there were probes are enough to tell."""
    it = service(probes=2, ramp=10.0, open_for=10.0)
    it.calls(500, 500, 500, 500)
    it.io.advance(10.0)
    assert it.calls(200, 200, 500, 500) == [200, 200, 500, 500]
    assert it.breaker.state() == "open"
    assert it.call().headers["retry-after"] == "20"


def test_calls_run_side_by_side() -> None:
    """No lock is held while a call runs: five meet inside the app."""
    breaker = CircuitBreaker()
    meeting = threading.Barrier(5)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        meeting.wait(10)
        start_response("200 OK", [("content-length", "2")])
        return [b"ok"]

    wrapped = wsgi(app, breaker)
    statuses: list[int] = []
    run_threads(5, lambda: statuses.append(call_wsgi(wrapped).status))
    assert statuses == [200] * 5
    assert breaker.status()[0].stats.calls == 5


def test_threads_lose_no_count() -> None:
    """Eight threads at once, and every call of each is in the window."""
    breaker = Breaker(
        Thresholds(waits=(1.0,), chance=lambda: 0.0, failure_rate=1.0), None, lambda change: None
    )
    ticket = breaker.standing

    def hammer() -> None:
        for position in range(2_000):
            breaker.record(ticket, 1.0, failed=position % 4 == 0)

    run_threads(8, hammer)
    assert breaker.stats[:2] == (16_000, 4_000)


def test_threads_get_no_probe_too_many() -> None:
    """Of eight threads that rush a half-open breaker, exactly as many as there are probes enter."""
    breaker, now = half_open(probes=3)
    start = threading.Barrier(8)
    tickets: list[int] = []

    def rush() -> None:
        start.wait(10)
        tickets.extend(breaker.admit(now) for _ in range(50))

    run_threads(8, rush)
    entered = [ticket for ticket in tickets if ticket]
    assert len(set(entered)) == len(entered) == 3
    assert breaker.rejected == 8 * 50 - 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_lock_that_was_held_at_a_fork_is_no_lock_to_the_child() -> None:
    """The child of a process whose thread held it goes on; the parent's stays held."""
    latch = Latch()
    held = latch.take()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover - in the child
        latch.take().release()
        latch.take().release()
        os.write(writer, b"free")
        os._exit(0)
    os.close(writer)
    assert os.read(reader, 4) == b"free"
    os.close(reader)
    assert os.waitpid(pid, 0)[1] == 0
    assert held.locked()
    held.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_two_threads_of_a_child_share_one_lock() -> None:
    """Also where the parent never held it: who comes second in the child waits for the first."""
    latch = Latch()
    pid = os.fork()
    if pid == 0:  # pragma: no cover - in the child
        latch.take()
        entered: list[bool] = []
        thread = threading.Thread(target=lambda: entered.append(latch.take().locked()), daemon=True)
        thread.start()
        thread.join(0.2)
        os._exit(len(entered))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_probe_is_thrown_away_where_the_lock_is_held() -> None:
    """The collector may do that in the thread that holds it; the place is free when next asked."""
    breaker, now = half_open()
    ticket = breaker.admit(now)
    assert (bool(ticket), breaker.admit(now)) == (True, 0)
    lock = breaker._latch.take()
    thread = threading.Thread(target=breaker.release, args=(ticket, now), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    lock.release()
    assert breaker.admit(now)


def test_who_finds_it_taken_waits() -> None:
    """Within one process it is a lock like any other."""
    latch, order = Latch(), []
    lock = latch.take()

    def second() -> None:
        mine = latch.take()
        order.append("second")
        mine.release()

    thread = threading.Thread(target=second)
    thread.start()
    order.append("first")
    lock.release()
    thread.join(10)
    assert order == ["first", "second"]


def test_a_websocket_is_refused_too() -> None:
    """Its handshake is a call; an open circuit answers it, and never with a fallback."""
    breaker = CircuitBreaker(consecutive_failures=1, fallback=Response.text("old"))
    open_for_real(breaker, Spec(status=500).asgi())
    server = Server(
        websocket_scope(extensions={"websocket.http.response": {}}), [{"type": "websocket.connect"}]
    )
    asyncio.run(server.run(asgi(Spec().asgi(), breaker)))
    assert server.sent[0]["type"] == "websocket.http.response.start"
    assert server.sent[0]["status"] == 503


def test_a_conversation_is_not_slow() -> None:
    """A WebSocket counts by its handshake, however long it is open."""
    breaker = CircuitBreaker(min_calls=1, slow_threshold=1e-9 + 3600, window=86_400)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert breaker.status()[0].stats[:3] == (1, 0, 0)
        await send({"type": "websocket.close", "code": 1000})

    server = Server(websocket_scope(), [{"type": "websocket.connect"}])
    asyncio.run(server.run(asgi(app, breaker)))
    assert server.kinds == ["websocket.accept", "websocket.close"]


def run_threads(count: int, target: Callable[[], Any]) -> None:
    """Runs them all to their end, and raises what one of them raised."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            target()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert errors == []
    assert not any(thread.is_alive() for thread in threads)
