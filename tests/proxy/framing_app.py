"""A proxy as trusting as its options allow, for the tests that send it malformed requests."""

from __future__ import annotations

import os

from gatekit import Proxy, Timeouts, asgi_app, wsgi_app

proxy = Proxy(
    os.environ.get("UPSTREAM", "http://127.0.0.1:9"),
    host="pass",
    underscores="allow",
    timeouts=Timeouts(connect=5.0, first_byte=10.0, idle=10.0),
    max_connections=200,
)

app = asgi_app(proxy)
wsgi = wsgi_app(proxy)
