"""What threads and processes do to a transport: share it, drop its answers, and fork."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest

from gatekit.errors import UpstreamError
from gatekit.proxy.transport import HTTPTransport, Origin, Timeouts, UpstreamRequest
from gatekit.proxy.transport.blocking_connection import Connection
from gatekit.proxy.transport.http1 import ResponseReader
from gatekit.proxy.transport.pool import Pool
from gatekit.proxy.transport.settings import NEVER
from tests.proxy.clients import PATIENCE, until
from tests.proxy.upstream import Peer, Script, Upstream, answer, silent

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = UpstreamRequest(b"GET", b"/", [])


def echo_target(peer: Peer) -> None:
    """Answer every request with its own target."""
    while True:
        target = peer.read_request().head.split()[1]
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))


def holding(release: threading.Event) -> Script:
    """Read requests, and answer each when it is let."""

    def play(peer: Peer) -> None:
        while True:
            peer.read_request()
            assert release.wait(10)
            peer.send(HELLO)

    return play


def test_many_threads_share_few_connections() -> None:
    """Each gets the answer to its own request, and no more connections are made than allowed."""

    def work(number: int) -> None:
        for turn in range(50):
            target = b"/%d/%d" % (number, turn)
            response = transport.send(origin, UpstreamRequest(b"GET", target, []), PATIENCE)
            assert response.body == target

    with Upstream(echo_target) as upstream:
        transport, origin = HTTPTransport(max_connections=3), Origin(upstream.url)
        with ThreadPoolExecutor(12) as threads:
            list(threads.map(work, range(12)))
        assert upstream.connections <= 3
        assert transport.usage(origin) == (0, upstream.connections, 0)
        transport.close()


def test_the_line_has_an_end_and_a_limit_of_time() -> None:
    """`pool_full` at once, `pool_timeout` after the time for it, `total_timeout` before that."""
    release = threading.Event()
    with Upstream(holding(release)) as upstream, ThreadPoolExecutor(2) as threads:
        transport = HTTPTransport(max_connections=1, max_pending=1)
        origin = Origin(upstream.url)
        first = threads.submit(transport.send, origin, GET, PATIENCE)
        until(lambda: upstream.requests)
        for timeouts, stage in (
            (Timeouts(pool=0.02), "pool_timeout"),
            (Timeouts(total=0.02), "total_timeout"),
        ):
            with pytest.raises(UpstreamError) as late:
                transport.send(origin, GET, timeouts)
            assert late.value.stage == stage
        waiting = threads.submit(transport.send, origin, GET, PATIENCE)
        until(lambda: transport.usage(origin).pending == 1)
        with pytest.raises(UpstreamError) as full:
            transport.send(origin, GET, PATIENCE)
        assert full.value.stage == "pool_full"
        release.set()
        assert [first.result().body, waiting.result().body] == [b"hello", b"hello"]
        assert transport.usage(origin) == (0, 1, 0)
        transport.close()
    assert upstream.connections == 1


@pytest.mark.parametrize("how", ["read", "closed", "dropped"])
def test_a_waiter_gets_the_place_of_a_body_that_ends(how: str) -> None:
    """With its connection where it was read, without where it was closed or collected."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell")
        if how == "read":
            assert go.wait(10)
            peer.send(b"o")
            peer.read_request()
            peer.send(HELLO)
        peer.read_to_end()

    go = threading.Event()
    scripts = [script] if how == "read" else [script, answer(HELLO)]
    with Upstream(*scripts) as upstream, ThreadPoolExecutor(1) as threads:
        transport, origin = HTTPTransport(max_connections=1), Origin(upstream.url)
        response = transport.send(origin, GET, PATIENCE)
        assert not isinstance(response.body, bytes)
        waiting: Future[object] = threads.submit(transport.send, origin, GET, PATIENCE)
        until(lambda: transport.usage(origin).pending == 1)
        if how == "read":
            go.set()
            assert b"".join(response.body) == b"hello"
        elif how == "closed":
            response.body.close()
        else:
            cycle: list[object] = [response]
            cycle.append(cycle)
            del response, cycle
            gc.collect()
        assert waiting.result(10).body == b"hello"  # type: ignore[attr-defined]
        assert transport.usage(origin) == (0, 1, 0)
        transport.close()
    assert upstream.connections == len(scripts)


