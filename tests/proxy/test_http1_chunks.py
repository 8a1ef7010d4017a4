"""The response reader on chunks: the coding to the letter, and no more of it than of data."""

from __future__ import annotations

import pytest

from gatekit.errors import UpstreamError
from tests.proxy.reading import CHUNKED, OK, read, refused

BAD_CHUNKS = {
    "a bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "a blank after the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "a size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a signed size": b"+5\r\nhello\r\n0\r\n\r\n",
    "an empty size": b"\r\nhello\r\n0\r\n\r\n",
    "a size of more than 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "no line end after the data": b"5\r\nhello0\r\n\r\n",
    "more data than the size": b"5\r\nhelloXX\r\n0\r\n\r\n",
    "a bare LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "a bare CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;\x00\r\nhello\r\n0\r\n\r\n",
    "a blank before a trailer's colon": b"0\r\nA : b\r\n\r\n",
    "a bare LF in a trailer": b"0\r\nA: b\nC: d\r\n\r\n",
    "a folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "a length in the trailers": b"0\r\nContent-Length: 5\r\n\r\n",
    "a coding in the trailers": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("chunks", BAD_CHUNKS.values(), ids=BAD_CHUNKS.keys())
def test_chunks_with_two_meanings_are_refused(chunks: bytes, step: int) -> None:
    """RFC 9112 §7.1 to the letter."""
    with pytest.raises(UpstreamError) as error:
        read(CHUNKED + chunks, step=step)
    assert error.value.stage == "protocol"


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b" chunked ", b"CHUNKED\t"])
def test_chunked_in_any_case_and_blanks(coding: bytes) -> None:
    """The name of a coding has no case, and blanks around a value are none of it."""
    data = OK + b"Transfer-Encoding:" + coding + b"\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    assert read(data).take_all() == b"ok"


def test_chunks_with_more_extension_than_data_are_refused() -> None:
    """A body that is all framing costs its reader time for nothing."""
    refused(CHUNKED + b"1;" + b"a" * 20_000 + b"\r\nx\r\n")
    refused(CHUNKED + b"1;" + b"a" * 50 + b"\r\nx\r\n" + (b"1;" + b"a" * 60 + b"\r\nx\r\n") * 1000)
    refused(CHUNKED + b"0" * 20_000)
    refused(CHUNKED + b"0\r\nX: " + b"a" * 20_000)


def test_small_chunks_are_no_attack() -> None:
    """A body in chunks of one byte is read to its end."""
    reader = read(CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n", step=1000)
    assert (reader.complete, len(reader.take_all())) == (True, 50_000)
