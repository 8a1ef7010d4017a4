"""What the tests of the response reader share: feeding it in pieces, and what it refuses."""

from __future__ import annotations

import pytest

from gatekit.errors import UpstreamError
from gatekit.proxy.transport.http1 import ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(
    data: bytes,
    method: bytes = b"GET",
    *,
    step: int = 0,
    reader: ResponseReader | None = None,
    upgrade: bool = False,
) -> ResponseReader:
    """Feed `data` in pieces of `step` bytes, or at once."""
    reader = reader or ResponseReader()
    reader.begin(method, upgrade=upgrade)
    for start in range(0, len(data), step or len(data)):
        reader.feed(data[start : start + (step or len(data))])
    return reader


def refused(data: bytes, method: bytes = b"GET", reader: ResponseReader | None = None) -> str:
    """What is said about `data`, the same however it arrives."""
    with pytest.raises(UpstreamError) as error:
        read(data, method, reader=reader)
    assert error.value.stage == "protocol"
    return error.value.detail
