"""The content codings of HTTP (RFC 9110 §8.4.1), as codecs that change a body in flight.

    compress = ENCODINGS["gzip"].whole(6)           # the level
    compress(b"hello")

    codec = ENCODINGS["gzip"].stream(6, True)       # every chunk goes out as it is fed
    codec.feed(b"hello"), codec.finish()

    codec = ENCODINGS["gzip"].expand(guard)           # `guard` bounds what comes out

`br` and `zstd` need the extras `brotli` and `zstd`, which are imported when a codec is made.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeAlias, cast

from gatekit._core.options import integer_problem
from gatekit.errors import BodyTooLarge, Rejected
from gatekit.typing import Codec

Whole: TypeAlias = Callable[[bytes], bytes]

# RFC 9659 §3: a decoder of the coding `zstd` has to manage a window of 8 MB, and no more.
_ZSTD_WINDOW = 8 * 1024 * 1024

# A few bytes of zstd can stand for 128 KiB each; so little of it is unpacked between two counts.
_ZSTD_SLICE = 128

# What comes out of zlib at a time, before it is counted.
_PIECE = 65_536


class Guard:
    """Counts what comes out of a coded body: `max_bytes` in all, `max_ratio` times what went in.

    A body may grow to `slack` bytes whatever the ratio, for a small one of zeros is no attack.
    """

    __slots__ = ("_in", "_max_bytes", "_max_ratio", "_out", "_slack")

    def __init__(self, max_bytes: int, max_ratio: float, slack: int = 1_048_576) -> None:
        self._max_bytes = max_bytes
        self._max_ratio = max_ratio
        self._slack = slack
        self._in = 0
        self._out = 0

    def came(self, size: int) -> None:
        self._in += size

    def made(self, size: int) -> None:
        """Raises `BodyTooLarge` beyond either bound."""
        self._out += size
        if self._out > self._max_bytes:
            raise BodyTooLarge(self._max_bytes)
        if self._out > self._slack and self._out > self._in * self._max_ratio:
            raise BodyTooLarge(max(self._slack, int(self._in * self._max_ratio)))


class Encoding(NamedTuple):
    """How a coding is made and undone.

    `whole` gives a function for bodies in one piece, `stream` a codec whose chunks go out as they
    are fed if asked for. `extra` is what has to be installed, None for nothing.
    """

    levels: range
    level: int
    whole: Callable[[int], Whole]
    stream: Callable[[int, bool], Codec]
    expand: Callable[[Guard], Codec]
    extra: str | None = None
    module: str = "zlib"

    @property
    def is_here(self) -> bool:
        return find_spec(self.module) is not None


class Sized:
    """A codec for a body of known length, which most often comes in one piece."""

    __slots__ = ("_open", "_size", "_stream", "_whole")

    is_slow = True

    def __init__(self, size: int, whole: Whole, stream: Callable[[], Codec]) -> None:
        self._size = size
        self._whole = whole
        self._open = stream
        self._stream: Codec | None = None

    def feed(self, data: bytes) -> bytes:
        if self._stream is None:
            if len(data) == self._size:
                self._size = -1
                return self._whole(data)
            self._stream = self._open()
        return self._stream.feed(data)

    def finish(self) -> bytes:
        if self._stream is None:
            return b"" if self._size < 0 else self._open().finish()
        return self._stream.finish()


class _Compress:
    """A codec around a library's compressor; `flush` makes all that was fed come out, or None."""

    __slots__ = ("_finish", "_flush", "_take")

    is_slow = True

    def __init__(
        self,
        take: Callable[[bytes], bytes],
        flush: Callable[[], bytes] | None,
        finish: Callable[[], bytes],
    ) -> None:
        self._take = take
        self._flush = flush
        self._finish = finish

    def feed(self, data: bytes) -> bytes:
        taken = self._take(data)
        return taken if self._flush is None else taken + self._flush()

    def finish(self) -> bytes:
        return self._finish()


