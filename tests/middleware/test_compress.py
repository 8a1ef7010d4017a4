"""Compressed answers: who gets them, what else changes with them, and what is left alone."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gatekit import ConfigurationError, Response
from gatekit._core.weights import weights
from gatekit.middleware.compress import Compress
from gatekit.middleware.etag import ETag
from gatekit.testing import exercise
from tests.conftest import Door
from tests.doors.spec import Spec

TEXT = b"all work and no play makes jack a dull boy. " * 100


def undone(coding: str | None, body: bytes) -> bytes:
    """By the libraries themselves."""
    if coding is None:
        return body
    if coding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    if coding == "br":
        plain: bytes = brotli.decompress(body)
        return plain
    return gzip.decompress(body) if coding == "gzip" else zlib.decompress(body)


def page(**fields: str) -> Spec:
    """Text in two chunks, its length told."""
    headers = {"content-type": "text/plain", "content-length": str(len(TEXT)), "etag": '"v1"'}
    headers |= {name.replace("_", "-"): value for name, value in fields.items()}
    return Spec(headers=list(headers.items()), chunks=[TEXT[:100], TEXT[100:]])


def get(response: Response, *middlewares: Any, accept: str = "gzip", method: str = "GET") -> Any:
    """One request, answered by this."""

    async def answer(request: Any, call_next: Any) -> Response:
        return response

    return exercise(
        *(middlewares or (Compress(),)), answer, method=method, headers={"accept-encoding": accept}
    )


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate"])
def test_each_coding_through_each_door(door: Door, coding: str) -> None:
    """The body comes whole, with a weak tag, no length but its own, and told apart by `Vary`."""
    answer = door(page(), Compress(), headers={"accept-encoding": coding})
    assert undone(coding, answer.body) == TEXT
    assert answer.headers["content-encoding"] == coding
    assert answer.headers["etag"] == 'W/"v1"'
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers.get("content-length", str(len(answer.body))) == str(len(answer.body))
    assert len(answer.body) < len(TEXT) / 4


@pytest.mark.parametrize("accept", ["", "identity", "gzip;q=0", "unknown", "*;q=0, identity"])
def test_plain_for_who_wants_it(door: Door, accept: str) -> None:
    """Without a coding that is accepted nothing changes but `Vary`."""
    answer = door(page(), Compress(), headers={"accept-encoding": accept})
    assert answer.body == TEXT
    assert "content-encoding" not in answer.headers
    assert answer.headers["etag"] == '"v1"'
    assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip, br, zstd", "zstd"),
        ("gzip, br", "br"),
        ("gzip;q=1, br;q=0.9", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "zstd"),
        ("*;q=0.1, gzip;q=0.5", "gzip"),
        ("zstd;q=0, *", "br"),
        ("gzip;q=0.5, identity;q=0.8", None),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=abc, deflate;q=0.1", "deflate"),
        ("gzip ; q = 0.5", "gzip"),
        ("gzip;q=0.001", "gzip"),
    ],
)
def test_what_the_client_likes_most(accept: str, coding: str | None) -> None:
    """RFC 9110 §12.5.3, our own order among equals."""
    answer = get(Response.text(TEXT.decode()), accept=accept)
    assert answer.headers.get("content-encoding") == coding
    assert undone(coding, answer.body) == TEXT


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (204, {}),
        (206, {"content-range": "bytes 0-9/100"}),
        (200, {"content-encoding": "br"}),
        (200, {"content-type": "image/png"}),
        (200, {"content-type": "text/event-stream"}),
        (200, {"cache-control": "max-age=1, No-Transform"}),
    ],
)
def test_left_alone(status: int, fields: dict[str, str]) -> None:
    """What has no body, is a part, is coded, would not shrink, or must not be changed."""
    headers = {"content-type": "text/plain", "etag": '"v1"', **fields}
    body = b"" if status == 204 else TEXT
    answer = get(Response(status, headers, body))
    assert (answer.body, answer.headers["etag"]) == (body, '"v1"')
    assert answer.headers.get("content-encoding") == fields.get("content-encoding")
    assert "vary" not in answer.headers


def test_small_bodies_stay_plain() -> None:
    """Under `min_size` it does not pay, but for a client that reads nothing plain."""
    assert "content-encoding" not in get(Response.text("x" * 1023)).headers
    assert get(Response.text("x" * 1024)).headers["content-encoding"] == "gzip"
    answer = get(Response.text("x"), accept="gzip, identity;q=0")
    assert gzip.decompress(answer.body) == b"x"
    assert get(Response.text("x"), Compress(min_size=1)).headers["content-encoding"] == "gzip"


def test_nothing_acceptable() -> None:
    """RFC 9110 §12.5.3: plain is sent all the same, unless `strict` asks for a 406."""
    response = Response.text(TEXT.decode())
    assert get(response, accept="identity;q=0, *;q=0").body == TEXT
    answer = get(response, Compress(strict=True), accept="identity;q=0, lzma")
    assert answer.status == 406
    assert json.loads(answer.body)["type"] == "urn:gatekit:not-acceptable"
    assert answer.headers["vary"] == "Accept-Encoding"


def test_head_says_what_get_would(door: Door) -> None:
    """The same fields without a body, as far as they can be known without it."""
    spec = page()
    spec.chunks = []
    answer = door(spec, Compress(), method="HEAD", headers={"accept-encoding": "gzip"})
    assert answer.body == b""
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["etag"] == 'W/"v1"'
    assert answer.headers.get("content-length") != str(len(TEXT))


def test_fields_of_the_plain_bytes_go() -> None:
    """A digest of other bytes, or ranges of them, would be lies."""
    fields = {
        "content-type": "text/plain",
        "accept-ranges": "bytes",
        "content-md5": "x",
        "repr-digest": "sha-256=:x=:",
        "content-digest": "sha-256=:x=:",
        "vary": "Cookie",
    }
    answer = get(Response(200, fields, TEXT))
    assert not {*fields} & {*answer.headers} - {"content-type", "vary"}
    assert answer.headers["vary"] == "Cookie, Accept-Encoding"


def test_every_chunk_of_a_stream_goes_out(door: Door) -> None:
    """Of a body without a length each chunk can be read as soon as it is there."""
    seen: list[int] = []

    async def count(request: Any, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.filter(Sizes(seen))
        return response

    spec = Spec(headers=[("content-type", "text/plain")], chunks=[b"one", b"two", b"three"])
    answer = door(spec, count, Compress(), headers={"accept-encoding": "gzip"})
    assert gzip.decompress(answer.body) == b"onetwothree"
    assert len([size for size in seen if size]) >= 3


class Sizes:
    """Notes what passes."""

    def __init__(self, seen: list[int]) -> None:
        self._seen = seen

    def feed(self, data: bytes) -> bytes:
        self._seen.append(len(data))
        return data

    def finish(self) -> bytes:
        return b""


def test_event_streams_when_asked_for() -> None:
    """Only with the option, and then event by event."""

    def events() -> Iterator[bytes]:
        yield b"data: 1\n\n"
        yield b"data: 2\n\n"

    response = Response(200, {"content-type": "text/event-stream"}, events())
    answer = get(response, Compress(event_streams=True))
    assert gzip.decompress(answer.body) == b"data: 1\n\ndata: 2\n\n"


def test_large_bodies_in_a_thread(door: Door) -> None:
    """They come whole, whether they were there in one piece or went by in large ones."""
    large = TEXT * 100
    spec = Spec(headers=[("content-type", "text/plain")], chunks=[large, large])
    assert (
        gzip.decompress(door(spec, Compress(), headers={"accept-encoding": "gzip"}).body)
        == large * 2
    )
    assert gzip.decompress(get(Response.text(large.decode())).body) == large


def test_with_etag_inside(door: Door) -> None:
    """A client that has the compressed answer, and says so with the weak tag, gets a 304."""
    spec = Spec(
        headers=[("content-type", "text/plain"), ("content-length", str(len(TEXT)))], chunks=[TEXT]
    )
    accept = {"accept-encoding": "gzip"}
    etag = door(spec, Compress(), ETag(), headers=accept).headers["etag"]
    assert etag.startswith('W/"')
    again = door(spec, Compress(), ETag(), headers={**accept, "if-none-match": etag})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
    assert again.headers["vary"] == "Accept-Encoding"


@given(
    chunks=st.lists(st.binary(max_size=200), max_size=8),
    coding=st.sampled_from(["gzip", "br", "zstd", "deflate"]),
)
def test_round_trip(chunks: list[bytes], coding: str) -> None:
    """However a body is cut, it comes back whole."""
    response = Response(200, {"content-type": "text/plain"}, iter(chunks))
    answer = get(response, accept=f"{coding}, identity;q=0")
    assert undone(coding, answer.body) == b"".join(chunks)


@given(st.text(alphabet="gzip*;q=01.,br \tdeflate-", max_size=40))
def test_weights_are_in_bounds(text: str) -> None:
    """Whatever a client writes, each weight is from 0 to 1, and names are plain."""
    for name, weight in weights(text).items():
        assert 0 <= weight <= 1
        assert name == name.strip().lower() != ""


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"encodings": ["lzma"]}, "encodings"),
        ({"encodings": []}, "encodings"),
        ({"levels": {"gzip": 10}}, "levels"),
        ({"min_size": -1}, "min_size"),
        ({"types": ["text html"]}, "types"),
        ({"minimum_size": 5}, "minimum_size"),
    ],
)
def test_wrong_options(options: dict[str, Any], named: str) -> None:
    """Each is named at construction."""
    with pytest.raises(ConfigurationError, match=named):
        Compress(**options)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its library a coding is not offered, and refused where it is asked for."""
    monkeypatch.setattr(
        "gatekit.middleware._encodings.find_spec", lambda name: name if name == "zlib" else None
    )
    assert (
        get(Response.text(TEXT.decode()), accept="br, gzip").headers["content-encoding"] == "gzip"
    )
    with pytest.raises(ConfigurationError, match=r"gatekit-middleware\[brotli\]"):
        Compress(encodings=["br"])
