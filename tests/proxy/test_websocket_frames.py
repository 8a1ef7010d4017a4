"""The frames of an upstream: what is a message, what is a mistake, and what is written for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekit.proxy.websocket.frames import Close, Frames
from tests.proxy.sockets import BINARY, CLOSE, CONTINUED, PING, PONG, TEXT, closing, frame, unmasked

MIB = 1_048_576


def parsed(data: bytes) -> list[tuple[int, bytes]]:
    """The frames that were written, each of which must be masked."""
    frames: list[tuple[int, bytes]] = []
    while data:
        assert data[1] & 0x80
        start, length = 2, data[1] & 127
        if length > 125:
            start = 4 if length == 126 else 10
            length = int.from_bytes(data[2:start], "big")
        end = start + 4 + length
        mask, payload = data[start : start + 4], data[start + 4 : end]
        frames.append((data[0] & 15, unmasked(mask, payload)))
        data = data[end:]
    return frames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, MIB])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_every_form_of_length(size: int, opcode: int) -> None:
    """A message of any size crosses in either direction, up to the limit itself."""
    data = b"x" * size
    frames = Frames(MIB)
    [message] = frames.feed(frame(opcode, data))
    assert message == (data.decode() if opcode == TEXT else data)
    assert type(message) is (str if opcode == TEXT else bytes)
    assert parsed(frames.message(data, is_text=opcode == TEXT)) == [(opcode, data)]
    assert frames.is_open and not frames.is_due


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=6),
    st.lists(st.integers(1, 400), max_size=20),
)
def test_bytes_may_come_in_any_pieces(messages: list[bytes], cuts: list[int]) -> None:
    """Fragments with a ping between them make one message, however the bytes are cut."""
    wire = b""
    for data in messages:
        half = len(data) // 2
        wire += frame(BINARY, data[:half], fin=False) + frame(PING, b"?")
        wire += frame(CONTINUED, data[half:])
    frames = Frames(MIB)
    received: list[str | bytes] = []
    written = b""
    for cut in [*cuts, len(wire)]:
        received += frames.feed(wire[:cut])
        written += frames.output()
        wire = wire[cut:]
    assert received == messages
    assert parsed(written) == [(PONG, b"?")] * len(messages)


@pytest.mark.parametrize("size", [0, 125])
def test_a_ping_is_answered_with_what_it_says(size: int) -> None:
    """RFC 6455 §5.5.3: a pong has the application data of the ping; pongs are not answered."""
    frames = Frames(10)
    assert frames.feed(frame(PING, b"p" * size) + frame(PONG, b"unasked")) == []
    assert parsed(frames.output()) == [(PONG, b"p" * size)]


@pytest.mark.parametrize(
    "data",
    [b"\xce\xba\xe1\xbd\xb9", "κόσμε 🙂".encode(), b"\xf4\x8f\xbf\xbf", b"\xef\xbf\xbf", b"\x00"],
)
def test_text_may_be_cut_within_a_character(data: bytes) -> None:
    """The fragments of valid text are valid together, each byte a fragment."""
    frames = Frames(100)
    wire = frame(TEXT, fin=False) + b"".join(
        frame(CONTINUED, data[i : i + 1], fin=False) for i in range(len(data))
    )
    assert frames.feed(wire + frame(CONTINUED)) == [data.decode()]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xed\xa0\x80", id="a surrogate"),
        pytest.param(b"\xf4\x90\x80\x80", id="beyond Unicode"),
        pytest.param(b"\xc0\xaf", id="too long a form"),
        pytest.param(b"\xff", id="never a byte of UTF-8"),
        pytest.param(b"ok\xe2\x82", id="cut off"),
    ],
)
def test_text_that_is_not_utf_8(data: bytes) -> None:
    """1007; in fragments as early as it can be known, and nothing of it becomes a message."""
    frames = Frames(100)
    assert frames.feed(frame(TEXT, b"fine") + frame(TEXT, data) + frame(TEXT, b"late")) == ["fine"]
    assert frames.mistake == Close(1007, "text is not UTF-8") and not frames.is_open
    assert [opcode for opcode, _ in parsed(frames.output())] == [CLOSE]
    if not data.startswith(b"ok"):
        frames = Frames(100)
        assert frames.feed(frame(TEXT, data, fin=False)) == []
        assert frames.mistake is not None


WRONG = {
    "a reserved bit": frame(TEXT, b"x", reserved=4),
    "another reserved bit": frame(BINARY, b"x", reserved=1),
    "a reserved bit of a ping": frame(PING, b"", reserved=2),
    "a reserved opcode": frame(3, b"x"),
    "a reserved control opcode": frame(11, b""),
    "a masked frame": frame(TEXT, b"x", mask=b"abcd"),
    "a long ping": frame(PING, b"x" * 126),
    "a long close": frame(CLOSE, b"\x03\xe8" + b"x" * 124),
    "a ping in fragments": frame(PING, b"x", fin=False),
    "nothing to continue": frame(CONTINUED, b"x"),
    "a message within a message": frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),
    "a close within a message": frame(TEXT, b"x", fin=False) + closing(1000),
    "a close of one byte": frame(CLOSE, b"\x03"),
    **{
        f"the close code {code}": closing(code)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
}


@pytest.mark.parametrize("wire", WRONG.values(), ids=WRONG)
def test_a_mistake_of_the_upstream(wire: bytes) -> None:
    """1002 is written, and what comes after is not listened to."""
    frames = Frames(1000)
    assert frames.feed(wire) == []
    assert frames.mistake is not None and frames.mistake.code == 1002
    assert frames.received_close is None and not frames.is_open
    assert [data[:2] for _, data in parsed(frames.output())] == [b"\x03\xea"]
    assert frames.feed(frame(TEXT, b"late")) == []


def test_a_reason_that_is_not_utf_8() -> None:
    """1007 (RFC 6455 §8.1)."""
    frames = Frames(100)
    frames.feed(closing(1000, b"\xff"))
    assert frames.mistake is not None and frames.mistake.code == 1007


@pytest.mark.parametrize(
    "code", [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999, None]
)
@pytest.mark.parametrize("reason", ["", "why", "é" * 61 + "x"], ids=["none", "short", "123 bytes"])
def test_a_close_is_read_and_answered(code: int | None, reason: str) -> None:
    """Every code and reason that may be on the wire is told as it came, and sent as it is given."""
    wire = frame(CLOSE) if code is None else closing(code, reason.encode())
    expected = Close(1005, "") if code is None else Close(code, reason)
    frames = Frames(100)
    frames.feed(wire)
    assert (frames.received_close, frames.mistake) == (expected, None)
    [(opcode, data)] = parsed(frames.output())
    assert (opcode, frame(CLOSE, data)) == (CLOSE, wire)
    [(opcode, data)] = parsed(Frames(100).close(*expected))
    assert (opcode, frame(CLOSE, data)) == (CLOSE, wire)


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 2999, 5000, 70_000])
def test_a_code_that_must_not_be_sent(code: int) -> None:
    """RFC 6455 §7.4.1: such a close goes out without a code."""
    assert parsed(Frames(100).close(code, "why")) == [(CLOSE, b"")]


def test_a_reason_that_is_too_long() -> None:
    """The frame has room for 123 bytes: better a close without a code than none at all."""
    assert parsed(Frames(100).close(1000, "x" * 124)) == [(CLOSE, b"")]


@pytest.mark.parametrize(
    "wire",
    [
        frame(TEXT, b"x" * 101),
        frame(BINARY, b"x" * 10_000),
        frame(TEXT, b"x" * 60, fin=False) + frame(CONTINUED, b"x" * 41),
        frame(BINARY, b"x" * 101, fin=False),
        b"\x82\x7f" + (2**62).to_bytes(8, "big"),
    ],
    ids=["a byte", "much", "together", "first fragment", "announced"],
)
def test_a_message_that_is_too_large(wire: bytes) -> None:
    """1009, where the size is only announced, too."""
    frames = Frames(100)
    assert frames.feed(wire) == []
    assert frames.mistake is not None and frames.mistake.code == 1009


def test_a_ping_does_not_count_as_a_part_of_the_message() -> None:
    """Between two fragments that are as large as is allowed it is as large as ever."""
    frames = Frames(100)
    wire = frame(BINARY, b"x" * 100, fin=False) + frame(PING, b"p" * 125) + frame(CONTINUED)
    assert frames.feed(wire) == [b"x" * 100]


def test_nothing_is_sent_after_a_close() -> None:
    """A second close is none, whoever wanted it."""
    frames = Frames(100)
    assert frames.close(1000, "") and not frames.close(1001, "")
    frames.feed(closing(1000))
    frames.end()
    assert frames.output() == b""