class _Gzip:
    """RFC 1952 around raw deflate: zlib's own way to write it takes half as long again."""

    __slots__ = ("_check", "_compressor", "_flushes", "_head", "_size")

    is_slow = True

    def __init__(self, level: int, flushes: bool) -> None:
        self._compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
        self._flushes = flushes
        self._head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
        self._check = 0
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        self._check = zlib.crc32(data, self._check)
        self._size += len(data)
        made, self._head = self._head + self._compressor.compress(data), b""
        return made + self._compressor.flush(zlib.Z_SYNC_FLUSH) if self._flushes else made

    def finish(self) -> bytes:
        end = self._check.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        return self._head + self._compressor.flush() + end


def _gzip(level: int) -> Whole:
    def whole(data: bytes) -> bytes:
        codec = _Gzip(level, False)
        return codec.feed(data) + codec.finish()

    return whole


def _deflate_stream(level: int, flushes: bool) -> Codec:
    compressor = zlib.compressobj(level)
    flush = (lambda: compressor.flush(zlib.Z_SYNC_FLUSH)) if flushes else None
    return _Compress(compressor.compress, flush, compressor.flush)


def _deflate(level: int) -> Whole:
    return lambda data: zlib.compress(data, level)


def _brotli_stream(level: int, flushes: bool) -> Codec:
    compressor = _library("brotli").Compressor(quality=level)
    return _Compress(compressor.process, compressor.flush if flushes else None, compressor.finish)


def _brotli(level: int) -> Whole:
    compress = _library("brotli").compress
    return lambda data: cast("bytes", compress(data, quality=level))


def _zstd_stream(level: int, flushes: bool) -> Codec:
    zstandard = _library("zstandard")
    compressor = zstandard.ZstdCompressor(level=level).compressobj()
    block = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    flush = (lambda: compressor.flush(block)) if flushes else None
    return _Compress(compressor.compress, flush, compressor.flush)


def _zstd(level: int) -> Whole:
    # To make a compressor takes longer than to use it, and two threads may not use the same.
    make = _library("zstandard").ZstdCompressor
    kept = threading.local()

    def whole(data: bytes) -> bytes:
        compressor = getattr(kept, "compressor", None)
        if compressor is None:
            compressor = kept.compressor = make(level=level)
        return cast("bytes", compressor.compress(data))

    return whole


class _Expand:
    """What every decoder does: refuse what is cut short, corrupt, or followed by something."""

    __slots__ = ("_began", "_ended", "_guard")

    is_slow = True

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._began = False
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        self._guard.came(len(data))
        self._began = True
        return self._expand(data)

    def finish(self) -> bytes:
        # A body that is empty was never coded.
        if self._began and not self._ended:
            raise _corrupt()
        return b""

    def _expand(self, data: bytes) -> bytes:
        raise NotImplementedError


class _ExpandZlib(_Expand):
    """`gzip` may have several members (RFC 1952 §2.2); `deflate` comes with a header or without."""

    __slots__ = ("_bits", "_decompressor", "_head")

    def __init__(self, bits: int, guard: Guard) -> None:
        super().__init__(guard)
        self._bits = bits
        self._decompressor: Any = None
        self._head = b""

    def _expand(self, data: bytes) -> bytes:
        found: list[bytes] = []
        data, self._head = self._head + data, b""
        while data:
            if self._decompressor is None:
                if len(data) < 2:
                    self._head, self._ended = data, False
                    break
                self._decompressor = self._begin(data)
            piece = self._piece(data)
            self._guard.made(len(piece))
            found.append(piece)
            if self._decompressor.eof:
                data, self._decompressor = self._decompressor.unused_data, None
                self._ended = True
            else:
                data, self._ended = self._decompressor.unconsumed_tail, False
        return b"".join(found)

    def _begin(self, data: bytes) -> Any:
        if self._ended and (self._bits != 31 or data[:2] != b"\x1f\x8b"):
            raise _corrupt()
        if self._bits == 15 and (data[0] & 15 != 8 or int.from_bytes(data[:2], "big") % 31):
            return zlib.decompressobj(-15)  # what some clients send, without zlib's header
        return zlib.decompressobj(self._bits)

    def _piece(self, data: bytes) -> bytes:
        try:
            piece: bytes = self._decompressor.decompress(data, _PIECE)
        except zlib.error as error:
            raise _corrupt() from error
        return piece