def test_a_body_collected_while_the_pool_is_locked() -> None:
    """The collector may run in a thread that holds the lock: it neither waits nor forgets."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"
    with Upstream(answer(head), answer(HELLO)) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        response = transport.send(origin, GET, PATIENCE)
        (pool,) = transport._registry._processes[os.getpid()].threads.by_key.values()
        with pool._lock:
            del response
            assert transport.usage(origin).in_use == 1
        assert transport.send(origin, GET, PATIENCE).body == b"hello"
        assert transport.usage(origin) == (0, 1, 0)
        transport.close()


@pytest.mark.parametrize("site", ["take", "reserve", "leave", "expire", "release"])
def test_a_place_collected_during_bookkeeping_is_not_lost(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the lock is held, what the collector queues meanwhile is done when it is let go."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"
    with Upstream(answer(head), answer(HELLO, HELLO)) as upstream:
        transport, origin = HTTPTransport(max_connections=2), Origin(upstream.url)
        dropped = [transport.send(origin, GET, PATIENCE)]
        transport.send(origin, GET, PATIENCE)
        (pool,) = transport._registry._processes[os.getpid()].threads.by_key.values()
        plain = getattr(Pool, site)

        def collect(places: Pool[Connection], *arguments: object) -> object:
            dropped.clear()
            return plain(places, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Pool, site, collect)
            if site == "expire":
                pool.expire()
            elif site == "leave":
                waiter = Mock(spec=["give"])
                pool.places.join(waiter)
                pool._leave(waiter)
            elif site == "reserve":
                pool._connection(PATIENCE, NEVER).abandon()
            else:
                transport.send(origin, GET, PATIENCE)
        assert dropped == []
        assert transport.usage(origin).in_use == 0
        transport.close()


def test_origins_asked_at_once_keep_their_pools() -> None:
    """One that was just found is not forgotten for having no connection yet."""
    with Upstream(answer(HELLO, HELLO)) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        found = transport._registry.of_threads(origin)
        transport._registry.of_threads(Origin("http://127.0.0.1:1"))
        assert transport._registry.of_threads(origin) is found
        transport.close()


def test_an_asynchronous_stream_is_refused() -> None:
    """A thread has no loop to wait for it."""

    async def stream() -> None: ...

    class Stream:
        def __aiter__(self) -> Stream:
            return self

        async def __anext__(self) -> bytes:
            raise StopAsyncIteration

    with Upstream(silent) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        with pytest.raises(TypeError, match="asynchronously"):
            transport.send(origin, UpstreamRequest(b"PUT", b"/", [], (Stream(), 1)), PATIENCE)
        assert transport.usage(origin) == (0, 0, 0)


def test_a_fork_does_not_share_connections() -> None:
    """The child connects anew, leaves the parent's connection whole, and does not keep it open."""
    ended = threading.Event()

    def script(peer: Peer) -> None:
        answer(HELLO, HELLO)(peer)
        ended.set()

    with Upstream(script, answer(HELLO)) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        transport.send(origin, GET, PATIENCE)
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            # Nothing of pytest may run in the child, whatever happens.
            try:
                before = transport.usage(origin)
                body = transport.send(origin, GET, PATIENCE).body
                theirs.sendall(repr((tuple(before), body)).encode())
                theirs.settimeout(10)
                theirs.recv(1)
            finally:
                os._exit(0)
        with ours, theirs:
            ours.settimeout(10)
            assert ours.recv(1000) == b"((0, 0, 0), b'hello')"
            assert transport.usage(origin) == (0, 1, 0)
            assert transport.send(origin, GET, PATIENCE).body == b"hello"
            assert upstream.connections == 2
            transport.close()
            assert ended.wait(10)
            ours.sendall(b".")
            os.waitpid(pid, 0)
    assert len(upstream.requests) == 3


