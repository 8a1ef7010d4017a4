"""Answers in fewer bytes, for the clients that can read them.

    app = asgi(app, Compress())
    Compress(min_size=500, levels={"br": 5, "gzip": 6}, event_streams=True)

What is compressed is text, JSON and the like from `min_size` bytes on, in the coding that the
client likes most: `zstd` and `br` where their extras are installed, `gzip` and at the end
`deflate`. What is coded already, is a part (206) or says `no-transform` passes as it is.

**Streams stay streams.** A body of unknown length goes out chunk by chunk, each whole when it goes.
Server-sent events are left alone unless `event_streams=True`.

**What changes with the body.** `Content-Length`; a strong `ETag` becomes a weak one (RFC 9110
§8.8.1); digests and `Accept-Ranges` are of the other bytes and go. `Vary` says that
`Accept-Encoding` chose, also where nothing was compressed.

**Where it stands.** Outside of `Cache` and `ETag`, which work on the plain body. Do not compress a
page that has both a secret and text of the attacker's choice in it: its length tells (BREACH).
"""

from __future__ import annotations

import re
from asyncio import to_thread
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TypeAlias, TypeVar, cast

from gatekit._core.messages import Request, Response, weaken_etag
from gatekit._core.options import each_problem, flag_problem, integer_problem, known_keywords
from gatekit._core.problems import problem
from gatekit._core.weights import weights
from gatekit.errors import check
from gatekit.middleware._encodings import (
    ENCODINGS,
    Sized,
    Whole,
    encodings_problem,
    level_problem,
)
from gatekit.typing import Codec, Handler

T = TypeVar("T")
Choice: TypeAlias = tuple[str | None, bool]

COMPRESSIBLE: tuple[str, ...] = (
    "text/*",
    "*+json",
    "*+xml",
    "application/javascript",
    "application/json",
    "application/manifest+json",
    "application/ndjson",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xml",
    "application/vnd.ms-fontobject",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/svg+xml",
    "image/x-icon",
)
"""Types that get shorter; `*` stands for the rest of a half."""

EVENT_STREAM = "text/event-stream"

# No body, a part of one, or fields that are about another body (RFC 9110 §15).
_LEFT_ALONE = frozenset({204, 205, 206, 304})

# Of the plain bytes: RFC 9530, RFC 3230, RFC 2616 §14.15, RFC 9110 §14.3.
_OF_THE_PLAIN = frozenset(
    {
        b"accept-ranges",
        b"content-digest",
        b"content-encoding",
        b"content-length",
        b"content-md5",
        b"digest",
        b"repr-digest",
    }
)

_ASKED_FOR = frozenset(
    {
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"etag",
        b"vary",
    }
)

# What is known of fields that were seen: so many of them, each of at most as many bytes.
_KEPT = 256

# Bytes from which a body that is there already is worth a thread.
_LARGE = 65_536


