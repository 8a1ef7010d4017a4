"""A validator for answers that have none, and a 304 for clients that have the answer already.

    app = asgi(app, ETag())

The tag is a hash of the body, so that it is the same in every worker and after a restart. It saves
the bytes on the wire, not the work of the view. Only a 200 to a `GET` whose length is known, up to
`max_bytes`, is hashed; a stream passes untouched, and so does what says `no-store`.

`If-None-Match` and `If-Modified-Since` are answered for an app's own validators as well, in the
order of RFC 9110 §13.2.2. `If-Match` and `If-Unmodified-Since` are answered for `GET` and `HEAD`;
for a method that changes something, only the app can tell before it is too late.

**Where it stands.** Inside of `Compress`, which makes the tag a weak one.
"""

from __future__ import annotations

from hashlib import blake2b

from gatekit._core.messages import Request, Response
from gatekit._core.options import flag_problem, integer_problem, known_keywords
from gatekit._core.problems import problem
from gatekit.errors import BodyTooLarge, check
from gatekit.middleware.cache.dates import parse_date
from gatekit.middleware.cache.validators import head_of_304, matches, same_strong
from gatekit.typing import Handler


@known_keywords
class ETag:
    """Bodies up to `max_bytes` are held and hashed; with `weak` the tags are weak ones."""

    __slots__ = ("_max_bytes", "_prefix")

    def __init__(self, *, max_bytes: int = 1_048_576, weak: bool = False) -> None:
        check("ETag", max_bytes=integer_problem(max_bytes, 1), weak=flag_problem(weak))
        self._max_bytes = max_bytes
        self._prefix = "W/" if weak else ""

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        if request.method not in ("GET", "HEAD") or response.status != 200:
            return response
        headers = response.headers
        if "etag" not in headers and request.method == "GET" and self._is_to_hash(response):
            try:
                body = await response.read(self._max_bytes)
            except BodyTooLarge:
                # It is longer than it said, and streams on.
                return response
            headers["etag"] = f'{self._prefix}"{blake2b(body, digest_size=16).hexdigest()}"'
        return _by_conditions(request, response)

    def _is_to_hash(self, response: Response) -> bool:
        headers = response.headers
        if "no-store" in headers.get("cache-control", "").lower() or "content-range" in headers:
            return False
        if isinstance(response.body, bytes):
            return len(response.body) <= self._max_bytes
        length = headers.get("content-length", "")
        return length.isascii() and length.isdecimal() and int(length[:18]) <= self._max_bytes


def _by_conditions(request: Request, response: Response) -> Response:
    """RFC 9110 §13.2.2, steps 1 to 4."""
    fields = request.headers
    etag = _bytes(response.headers.get("etag"))
    modified = _date(response.headers.get("last-modified"))
    match = fields.getlist("if-match")
    since = _date(fields.get("if-unmodified-since"))
    if match:
        if not _strongly(etag, match):
            return _failed()
    elif since is not None and modified is not None and modified > since:
        return _failed()
    none_match = [line.encode("latin-1") for line in fields.getlist("if-none-match")]
    if none_match:
        is_known = matches(etag, none_match)
    else:
        since = _date(fields.get("if-modified-since"))
        is_known = since is not None and modified is not None and modified <= since
    return _not_modified(response) if is_known else response


def _not_modified(response: Response) -> Response:
    """RFC 9110 §15.4.5: the fields that a 200 would have, but those of the body."""
    return Response.from_head(304, head_of_304(response.headers.raw), b"")


def _failed() -> Response:
    return problem(
        412, "The answer is not the one that was asked for.", type="urn:gatekit:precondition-failed"
    )


def _strongly(etag: bytes | None, lines: list[str]) -> bool:
    listed = ",".join(lines)
    if listed.strip(" \t") == "*":
        return True
    return any(same_strong(etag, tag.encode("latin-1")) for tag in listed.split(","))


def _date(text: str | None) -> float | None:
    return None if text is None else parse_date(text.encode("latin-1"))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("latin-1")