def test_an_answer_is_looked_for_between_the_pieces() -> None:
    """A stream is asked for no more once the upstream has answered."""
    answered = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(HELLO)
        answered.set()
        peer.read_to_end()

    def stream() -> Iterator[bytes]:
        yield b"first"
        assert answered.wait(10)
        yield b"second"
        raise AssertionError("asked for more")

    with Upstream(script) as upstream:
        transport, origin = HTTPTransport(), Origin(upstream.url)
        request = UpstreamRequest(b"POST", b"/", [], (stream(), None))
        assert transport.send(origin, request, PATIENCE).body == b"hello"
        assert transport.usage(origin) == (0, 0, 0)


def test_a_connection_that_ends_on_its_way_to_a_waiter() -> None:
    """Its place is good all the same: the waiter connects anew, and nothing was sent twice."""
    ended = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell")
        assert go.wait(10)
        peer.send(b"o")
        peer.half_close()
        ended.set()
        peer.read_to_end()

    go = threading.Event()
    with Upstream(script, answer(HELLO)) as upstream, ThreadPoolExecutor(1) as threads:
        transport, origin = HTTPTransport(max_connections=1), Origin(upstream.url)
        response = transport.send(origin, GET, PATIENCE)
        post = UpstreamRequest(b"POST", b"/", [])
        waiting = threads.submit(transport.send, origin, post, PATIENCE)
        until(lambda: transport.usage(origin).pending)
        go.set()
        assert ended.wait(10)
        assert b"".join(response.body) == b"hello"  # type: ignore[arg-type]
        assert waiting.result(10).body == b"hello"
        assert transport.usage(origin) == (0, 1, 0)
        transport.close()


def test_nothing_is_opened_by_the_constructor() -> None:
    """No thread, no socket; and closing what was never used does nothing."""
    files = Path("/proc/self/fd")
    before = threading.active_count(), len(list(files.iterdir()))
    transport = HTTPTransport()
    transport.close()
    assert transport.usage(Origin("http://127.0.0.1:1")) == (0, 0, 0)
    assert (threading.active_count(), len(list(files.iterdir()))) == before


def test_pools_of_origins_that_are_gone_are_forgotten() -> None:
    """Discovery may bring thousands of addresses in a process's life."""
    transport = HTTPTransport(idle_ttl=0)
    for port in range(1, 50):
        with pytest.raises(UpstreamError):
            transport.send(Origin(f"unix:/nowhere/{port}.sock"), GET, PATIENCE)
    assert len(transport._registry._processes[os.getpid()].threads.by_key) == 1


def test_a_transport_that_is_dropped_leaves_no_socket() -> None:
    """Without `close`, and without a warning."""
    closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(HELLO)
        peer.read_to_end()
        closed.set()

    with Upstream(script) as upstream:
        transport = HTTPTransport()
        transport.send(Origin(upstream.url), GET, PATIENCE)
        del transport
        gc.collect()
        assert closed.wait(10)


def test_an_answer_is_read_though_sending_fails() -> None:
    """An upstream that has answered may close before the request has come whole."""

    class Broken(socket.socket):
        def send(self, data: object, flags: int = 0) -> int:
            raise BrokenPipeError

    ours, theirs = socket.socketpair()
    with Broken(fileno=ours.detach()) as broken, theirs:
        theirs.sendall(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n")
        home = Mock(spec=["release", "discard", "lend"])
        connection = Connection(broken, ResponseReader(), home)
        request = UpstreamRequest(b"POST", b"/", [], b"x")
        assert connection.exchange(request, b"", True, PATIENCE, NEVER, NEVER).status == 413
        home.discard.assert_called_once_with(connection)
