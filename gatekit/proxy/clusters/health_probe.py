"""One check of one destination: by a request, by a connection, or by a function of the user's.

verdict, reason, late = await HTTPProbe(...).check(io, member, 5.0)

`"unclear"` says nothing of the destination: it was not asked, as all connections to it are in use.
`late` is what a function that did not end in time is still doing.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

from gatekit._core.aside import Late, call_aside
from gatekit._core.classify import OURS
from gatekit._core.io import IO
from gatekit.errors import UpstreamError
from gatekit.proxy.clusters.destination import Destination
from gatekit.proxy.clusters.health_options import pattern_of, statuses_of
from gatekit.proxy.fetch import Endpoint, fetch
from gatekit.proxy.transport.origin import Origin

if TYPE_CHECKING:
    from gatekit.proxy.clusters.member import Member

Verdict: TypeAlias = Literal["good", "bad", "unreachable", "timeout", "unclear"]
OwnCheck: TypeAlias = Callable[[Destination], "object | Awaitable[object]"]


_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_STAYS = re.compile(r"/(?!/)[!-~]*|/")


class Found(NamedTuple):
    verdict: Verdict
    reason: str
    late: Future[Any] | None = None


class Probe(Protocol):
    async def check(self, io: IO, member: Member, seconds: float) -> Found:
        """Takes no longer than so many seconds; what it raises is a fault of its own."""
        ...


class HTTPProbe:
    """By an answer. It goes the way of the requests: the same connections, TLS and address."""

    def __init__(
        self,
        path: str,
        method: str,
        expect: int | Collection[int],
        body: str | bytes | re.Pattern[bytes] | None,
        max_body: int,
        headers: Mapping[str, str],
        host: str | None,
        port: int | None,
        *,
        send: bytes | None = None,
        redirects: int = 0,
    ) -> None:
        self._path = path.encode("ascii")
        self._send = send
        self._redirects = redirects
        self._method = method
        self._expect = frozenset(statuses_of(expect) or ())
        self._pattern = None if body is None else pattern_of(body)
        self._max_body = max_body
        self._fields = [
            (name.lower().encode("ascii"), value.encode("latin-1"))
            for name, value in headers.items()
        ]
        self._host = None if host is None else host.encode("ascii")
        self._port = port

    async def check(self, io: IO, member: Member, seconds: float) -> Found:
        origin = at_port(member.origin, self._port)
        # RFC 9110 §7.2: Host has the port where it is not the default one.
        own = member.host if self._port is None else origin.authority
        target, hops, deadline = origin.base + self._path, self._redirects, io.now() + seconds
        try:
            while True:
                status, fields, body = await fetch(
                    io,
                    member.transport,
                    Endpoint.of(origin, target),
                    method=self._method,
                    headers=[(b"host", self._host or own), *self._fields],
                    body=self._send,
                    timeout=seconds,
                    max_bytes=self._max_body,
                    deadline=deadline,
                )
                location = fields.get("location", "")
                # At another place it would be another's health that is found.
                stays = _STAYS.fullmatch(location) and status in _REDIRECTS - self._expect
                if not stays or not hops:
                    break
                target, hops = location.encode("ascii"), hops - 1
        except UpstreamError as error:
            return _of_error(error)
        if status not in self._expect:
            return Found("bad", f"the health check was answered {status}")
        if self._pattern is not None and not self._pattern.search(body):
            return Found("bad", "the health check was answered with another body")
        return Found("good", f"the health check was answered {status}")


class TCPProbe:
    """By a connection that is closed at once. An app of this process is always there."""

    def __init__(self, port: int | None) -> None:
        self._port = port

    async def check(self, io: IO, member: Member, seconds: float) -> Found:
        if not member.destination.is_local:
            origin = at_port(member.origin, self._port)
            try:
                await io.call(_connect, _aconnect, origin, seconds)
            except TimeoutError:
                return Found("timeout", f"not connected within {seconds:.3g} s")
            except OSError as error:
                return Found("unreachable", f"not connected: {error}")
        return Found("good", "connected")


class OwnProbe:
    """By what a function says."""

    def __init__(self, function: OwnCheck) -> None:
        self._function = function

    async def check(self, io: IO, member: Member, seconds: float) -> Found:
        try:
            said = await call_aside(io, self._function, member.destination, seconds=seconds)
        except TimeoutError as error:
            late = error.future if isinstance(error, Late) else None
            return Found("timeout", f"the check took more than {seconds:.3g} s", late)
        if isinstance(said, str):
            return Found("bad", said)
        if said is None or said is True:
            return Found("good", "the check succeeded")
        return Found("bad", "the check failed")


def at_port(origin: Origin, port: int | None) -> Origin:
    """The same place at another port. A Unix socket has none."""
    if port is None or origin.uds is not None:
        return origin
    name = f"[{origin.host}]" if ":" in origin.host else origin.host
    return Origin(
        f"{origin.scheme}://{name}:{port}{origin.base.decode()}",
        address=None if origin.address == origin.host else origin.address,
    )


def _of_error(error: UpstreamError) -> Found:
    reason = f"the health check failed: {error}"
    if error.stage in OURS:
        return Found("unclear", reason)
    if error.stage.endswith("_timeout"):
        return Found("timeout", reason)
    return Found("bad" if error.stage == "protocol" else "unreachable", reason)


async def _aconnect(origin: Origin, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        if origin.uds is not None:
            _, writer = await asyncio.open_unix_connection(origin.uds)
        else:
            _, writer = await asyncio.open_connection(origin.address, origin.port)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _connect(origin: Origin, seconds: float) -> None:
    if origin.uds is not None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(seconds)
            sock.connect(origin.uds)
    else:
        socket.create_connection((origin.address, origin.port), seconds).close()
