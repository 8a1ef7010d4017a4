"""The gateway that the tests of this folder start under real servers; UPSTREAM says where to."""

from __future__ import annotations

import os

from gatekit import BodyLimit, Proxy, Timeouts, asgi_app, wsgi_app

LIMIT = int(os.environ.get("LIMIT", "50000000"))

proxy = Proxy(
    os.environ.get("UPSTREAM", "http://127.0.0.1:9"),
    timeouts=Timeouts(connect=2.0, first_byte=float(os.environ.get("FIRST_BYTE", "5")), idle=5.0),
)

app = asgi_app(proxy, BodyLimit(LIMIT))
wsgi = wsgi_app(proxy, BodyLimit(LIMIT))
