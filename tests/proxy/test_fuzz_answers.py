"""Bounded fuzzing of the response reader: mutated, cut in pieces, and beside two other readers."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import h11
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from gatekit.errors import UpstreamError
from gatekit.proxy.transport.http1 import ResponseReader
from tests.proxy import hostile
from tests.proxy.strict import Ambiguous
from tests.proxy.strict_answers import read_answer

# The same examples every time: what fails here fails everywhere.
BOUNDED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=400,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

PIECES = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 103 Early\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 204 No\r\n",
    b"HTTP/1.1 304 No\r\n",
    b"Content-Length: 5\r\n",
    b"content-length: 0\r\n",
    b"Content-Length:",
    b"Transfer-Encoding: chunked\r\n",
    b"transfer-encoding:\tChunked \r\n",
    b"Transfer-Encoding:",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Set-Cookie: a=1; b\r\n",
    b"X-A: \xe9\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\x00",
    b":",
    b";",
    b";a=b",
    b';a="b"',
    b"5\r\n",
    b"0\r\n",
    b"000\r\n",
    b"hello",
    b"hello\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"X-T: 1\r\n",
    b"ffffffffffffffffff",
    b"-",
    b"+",
    b"0x",
    b"\x80\xff",
]
ANSWERS = [case.answer for case in hostile.HEADS + hostile.BODIES + hostile.ODD]
SMALL = [answer for answer in ANSWERS if len(answer) < 2000]
LIMITS = (1 << 20, 1 << 12)

soup = st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join)
begun = soup.map(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest)
framed = st.tuples(
    st.sampled_from([b"Content-Length: 5", b"Transfer-Encoding: chunked"]), soup
).map(lambda parts: b"HTTP/1.1 200 OK\r\n" + parts[0] + b"\r\n\r\n" + parts[1])
known = st.sampled_from(SMALL)
methods = st.sampled_from([b"GET", b"GET", b"HEAD"])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A known answer with some bytes changed, added, lost, or a part of it repeated."""
    data = bytearray(draw(known))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["flip", "insert", "delete", "repeat", "swap"])):
            case "flip" if place < len(data):
                data[place] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                data[place:place] = draw(st.sampled_from(PIECES))
            case "delete":
                del data[place : place + draw(st.integers(1, 4))]
            case "repeat":
                data[place:place] = data[place : place + draw(st.integers(1, 40))]
            case _:
                data[place : place + 1] = draw(st.binary(min_size=1, max_size=2))
    return bytes(data)


anything = st.one_of(st.binary(max_size=200), soup, begun, framed, mutated())


class Reading(NamedTuple):
    """What a reader made of some bytes; `refused` alone counts where it did."""

    refused: bool
    complete: bool = False
    persistent: bool = False
    status: int = 0
    headers: list[tuple[bytes, bytes]] | None = None
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] | None = None


def read(pieces: list[bytes], method: bytes) -> Reading:
    reader = ResponseReader(*LIMITS)
    reader.begin(method)
    body = b""
    late = False
    for piece in pieces:
        if reader.complete:
            late = late or bool(piece)
        elif piece:
            try:
                reader.feed(piece)
            except UpstreamError:
                reader.close()
                return Reading(True)
            body += b"".join(reader.take())
    reading = Reading(
        False,
        reader.complete,
        reader.persistent and reader.complete and not late,
        reader.status,
        reader.headers,
        body,
        reader.trailers,
    )
    reader.close()
    return reading


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@BOUNDED
@given(anything, methods, st.lists(st.integers(0, 4000), max_size=6))
@example(hostile.CHUNKED + hostile.HELLO + b"0\r\n\r\n", b"GET", list(range(70)))
def test_how_it_is_cut_changes_nothing(data: bytes, method: bytes, places: list[int]) -> None:
    """The same bytes are the same answer, in whatever pieces they arrive."""
    assert read(cut(data, places), method) == read([data], method)


@BOUNDED
@given(mutated(), methods)
def test_byte_by_byte_changes_nothing_either(data: bytes, method: bytes) -> None:
    """The finest cut of all, on what is nearly right."""
    assert read([data[at : at + 1] for at in range(len(data))], method) == read([data], method)


@BOUNDED
@given(anything, methods)
def test_a_strict_reader_sees_the_same(data: bytes, method: bytes) -> None:
    """What is complete here is so there, byte for byte; what is plain there is understood here."""
    here = read([data], method)
    try:
        there = read_answer(data, method)
    except Ambiguous:
        assert here.refused or not here.complete
        return
    if there is None or there.until_close:
        assert not here.complete
        if there is not None and not here.refused:
            assert (here.status, here.body) == (there.status, there.body)
        return
    if here.refused:
        assert there.extended
        return
    assert here.complete
    assert here[3:] == (there.status, there.fields, there.body, there.trailers)
    if there.rest:
        assert not here.persistent


@BOUNDED
@given(anything, methods)
def test_another_library_sees_the_same(data: bytes, method: bytes) -> None:
    """Where h11 takes the bytes for a whole answer too, it is the same one."""
    here = read([data], method)
    assume(here.complete)
    there = h11.Connection(h11.CLIENT)
    there.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    there.send(h11.EndOfMessage())
    there.receive_data(data)
    status, body = 0, b""
    try:
        while not isinstance(event := there.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
    except h11.RemoteProtocolError:
        return
    assert (status, body) == (here.status, here.body)
