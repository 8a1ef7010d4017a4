"""A proxy with real connections behind each door, called in process, one call after another.

    with gateway("asgi", Proxy(upstream.url, transport=transport)) as call:
        assert call("GET", "/").status == 200

Unlike `tests.proxy.handlers`, the calls of a gateway share one event loop, and so its pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

from gatekit import Proxy, asgi_app, wsgi_app
from gatekit.testing import Answer, call_asgi, call_wsgi
from gatekit.typing import Middleware

Call: TypeAlias = Callable[..., Answer]

COLOURS = ["asgi", "wsgi"]


@contextmanager
def gateway(colour: str, proxy: Proxy, *middlewares: Middleware) -> Iterator[Call]:
    if colour == "wsgi":
        yield partial(call_wsgi, wsgi_app(proxy, *middlewares))
        proxy.close()
        return
    app = asgi_app(proxy, *middlewares)
    with asyncio.Runner() as runner:

        def call(*args: Any, **options: Any) -> Answer:
            return runner.run(call_asgi(app, *args, **options))

        yield call
        runner.run(app.aclose())
