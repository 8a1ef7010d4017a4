"""A service that is asked whether credentials are good; left alone for a while when it fails.

    service = Service("https://id.example/introspect", timeout=2.0)
    answer = await service.ask(request.io, method="POST", body=b"token=...", headers=[...])

What it says is bounded in time and size, and no redirect is followed. After three failures in a row
it is asked by nobody for a second, then for two, up to half a minute: `Away` says how long still.
"""

from __future__ import annotations

import logging

from gatekit._core.io import IO
from gatekit.errors import UpstreamError
from gatekit.middleware.auth._metadata import BadAnswer
from gatekit.proxy.fetch import Endpoint, Fetched, fetch
from gatekit.proxy.transport import HTTPTransport, Transport
from gatekit.typing import RawHeaders

logger = logging.getLogger("gatekit.auth")

_TRIPS_AFTER = 3
_ALONE, _LONGEST = 1.0, 30.0
# That we have too many requests under way says nothing about the service.
_OURS = frozenset({"pool_full", "pool_timeout"})


class Away(Exception):
    """It does not answer; `retry_after` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the service is away")
        self.retry_after = retry_after


class Service:
    """`timeout` is in seconds, for one answer."""

    __slots__ = (
        "_alone_until", "_endpoint", "_failures", "_max_bytes", "_owned", "_timeout", "_transport",
    )  # fmt: skip

    def __init__(
        self, url: str, *, timeout: float, max_bytes: int, transport: Transport | None
    ) -> None:
        self._endpoint = Endpoint(url)
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._owned = HTTPTransport(max_connections=50) if transport is None else None
        self._transport: Transport = self._owned or transport  # type: ignore[assignment]
        self._failures = 0
        self._alone_until = float("-inf")

    async def ask(
        self,
        io: IO,
        *,
        method: str,
        headers: RawHeaders,
        body: bytes | None = None,
        deadline: float | None = None,
    ) -> Fetched:
        """The answer, whatever its status; by `answered` or `failed` say whether it was one."""
        wait = self._alone_until - io.now()
        if wait > 0:
            raise Away(wait)
        try:
            return await fetch(
                io,
                self._transport,
                self._endpoint,
                method=method,
                headers=headers,
                body=body,
                timeout=self._timeout,
                max_bytes=self._max_bytes,
                deadline=deadline,
            )
        except UpstreamError as error:
            if error.stage in _OURS:
                raise Away(_ALONE) from error
            raise self.failed(io, error) from error

    def answered(self) -> None:
        if self._failures >= _TRIPS_AFTER:
            logger.info("%r answers again", self)
        self._failures = 0

    def failed(self, io: IO, error: UpstreamError | BadAnswer) -> Away:
        """Counts what was no answer, and gives what to raise."""
        self._failures += 1
        over = self._failures - _TRIPS_AFTER
        if over < 0:
            return Away(_ALONE)
        if over == 0:
            logger.warning("%r is left alone: %s", self, error)
        alone = min(_ALONE * 2.0 ** min(over, 10), _LONGEST)
        self._alone_until = io.now() + alone
        return Away(alone)

    def close(self) -> None:
        if self._owned is not None:
            self._owned.close()

    async def aclose(self) -> None:
        if self._owned is not None:
            await self._owned.aclose()

    def __repr__(self) -> str:
        return f"Service({self._endpoint.url.partition('?')[0]!r})"
