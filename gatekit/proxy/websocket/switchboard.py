"""The WebSockets of one proxy: how each begins, and how all of them end together.

handshake = switchboard.begin(request)          # Rejected where none can be carried
fields = handshake.fields(fields)               # … and the request goes up, with `upgrade`
response = await switchboard.answer(request, handshake, answer, fields)
await switchboard.aclose()                      # every one is told 1012
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Literal, cast
from weakref import WeakKeyDictionary

from gatekit._core.messages import Content, Request, Response
from gatekit.errors import Rejected, UpstreamError
from gatekit.proxy.failures import failed
from gatekit.proxy.fields import NOT_CARRIED
from gatekit.proxy.transport.exchange import AsyncBody, AsyncTunnel, UpstreamResponse
from gatekit.proxy.websocket.handshake import Handshake, without_handshake
from gatekit.proxy.websocket.options import MISSING, WebSockets, is_installed
from gatekit.typing import RawHeaders

if TYPE_CHECKING:
    from gatekit.proxy.websocket.relay import Relay

_SERVICE_RESTART = 1012
# Connections a second: only as many as are worth it are spread over the whole time.
_PACE = 100
# Seconds more than the time over which they are spread: each has fewer for its handshake.
_GRACE = 5.0

logger = logging.getLogger("gatekit")


class Switchboard:
    """`name` is the proxy's in `Proxy-Status`; with `options` False no WebSocket is carried."""

    __slots__ = ("_loops", "_name", "_options")

    def __init__(self, options: WebSockets | bool, name: str) -> None:
        # None: without the library a proxy is none the worse for everything else.
        self._options: WebSockets | Literal[False] | None
        if isinstance(options, WebSockets):
            self._options = options
        elif options:
            self._options = WebSockets() if is_installed() else None
        else:
            self._options = False
        self._name = name
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Open] = WeakKeyDictionary()

    def begin(self, request: Request) -> Handshake:
        """What the upstream is to be asked."""
        options = self._options
        if options is None:
            logger.error("a WebSocket was refused: to carry it %s", MISSING)
        if not options:
            raise Rejected(501, "WebSockets are not carried here.", type=NOT_CARRIED)
        here = self._loops.get(asyncio.get_running_loop())
        if here is not None and here.emptied is not None:
            raise Rejected(
                503,
                "The gateway is about to restart.",
                type="urn:gatekit:restarting",
                headers={"retry-after": "1"},
            )
        return Handshake(request, options.subprotocols)

    async def answer(
        self,
        request: Request,
        handshake: Handshake,
        answer: UpstreamResponse[AsyncBody],
        fields: RawHeaders,
    ) -> Response:
        """For the client: a 101, or the upstream's refusal, with its `fields`; or a 502."""
        from gatekit.proxy.websocket.relay import Relay

        fields = without_handshake(fields)
        tunnel = answer.body
        if answer.status != 101:
            return Response.from_head(answer.status, fields, cast("Content", tunnel))
        assert isinstance(self._options, WebSockets)
        if not isinstance(tunnel, AsyncTunnel):
            return failed(request, UpstreamError("protocol", "a 101 without a tunnel"), self._name)
        try:
            subprotocol = handshake.agreed(answer.headers)
        except UpstreamError as error:
            await tunnel.aclose()
            return failed(request, error, self._name)
        loop = asyncio.get_running_loop()
        here = self._loops.setdefault(loop, _Open())
        relay = Relay(request, tunnel, self._options, subprotocol, here.forget)
        here.relays.add(relay)
        # Whoever replaces the answer, the upstream is let go.
        request.on_finish(lambda _: relay.aclose())
        return Response.from_head(101, fields, cast("Content", relay))

    @property
    def open(self) -> int:
        """How many are open in this process."""
        return sum(len(here.relays) for here in self._loops.values())

    async def aclose(self) -> None:
        """Closes those of the running loop, spread over `drain` seconds where they are many."""
        loop = asyncio.get_running_loop()
        here = self._loops.get(loop)
        options = self._options
        if here is None or not here.relays or not isinstance(options, WebSockets):
            return
        window = min(options.drain, len(here.relays) / _PACE)
        here.emptied = loop.create_future()
        timers = [
            loop.call_later(
                window * options.chance.random(),
                relay.end,
                "drain",
                _SERVICE_RESTART,
                "the gateway restarts",
            )
            for relay in here.relays
        ]
        try:
            await asyncio.wait([here.emptied], timeout=window + _GRACE)
        finally:
            here.emptied = None
            for timer in timers:
                timer.cancel()


class _Open:
    """Those of one event loop."""

    __slots__ = ("__weakref__", "emptied", "relays")

    def __init__(self) -> None:
        self.relays: set[Relay] = set()
        self.emptied: asyncio.Future[None] | None = None
        """Where they are being closed: resolved when none is left, and no new one is let in."""

    def forget(self, relay: Relay) -> None:
        self.relays.discard(relay)
        if self.emptied is not None and not self.relays and not self.emptied.done():
            self.emptied.set_result(None)
