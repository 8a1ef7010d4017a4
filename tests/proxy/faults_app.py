"""A gateway that tells what it holds: GET /-/held, as JSON. `/lost` leads to no host at all."""

from __future__ import annotations

import asyncio
import gc
import os
import threading

from gatekit import HTTPTransport, Proxy, Request, Response, Timeouts, asgi_app, wsgi_app
from gatekit.proxy.transport import Origin
from gatekit.typing import Handler

URL = os.environ.get("UPSTREAM", "http://127.0.0.1:9")
LIMITS = Timeouts(connect=5.0, first_byte=0.3, idle=5.0, client=0.3)

transport = HTTPTransport(max_connections=50)


proxy = Proxy(URL, transport=transport, timeouts=LIMITS)
lost = Proxy("http://upstream.invalid", timeouts=LIMITS)


async def held(request: Request, call_next: Handler) -> Response:
    if request.path == "/lost":
        return await lost(request)
    if request.path != "/-/held":
        return await call_next(request)
    gc.collect()
    usage = transport.usage(Origin(URL))
    return Response.json(
        {
            "in_use": usage.in_use,
            "pending": usage.pending,
            "in_flight": proxy.cluster.state.active,
            "tasks": len(asyncio.all_tasks()) if request.io.is_async else 0,
            "threads": threading.active_count(),
            # The socket of this request is one of them; those of idle connections are left out.
            "files": len(os.listdir("/proc/self/fd")) - usage.idle,  # noqa: PTH208 — only names
        }
    )


app = asgi_app(proxy, held)
wsgi = wsgi_app(proxy, held)
