"""Compressed request bodies: given on plain, bounded, and refused where they are broken."""

from __future__ import annotations

import gzip
import json
import zlib
from itertools import pairwise
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gatekit import ConfigurationError, Rejected, Request, Response
from gatekit.middleware._encodings import ENCODINGS, Guard
from gatekit.middleware.decompress import Decompress
from gatekit.testing import exercise
from tests.conftest import Door
from tests.doors.spec import Spec

TEXT = b"the quick brown fox jumps over the lazy dog. " * 50


def coded(coding: str, body: bytes) -> bytes:
    """By the libraries themselves."""
    if coding == "zstd":
        return zstandard.ZstdCompressor().compress(body)
    if coding == "br":
        made: bytes = brotli.compress(body)
        return made
    return gzip.compress(body) if coding == "gzip" else zlib.compress(body)


def post(body: bytes, coding: str, **options: Any) -> Any:
    """What a view answers that reads the body; it says how long that was."""

    async def view(request: Request) -> Response:
        data = await request.body.read(100_000_000)
        return Response.json([len(data), request.headers.get("content-encoding")])

    return exercise(
        Decompress(**options),
        app=view,
        method="POST",
        headers={"content-encoding": coding, "content-length": str(len(body))},
        body=body,
    )


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate"])
def test_each_coding_through_each_door(door: Door, coding: str) -> None:
    """The app reads the plain body, and sees neither coding nor the old length."""
    spec = Spec(reads_body=True)
    body = coded(coding, TEXT)
    headers = {"content-encoding": coding, "content-length": str(len(body))}
    assert door(spec, Decompress(), method="POST", headers=headers, body=body).status == 200
    assert spec.seen[0]["body"] == TEXT
    assert "content-encoding" not in spec.seen[0]["headers"]
    assert spec.seen[0]["headers"].get("content-length") != str(len(body))


def test_codings_one_after_the_other() -> None:
    """They are undone in the reverse of the order in which they are listed."""
    body = gzip.compress(zlib.compress(TEXT))
    assert json.loads(post(body, "deflate, gzip").body) == [len(TEXT), None]


def test_deflate_without_its_header() -> None:
    """Some clients leave zlib's header out."""
    compressor = zlib.compressobj(wbits=-15)
    body = compressor.compress(TEXT) + compressor.flush()
    assert json.loads(post(body, "deflate").body) == [len(TEXT), None]


def test_members_and_frames_in_a_row() -> None:
    """RFC 1952 §2.2 and RFC 8878 §3 let several stand for one body."""
    assert json.loads(post(coded("gzip", TEXT) * 3, "gzip").body)[0] == 3 * len(TEXT)
    assert json.loads(post(coded("zstd", TEXT) * 3, "zstd").body)[0] == 3 * len(TEXT)


def test_unknown_coding(door: Door) -> None:
    """RFC 9110 §15.5.16: a 415 that says what could be read."""
    answer = door(
        Spec(), Decompress(), method="POST", headers={"content-encoding": "lzma"}, body=b"x"
    )
    assert answer.status == 415
    assert answer.headers["accept-encoding"] == "zstd, br, gzip, deflate"
    assert post(b"x", "gzip, gzip, gzip").status == 415


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate"])
@pytest.mark.parametrize("what", ["cut", "corrupt", "followed", "plain"])
def test_broken_bodies(coding: str, what: str) -> None:
    """Cut short, damaged, with something behind it, or never coded: a 400."""
    body = coded(coding, TEXT)
    broken = {
        "cut": body[:-5],
        "corrupt": body[:10] + bytes(byte ^ 255 for byte in body[10:30]) + body[30:],
        "followed": body + b"garbage",
        "plain": b"\xff\xfe\xfd\xfc" + TEXT,
    }[what]
    answer = post(broken, coding)
    assert answer.status == 400, answer.body
    assert json.loads(answer.body)["type"] == "urn:gatekit:content-encoding"


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate"])
def test_bombs(coding: str) -> None:
    """What grows too much is a 413, and is never unpacked beyond its bound."""
    bomb = coded(coding, bytes(50_000_000))
    assert post(bomb, coding).status == 413
    assert post(bomb, coding, max_bytes=100_000_000, max_ratio=10).status == 413
    assert (
        json.loads(post(bomb, coding, max_bytes=100_000_000, max_ratio=1e9).body)[0] == 50_000_000
    )
    made: list[int] = []
    guard = Counting(made)
    with pytest.raises(Rejected):
        ENCODINGS[coding].expand(guard).feed(bomb)
    assert sum(made) < 8_000_000


class Counting(Guard):
    """Notes what came out."""

    __slots__ = ("_sizes",)

    def __init__(self, sizes: list[int]) -> None:
        super().__init__(1_000_000, 100)
        self._sizes = sizes

    def made(self, size: int) -> None:
        self._sizes.append(size)
        super().made(size)


def test_small_bodies_may_be_all_zeros() -> None:
    """The ratio counts from a mebibyte on."""
    assert json.loads(post(coded("gzip", bytes(1_000_000)), "gzip").body)[0] == 1_000_000


def test_no_body() -> None:
    """A coding without a body is no error."""
    assert json.loads(post(b"", "gzip").body) == [0, None]


@given(
    body=st.binary(max_size=400),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    coding=st.sampled_from(["gzip", "br", "zstd", "deflate"]),
)
def test_any_chunking(body: bytes, cuts: list[int], coding: str) -> None:
    """It does not matter where the network cuts."""
    made = coded(coding, body)
    codec = ENCODINGS[coding].expand(Guard(1_000, 1_000))
    edges = sorted({0, len(made), *(cut for cut in cuts if cut < len(made))})
    plain = [codec.feed(made[a:b]) for a, b in pairwise(edges)]
    assert b"".join(plain) + codec.finish() == body


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_bytes": 0}, "max_bytes"),
        ({"max_ratio": 0.5}, "max_ratio"),
        ({"encodings": "gzip"}, "encodings"),
    ],
)
def test_wrong_options(options: dict[str, Any], named: str) -> None:
    """Each is named at construction."""
    with pytest.raises(ConfigurationError, match=named):
        Decompress(**options)
