"""Ours under ASGI."""

from __future__ import annotations

import os

from gatekit import Proxy, asgi_app

app = asgi_app(Proxy(os.environ["UPSTREAM"]))