class _ExpandBrotli(_Expand):
    __slots__ = ("_decompressor", "_error")

    def __init__(self, guard: Guard) -> None:
        super().__init__(guard)
        brotli = _library("brotli")
        self._decompressor: Any = brotli.Decompressor()
        self._error: type[Exception] = brotli.error

    def _expand(self, data: bytes) -> bytes:
        if self._ended:
            raise _corrupt()
        found: list[bytes] = []
        decompressor = self._decompressor
        try:
            while True:
                piece = decompressor.process(data, output_buffer_limit=_PIECE)
                self._guard.made(len(piece))
                found.append(piece)
                data = b""
                if decompressor.is_finished() or (
                    not piece and decompressor.can_accept_more_data()
                ):
                    break
        except self._error as error:
            raise _corrupt() from error
        self._ended = decompressor.is_finished()
        return b"".join(found)


class _ExpandZstd(_Expand):
    __slots__ = ("_decompressor", "_error", "_make")

    def __init__(self, guard: Guard) -> None:
        super().__init__(guard)
        zstandard = _library("zstandard")
        window = _ZSTD_WINDOW
        self._make: Callable[[], Any] = lambda: zstandard.ZstdDecompressor(
            max_window_size=window
        ).decompressobj()
        self._decompressor: Any = self._make()
        self._error: type[Exception] = zstandard.ZstdError

    def _expand(self, data: bytes) -> bytes:
        found: list[bytes] = []
        try:
            for start in range(0, len(data), _ZSTD_SLICE):
                rest = data[start : start + _ZSTD_SLICE]
                while rest:
                    if self._ended:  # RFC 8878 §3: frames may follow each other
                        self._decompressor, self._ended = self._make(), False
                    piece = self._decompressor.decompress(rest)
                    self._guard.made(len(piece))
                    found.append(piece)
                    self._ended = self._decompressor.eof
                    rest = self._decompressor.unused_data if self._ended else b""
        except self._error as error:
            raise _corrupt() from error
        return b"".join(found)


ENCODINGS: dict[str, Encoding] = {
    "zstd": Encoding(
        range(1, 20), 4, _zstd, _zstd_stream, _ExpandZstd, extra="zstd", module="zstandard"
    ),
    "br": Encoding(
        range(12), 4, _brotli, _brotli_stream, _ExpandBrotli, extra="brotli", module="brotli"
    ),
    "gzip": Encoding(range(1, 10), 6, _gzip, _Gzip, partial(_ExpandZlib, 31)),
    "deflate": Encoding(range(1, 10), 6, _deflate, _deflate_stream, partial(_ExpandZlib, 15)),
}
"""In the order in which they are preferred where a client likes several alike."""


def encodings_problem(names: object) -> str | None:
    """Of a list of codings; one whose library is missing is named with its extra."""
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        return f"must be a list of codings, not {names!r}"
    listed = list(cast("Iterable[object]", names))
    for name in listed:
        if not isinstance(name, str) or name not in ENCODINGS:
            return f"{name!r} is not one of {', '.join(ENCODINGS)}"
        encoding = ENCODINGS[name]
        if not encoding.is_here:
            return f"{name!r} needs an extra: pip install 'gatekit-middleware[{encoding.extra}]'"
    return None if listed else "lists no coding"


def level_problem(name: str, level: object) -> str | None:
    """Of one coding's level."""
    levels = ENCODINGS[name].levels
    if integer_problem(level) is None and level in levels:
        return None
    return f"{level!r} is not a level of {name}, from {levels[0]} to {levels[-1]}"


def _library(name: str) -> Any:
    return import_module(name)


def _corrupt() -> Rejected:
    return Rejected(
        400, "The request's body cannot be decoded.", type="urn:gatekit:content-encoding"
    )
