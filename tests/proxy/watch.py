"""An observer around a proxied WebSocket, and one that is played from both ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from gatekit import Outcome, Proxy, Request, Response, WebSockets, asgi_app
from gatekit.typing import Handler, Middleware
from tests.proxy.sockets import Client
from tests.proxy.upstream import Script, Upstream

Play: TypeAlias = Callable[[Client], Awaitable[None]]
Run: TypeAlias = Callable[[Coroutine[None, None, None]], None]


class Watch:
    """Keeps what the outermost observer learns."""

    request: Request
    outcome: Outcome

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        self.request = request

        def over(outcome: Outcome) -> None:
            self.outcome = outcome
            assert request.websocket_close is not None

        request.on_finish(over)
        return await call_next(request)

    @property
    def end(self) -> tuple[Any, ...]:
        """Who ended it, why, with which code and reason, and how the exchange counts."""
        close = self.request.websocket_close
        assert close is not None and close.duration >= 0
        return (*close[:4], self.outcome.ended)


def through(
    run: Run, script: Script, play: Play, *middlewares: Middleware, **options: Any
) -> tuple[Watch, Upstream]:
    """Connect a client to the upstream through a proxy, and let it play."""
    watch = Watch()

    async def main() -> None:
        proxy = Proxy(upstream.url, websockets=WebSockets(**options))
        async with Client(asgi_app(proxy, watch, *middlewares)) as client:
            await client.accepted()
            await play(client)
        assert proxy._switchboard.open == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with Upstream(script) as upstream:
        run(main())
    return watch, upstream
