"""One id for each request, in its headers, its logs and its response.

    app = asgi(app, CorrelationId())
    handler.addFilter(CorrelationFilter())      # logging: %(correlation_id)s

What a client sends is kept only if it is one field of `[A-Za-z0-9._-]{1,128}`: anything else could
forge a log line. The app, and an upstream behind it, finds exactly one, the id that counts.

Put it outermost, so that refusals and 500s carry the id as well.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial

from gatekit._core.compose import answered
from gatekit._core.messages import Request, Response
from gatekit._core.options import flag_problem, function_problem, known_keywords, name_problem
from gatekit.errors import check
from gatekit.typing import Handler

_VALID = re.compile(r"[A-Za-z0-9._-]{1,128}")

correlation_id: ContextVar[str | None] = ContextVar("gatekit.correlation_id", default=None)
"""The id of the request that this context serves."""


@known_keywords
class CorrelationId:
    """Finds or makes `request.correlation_id` and sends it back.

    `accept` says from whom an id is taken: everybody, nobody, or those requests for which a
    function says so, such as `lambda request: request.trusted_peer` behind a `ClientIP`.
    `generate` makes a new one, a UUIDv7 unless told otherwise; what it gives is made a string.
    `response_header=False` keeps it from the client.
    """

    __slots__ = ("_accept", "_generate", "_key", "_respond")

    def __init__(
        self,
        header: str = "X-Correlation-ID",
        *,
        accept: bool | Callable[[Request], bool] = True,
        generate: Callable[[], object] | None = None,
        response_header: bool = True,
    ) -> None:
        check(
            "CorrelationId",
            response_header=flag_problem(response_header),
            header=name_problem(header),
            accept=None if isinstance(accept, bool) else function_problem(accept),
            generate=function_problem(generate),
        )
        self._key = header.lower().encode("ascii")
        self._accept = accept
        self._generate = uuid7 if generate is None else partial(_checked, generate)
        self._respond = response_header

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        key = self._key
        headers = request.headers
        rest = [field for field in headers.raw if field[0] != key]
        chosen = None
        # The common case is that there is none; then what is left is all there was.
        if len(rest) != len(headers.raw):
            chosen = self._inbound(request)
        if chosen is None:
            chosen = self._generate()
        # A field of our own also where the client's id counts: `Connection` cannot take it away.
        rest.append((key, chosen.encode("ascii")))
        headers.replace(rest)
        request.correlation_id = chosen
        # Set, never reset: the way out may run in another context, where a token is refused.
        correlation_id.set(chosen)
        response = await answered(request, call_next)
        if self._respond:
            rest = [field for field in response.headers.raw if field[0] != key]
            rest.append((key, chosen.encode("ascii")))
            response.headers.replace(rest)
        return response

    def _inbound(self, request: Request) -> str | None:
        values = [value for name, value in request.headers.raw if name == self._key]
        if len(values) != 1:
            return None
        value = values[0].decode("latin-1")
        if not _VALID.fullmatch(value):
            return None
        accept = self._accept
        return value if accept is True or (accept and accept(request)) else None


class CorrelationFilter(logging.Filter):
    """Gives every log record a `correlation_id`, `-` outside of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.correlation_id = correlation_id.get() or "-"
        return True


def _checked(generate: Callable[[], object]) -> str:
    fresh = str(generate())
    if not _VALID.fullmatch(fresh):
        raise ValueError(f"generate() gave {fresh!r}, which is not 1 to 128 of A-Za-z0-9._-")
    return fresh


def uuid7(
    now: Callable[[], int] = time.time_ns, entropy: Callable[[int], bytes] = os.urandom
) -> str:
    """A UUID of version 7: milliseconds since 1970, then 74 random bits (RFC 9562 §5.7)."""
    milliseconds = now() // 1_000_000
    digits = entropy(10).hex()
    # The variant is the two bits 0b10 in front of two random ones.
    variant = "89ab"[int(digits[0], 16) & 3]
    return (
        f"{milliseconds >> 16 & 0xFFFF_FFFF:08x}-{milliseconds & 0xFFFF:04x}"
        f"-7{digits[1:4]}-{variant}{digits[5:8]}-{digits[8:]}"
    )
