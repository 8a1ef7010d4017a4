"""A streamed body on its way to more than one attempt."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekit import Proxy, Response
from gatekit._core.io import block
from gatekit.errors import UpstreamError
from gatekit.proxy.attempts.replay import Replay
from gatekit.proxy.attempts.retry import Retry
from gatekit.proxy.clusters.cluster import Cluster
from gatekit.proxy.transport.exchange import UpstreamRequest, UpstreamResponse
from gatekit.testing import upstream
from tests.proxy.handlers import through_asgi
from tests.proxy.scripted import NoChance, is_at_rest

KEEN = Retry(backoff=0.0, max_backoff=0.0)


class Sipping:
    """A transport whose first answer comes after `sips` pieces of the body, the next after all."""

    def __init__(self, sips: int, first: int | UpstreamError = 503) -> None:
        self.sips = sips
        self.first = first
        self.bodies: list[bytes] = []

    async def asend(
        self, origin: Any, request: UpstreamRequest, timeouts: Any, deadline: Any = None
    ) -> UpstreamResponse[Any]:
        is_first = not self.bodies
        self.bodies.append(b"")
        stream, _ = request.body if isinstance(request.body, tuple) else (_one(request.body), None)
        taken = 0
        if not is_first or self.sips:
            async for piece in stream:  # type: ignore[union-attr]
                self.bodies[-1] += piece
                taken += 1
                if is_first and taken == self.sips:
                    break
        if not is_first:
            return UpstreamResponse(200, [])
        if isinstance(self.first, UpstreamError):
            raise self.first
        return UpstreamResponse(self.first, [])

    def send(self, *arguments: Any) -> Any:
        raise NotImplementedError


async def _one(body: bytes | None) -> AsyncIterator[bytes]:
    yield body or b""


def put(transport: Sipping, retry: Retry, pieces: list[bytes], method: str = "PUT") -> int:
    described = Cluster("c", destinations=["http://a", "http://b"], retry=retry,
                        transport=transport, chance=NoChance())  # fmt: skip
    headers = {"transfer-encoding": "chunked"}
    answer = through_asgi(Proxy(described), method=method, body=pieces, headers=headers)
    assert is_at_rest(described)
    return answer.status


PIECES = [b"one ", b"two ", b"three"]


@pytest.mark.parametrize("sips", [0, 1, 2, 3])
def test_a_streamed_body_is_sent_again(sips: int) -> None:
    """From its beginning, however far the first attempt came."""
    transport = Sipping(sips)
    assert put(transport, KEEN, PIECES) == 200
    assert transport.bodies == [b"".join(PIECES[:sips]), b"".join(PIECES)]


def test_beyond_the_buffer_it_streams_through_once() -> None:
    """A body that was not kept is not retried: the client gets what the upstream said."""
    transport = Sipping(2)
    small = Retry(max_replay=6, backoff=0.0, max_backoff=0.0)
    assert put(transport, small, PIECES) == 503
    assert transport.bodies == [b"one two "]


def test_within_the_buffer_so_far_is_enough() -> None:
    """What counts is what has been sent: the rest is still the client's."""
    transport = Sipping(1)
    small = Retry(max_replay=6, backoff=0.0, max_backoff=0.0)
    assert put(transport, small, PIECES) == 200
    assert transport.bodies[1] == b"one two three"


def test_a_body_of_any_size_goes_to_another_if_nothing_was_sent() -> None:
    """Nobody has read of it: neither the buffer nor the method matters."""
    refused = UpstreamError("connect", "refused")
    transport = Sipping(0, refused)
    none = Retry(max_replay=0, backoff=0.0, max_backoff=0.0)
    assert put(transport, none, PIECES, method="POST") == 200
    assert transport.bodies[1] == b"one two three"


def stream_async(pieces: list[bytes]) -> AsyncIterator[bytes]:
    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return stream()


def drain(replay: Replay, count: int | None) -> list[bytes]:
    """The first pieces of a new reading, in either colour."""
    stream: Any = replay.from_start()
    found: list[bytes] = []
    while count is None or len(found) < count:
        try:
            found.append(block(anext(stream)) if hasattr(stream, "__anext__") else next(stream))
        except (StopIteration, StopAsyncIteration):
            break
    return found


@pytest.mark.parametrize("make", [iter, stream_async], ids=["blocking", "async"])
@given(
    pieces=st.lists(st.binary(min_size=1, max_size=4), max_size=6),
    stops=st.lists(st.integers(1, 7), max_size=4),
    limit=st.integers(0, 12),
)
def test_each_reading_is_the_same(
    make: Callable[[list[bytes]], Iterator[bytes]],
    pieces: list[bytes],
    stops: list[int],
    limit: int,
) -> None:
    """Whatever was read before: while it is repeatable the whole body can still be read."""
    replay = Replay(make(pieces), limit)
    for stop in stops:
        if not replay.is_repeatable:
            return
        assert drain(replay, stop) == pieces[:stop]
        assert sum(map(len, replay.kept)) <= limit
    if replay.is_repeatable:
        assert drain(replay, None) == pieces


def test_what_is_kept_is_dropped_beyond_the_limit() -> None:
    """A large upload costs no memory once it is clear that it cannot be repeated."""
    replay = Replay(iter([b"x" * 10] * 100), 25)
    assert len(b"".join(drain(replay, None))) == 1_000
    assert (replay.is_repeatable, replay.kept) == (False, [])


def test_a_whole_body_needs_no_buffer() -> None:
    """What has come in one piece is there anyway, however large."""
    bodies: list[bytes] = []

    def take(sent: Any) -> Response:
        bodies.append(sent.body)
        return Response.text("", 503 if len(bodies) == 1 else 200)

    described = Cluster("c", destinations=["http://a", "http://b"], transport=upstream(take),
                        retry=Retry(max_replay=0, backoff=0.0, max_backoff=0.0))  # fmt: skip
    answer = through_asgi(Proxy(described), method="PUT", body=b"x" * 100_000)
    assert (answer.status, [len(body) for body in bodies]) == (200, [100_000, 100_000])
