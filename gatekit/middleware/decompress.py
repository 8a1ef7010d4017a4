"""Request bodies that come compressed are given on plain.

    app = asgi(app, Decompress(max_bytes=10 * 1024 * 1024))

`gzip`, `deflate` and, with their extras, `br` and `zstd` are undone while the body is read; the
app sees neither `Content-Encoding` nor the length of the coded body. A coding that is not known is
a 415 that lists those that are (RFC 9110 §15.5.16).

A small body can hold a huge one. What comes out is counted piece by piece, and more than
`max_bytes`, or than `max_ratio` times what came in, is a 413 before it is in memory. What is
corrupt, cut short, or followed by something else is a 400.

A `BodyLimit` outside counts the bytes that travel, one inside those that come out.
"""

from __future__ import annotations

from collections.abc import Collection

from gatekit._core.messages import Request, Response
from gatekit._core.options import integer_problem, known_keywords
from gatekit.errors import Rejected, check
from gatekit.middleware._encodings import ENCODINGS, Guard, encodings_problem
from gatekit.typing import Handler

# RFC 9110 §8.4 allows a list; who codes twice gains nothing but work for others.
_CODINGS = 2


@known_keywords
class Decompress:
    """At most `max_bytes` bytes come out, and `max_ratio` times what went in from 1 MiB on.

    `encodings` are those that are undone; without it all whose libraries are there.
    """

    __slots__ = ("_accepted", "_encodings", "_max_bytes", "_max_ratio")

    def __init__(
        self,
        *,
        max_bytes: int = 10_485_760,
        max_ratio: float = 100.0,
        encodings: Collection[str] | None = None,
    ) -> None:
        check(
            "Decompress",
            max_bytes=integer_problem(max_bytes, 1),
            max_ratio=_ratio_problem(max_ratio),
            encodings=None if encodings is None else encodings_problem(encodings),
        )
        here = [name for name, encoding in ENCODINGS.items() if encoding.is_here]
        self._encodings = frozenset(here if encodings is None else encodings)
        # RFC 9110 §12.5.3: in a response it says what may be sent.
        self._accepted = ", ".join([name for name in ENCODINGS if name in self._encodings])
        self._max_bytes = max_bytes
        self._max_ratio = max_ratio

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        coded = request.headers.getlist("content-encoding")
        if coded and not request.is_websocket and not request.body.ended:
            names = [name.strip(" \t").lower() for name in ",".join(coded).split(",")]
            names = [name for name in names if name not in ("", "identity")]
            self._undo(request, names)
        return await call_next(request)

    def _undo(self, request: Request, names: list[str]) -> None:
        known = ["gzip" if name == "x-gzip" else name for name in names]
        if len(known) > _CODINGS or not self._encodings.issuperset(known):
            raise Rejected(
                415,
                "The request's body comes in a content coding that is not read here.",
                type="urn:gatekit:unsupported-encoding",
                headers={"accept-encoding": self._accepted or "identity"},
            )
        # RFC 9110 §8.4: they are listed in the order in which they were applied.
        for name in reversed(known):
            request.body.filter(ENCODINGS[name].expand(Guard(self._max_bytes, self._max_ratio)))
        headers = request.headers
        del headers["content-encoding"]
        if known and "content-length" in headers:
            # Its length is not known now; without either field there would be no body to an
            # upstream (RFC 9112 §6.3).
            del headers["content-length"]
            headers["transfer-encoding"] = "chunked"


def _ratio_problem(ratio: object) -> str | None:
    if isinstance(ratio, int | float) and not isinstance(ratio, bool) and ratio >= 1:
        return None
    return f"must be a number of at least 1, not {ratio!r}"
