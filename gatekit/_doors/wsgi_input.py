"""Between `environ` and a request: header fields both ways, and the body."""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from gatekit._core.body import Pull, RequestBody
from gatekit._core.io import block
from gatekit.errors import ClientDisconnected, GatekitError, Rejected
from gatekit.typing import Environ, RawHeaders

if TYPE_CHECKING:
    from _typeshed.wsgi import InputStream

_PIECE = 65_536
_UNPREFIXED = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})


def environ_headers(environ: Environ) -> RawHeaders:
    """The request's fields; CGI's way of naming them has folded case and underscores already."""
    return [
        (name, value.encode("latin-1"))
        for key, value in environ.items()
        if (name := _name(key)) is not None and (value or key not in _UNPREFIXED)
    ]


def put_headers(environ: Environ, raw: Iterable[tuple[bytes, bytes]]) -> None:
    """Puts changed fields back, several of one name joined as RFC 9110 §5.3 allows."""
    for key in [key for key in environ if key.startswith("HTTP_")]:
        del environ[key]
    environ.pop("CONTENT_TYPE", None)
    environ.pop("CONTENT_LENGTH", None)
    for name, value in raw:
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in _UNPREFIXED:
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        joint = "; " if key == "HTTP_COOKIE" else ", "
        environ[key] = f"{environ[key]}{joint}{text}" if key in environ else text


@lru_cache(1024)
def _name(key: str) -> bytes | None:
    """The field that a variable stands for; most variables are the process's own."""
    if not (key.startswith("HTTP_") or key in _UNPREFIXED):
        return None
    return key.removeprefix("HTTP_").replace("_", "-").lower().encode("latin-1")


def content_length(declared: str | None) -> int | None:
    """The length that `CONTENT_LENGTH` declares; None where it says nothing that can be counted."""
    return int(declared) if declared and declared.isascii() and declared.isdecimal() else None


def pull_from(environ: Environ) -> Pull | None:
    """Reads `wsgi.input`, never past the declared length, which not every server guards.

    Without a length there is a body only where the server ends the input by itself; one in chunks
    from another server cannot be told from none, and is refused with 411.
    """
    source: InputStream = environ["wsgi.input"]
    left = content_length(environ.get("CONTENT_LENGTH"))
    if left is None and not environ.get("wsgi.input_terminated"):
        return _unreadable if "HTTP_TRANSFER_ENCODING" in environ else None

    async def pull() -> tuple[bytes, bool]:
        nonlocal left
        wanted = _PIECE if left is None else min(_PIECE, left)
        try:
            data: bytes = source.read(wanted) if wanted else b""
        except GatekitError:
            raise
        except Exception as error:
            # A server says in words of its own that chunks are malformed, or that the client left.
            raise ClientDisconnected("the request's body cannot be read") from error
        if left is None:
            return data, bool(data)
        left -= len(data)
        if not data and left:
            raise ClientDisconnected("the client sent less than it declared")
        return data, left > 0

    return pull


async def _unreadable() -> tuple[bytes, bool]:
    raise Rejected(411, "This server needs a Content-Length.", type="urn:gatekit:length-required")


class Input(io.RawIOBase):
    """A `wsgi.input` that gives the app a body which middlewares have read or filter."""

    def __init__(self, body: RequestBody) -> None:
        self._body = body
        self._rest = b""
        self.refusal: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer)  # type: ignore[arg-type]
        if not self._rest:
            try:
                self._rest = block(self._body.chunk())
            except Exception as error:
                self.refusal = error
                raise
        taken = self._rest[: len(target)]
        target[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)


def put_body(environ: Environ, body: RequestBody) -> Input:
    """Gives the app this body instead of the server's."""
    raw = Input(body)
    environ["wsgi.input"] = io.BufferedReader(raw, _PIECE)
    environ["wsgi.input_terminated"] = True
    return raw