@known_keywords
class Compress:
    """`encodings` in the order of preference; `levels` changes that of a coding.

    `min_size` in bytes is asked of bodies whose length is known. `types` are those that are
    compressed. `strict` answers 406 to a client that reads nothing that could be sent; without it
    the plain body is sent (RFC 9110 §12.5.3).
    """

    __slots__ = (
        "_choices", "_encodings", "_events", "_kinds", "_min_size", "_stream", "_strict", "_types",
        "_whole",
    )  # fmt: skip

    def __init__(
        self,
        *,
        encodings: Collection[str] | None = None,
        levels: Mapping[str, int] | None = None,
        min_size: int = 1024,
        types: Collection[str] = COMPRESSIBLE,
        event_streams: bool = False,
        strict: bool = False,
    ) -> None:
        here = [name for name, encoding in ENCODINGS.items() if encoding.is_here]
        check(
            "Compress",
            encodings=None if encodings is None else encodings_problem(encodings),
            levels=_levels_problem(levels),
            min_size=integer_problem(min_size),
            types=each_problem(types, _type_problem),
            event_streams=flag_problem(event_streams),
            strict=flag_problem(strict),
        )
        chosen = levels or {}
        self._encodings = tuple(here if encodings is None else encodings)
        self._whole: dict[str, Whole] = {}
        self._stream: dict[str, Callable[[bool], Codec]] = {}
        for name in self._encodings:
            encoding = ENCODINGS[name]
            level = chosen.get(name, encoding.level)
            self._whole[name] = encoding.whole(level)
            self._stream[name] = partial(encoding.stream, level)
        self._choices: dict[bytes, Choice] = {}
        self._kinds: dict[bytes, bool] = {}
        self._min_size = min_size
        self._types = _pattern(types)
        self._events = event_streams
        self._strict = strict

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        raw = response.raw_headers
        # Only a list may be looked through twice: an app may send any iterable.
        fields = _facts(raw if isinstance(raw, list) else response.headers.raw)
        if not self._may_change(request, response, fields):
            return response
        accepted = [value for name, value in request.headers.raw if name == b"accept-encoding"]
        name, plain_will_do = self._choose(b",".join(accepted)) if accepted else (None, True)
        length = _length(request, response, fields.get(b"content-length"))
        is_small = plain_will_do and length is not None and length < self._min_size
        if name is None or is_small or response.status == 304:
            response.headers.vary("Accept-Encoding")
            if name is not None and response.status == 304:
                # A client's copy may have been weakened by us; then so is what confirms it.
                weaken_etag(response.headers)
            return response if name or plain_will_do or not self._strict else _not_acceptable()
        self._put_fields(response, fields, name)
        body, whole = response.body, self._whole[name]
        if isinstance(body, bytes) and not response.codecs and request.method != "HEAD":
            if len(body) < _LARGE:
                response.body = whole(body)
            else:
                response.body = await request.io.call(whole, _in_thread(whole), body)
        elif length is None:
            response.filter(self._stream[name](True))
        else:
            # What has a length is not waited for chunk by chunk, and comes out smaller in one go.
            response.filter(Sized(length, whole, partial(self._stream[name], False)))
        return response

    def _may_change(
        self, request: Request, response: Response, fields: Mapping[bytes, bytes]
    ) -> bool:
        """Whether another representation of this answer may be sent at all."""
        status = response.status
        if status == 304:
            return b"etag" in fields
        if status < 200 or status in _LEFT_ALONE or request.is_websocket:
            return False
        if fields.get(b"content-encoding", b"identity") != b"identity":
            return False
        # RFC 9111 §5.2.2.6: an intermediary "MUST NOT transform the content".
        if b"cache-control" in fields and b"no-transform" in fields[b"cache-control"].lower():
            return False
        return b"content-range" not in fields and self._is_type(fields.get(b"content-type", b""))

    def _is_type(self, value: bytes) -> bool:
        known = self._kinds.get(value)
        if known is None:
            kind = value.partition(b";")[0].strip().lower().decode("latin-1")
            known = bool(self._types.fullmatch(kind)) and (kind != EVENT_STREAM or self._events)
            _remember(self._kinds, value, known)
        return known

    def _choose(self, accepted: bytes) -> Choice:
        """The coding to use, None for none, and whether the client reads the plain body."""
        choice = self._choices.get(accepted)
        if choice is None:
            choice = self._weigh(weights(accepted.decode("latin-1")))
            _remember(self._choices, accepted, choice)
        return choice

    def _weigh(self, found: Mapping[str, float]) -> Choice:
        rest = found.get("*", 0.0)
        # RFC 9110 §12.5.3: plain is acceptable "unless specifically excluded".
        plain = found.get("identity", rest if found.get("*") == 0.0 else 1.0)
        best, most = None, 0.0
        for name in self._encodings:
            weight = found.get(name, found.get("x-gzip", rest) if name == "gzip" else rest)
            if weight > most:
                best, most = name, weight
        if "identity" in found and plain > most:
            return None, True
        return best, plain > 0.0

    def _put_fields(self, response: Response, facts: Mapping[bytes, bytes], name: str) -> None:
        headers = response.headers
        raw = [field for field in headers.raw if field[0] not in _OF_THE_PLAIN]
        raw.append((b"content-encoding", name.encode("ascii")))
        if b"vary" not in facts:
            raw.append((b"vary", b"Accept-Encoding"))
        headers.replace(raw)
        if b"vary" in facts:
            headers.vary("Accept-Encoding")
        if b"etag" in facts:
            weaken_etag(headers)


def _in_thread(whole: Whole) -> Callable[[bytes], Awaitable[bytes]]:
    return lambda body: to_thread(whole, body)


def _remember(kept: dict[bytes, T], key: bytes, value: T) -> None:
    """Clients write few lists, or mean harm: then all is forgotten, and none of it is long."""
    if len(kept) >= _KEPT:
        kept.clear()
    if len(key) <= _KEPT:
        kept[key] = value


def _facts(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The fields that are asked for; of these `Cache-Control` alone may stand in several lines."""
    facts: dict[bytes, bytes] = {}
    for field, value in raw:
        name = field.lower()
        if name in _ASKED_FOR:
            is_more = name == b"cache-control" and name in facts
            facts[name] = facts[name] + b"," + value if is_more else value
    return facts


def _length(request: Request, response: Response, declared: bytes | None) -> int | None:
    if isinstance(response.body, bytes) and request.method != "HEAD":
        return len(response.body)
    return int(declared[:18]) if declared is not None and declared.isdigit() else None


def _not_acceptable() -> Response:
    return problem(
        406,
        "None of the content codings that the request accepts can be sent.",
        type="urn:gatekit:not-acceptable",
        headers={"vary": "Accept-Encoding"},
    )


def _pattern(types: Collection[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(kind.lower()).replace(r"\*", r"[^;]*") for kind in types))


def _type_problem(kind: object) -> str | None:
    if isinstance(kind, str) and re.fullmatch(r"[\w*.+-]+(/[\w*.+-]+)?", kind):
        return None
    return f"{kind!r} is not a media type, such as 'text/*' or '*+json'"


def _levels_problem(levels: object) -> str | None:
    if levels is None:
        return None
    if not isinstance(levels, Mapping):
        return f"must map codings to levels, not {levels!r}"
    problems: list[str] = []
    for name, level in cast("Mapping[object, object]", levels).items():
        if not isinstance(name, str) or name not in ENCODINGS:
            problems.append(f"{name!r} is not one of {', '.join(ENCODINGS)}")
        elif (what := level_problem(name, level)) is not None:
            problems.append(what)
    return "; ".join(problems) or None
