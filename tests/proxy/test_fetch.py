"""A bounded request to a service of our own, in both colours."""

from __future__ import annotations

import asyncio

import pytest

from gatekit._core.io import AsyncIO, BlockingIO, block
from gatekit.errors import ConfigurationError, UpstreamError
from gatekit.proxy.fetch import Endpoint, Fetched, fetch
from gatekit.proxy.transport import HTTPTransport
from tests.proxy.upstream import Upstream, answer

COLOURS = pytest.mark.parametrize("is_async", [True, False], ids=["async", "blocking"])


def get(port: int, path: str, is_async: bool, max_bytes: int = 1000) -> Fetched:
    """The answer of `path`, through a transport of its own."""
    endpoint = Endpoint(f"http://127.0.0.1:{port}{path}")

    async def go() -> Fetched:
        transport = HTTPTransport()
        try:
            io = AsyncIO() if is_async else BlockingIO()
            return await fetch(io, transport, endpoint, timeout=10, max_bytes=max_bytes)
        finally:
            if is_async:
                await transport.aclose()
            else:
                transport.close()

    return asyncio.run(go()) if is_async else block(go())


@COLOURS
def test_whole_answer(is_async: bool) -> None:
    """Path and query go out as written, nothing compressed is asked for, no redirect followed."""
    script = answer(b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 2\r\n\r\nok")
    with Upstream(script) as upstream:
        fetched = get(upstream.port, "/a/b?c=d%20e", is_async)
    assert (fetched.status, fetched.body, fetched.headers.get("location")) == (302, b"ok", "/b")
    (request,) = upstream.requests
    assert request.head.startswith(b"GET /a/b?c=d%20e HTTP/1.1\r\n")
    assert request.values(b"accept-encoding") == [b"identity"]


@COLOURS
def test_too_large(is_async: bool) -> None:
    """An answer beyond the bound is an error, however it comes."""
    body = b"x" * 200_000
    script = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + body)
    with Upstream(script) as upstream, pytest.raises(UpstreamError, match="larger than 1000"):
        get(upstream.port, "/", is_async)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://a", b"/"),
        ("http://a/", b"/"),
        ("http://a?x", b"/?x"),
        ("http://a/b/", b"/b/"),
        ("http://a/b?x=/?", b"/b?x=/?"),
    ],
)
def test_target(url: str, target: bytes) -> None:
    """What stands on the request line is what the URL says."""
    assert Endpoint(url).target == target


@pytest.mark.parametrize("url", ["http://a/#b", "http://a/?b#c", "http://a/?b c", "ftp://a", ""])
def test_wrong_url(url: str) -> None:
    """A URL that is none is refused when it is given."""
    with pytest.raises(ConfigurationError):
        Endpoint(url)
