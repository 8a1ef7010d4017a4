"""The types of gatekit's public face: what a handler, a middleware and an app are.

    async def hello(request: Request) -> Response: ...                       # a Handler
    async def shout(request: Request, call_next: Handler) -> Response: ...   # a Middleware

Anything with the right shape will do; there is nothing to inherit from.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from gatekit._core.messages import Request, Response

    WSGIApp: TypeAlias = WSGIApplication
    Environ: TypeAlias = WSGIEnvironment
    StartResponseCallable: TypeAlias = StartResponse
else:
    WSGIApp = Callable
    Environ = dict
    StartResponseCallable = Callable

Handler: TypeAlias = "Callable[[Request], Awaitable[Response]]"

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

RawHeaders: TypeAlias = "list[tuple[bytes, bytes]]"


class Middleware(Protocol):
    """A handler that is given the next one."""

    async def __call__(self, request: Request, call_next: Handler, /) -> Response: ...


class Codec(Protocol):
    """Changes a body in flight, like `zlib.compressobj()`: bytes in, bytes out, in order.

    One with an attribute `observes` that is true gives back what it is given: the door then leaves
    the length and the `ETag` as they are.
    """

    def feed(self, data: bytes, /) -> bytes: ...

    def finish(self) -> bytes: ...


@runtime_checkable
class SupportsClose(Protocol):
    """What holds resources and wants to give them back when the app stops, in either colour."""

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


Body: TypeAlias = "bytes | Iterable[bytes]"
